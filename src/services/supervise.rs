//! All services of one bus: started, started anew when they end, and ended together.
//!
//! Each is a process of its own, so that one that fails takes nothing with it. They end with this process, however it
//! ends: their standard input is a pipe that it holds. Tunnels outlive a service that is started anew, and end when
//! everything is ended by wish.

use std::{
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    sync::mpsc,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tunless_dbus::{
    bus::{Bus, BusAddress},
    names::client_pid,
};

use super::host::{HostError, Kind, own_program};

/// First pause before a service is started anew; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause before that, and how often a name that others have is looked at.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A service that ran this long has not failed at once.
const LASTED: Duration = Duration::from_secs(30);
/// Longest wait for tunnels to leave their servers.
const LEAVE_DEADLINE: Duration = Duration::from_secs(3);
/// Longest wait for a service to end by itself.
const END_DEADLINE: Duration = Duration::from_secs(3);
/// Pause between two looks at the names on the bus.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// What is run.
#[derive(Debug, Clone)]
pub struct Supervised {
    /// The bus.
    pub bus: BusAddress,
    /// The folder for profiles and records of sessions.
    pub state_dir: PathBuf,
}

/// What the supervisor tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// All names are there.
    Ready,
    /// A service ended by itself and is started anew.
    Again(Kind),
}

/// Runs all services until `shutdown`.
///
/// # Errors
/// No bus, or our own program cannot be found.
pub async fn run(
    what: &Supervised,
    told: mpsc::Sender<Told>,
    shutdown: &CancellationToken,
) -> Result<(), HostError> {
    let program = own_program()?;
    let bus = Bus::connect(&what.bus).await?;
    let (mut running, stop) = (JoinSet::new(), CancellationToken::new());
    for kind in Kind::ALL {
        let keeper = Keeper {
            kind,
            program: program.clone(),
            what: what.clone(),
            bus: bus.clone(),
            told: told.clone(),
            stop: stop.clone(),
        };
        running.spawn(keeper.keep());
    }
    tokio::select! {
        () = ready(&bus) => {
            // Whoever listened may be gone.
            let _heard = told.send(Told::Ready).await;
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = bus.closed() => tracing::warn!("the bus is gone"),
            }
        }
        () = shutdown.cancelled() => {}
        () = bus.closed() => tracing::warn!("the bus is gone"),
    }
    end_tunnels(&bus).await;
    stop.cancel();
    while running.join_next().await.is_some() {}
    Ok(())
}

/// Waits until every service has its name.
async fn ready(bus: &Bus) {
    for kind in Kind::ALL {
        while bus.owner(kind.bus_name()).await.is_none() {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
}

/// Tells every tunnel of ours on this bus to leave, and waits a little.
async fn end_tunnels(bus: &Bus) {
    let until = Instant::now() + LEAVE_DEADLINE;
    let mut asked = Vec::new();
    while Instant::now() < until {
        let clients = own_clients(bus).await;
        if clients.is_empty() {
            return;
        }
        for pid in clients {
            if !asked.contains(&pid) {
                asked.push(pid);
                if let Err(error) = kill(Pid::from_raw(pid), Signal::SIGTERM) {
                    tracing::debug!(%error, pid, "a client process has ended already");
                }
            }
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Client processes of our user, by process id.
async fn own_clients(bus: &Bus) -> Vec<i32> {
    let own = nix::unistd::geteuid().as_raw();
    let mut clients = Vec::new();
    for name in bus.names().await.unwrap_or_default() {
        let Some(pid) = client_pid(&name) else { continue };
        let Some(owner) = bus.owner(&name).await else {
            continue;
        };
        let is_ours = bus
            .caller(&owner)
            .await
            .is_ok_and(|caller| caller.uid == own && caller.pid == pid);
        if is_ours && let Ok(pid) = i32::try_from(pid) {
            clients.push(pid);
        }
    }
    clients
}

/// Keeps one service running.
struct Keeper {
    kind: Kind,
    program: PathBuf,
    what: Supervised,
    bus: Bus,
    told: mpsc::Sender<Told>,
    /// Everything is ended.
    stop: CancellationToken,
}

impl Keeper {
    async fn keep(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            if self.bus.owner(self.kind.bus_name()).await.is_some() {
                // The bus may have started it, or somebody else serves it; theirs is as good.
                if self.sleep(LONGEST_PAUSE).await {
                    return;
                }
                continue;
            }
            let started = Instant::now();
            match self.start() {
                Ok(mut child) => {
                    if self.wait(&mut child).await {
                        return;
                    }
                }
                Err(error) => tracing::error!(%error, service = self.kind.word(), "cannot be started"),
            }
            if started.elapsed() >= LASTED {
                pause = FIRST_PAUSE;
            }
            tracing::warn!(service = self.kind.word(), "has ended and is started anew");
            // A full queue means that nobody reads.
            let _heard = self.told.try_send(Told::Again(self.kind));
            if self.sleep(pause).await {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn start(&self) -> std::io::Result<Child> {
        Command::new(&self.program)
            .args([
                "dbus",
                self.kind.word(),
                "--with-parent",
                "--idle-exit",
                "0",
                "--bus",
            ])
            .arg(self.what.bus.to_string())
            .arg("--state-dir")
            .arg(&self.what.state_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // A signal from the terminal is for the supervisor, which ends the others in its order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    /// Waits for its end; tells whether that was wished.
    async fn wait(&self, child: &mut Child) -> bool {
        // Waiting would close it at once.
        let input = child.stdin.take();
        tokio::select! {
            _ended = child.wait() => false,
            () = self.stop.cancelled() => {
                // Its end of the pipe closes, and it ends.
                drop(input);
                if tokio::time::timeout(END_DEADLINE, child.wait()).await.is_err() {
                    tracing::warn!(service = self.kind.word(), "does not end by itself");
                    if let Err(error) = child.kill().await {
                        tracing::debug!(%error, "it has ended now");
                    }
                }
                true
            }
        }
    }

    /// Waits; tells whether the end was wished meanwhile.
    async fn sleep(&self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => false,
            () = self.stop.cancelled() => true,
        }
    }
}
