//! From remote to connection: pause, credentials, name, transport; and what follows when one fails.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use mio::Interest;
use tunless_core::{
    client::{Action, Attempt, Client, CloseReason, ExitKind},
    config::{AuthRetry, Family, Remote, ResolvRetry, Transport as Carrier},
};

use super::{
    TRANSPORT, chain,
    client::{Driver, Leaving},
    clock,
    handle::{Event, State},
    link::Link,
    resolve,
    rng::SystemRng,
};
use crate::transport::{TcpTransport, Transport, TransportError, UdpTransport, Upstream, unspecified};

/// Longest wait for the host's resolver.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(15);
/// Shortest pause between attempts.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// Longest packet taken over TCP: far above what any MTU allows, and what the buffer is made for.
const STREAM_PACKET_BYTES: usize = 1 << 14;

/// What the tunnel is at.
#[derive(Debug)]
pub(super) enum Phase {
    /// Nothing: before the start, and between two others.
    Idle,
    /// Until [`Command::Resume`](super::Command::Resume).
    Paused {
        /// Since when.
        since: Instant,
    },
    /// User name and password are missing.
    Asking {
        /// What follows.
        attempt: Attempt,
        /// When nobody is waited for any longer.
        deadline: Instant,
    },
    /// Before an attempt.
    Pausing {
        /// Until when.
        until: Instant,
        /// Nothing shortens it below this: the server asked for it.
        not_before: Instant,
        /// What follows.
        attempt: Attempt,
    },
    /// The server's name.
    Resolving {
        /// The remote.
        index: usize,
        /// The question to the host's resolver.
        question: u64,
        /// When it is given up.
        deadline: Instant,
    },
    /// A TCP connection is being opened, and the way through a proxy where there is one.
    Opening {
        /// The remote.
        index: usize,
        /// The socket.
        tcp: Box<TcpTransport>,
        /// What is said to the proxy, if the socket leads to one.
        upstream: Option<Box<Upstream>>,
        /// When it is given up.
        deadline: Instant,
        /// The socket has news.
        ready: bool,
    },
    /// There is a connection.
    Linked(Box<Link>),
}

impl Phase {
    pub(super) fn on_ready(&mut self, event: &mio::event::Event) {
        match self {
            Self::Linked(link) => link.on_ready(event),
            Self::Opening { ready, .. } => *ready = true,
            Self::Idle
            | Self::Paused { .. }
            | Self::Asking { .. }
            | Self::Pausing { .. }
            | Self::Resolving { .. } => {}
        }
    }

    /// The server's outer address, once there is a connection.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Linked(link) => Some(link.client.address()),
            Self::Idle
            | Self::Paused { .. }
            | Self::Asking { .. }
            | Self::Pausing { .. }
            | Self::Resolving { .. }
            | Self::Opening { .. } => None,
        }
    }

    pub(super) fn has_more(&self) -> bool {
        matches!(self, Self::Linked(link) if link.has_more())
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Idle | Self::Paused { .. } => None,
            Self::Pausing { until, .. } => Some(*until),
            Self::Asking { deadline, .. }
            | Self::Resolving { deadline, .. }
            | Self::Opening { deadline, .. } => Some(*deadline),
            Self::Linked(link) => link.poll_timeout(),
        }
    }
}

impl Driver {
    /// Starts the next attempt, or the pause before it.
    pub(super) fn begin(&mut self, now: Instant) {
        let Some(attempt) = self.remotes.next_attempt() else {
            let last = self.last_reason.take().unwrap_or_else(|| "no remote".into());
            self.exit(
                ExitKind::Failed,
                format!("gave up after connect-retry-max: {last}"),
            );
            return;
        };
        if let Some(reason) = &self.last_reason {
            let (reason, wait) = (reason.clone(), attempt.wait);
            self.shared.emit(Event::Retry {
                reason,
                wait,
                next: self.destination(&attempt),
            });
        }
        // Even `connect-retry 0` does not spin.
        let least = if self.attempts == 0 {
            Duration::ZERO
        } else {
            SHORTEST_PAUSE
        };
        self.phase = Phase::Pausing {
            until: now + attempt.wait.max(least),
            not_before: now + attempt.demanded.max(least),
            attempt,
        };
    }

    /// Does what the current phase was waiting for.
    pub(super) fn step(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Pausing { until, attempt, .. } if *until <= now => {
                let attempt = *attempt;
                self.attempt(now, attempt);
            }
            Phase::Resolving { index, deadline, .. } if *deadline <= now => {
                let index = *index;
                let why = format!(
                    "the host's resolver did not answer within {} s",
                    RESOLVE_DEADLINE.as_secs()
                );
                self.on_unresolved(now, index, &why);
            }
            Phase::Opening { .. } => self.step_opening(now),
            Phase::Asking { .. } => self.check_question(now),
            Phase::Idle
            | Phase::Paused { .. }
            | Phase::Pausing { .. }
            | Phase::Resolving { .. }
            | Phase::Linked(_) => {}
        }
    }

    pub(super) fn attempt(&mut self, now: Instant, attempt: Attempt) {
        if let Some(kind) = self.missing() {
            self.ask(now, attempt, kind);
            return;
        }
        if self.waits_for_network(now, attempt) {
            return;
        }
        self.attempts += 1;
        match attempt.address {
            Some(address) => self.open(now, attempt.index, address),
            None => self.resolve(now, attempt.index),
        }
    }

    fn resolve(&mut self, now: Instant, index: usize) {
        let Ok(remote) = self.setup.remote(index) else {
            return;
        };
        let (host, port, family) = self.first_stop(remote);
        match resolve::literal(&host, port, family) {
            Some(Ok(address)) => {
                self.remotes.resolved([address]);
                self.open(now, index, address);
            }
            Some(Err(why)) => self.on_unresolved(now, index, &why),
            None => {
                self.set_state(State::Resolve, "");
                match self.resolver.ask(&host, port, family) {
                    Ok(question) => {
                        let deadline = now + RESOLVE_DEADLINE;
                        self.phase = Phase::Resolving {
                            index,
                            question,
                            deadline,
                        };
                    }
                    Err(why) => self.on_unresolved(now, index, &why),
                }
            }
        }
    }

    /// The server's name, with a random label in front where the profile wants one.
    pub(super) fn host_name(&self, remote: &Remote) -> String {
        if self.setup.config().remote_random_hostname
            && resolve::literal(&remote.host, 0, Family::Any).is_none()
        {
            format!("{:012x}.{}", SystemRng::default().next_u64() >> 16, remote.host)
        } else {
            remote.host.clone()
        }
    }

    /// The resolver may ask other servers now, or reach those it asks; what it says to the first question no
    /// longer counts then.
    pub(super) fn ask_resolver_again(&mut self, now: Instant) {
        let Phase::Resolving { index, .. } = self.phase else {
            return;
        };
        let Ok(remote) = self.setup.remote(index) else {
            return;
        };
        let (host, port, family) = self.first_stop(remote);
        // With too many questions open the one that runs has to do.
        if let Ok(question) = self.resolver.ask(&host, port, family) {
            self.phase = Phase::Resolving {
                index,
                question,
                deadline: now + RESOLVE_DEADLINE,
            };
        }
    }

    pub(super) fn on_resolved(&mut self, now: Instant, answer: resolve::Answer) {
        let Phase::Resolving { index, question, .. } = self.phase else {
            return;
        };
        if question != answer.question {
            return;
        }
        match answer.result {
            Ok(addresses) => {
                self.unresolved_since = None;
                self.remotes.resolved(addresses);
                if let Some(address) = self.remotes.address() {
                    self.open(now, index, address);
                }
            }
            Err(why) => self.on_unresolved(now, index, &why),
        }
    }

    fn on_unresolved(&mut self, now: Instant, index: usize, why: &str) {
        let since = *self.unresolved_since.get_or_insert(now);
        let (whose, host) = match self.setup.remote(index) {
            Ok(Remote {
                proxy: Some(proxy), ..
            }) => ("proxy", proxy.host.as_str()),
            Ok(remote) => ("server", remote.host.as_str()),
            Err(_) => ("server", ""),
        };
        let reason = CloseReason::Unresolved(format!("the {whose}'s name: {host}: {why}"));
        match self.setup.config().resolv_retry {
            ResolvRetry::For(longest) if now.saturating_duration_since(since) >= longest => {
                self.exit(ExitKind::Failed, reason.to_string());
            }
            ResolvRetry::For(_) | ResolvRetry::Infinite => self.failed(now, &reason),
        }
    }

    /// Opens the way to `address`, which is the server's or its proxy's.
    pub(super) fn open(&mut self, now: Instant, index: usize, address: SocketAddr) {
        let setup = Arc::clone(&self.setup);
        let Ok(remote) = setup.remote(index) else {
            return;
        };
        let local = local_address(remote, address);
        let deadline = now + remote.connect_timeout;
        match remote.proto.transport {
            Carrier::Udp => match UdpTransport::connect(address, local) {
                Ok(udp) => self.link(now, index, address, Transport::Udp(Box::new(udp))),
                Err(error) => self.on_not_opened(now, &chain(&error)),
            },
            Carrier::Tcp => {
                self.set_state(State::TcpConnect, &address.to_string());
                let upstream = match self.upstream(remote) {
                    Ok(upstream) => upstream,
                    Err(error) => return self.on_proxy_error(now, again(index, address), error),
                };
                match self.open_tcp(address, local) {
                    Ok(tcp) => {
                        self.phase = Phase::Opening {
                            index,
                            tcp,
                            upstream,
                            deadline,
                            ready: false,
                        }
                    }
                    Err(error) => self.on_not_opened(now, &chain(&error)),
                }
            }
        }
    }

    fn open_tcp(
        &mut self,
        address: SocketAddr,
        local: Option<SocketAddr>,
    ) -> Result<Box<TcpTransport>, TransportError> {
        let mut tcp = Box::new(TcpTransport::connect(address, local, STREAM_PACKET_BYTES)?);
        let both = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(tcp.source(), TRANSPORT, both);
        registered.map_err(|source| TransportError::Stream {
            peer: address,
            source,
        })?;
        Ok(tcp)
    }

    pub(super) fn on_opened(&mut self, now: Instant) {
        let Phase::Opening { index, mut tcp, .. } = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        if let Err(error) = self.poll.registry().deregister(tcp.source()) {
            tracing::debug!(%error, "socket was not registered");
        }
        let address = tcp.peer();
        self.link(now, index, address, Transport::Tcp(tcp));
    }

    fn link(&mut self, now: Instant, index: usize, address: SocketAddr, mut transport: Transport) {
        if let Err(error) = self
            .poll
            .registry()
            .register(transport.source(), TRANSPORT, Interest::READABLE)
        {
            self.on_not_opened(now, &error.to_string());
            return;
        }
        let config = self.setup.config();
        let credentials = match &self.token {
            Some(token) => Some(token.clone()),
            None if config.credentials.is_some() => self.login.take(config.static_challenge.as_ref()),
            None => None,
        };
        let (setup, rng) = (self.setup.clone(), Box::new(SystemRng::default()));
        match Client::new(now, clock::wall(), rng, setup, (index, address), credentials) {
            Ok(client) => self.phase = Phase::Linked(Box::new(Link::new(now, client, index, transport))),
            Err(error) => self.exit(ExitKind::Failed, chain(&error)),
        }
    }

    pub(super) fn on_not_opened(&mut self, now: Instant, why: &str) {
        self.phase = Phase::Idle;
        self.failed(now, &CloseReason::ConnectFailed(why.to_owned()));
    }

    /// The protocol has ended on the current connection.
    pub(super) fn on_closed(&mut self, now: Instant, reason: &CloseReason) {
        let _void = self.stop_asking(now);
        if let Phase::Linked(link) = std::mem::replace(&mut self.phase, Phase::Idle) {
            self.let_go(now, link);
        }
        if std::mem::take(&mut self.stack_up) {
            self.stack.take_down(now);
        }
        if self.leaving != Leaving::No {
            self.on_left(now);
            return;
        }
        self.failed(now, reason);
    }

    pub(super) fn failed(&mut self, now: Instant, reason: &CloseReason) {
        self.phase = Phase::Idle;
        let action = self.remotes.on_closed(reason);
        match action {
            Action::Exit(kind) => self.exit(kind, reason.to_string()),
            Action::Retry { forget_token, .. } => {
                if forget_token {
                    self.token = None;
                }
                if let CloseReason::AuthFailed { retry, challenge, .. } = reason {
                    self.token = None;
                    match challenge {
                        Some(challenge) => self.login.on_challenge(challenge.clone()),
                        None if *retry == AuthRetry::Interact => self.login.reject(),
                        None => {}
                    }
                }
                self.last_reason = Some(reason.to_string());
                self.set_state(State::Reconnecting, reason.name());
                self.begin(now);
            }
        }
    }

    pub(super) fn destination(&self, attempt: &Attempt) -> String {
        let Ok(remote) = self.setup.remote(attempt.index) else {
            return String::new();
        };
        let carrier = match remote.proto.transport {
            Carrier::Udp => "udp",
            Carrier::Tcp => "tcp",
        };
        let named = format!("{}:{} ({carrier})", remote.host, remote.port);
        if let Some(proxy) = &remote.proxy {
            return format!("{named} through the {proxy}");
        }
        match attempt.address {
            Some(address) => format!("{address} ({carrier})"),
            None => named,
        }
    }
}

/// The attempt at `address` once more, at once.
pub(super) fn again(index: usize, address: SocketAddr) -> Attempt {
    Attempt {
        index,
        wait: Duration::ZERO,
        demanded: Duration::ZERO,
        address: Some(address),
    }
}

/// A deadline that stood still from `since` to `now`.
pub(super) fn shifted(deadline: Instant, since: Instant, now: Instant) -> Instant {
    deadline + now.saturating_duration_since(since)
}

/// Where to send from, if the profile says so; an address of the other family is left out.
pub(super) fn local_address(remote: &Remote, peer: SocketAddr) -> Option<SocketAddr> {
    let any = unspecified(peer);
    let address = remote.local.filter(|local| local.is_ipv4() == peer.is_ipv4());
    if address.is_none() && remote.local_port.is_none() {
        return None;
    }
    Some(SocketAddr::new(
        address.unwrap_or_else(|| any.ip()),
        remote.local_port.unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::{super::ask::ANSWER_DEADLINE, *};

    #[test]
    fn a_question_is_woken_for_when_nobody_answers() {
        let now = clock::now();
        let asking = Phase::Asking {
            attempt: Attempt {
                index: 0,
                address: None,
                wait: Duration::ZERO,
                demanded: Duration::ZERO,
            },
            deadline: now + ANSWER_DEADLINE,
        };
        assert_eq!(asking.poll_timeout(), Some(now + ANSWER_DEADLINE));
        assert_eq!(Phase::Idle.poll_timeout(), None);
    }

    #[test]
    fn time_spent_asking_does_not_count() {
        let start = clock::now();
        let by = start + Duration::from_secs(10);
        let (since, now) = (start + Duration::from_secs(1), start + Duration::from_secs(31));
        assert_eq!(shifted(by, since, now), start + Duration::from_secs(40));
    }
}
