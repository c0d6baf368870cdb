//! The client's side: which remote, what is asked of the server, what its answers mean.
//!
//! [`Client`] runs one connection to one address; [`Remotes`] says where the next attempt goes and when;
//! [`CloseReason`] says how a connection ended and what follows from it. Files: `setup` what all attempts
//! share, `challenge` what servers ask beyond passwords, `stage` how far this one has come, `pull` pushed options, `texts` the server's messages, `negotiate`
//! ciphers and sizes, `close` reasons and actions, `remotes` the order of attempts.

mod challenge;
mod close;
mod negotiate;
mod pull;
mod remotes;
mod setup;
mod stage;
mod texts;

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

pub use challenge::{DynamicChallenge, PendingRequest};
pub use close::{Action, Advance, CloseReason, ExitKind, NegotiationError};
pub(crate) use negotiate::mss;
pub use pull::Connected;
pub use remotes::{Attempt, Remotes};
pub use setup::{Credentials, Setup, SetupError};
pub(crate) use setup::{outer_header_bytes, tls_settings};

use self::stage::Stage;
use crate::{
    config::{PushAssembler, Transport},
    rng::Rng,
    secret::SecretString,
    session::{Counters, DataError, Opened, Session, SessionError, SessionEvent, Silence},
    tunnel::{PacketSink, Sent, Timer, Transmit, Tunnel, WallClock, WireSink},
    wire::{KeyId, Opcode},
};

/// How long a leaving client waits for its `EXIT` to be acknowledged.
const EXIT_GRACE: Duration = Duration::from_millis(400);
/// Silence that ends a connection before the server pushed its own timers (UDP; reference section 9.5).
const PROVISIONAL_PING_RESTART: Duration = Duration::from_mins(2);

/// What a client reports.
#[derive(Debug)]
pub enum Event {
    /// The connection has come this far.
    State(State),
    /// The server's options are complete and keys are installed: packets go through.
    Connected(Box<Connected>),
    /// Keys were renewed.
    Renewed {
        /// Id of the new key.
        key_id: KeyId,
    },
    /// The server sent a token to be used in place of the password from now on.
    Token(Credentials),
    /// The server wants something before it decides; a text is answered with [`Client::respond`].
    Pending(PendingRequest),
    /// The server has something to say to a person or a front end (`INFO`, `INFO_PRE`).
    Info(String),
    /// The connection has ended; nothing follows.
    Closed(CloseReason),
}

/// How far a connection has come, in the words of OpenVPN's management interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The reset was sent, nothing came back yet.
    Wait,
    /// The server answered, TLS runs.
    Auth,
    /// The server wants something else before it decides.
    AuthPending,
    /// Options are awaited.
    GetConfig,
}

impl State {
    /// OpenVPN's name for the state.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wait => "WAIT",
            Self::Auth => "AUTH",
            Self::AuthPending => "AUTH_PENDING",
            Self::GetConfig => "GET_CONFIG",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Counters of one connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// What the session counted.
    pub session: Counters,
    /// Outer datagrams received.
    pub received_packets: u64,
    /// Outer bytes received.
    pub received_bytes: u64,
    /// Outer datagrams sent.
    pub sent_packets: u64,
    /// Outer bytes sent.
    pub sent_bytes: u64,
    /// Inner packets that could not be sent.
    pub dropped_packets: u64,
}

/// One connection to one server address.
#[derive(Debug)]
pub struct Client {
    setup: Arc<Setup>,
    remote: usize,
    address: SocketAddr,
    stream: bool,
    session: Session,
    credentials: Option<Credentials>,
    stage: Stage,
    assembler: PushAssembler,
    server_options: String,
    exit_notice: ExitNotice,
    block_ipv6: bool,
    stub_v2: bool,
    events: VecDeque<Event>,
    stats: Stats,
    activity: Activity,
}

/// How this client says that it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExitNotice {
    /// A control message (`protocol-flags cc-exit`).
    Control,
    /// An in-band message.
    InBand,
    /// Not at all: the stream's end says it.
    None,
}

/// Inner traffic within the period that `inactive` looks at.
#[derive(Debug, Clone, Copy)]
struct Activity {
    since: Instant,
    bytes: u64,
}

impl Client {
    /// Starts a connection to `address`, which `setup`'s remote number `remote_index` resolved to.
    ///
    /// # Errors
    /// A remote that does not exist, or an own certificate or key that cannot be used.
    pub fn new(
        now: Instant,
        clock: WallClock,
        rng: Box<dyn Rng>,
        setup: Arc<Setup>,
        (remote_index, address): (usize, SocketAddr),
        credentials: Option<Credentials>,
    ) -> Result<Self, SetupError> {
        let remote = setup.remote(remote_index)?;
        let stream = remote.proto.transport == Transport::Tcp;
        let connect_timeout = remote.connect_timeout;
        let (settings, rng) = setup.session_settings(remote, address, rng)?;
        let mut session = Session::client(now, clock, rng, settings)?;
        session.set_hello(setup.hello(remote, credentials.as_ref()));
        let timers = setup.config().timers;
        if timers.ping_restart.is_none() && timers.ping_exit.is_none() && !stream {
            session.set_keepalive(
                now,
                timers.ping,
                Some((PROVISIONAL_PING_RESTART, Silence::Restart)),
            );
        }
        let mut client = Self {
            remote: remote_index,
            address,
            stream,
            session,
            credentials,
            stage: Stage::Waiting {
                deadline: now + connect_timeout,
                after: connect_timeout,
            },
            assembler: PushAssembler::default(),
            server_options: String::new(),
            exit_notice: if stream {
                ExitNotice::None
            } else {
                ExitNotice::InBand
            },
            block_ipv6: false,
            stub_v2: false,
            events: VecDeque::new(),
            stats: Stats::default(),
            activity: Activity { since: now, bytes: 0 },
            setup,
        };
        client.events.push_back(Event::State(State::Wait));
        Ok(client)
    }

    /// The server's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether packets go through.
    pub fn is_connected(&self) -> bool {
        matches!(self.stage, Stage::Connected { .. })
    }

    /// Whether it is on its way to that.
    pub fn is_connecting(&self) -> bool {
        match self.stage {
            Stage::Waiting { .. } | Stage::Handshaking | Stage::Pulling { .. } | Stage::Installing { .. } => {
                true
            }
            Stage::Connected { .. } | Stage::Leaving { .. } | Stage::Closed => false,
        }
    }

    /// Leaves: tells the server if it is listening, then reports [`CloseReason::LocalExit`].
    pub fn close(&mut self, now: Instant) {
        self.leave(now, CloseReason::LocalExit);
    }

    /// The transport is gone; reports `reason` at once.
    pub fn on_transport_lost(&mut self, reason: CloseReason) {
        self.finish(reason);
    }

    /// Makes the server show that it can still be reached; [`Self::heard_at`] tells whether it did.
    pub fn probe(&mut self, now: Instant) {
        self.session.probe(now);
    }

    /// When the server's last authentic packet arrived (the start of the connection before the first).
    pub fn heard_at(&self) -> Instant {
        self.session.heard_at()
    }

    /// Whether the connection may go on from another address of ours (`peer-id`, UDP).
    pub fn can_float(&self) -> bool {
        self.is_connected() && !self.stream && self.session.has_peer_id()
    }

    /// Silence after which either end takes the other for gone (`ping-restart`, as pushed).
    pub fn patience(&self) -> Duration {
        self.session.silence_after().unwrap_or(PROVISIONAL_PING_RESTART)
    }

    /// Own and the server's session id.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn session_ids(&self) -> Option<(crate::wire::SessionId, crate::wire::SessionId)> {
        Some((self.session.local_id(), self.session.remote_id()?))
    }

    /// Answers a [`PendingRequest::Text`]; `false` when there is nothing to answer or the answer is too long.
    pub fn respond(&mut self, now: Instant, response: &SecretString) -> bool {
        if !matches!(self.stage, Stage::Pulling { .. }) {
            return false;
        }
        let Some(message) = challenge::response_message(response) else {
            return false;
        };
        let sent = self.session.send_message(now, &message).is_ok();
        self.drain_session(now);
        sent
    }

    /// Starts a renegotiation now.
    pub fn renegotiate(&mut self, now: Instant) {
        self.session.renegotiate(now);
        self.drain_session(now);
    }

    /// What was counted.
    pub fn stats(&self) -> Stats {
        Stats {
            session: self.session.counters(),
            ..self.stats
        }
    }

    fn leave(&mut self, now: Instant, reason: CloseReason) {
        if !self.is_connected() {
            self.finish(reason);
            return;
        }
        match self.exit_notice {
            ExitNotice::Control => {
                if self.session.send_message(now, "EXIT").is_err() {
                    self.finish(reason);
                    return;
                }
            }
            ExitNotice::InBand => self.session.send_exit_in_band(),
            ExitNotice::None => {
                self.finish(reason);
                return;
            }
        }
        self.stage = Stage::Leaving {
            until: now + EXIT_GRACE,
            reason: Some(reason),
        };
    }

    /// Ends the connection; the driver still drains `poll_transmit` once, so that an alert gets out.
    fn finish(&mut self, reason: CloseReason) {
        // Who leaves for a reason of its own leaves for that, whatever the server says meanwhile.
        let own = if let Stage::Leaving { reason: own, .. } = &mut self.stage {
            own.take()
        } else {
            None
        };
        let reason = own.unwrap_or(reason);
        if !matches!(self.stage, Stage::Closed) {
            tracing::debug!(%reason, "connection closed");
            self.stage = Stage::Closed;
            self.events.push_back(Event::Closed(reason));
        }
    }

    fn drain_session(&mut self, now: Instant) {
        while let Some(event) = self.session.poll_event() {
            self.on_session_event(now, event);
        }
    }

    fn on_session_event(&mut self, now: Instant, event: SessionEvent) {
        match event {
            SessionEvent::FirstContact => {
                if let Stage::Waiting { .. } = self.stage {
                    self.stage = Stage::Handshaking;
                    self.events.push_back(Event::State(State::Auth));
                }
            }
            SessionEvent::Renewing { .. } => {}
            SessionEvent::PeerHello { message, .. } => self.server_options.clone_from(&message.options),
            SessionEvent::Active { .. } => self.on_active(now),
            SessionEvent::Keys { key_id } => self.on_keys(key_id),
            SessionEvent::Message(message) => self.on_text(now, message),
            SessionEvent::PeerExit => self.finish(CloseReason::RemoteExit),
            SessionEvent::Silent(Silence::Restart) => self.finish(CloseReason::PingRestart),
            SessionEvent::Silent(Silence::Exit) => self.finish(CloseReason::PingExit),
            SessionEvent::Failed(error) => self.on_failure(error),
        }
    }

    fn on_failure(&mut self, error: SessionError) {
        let reason = match (error, &self.stage) {
            // Nothing authentic ever came: that is a server that does not answer, not a slow handshake.
            (SessionError::HandshakeTimeout { window }, Stage::Waiting { .. }) => CloseReason::NoAnswer {
                after: window,
                foreign: self.session.counters().control_dropped,
            },
            (error, _) => CloseReason::Session(error),
        };
        self.finish(reason);
    }

    fn count_activity(&mut self, bytes: usize) {
        self.activity.bytes += bytes as u64;
    }
}

impl Tunnel for Client {
    type Event = Event;

    fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        sink: &mut dyn PacketSink,
    ) {
        if from != self.address || matches!(self.stage, Stage::Closed) {
            return;
        }
        self.stats.received_packets += 1;
        self.stats.received_bytes += datagram.len() as u64;
        if is_data(datagram) {
            self.handle_data(now, datagram, sink);
            return;
        }
        if let Err(error) = self.session.handle_control(now, datagram) {
            tracing::trace!(%error, "control packet dropped");
            if self.stream {
                self.on_failure(SessionError::Packet(error));
            }
        }
        self.drain_session(now);
    }

    fn handle_packet(&mut self, now: Instant, packet: &mut [u8], wire: &mut dyn WireSink) -> Sent {
        let blocked = self.block_ipv6 && packet.first().is_some_and(|first| first >> 4 == 6);
        if blocked || !self.session.has_keys() || matches!(self.stage, Stage::Closed) {
            self.stats.dropped_packets += 1;
            return Sent::Dropped;
        }
        let Some(slot) = wire.reserve(self.address, packet.len() + self.session.overhead_bytes()) else {
            return Sent::Full;
        };
        match self.session.seal(now, packet, slot) {
            Ok(len) => {
                wire.commit(len);
                self.stats.sent_packets += 1;
                self.stats.sent_bytes += len as u64;
                self.count_activity(packet.len());
                Sent::Sealed
            }
            Err(_no_key) => {
                self.stats.dropped_packets += 1;
                Sent::Dropped
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.session.handle_timeout(now);
        self.drain_session(now);
        self.on_stage_timeout(now);
        self.drain_session(now);
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let bytes = self.session.poll_transmit(now)?;
        self.stats.sent_packets += 1;
        self.stats.sent_bytes += bytes.len() as u64;
        Some(Transmit {
            to: self.address,
            bytes,
        })
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        if matches!(self.stage, Stage::Closed) {
            return None;
        }
        [self.session.poll_timeout(), self.stage_timeout()]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }
}

/// Whether a datagram is a data packet, by its first byte.
pub(crate) fn is_data(datagram: &[u8]) -> bool {
    datagram
        .first()
        .is_some_and(|first| Opcode::decode_byte(*first).is_ok_and(|(opcode, _)| opcode.is_data()))
}

impl Client {
    fn handle_data(&mut self, now: Instant, datagram: &mut [u8], sink: &mut dyn PacketSink) {
        match self.session.open(now, datagram) {
            Ok(Opened::Packet(mut inner)) => {
                if self.stub_v2 && inner.starts_with(&[0x50, 0]) {
                    inner = inner.split_at_mut(2).1;
                }
                self.activity.bytes += inner.len() as u64;
                sink.deliver(inner);
            }
            Ok(Opened::InBand) | Err(DataError::NoKey) => {}
            Err(error) if self.stream => {
                tracing::debug!(%error, "data packet does not open over TCP");
                self.finish(CloseReason::DecryptionError);
            }
            Err(error) => tracing::trace!(%error, "data packet dropped"),
        }
        self.drain_session(now);
    }
}
