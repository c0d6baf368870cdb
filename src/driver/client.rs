//! A client's tunnel on a thread of its own: the loop, commands, and the device that outlives connections.

use std::{
    net::SocketAddr,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use mio::{Events, Poll, Waker};
use tunless_core::{
    client::{self, CloseReason, Connected, Credentials, ExitKind, Remotes, Setup},
    config::{DnsTransport, Pushed, Transport as Carrier},
};
use tunless_netstack::{Limits, Network, Stack, StackConfig, StackHandle};

use super::{
    EVENTS, FIRST_DEVICE, NameLock, StartError, SystemRng, TRANSPORT, WAKER,
    attempt::Phase,
    clock,
    handle::{Answer, Command, End, Event, Handle, Question, Shared, State, Up},
    login::Login,
    resolve::HostResolver,
    shutdown,
};

/// Shortest wait for the stack's own timers while there is no connection that could carry anything.
const DOWN_TICK: Duration = Duration::from_millis(10);

/// What a tunnel starts with.
#[derive(Debug)]
pub struct Options {
    /// Configuration and TLS.
    pub setup: Arc<Setup>,
    /// User name and password, if they are known already.
    pub credentials: Option<Credentials>,
    /// Resolvers inside the tunnel, in place of the pushed ones.
    pub dns: Vec<SocketAddr>,
    /// Limits of the stack.
    pub limits: Limits,
    /// Longest time to the first connection; `None` tries for as long as the profile says.
    pub connect_timeout: Option<Duration>,
}

/// A tunnel that runs.
#[derive(Debug)]
pub struct Running {
    /// Commands, events, counters.
    pub handle: Handle,
    /// Opens connections through it.
    pub stack: StackHandle,
    thread: JoinHandle<End>,
}

impl Running {
    /// Waits for the tunnel's thread.
    pub fn join(self) -> End {
        self.thread.join().unwrap_or_else(|_panic| End {
            kind: ExitKind::Failed,
            reason: "the tunnel's thread failed; this is a bug, please report it".into(),
        })
    }
}

/// Starts a tunnel; it connects at once. Events before the first subscription are missed, so `subscribe` is
/// called with the handle before the thread starts.
///
/// # Errors
/// No event loop, thread or device name.
pub fn start(options: Options, subscribe: impl FnOnce(&Handle)) -> Result<Running, StartError> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let (handle, shared) = Handle::new(Arc::clone(&waker));
    let name = NameLock::acquire()?;
    let mut rng = SystemRng::default();
    let config = StackConfig {
        name: name.name().clone(),
        network: None,
        limits: options.limits,
        seed: rng.next_u64(),
    };
    let now = clock::now();
    let registry = poll.registry().try_clone()?;
    let (stack, stack_handle) = Stack::new(now, config, registry, Arc::clone(&waker), FIRST_DEVICE);
    let remotes = Remotes::new(options.setup.config(), &mut rng);
    let driver = Driver {
        poll,
        shared,
        remotes,
        resolver: HostResolver::new(waker),
        stack,
        stack_up: false,
        relays_go_on: false,
        name,
        dns: options.dns,
        login: Login::new(options.credentials),
        token: None,
        phase: Phase::Idle,
        leaving: Leaving::No,
        question: None,
        questions: 0,
        attempts: 0,
        unresolved_since: None,
        connect_by: options.connect_timeout.map(|longest| now + longest),
        last_reason: None,
        end: None,
        setup: options.setup,
    };
    subscribe(&handle);
    let thread = thread::Builder::new()
        .name(format!("tunless-{}", driver.name.name()))
        .spawn(|| driver.run())?;
    Ok(Running {
        handle,
        stack: stack_handle,
        thread,
    })
}

/// What follows when the connection has been closed on our own wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// It was not our wish.
    No,
    /// Wait for [`Command::Resume`].
    Pause,
    /// Connect again.
    Restart,
    /// End, at the latest at this instant.
    Exit(Instant),
}

#[derive(Debug)]
pub(super) struct Driver {
    pub(super) poll: Poll,
    pub(super) shared: Arc<Shared>,
    pub(super) setup: Arc<Setup>,
    pub(super) remotes: Remotes,
    pub(super) resolver: HostResolver,
    pub(super) stack: Stack,
    pub(super) stack_up: bool,
    /// Without a connection: relays have more to do at once.
    relays_go_on: bool,
    pub(super) name: NameLock,
    pub(super) dns: Vec<SocketAddr>,
    pub(super) login: Login,
    pub(super) token: Option<Credentials>,
    pub(super) phase: Phase,
    pub(super) leaving: Leaving,
    pub(super) question: Option<Question>,
    pub(super) questions: u64,
    pub(super) attempts: u64,
    pub(super) unresolved_since: Option<Instant>,
    pub(super) connect_by: Option<Instant>,
    pub(super) last_reason: Option<String>,
    pub(super) end: Option<End>,
}

impl Driver {
    fn run(mut self) -> End {
        let _span = tracing::info_span!("tunnel", device = %self.name.name()).entered();
        let mut events = Events::with_capacity(EVENTS);
        self.set_state(State::Connecting, "");
        self.begin(clock::now());
        loop {
            if let Some(end) = self.end.take() {
                return self.finish(end);
            }
            let wait = self.wait(clock::now());
            if let Err(error) = self.poll.poll(&mut events, wait)
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                return self.finish(End {
                    kind: ExitKind::Failed,
                    reason: format!("waiting for sockets failed: {error}"),
                });
            }
            let now = clock::now();
            for event in &events {
                match event.token() {
                    TRANSPORT => self.phase.on_ready(event),
                    WAKER => self.on_wake(now),
                    _ => self.stack.handle_ready(now, event),
                }
            }
            self.turn(now);
        }
    }

    /// One turn: timers of the attempt, then the connection, then what it reports.
    fn turn(&mut self, now: Instant) {
        if self.stack.poll_timeout().is_some_and(|at| at <= now) {
            self.stack.handle_timeout(now);
        }
        self.step(now);
        if let Phase::Linked(link) = &mut self.phase {
            link.turn(now, &mut self.stack, self.poll.registry());
        }
        while let Phase::Linked(link) = &mut self.phase
            && let Some(event) = link.poll_event()
        {
            // What it changes may be a reason to send: a stack that comes up has connections waiting.
            link.turn_again();
            self.on_client_event(now, event);
        }
        // Nothing can leave while the tunnel is down, but local sockets that close are let go of.
        self.relays_go_on = !self.stack_up && self.stack.transmit(now, 0, &mut |_| false);
        self.check_deadlines(now);
        self.publish();
    }

    fn wait(&self, now: Instant) -> Option<Duration> {
        if self.phase.has_more() || self.relays_go_on {
            return Some(Duration::ZERO);
        }
        let connected = matches!(&self.phase, Phase::Linked(link) if link.client.is_connected());
        let stack = self.stack.poll_timeout();
        let stack = if connected {
            stack
        } else {
            stack.map(|at| at.max(now + DOWN_TICK))
        };
        let leaving = match self.leaving {
            Leaving::Exit(by) => Some(by),
            Leaving::No | Leaving::Pause | Leaving::Restart => None,
        };
        let earliest = [stack, self.phase.poll_timeout(), self.connect_by(), leaving]
            .into_iter()
            .flatten()
            .min();
        earliest.map(|at| at.saturating_duration_since(now))
    }

    /// When the first connection must be up; nothing while a person is asked.
    fn connect_by(&self) -> Option<Instant> {
        self.connect_by
            .filter(|_| !matches!(self.phase, Phase::Asking { .. }))
    }

    fn check_deadlines(&mut self, now: Instant) {
        if let Leaving::Exit(by) = self.leaving
            && by <= now
        {
            self.exit(ExitKind::Done, CloseReason::LocalExit.to_string());
        }
        if self.connect_by().is_some_and(|by| by <= now) {
            let last = self
                .last_reason
                .as_deref()
                .map(|reason| format!("; last: {reason}"))
                .unwrap_or_default();
            self.exit(
                ExitKind::Failed,
                format!("not connected within --connect-timeout{last}"),
            );
        }
    }

    fn publish(&self) {
        let (stack, attempts) = (self.stack.stats(), self.attempts);
        let link = match &self.phase {
            Phase::Linked(link) => Some((link.counters(), link.client.stats())),
            Phase::Idle
            | Phase::Asking { .. }
            | Phase::Pausing { .. }
            | Phase::Resolving { .. }
            | Phase::Opening { .. } => None,
        };
        self.shared.update(|snapshot| {
            snapshot.device = stack;
            snapshot.attempts = attempts;
            if let Some((transport, session)) = link {
                snapshot.transport = transport;
                snapshot.session = session;
            }
        });
    }

    fn on_wake(&mut self, now: Instant) {
        self.stack.handle_commands(now);
        while let Some(answer) = self.resolver.poll_answer() {
            self.on_resolved(now, answer);
        }
        for command in self.shared.take_commands() {
            self.on_command(now, command);
        }
    }

    fn on_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Pause => self.leave(now, Leaving::Pause),
            Command::Restart => self.leave(now, Leaving::Restart),
            Command::Disconnect => self.leave(now, Leaving::Exit(now + shutdown::TUNNEL_GRACE)),
            Command::Resume => {
                if matches!(self.phase, Phase::Idle) {
                    self.set_state(State::Connecting, "");
                    self.begin(now);
                }
            }
            Command::Answer { question, answer } => self.on_answer(now, question, answer),
            Command::SetVerbosity(level) => crate::log::set_verbosity(level),
        }
    }

    fn on_answer(&mut self, now: Instant, question: u64, answer: Option<Answer>) {
        if self.question.as_ref().is_none_or(|open| open.id != question) {
            return;
        }
        let Phase::Asking { attempt, .. } = self.phase else {
            return;
        };
        self.stop_asking(now);
        match answer {
            Some(Answer::Credentials { username, password }) => {
                self.login.on_answer(Credentials {
                    username,
                    password,
                    is_token: false,
                });
                self.attempt(now, attempt);
            }
            None => self.exit(
                ExitKind::AuthFailed,
                "no user name and password were given".into(),
            ),
        }
    }

    /// Leaves the server; what follows depends on `leaving`.
    fn leave(&mut self, now: Instant, leaving: Leaving) {
        if let Leaving::Exit(_) = leaving {
            self.set_state(State::Exiting, CloseReason::LocalExit.name());
        }
        self.stop_asking(now);
        self.leaving = leaving;
        if let Phase::Linked(link) = &mut self.phase {
            link.client.close(now);
        } else {
            self.on_left(now);
        }
    }

    /// The connection we wanted to end has ended.
    pub(super) fn on_left(&mut self, now: Instant) {
        match std::mem::replace(&mut self.leaving, Leaving::No) {
            Leaving::Exit(_) => self.exit(ExitKind::Done, CloseReason::LocalExit.to_string()),
            Leaving::Pause => self.phase = Phase::Idle,
            Leaving::Restart | Leaving::No => self.begin(now),
        }
    }

    fn on_client_event(&mut self, now: Instant, event: client::Event) {
        match event {
            client::Event::State(state) => {
                let address = self.phase.address().map(|address| address.to_string());
                self.set_state(State::Session(state), &address.unwrap_or_default());
            }
            client::Event::Connected(connected) => self.on_connected(now, &connected),
            client::Event::Renewed { .. } => self.shared.emit(Event::Renewed),
            client::Event::Token(token) => self.token = Some(token),
            client::Event::Info(text) => self.shared.emit(Event::Info(text)),
            client::Event::Closed(reason) => self.on_closed(now, &reason),
        }
    }

    fn on_connected(&mut self, now: Instant, connected: &Connected) {
        let Phase::Linked(link) = &self.phase else { return };
        let Ok(remote) = self.setup.remote(link.remote) else {
            return;
        };
        let network = network(&connected.pushed, &self.dns);
        self.stack.set_lossless(remote.proto.transport == Carrier::Tcp);
        let up = Up {
            host: remote.host.clone(),
            address: link.client.address(),
            carrier: match remote.proto.transport {
                Carrier::Udp => "udp",
                Carrier::Tcp => "tcp",
            },
            device: self.name.name().to_string(),
            inner: network.addresses.clone(),
            dns: network.resolvers.clone(),
            mtu_bytes: network.mtu_bytes,
            cipher: connected.cipher.to_string(),
            tls: connected.tls.clone().unwrap_or_default(),
            ignored: connected.pushed.ignored.clone(),
        };
        self.set_state(State::AssignIp, "");
        self.stack.bring_up(now, network);
        self.stack_up = true;
        self.connect_by = None;
        self.last_reason = None;
        self.remotes.on_connected();
        if self.setup.config().auth_nocache {
            self.login.forget_typed();
        }
        let inner = up
            .inner
            .first()
            .map(|net| net.addr().to_string())
            .unwrap_or_default();
        self.set_state(State::Connected, &format!("SUCCESS,{inner},{}", up.address));
        self.shared.emit(Event::Connected(Arc::new(up)));
    }

    pub(super) fn set_state(&mut self, state: State, detail: &str) {
        self.shared.update(|snapshot| snapshot.state = Some(state));
        self.shared.emit(Event::State {
            state,
            detail: detail.to_owned(),
        });
    }

    pub(super) fn exit(&mut self, kind: ExitKind, reason: String) {
        self.end.get_or_insert(End { kind, reason });
    }

    fn finish(mut self, end: End) -> End {
        let now = clock::now();
        if let Phase::Linked(link) = std::mem::replace(&mut self.phase, Phase::Idle) {
            link.close(now, self.poll.registry());
        }
        self.stack.take_down(now);
        self.publish();
        self.set_state(State::Exiting, &end.reason);
        self.shared.emit(Event::Ended(end.clone()));
        end
    }
}

/// What the server's options mean for the stack.
fn network(pushed: &Pushed, dns: &[SocketAddr]) -> Network {
    let v4 = pushed
        .ifconfig
        .and_then(|inner| ipnet::Ipv4Net::new(inner.addr, inner.prefix_len).ok());
    let v6 = pushed.ifconfig_ipv6.filter(|_| !pushed.block_ipv6);
    let v6 = v6.and_then(|inner| ipnet::Ipv6Net::new(inner.addr, inner.prefix_len).ok());
    let plain = pushed
        .dns
        .servers
        .iter()
        .filter(|server| server.transport == DnsTransport::Plain);
    let pushed_dns = plain.flat_map(|server| server.addresses.iter().copied());
    Network {
        addresses: v4.map(Into::into).into_iter().chain(v6.map(Into::into)).collect(),
        mtu_bytes: pushed.tun_mtu.into(),
        resolvers: if dns.is_empty() {
            pushed_dns.collect()
        } else {
            dns.to_vec()
        },
        search_domains: pushed.dns.search_domains.clone(),
    }
}
