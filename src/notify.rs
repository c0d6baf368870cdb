//! The service manager (`sd_notify(3)`): ready, status, reloading, stopping, and that we still turn.
//!
//! Without `NOTIFY_SOCKET` nothing of this happens. READY is said when packets really go through: after the first
//! connection, a name is asked for through the tunnel; any answer counts. Where that cannot be tried, or nothing has
//! come within five seconds, READY comes with a status that says so: a service whose resolver is down still runs.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinHandle,
    time::{Interval, MissedTickBehavior, interval, sleep, timeout},
};
use tunless_netstack::StackHandle;

use crate::{
    driver::{Event, Handle, State, Up},
    front::probe::{ProbeError, probe},
};

/// Longest time for the probe.
const PROBE: Duration = Duration::from_secs(5);
/// Pause between two tries of the probe.
const PROBE_PAUSE: Duration = Duration::from_millis(250);

/// The service manager's socket.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    watchdog: Option<Duration>,
    is_reloading: AtomicBool,
}

impl Notifier {
    /// The socket that the environment names; `None` when there is none, or it cannot be reached.
    pub fn from_environment() -> Option<Self> {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        let socket = connect(&name);
        match socket {
            Ok(socket) => Some(Self {
                socket,
                watchdog: watchdog(
                    env::var("WATCHDOG_USEC").ok().as_deref(),
                    env::var("WATCHDOG_PID").ok().as_deref(),
                    std::process::id(),
                ),
                is_reloading: AtomicBool::new(false),
            }),
            Err(error) => {
                tracing::warn!(%error, "the service manager cannot be told anything");
                None
            }
        }
    }

    /// Says that what follows is a reconnection that was asked for; READY follows with it.
    pub fn reloading(&self) {
        self.is_reloading.store(true, Ordering::Relaxed);
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
            .map(Duration::from)
            .unwrap_or_default();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    /// Says that the end has begun.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=leaving");
    }

    /// Says that the service runs.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// Shows for as long as the runtime turns that the service does; ends when the handle is aborted.
    pub fn keep_alive(self: &Arc<Self>) -> JoinHandle<()> {
        let (notifier, mut pulse) = (Arc::clone(self), self.pulse());
        tokio::spawn(async move {
            loop {
                tick(&mut pulse).await;
                notifier.send("WATCHDOG=1");
            }
        })
    }

    fn pulse(&self) -> Option<Interval> {
        let mut pulse = interval(self.watchdog?);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Some(pulse)
    }

    fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", one_line(status)));
    }

    /// Never waits; what the manager does not take is lost.
    fn send(&self, text: &str) {
        if let Err(error) = self.socket.send(text.as_bytes()) {
            tracing::debug!(%error, "the service manager was not told");
        }
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "NOTIFY_SOCKET is no address",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

/// The pause between two signs of life, half of what the manager waits; `None` if it waits for another process.
fn watchdog(microseconds: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let longest = microseconds?.parse().ok().filter(|longest| *longest > 1)?;
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(own));
    is_ours.then(|| Duration::from_micros(longest) / 2)
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Tells the service manager how a tunnel fares, on a task of its own that ends with the tunnel.
pub fn follow(
    notifier: Arc<Notifier>,
    handle: Handle,
    stack: StackHandle,
    events: Receiver<Event>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let pulse = notifier.pulse();
        let follower = Follower {
            notifier,
            handle,
            stack,
            is_ready: false,
        };
        follower.run(events, pulse).await;
    })
}

struct Follower {
    notifier: Arc<Notifier>,
    handle: Handle,
    stack: StackHandle,
    is_ready: bool,
}

impl Follower {
    async fn run(mut self, mut events: Receiver<Event>, mut pulse: Option<Interval>) {
        let mut turns = None;
        let mut probing: Option<JoinHandle<bool>> = None;
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(Event::Connected(up)) if !self.is_ready => {
                        let (stack, up) = (self.stack.clone(), Arc::clone(&up));
                        if let Some(old) = probing.replace(tokio::spawn(async move { goes_through(&stack, &up).await })) {
                            old.abort();
                        }
                    }
                    Ok(Event::Connected(up)) => self.on_connected_again(&up),
                    Ok(Event::State { state, detail }) => self.on_state(state, &detail),
                    Ok(Event::Ended(_)) | Err(RecvError::Closed) => break,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                },
                verified = finished(&mut probing) => {
                    probing = None;
                    self.on_probed(verified);
                }
                () = tick(&mut pulse) => {
                    // A thread that is stuck has not turned since it was woken.
                    let now = self.handle.turns();
                    if turns.replace(now) != Some(now) {
                        self.notifier.send("WATCHDOG=1");
                    }
                    self.handle.wake();
                }
            }
        }
        if let Some(probe) = probing {
            probe.abort();
        }
    }

    fn on_probed(&mut self, verified: bool) {
        // What was lost meanwhile is not ready; the next connection is probed again.
        if self.handle.snapshot().state != Some(State::Connected) {
            return;
        }
        let Some(up) = self.handle.up() else { return };
        let unverified = if verified {
            ""
        } else {
            " (unverified: no name could be resolved through it)"
        };
        self.notifier.ready(&format!("{}{unverified}", connected(&up)));
        self.is_ready = true;
    }

    fn on_connected_again(&self, up: &Up) {
        if self.notifier.is_reloading.swap(false, Ordering::Relaxed) {
            self.notifier.ready(&connected(up));
        } else {
            self.notifier.status(&connected(up));
        }
    }

    fn on_state(&self, state: State, detail: &str) {
        let status = match state {
            State::Paused => "paused".into(),
            State::Connecting | State::Resolve => "connecting".into(),
            State::TcpConnect | State::Session(_) if detail.is_empty() => "connecting".into(),
            State::TcpConnect | State::Session(_) => format!("connecting to {detail}"),
            State::Reconnecting => format!("reconnecting ({detail})"),
            // Told with what belongs to them.
            State::AssignIp | State::Connected | State::Exiting => return,
        };
        self.notifier.status(&status);
    }
}

fn connected(up: &Up) -> String {
    let inner: Vec<_> = up.inner.iter().map(|net| net.addr().to_string()).collect();
    format!("connected to {} as {}", up.host, inner.join(", "))
}

/// Sends something through the tunnel; `false` when nothing comes back in time, or there is nobody to ask.
async fn goes_through(stack: &StackHandle, up: &Up) -> bool {
    let answered = async {
        loop {
            match probe(stack, up).await {
                Ok(_) => return true,
                Err(ProbeError::NobodyToAsk) => return false,
                Err(error) => tracing::debug!(%error, "the probe brought no answer"),
            }
            sleep(PROBE_PAUSE).await;
        }
    };
    timeout(PROBE, answered).await.unwrap_or(false)
}

/// Waits for the probe, or for ever. Cancel-safe.
async fn finished(probing: &mut Option<JoinHandle<bool>>) -> bool {
    match probing {
        Some(probe) => probe.await.unwrap_or(false),
        None => std::future::pending().await,
    }
}

/// Waits for the next sign of life, or for ever. Cancel-safe.
async fn tick(pulse: &mut Option<Interval>) {
    match pulse {
        Some(pulse) => {
            pulse.tick().await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_ours_or_nobodys() {
        let half = Some(Duration::from_secs(1));
        assert_eq!(watchdog(Some("2000000"), None, 7), half);
        assert_eq!(watchdog(Some("2000000"), Some("7"), 7), half);
        assert_eq!(watchdog(Some("2000000"), Some("8"), 7), None);
        for none in [None, Some("0"), Some("x"), Some("")] {
            assert_eq!(watchdog(none, None, 7), None);
        }
    }

    #[test]
    fn abstract_and_named_sockets_are_reached_and_a_status_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("tunless-notify-{}", std::process::id());
        let named = UnixDatagram::bind(&path).unwrap();
        let hidden = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (address, manager) in [
            (path.into_os_string(), named),
            (format!("@{name}").into(), hidden),
        ] {
            let notifier = Notifier {
                socket: connect(&address).unwrap(),
                watchdog: None,
                is_reloading: AtomicBool::new(false),
            };
            notifier.ready("up\nMAINPID=1");
            let mut buf = [0; 256];
            let len = manager.recv(&mut buf).unwrap();
            assert_eq!(&buf[..len], b"READY=1\nSTATUS=up MAINPID=1");
        }
        assert!(connect(OsStr::new("nonsense")).is_err());
    }
}
