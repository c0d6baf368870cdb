//! A client's tunnel on a thread of its own: the loop, commands, and the device that outlives connections.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ipnet::IpNet;
use mio::{Events, Poll, Waker};
use tunless_core::{
    client::{self, CloseReason, Connected, Credentials, ExitKind, Remotes, Setup},
    config::{Destination4, DnsTransport, Pushed, Transport as Carrier},
};
use tunless_netstack::{Limits, Network, ResolverGroup, Stack, StackConfig, StackHandle};

use super::{
    EVENTS, FIRST_DEVICE, NameLock, StartError, SystemRng, TRANSPORT, WAKER, WATCH,
    attempt::Phase,
    clock,
    handle::{Command, End, Event, Handle, Question, Shared, State, Up},
    link::Link,
    login::Login,
    resolve::HostResolver,
    shutdown,
    sleep::SleepWatch,
    upstream::ProxyLogins,
    watch::LinkWatch,
};
use crate::transport::Counters;

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
    /// Resolvers inside the tunnel where neither these nor the server name any.
    pub fallback_dns: Vec<SocketAddr>,
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
    /// The device's name.
    pub device: String,
    /// Holds the device's name: nobody else takes it before the last of these is dropped.
    pub name: Arc<NameLock>,
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
    let name = Arc::new(NameLock::acquire()?);
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
    let watch = LinkWatch::open(poll.registry());
    let remotes = Remotes::new(options.setup.config(), &mut rng);
    let held = Arc::clone(&name);
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
        fallback_dns: options.fallback_dns,
        login: Login::new(options.credentials),
        proxies: ProxyLogins::default(),
        token: None,
        phase: Phase::Idle,
        leaving: Leaving::No,
        question: None,
        passphrase_is_wrong: false,
        questions: 0,
        attempts: 0,
        connections: 0,
        renewals: 0,
        past: Counters::default(),
        watch,
        outlook: None,
        unresolved_since: None,
        connect_by: options.connect_timeout.map(|longest| now + longest),
        last_reason: None,
        end: None,
        setup: options.setup,
    };
    subscribe(&handle);
    let device = driver.name.name().to_string();
    let thread = thread::Builder::new()
        .name(format!("tunless-{}", driver.name.name()))
        .spawn(|| driver.run())?;
    Ok(Running {
        name: held,
        handle,
        stack: stack_handle,
        device,
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
    pub(super) name: Arc<NameLock>,
    pub(super) dns: Vec<SocketAddr>,
    fallback_dns: Vec<SocketAddr>,
    pub(super) login: Login,
    pub(super) proxies: ProxyLogins,
    pub(super) token: Option<Credentials>,
    pub(super) phase: Phase,
    pub(super) leaving: Leaving,
    /// What is asked, and since when.
    pub(super) question: Option<(Question, Instant)>,
    pub(super) passphrase_is_wrong: bool,
    pub(super) questions: u64,
    pub(super) attempts: u64,
    connections: u64,
    renewals: u64,
    /// What connections that are over have counted.
    past: Counters,
    pub(super) watch: LinkWatch,
    /// What the last change of the network led to.
    pub(super) outlook: Option<[Option<IpAddr>; 3]>,
    pub(super) unresolved_since: Option<Instant>,
    pub(super) connect_by: Option<Instant>,
    pub(super) last_reason: Option<String>,
    pub(super) end: Option<End>,
}

impl Driver {
    fn run(mut self) -> End {
        let _span = tracing::info_span!("tunnel", device = %self.name.name()).entered();
        let mut events = Events::with_capacity(EVENTS);
        let mut sleep = SleepWatch::new(clock::now());
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
            if let Some(gap) = sleep.on_woken(now, wait) {
                self.on_gap(now, gap);
            }
            for event in &events {
                match event.token() {
                    TRANSPORT => self.phase.on_ready(event),
                    WAKER => self.on_wake(now),
                    WATCH => self.watch.on_ready(now),
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
        if self.watch.take_change(now) {
            self.on_link_change(now);
        }
        self.step(now);
        if let Phase::Linked(link) = &mut self.phase {
            link.turn(now, &mut self.stack, self.poll.registry());
        }
        self.check_path(now);
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
        let earliest = [
            stack,
            self.phase.poll_timeout(),
            self.watch.poll_timeout(),
            self.connect_by(),
            leaving,
        ]
        .into_iter()
        .flatten()
        .min();
        earliest.map(|at| at.saturating_duration_since(now))
    }

    /// When the first connection must be up; nothing while a person is asked, or in a pause.
    fn connect_by(&self) -> Option<Instant> {
        let stands_still = self.question.is_some() || matches!(self.phase, Phase::Paused { .. });
        self.connect_by.filter(|_| !stands_still)
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
            | Phase::Paused { .. }
            | Phase::Asking { .. }
            | Phase::Pausing { .. }
            | Phase::Resolving { .. }
            | Phase::Opening { .. } => None,
        };
        let retry_at = match &self.phase {
            Phase::Pausing { until, .. } => Some(*until),
            Phase::Idle
            | Phase::Paused { .. }
            | Phase::Asking { .. }
            | Phase::Resolving { .. }
            | Phase::Opening { .. }
            | Phase::Linked(_) => None,
        };
        let (past, connections, renewals) = (self.past, self.connections, self.renewals);
        self.shared.update(|snapshot| {
            snapshot.link = past;
            snapshot.retry_at = retry_at;
            snapshot.connections = connections;
            snapshot.renewals = renewals;
            snapshot.device = stack;
            snapshot.attempts = attempts;
            if let Some((transport, session)) = link {
                snapshot.transport = transport;
                snapshot.link = past.plus(transport);
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
            Command::Pause if self.is_paused() => {}
            Command::Pause => self.leave(now, Leaving::Pause),
            Command::Restart => self.restart(now, "SIGUSR1"),
            Command::Reload { setup, credentials } => {
                self.adopt(setup, credentials);
                self.restart(now, "SIGHUP");
            }
            Command::Disconnect => self.leave(now, Leaving::Exit(now + shutdown::TUNNEL_GRACE)),
            Command::Resume => self.resume(now),
            Command::Answer { question, answer } => self.on_answer(now, question, answer),
            Command::SetVerbosity(level) => crate::log::set_verbosity(level),
        }
    }

    fn on_client_event(&mut self, now: Instant, event: client::Event) {
        match event {
            client::Event::State(state) => {
                let address = self.phase.address().map(|address| address.to_string());
                self.set_state(State::Session(state), &address.unwrap_or_default());
            }
            client::Event::Connected(connected) => self.on_connected(now, &connected),
            client::Event::Renewed { .. } => {
                self.renewals += 1;
                self.shared.emit(Event::Renewed);
            }
            client::Event::Token(token) => self.token = Some(token),
            client::Event::Pending(request) => self.on_pending(now, request),
            client::Event::Info(text) => self.shared.emit(Event::Info(text)),
            client::Event::Closed(reason) => self.on_closed(now, &reason),
        }
    }

    fn on_connected(&mut self, now: Instant, connected: &Connected) {
        let Phase::Linked(link) = &self.phase else { return };
        let Ok(remote) = self.setup.remote(link.remote) else {
            return;
        };
        let network = network(&connected.pushed, &self.dns, &self.fallback_dns);
        self.stack.set_lossless(remote.proto.transport == Carrier::Tcp);
        let up = Up {
            host: remote.host.clone(),
            address: link.client.address(),
            through: remote.proxy.as_ref().map(ToString::to_string),
            carrier: match remote.proto.transport {
                Carrier::Udp => "udp",
                Carrier::Tcp => "tcp",
            },
            device: self.name.name().to_string(),
            inner: network.addresses.clone(),
            dns: network
                .resolvers
                .iter()
                .flat_map(|group| group.servers.iter().copied())
                .collect(),
            mtu_bytes: network.mtu_bytes,
            cipher: connected.cipher.to_string(),
            tls: connected.tls.clone().unwrap_or_default(),
            ignored: connected.pushed.ignored.clone(),
            redirects: (connected.pushed.redirect.ipv4, connected.pushed.redirect.ipv6),
            routes: routes(&connected.pushed),
            domains: domains(&connected.pushed),
            since: now,
        };
        let _void = self.stop_asking(now);
        self.set_state(State::AssignIp, "");
        self.stack.bring_up(now, network);
        self.stack_up = true;
        self.connections += 1;
        self.connect_by = None;
        self.last_reason = None;
        self.remotes.on_connected();
        if self.setup.config().auth_nocache {
            self.login.forget_typed();
            self.proxies.forget_typed();
        }
        let inner = up
            .inner
            .first()
            .map(|net| net.addr().to_string())
            .unwrap_or_default();
        self.set_state(State::Connected, &format!("SUCCESS,{inner},{}", up.address));
        // Who asks upon the event sees what belongs to it.
        self.publish();
        self.shared.emit(Event::Connected(Arc::new(up)));
    }

    pub(super) fn set_state(&mut self, state: State, detail: &str) {
        let now = clock::now();
        self.shared.update(|snapshot| {
            if snapshot.state != Some(state) {
                snapshot.since = Some(now);
            }
            snapshot.state = Some(state);
        });
        self.shared.emit(Event::State {
            state,
            detail: detail.to_owned(),
        });
    }

    pub(super) fn exit(&mut self, kind: ExitKind, reason: String) {
        self.end.get_or_insert(End { kind, reason });
    }

    /// The end of a connection's socket; what it counted stays.
    pub(super) fn let_go(&mut self, now: Instant, link: Box<Link>) {
        let counters = link.close(now, self.poll.registry());
        self.past = self.past.plus(counters);
    }

    fn finish(mut self, end: End) -> End {
        let now = clock::now();
        if let Phase::Linked(link) = std::mem::replace(&mut self.phase, Phase::Idle) {
            self.let_go(now, link);
        }
        self.stack.take_down(now);
        self.publish();
        self.set_state(State::Exiting, &end.reason);
        self.shared.emit(Event::Ended(end.clone()));
        end
    }
}

/// Networks behind the tunnel that can be named: routes to names and special gateways are the host's business.
fn routes(pushed: &Pushed) -> Vec<IpNet> {
    let v4 = pushed.routes.iter().filter_map(|route| match &route.destination {
        Destination4::Net(net) => Some(IpNet::V4(*net)),
        Destination4::Host(_) => None,
    });
    let v6 = pushed.routes6.iter().map(|route| IpNet::V6(route.net));
    v4.chain(v6).collect()
}

/// Domains behind the tunnel, each once.
fn domains(pushed: &Pushed) -> Vec<String> {
    let resolved = pushed
        .dns
        .servers
        .iter()
        .flat_map(|server| &server.resolve_domains);
    let mut all: Vec<String> = pushed
        .dns
        .search_domains
        .iter()
        .chain(resolved)
        .cloned()
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|domain| seen.insert(domain.to_ascii_lowercase()));
    all
}

/// What the server's options mean for the stack.
fn network(pushed: &Pushed, dns: &[SocketAddr], fallback: &[SocketAddr]) -> Network {
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
    let pushed_dns = plain.map(|server| ResolverGroup {
        servers: server.addresses.clone(),
        domains: server.resolve_domains.clone(),
    });
    Network {
        addresses: v4.map(Into::into).into_iter().chain(v6.map(Into::into)).collect(),
        mtu_bytes: pushed.tun_mtu.into(),
        resolvers: if !dns.is_empty() {
            vec![ResolverGroup::general(dns.iter().copied())]
        } else if pushed.dns.servers.is_empty() && !fallback.is_empty() {
            vec![ResolverGroup::general(fallback.iter().copied())]
        } else {
            pushed_dns.collect()
        },
        search_domains: pushed.dns.search_domains.clone(),
    }
}

#[cfg(test)]
mod tests;
