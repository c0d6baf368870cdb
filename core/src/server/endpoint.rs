//! The table of clients: from datagram to session, timers, transmissions.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    client::{is_data, outer_header_bytes, tls_settings},
    config::{ClientCert, ServerConfig, Transport},
    data,
    rng::Rng,
    server::{
        admit::{Admission, Admitter},
        event::{ClientId, DenyReason, Event, GoneReason, PeerStats},
        peer::{Peer, Stage},
        pool::Pool,
    },
    session::{Hello, Session, SessionError, SessionSettings, Timing},
    tls::{ClientCertificate, PumpFactory, ServerTls, TlsError, TlsSettings},
    tunnel::{PacketSink, Sent, Timer, Transmit, Tunnel, WallClock, WireSink},
    wire::{Header, Opcode, PeerId, Role, SessionId, occ},
    wrap::WrapKey,
};

/// How long a refused or leaving client's control channel keeps working (`AUTH_FAILED` must get through).
pub(super) const SCHEDULED_EXIT: Duration = Duration::from_secs(5);
/// How long the last words to all clients are given.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(400);
/// Packets between clients that wait to be sent.
const MAX_RELAYED: usize = 256;
/// Events that wait for the driver; it drains them after each call.
const MAX_EVENTS: usize = 65_536;

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Certificates, keys or TLS options that cannot be used.
    #[error("the server's certificates and keys cannot be used")]
    Tls(#[from] TlsError),
}

/// All clients of one listening socket.
#[derive(Debug)]
pub struct Endpoint {
    pub(super) config: Arc<ServerConfig>,
    pub(super) clock: WallClock,
    pub(super) rng: Box<dyn Rng>,
    pub(super) stream: bool,
    tls: Arc<dyn PumpFactory>,
    wrap: WrapKey,
    admitter: Admitter,
    pub(super) pool: Pool,
    /// Clients by peer id.
    pub(super) peers: Vec<Option<Box<Peer>>>,
    free: BTreeSet<usize>,
    /// Outer address to peer ids: the current session and one that is about to replace it.
    by_address: BTreeMap<SocketAddr, Vec<usize>>,
    pub(super) by_inner: super::forward::InnerRoutes,
    pub(super) by_name: BTreeMap<String, BTreeSet<usize>>,
    timers: BTreeSet<(Instant, usize)>,
    /// Clients that may have something to send.
    busy: VecDeque<usize>,
    answers: VecDeque<Transmit>,
    pub(super) relayed: VecDeque<Transmit>,
    pub(super) events: VecDeque<Event>,
    next_cid: u64,
    closing: Option<Instant>,
    /// Streams that the driver has been asked to close: what still comes from them is dropped.
    ending_streams: BTreeSet<SocketAddr>,
    pub(super) dropped_datagrams: u64,
}

impl Endpoint {
    /// Builds the endpoint from its configuration; `rng` feeds session ids and key material.
    ///
    /// # Errors
    /// Certificates, keys or TLS options that cannot be used.
    pub fn new(
        now: Instant,
        clock: WallClock,
        rng: Box<dyn Rng>,
        config: Arc<ServerConfig>,
    ) -> Result<Self, EndpointError> {
        let tls = ServerTls::new(&TlsSettings {
            client_certificate: match config.client_cert {
                ClientCert::Require => ClientCertificate::Require,
                ClientCert::Optional => ClientCertificate::Optional,
                ClientCert::None => ClientCertificate::None,
            },
            ..tls_settings(Role::Server, &config.tls)
        })?;
        Ok(Self::with_tls(now, clock, rng, config, Arc::new(tls)))
    }

    /// The same with handshakes from `tls`.
    pub fn with_tls(
        now: Instant,
        clock: WallClock,
        mut rng: Box<dyn Rng>,
        config: Arc<ServerConfig>,
        tls: Arc<dyn PumpFactory>,
    ) -> Self {
        let wrap = config.wrap.clone();
        let admitter = Admitter::new(
            now,
            &mut *rng,
            wrap.clone(),
            config.limits.handshake_window,
            config.connect_freq_initial,
            config.connect_freq,
        );
        let slots = usize::try_from(config.max_clients)
            .unwrap_or(usize::MAX)
            .min(0x00FF_FFFF);
        Self {
            stream: config.proto.transport == Transport::Tcp,
            clock,
            rng,
            tls,
            wrap,
            admitter,
            pool: Pool::new(&config),
            peers: Vec::new(),
            free: (0..slots).collect(),
            by_address: BTreeMap::new(),
            by_inner: super::forward::InnerRoutes::default(),
            by_name: BTreeMap::new(),
            timers: BTreeSet::new(),
            busy: VecDeque::new(),
            answers: VecDeque::new(),
            relayed: VecDeque::new(),
            events: VecDeque::new(),
            next_cid: 0,
            closing: None,
            ending_streams: BTreeSet::new(),
            dropped_datagrams: 0,
            config,
        }
    }

    /// Corrects wall time, by which certificates of clients to come are judged.
    pub fn set_clock(&mut self, clock: WallClock) {
        self.clock = clock;
    }

    /// Clients in any stage.
    pub fn len(&self) -> usize {
        self.peers.iter().flatten().count()
    }

    /// Whether there is no client.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was counted for the client with `peer_id`.
    pub fn peer_stats(&self, peer_id: PeerId) -> Option<PeerStats> {
        let peer = self.peer(usize::try_from(peer_id.value()).ok()?)?;
        Some(PeerStats {
            session: peer.session.counters(),
            dropped_packets: peer.dropped_packets,
        })
    }

    /// The stream from `address` has ended.
    pub fn on_stream_closed(&mut self, address: SocketAddr) {
        for slot in self.slots_at(address) {
            self.remove(slot, GoneReason::StreamClosed);
        }
    }

    /// Says good-bye to everybody, then reports [`Event::Closed`].
    pub fn close(&mut self, now: Instant) {
        let text = if self.config.explicit_exit_notify == Some(2) {
            "RESTART,[N]"
        } else {
            "RESTART"
        };
        for slot in 0..self.peers.len() {
            let told = self
                .peer_mut(slot)
                .is_some_and(|peer| peer.is_in() && peer.session.send_message(now, text).is_ok());
            if told {
                self.mark_busy(slot);
            }
        }
        self.closing = Some(now + SHUTDOWN_GRACE);
    }

    pub(super) fn peer(&self, slot: usize) -> Option<&Peer> {
        self.peers.get(slot)?.as_deref()
    }

    pub(super) fn peer_mut(&mut self, slot: usize) -> Option<&mut Peer> {
        self.peers.get_mut(slot)?.as_deref_mut()
    }

    pub(super) fn push_event(&mut self, event: Event) {
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        }
    }

    pub(super) fn slots_at(&self, address: SocketAddr) -> Vec<usize> {
        self.by_address.get(&address).cloned().unwrap_or_default()
    }

    /// After anything was done to a client: its timer and its place among those with something to send.
    pub(super) fn touch(&mut self, slot: usize) {
        self.mark_busy(slot);
        self.rearm(slot);
    }

    fn mark_busy(&mut self, slot: usize) {
        if self.busy.back() != Some(&slot) {
            self.busy.push_back(slot);
        }
    }

    fn insert(&mut self, address: SocketAddr, session: Session) -> Option<usize> {
        let slot = self.free.pop_first()?;
        let cid = ClientId(self.next_cid);
        self.next_cid += 1;
        if self.peers.len() <= slot {
            self.peers.resize_with(slot + 1, || None);
        }
        if let Some(place) = self.peers.get_mut(slot) {
            *place = Some(Box::new(Peer::new(cid, address, session)));
        }
        self.by_address.entry(address).or_default().push(slot);
        Some(slot)
    }

    pub(super) fn remove(&mut self, slot: usize, reason: GoneReason) {
        let Some(peer) = self.peers.get_mut(slot).and_then(Option::take) else {
            return;
        };
        self.free.insert(slot);
        if let Some(at) = peer.timer {
            self.timers.remove(&(at, slot));
        }
        self.forget_address(peer.address, slot);
        self.forget_inside(slot, &peer);
        if self.stream && self.slots_at(peer.address).is_empty() && self.ending_streams.insert(peer.address) {
            self.push_event(Event::CloseStream(peer.address));
        }
        let stats = PeerStats {
            session: peer.session.counters(),
            dropped_packets: peer.dropped_packets,
        };
        let name = peer.name().map(str::to_owned);
        self.push_event(Event::Gone {
            cid: peer.cid,
            name,
            address: peer.address,
            lease: peer.lease(),
            reason,
            stats,
        });
    }

    /// Takes a client's inner addresses and its name back.
    pub(super) fn forget_inside(&mut self, slot: usize, peer: &Peer) {
        if let Some(lease) = peer.lease() {
            self.by_inner.remove(lease);
            self.pool.release(lease);
        }
        if let Some(name) = peer.name()
            && let Some(slots) = self.by_name.get_mut(name)
        {
            slots.remove(&slot);
            if slots.is_empty() {
                self.by_name.remove(name);
            }
        }
    }

    fn forget_address(&mut self, address: SocketAddr, slot: usize) {
        if let Some(slots) = self.by_address.get_mut(&address) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }

    /// A client's data came from another address and was authentic: it lives there now (float).
    pub(super) fn move_to(&mut self, slot: usize, to: SocketAddr) {
        let Some(peer) = self.peer(slot) else {
            return;
        };
        // Source addresses can be forged: only an older session of the same client makes room (section 10.5).
        let taken = self.slots_at(to);
        let ours = |other: &usize| self.peer(*other).is_some_and(|other| other.lock == peer.lock);
        if peer.lock.is_none() || !taken.iter().all(ours) {
            return;
        }
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        let from = std::mem::replace(&mut peer.address, to);
        let cid = peer.cid;
        self.forget_address(from, slot);
        for other in taken {
            self.remove(other, GoneReason::Replaced);
        }
        self.by_address.entry(to).or_default().push(slot);
        self.push_event(Event::Floated { cid, to });
    }

    fn settings(&mut self, address: SocketAddr) -> Arc<SessionSettings> {
        let config = &self.config;
        let renegotiate_after = config.renegotiation.after.map(|(earliest, latest)| {
            let spread = u32::try_from(latest.saturating_sub(earliest).as_secs()).unwrap_or(u32::MAX);
            earliest + Duration::from_secs(self.rng.below(spread.saturating_add(1)).into())
        });
        Arc::new(SessionSettings {
            role: Role::Server,
            wrap: self.wrap.clone(),
            tls: Arc::clone(&self.tls),
            stream: self.stream,
            outer_header_bytes: outer_header_bytes(address),
            max_packet_bytes: config.max_packet_size.into(),
            replay: config.replay_window.into(),
            timing: Timing {
                handshake_window: config.limits.handshake_window,
                retransmit: config.limits.tls_timeout,
                transition_window: config.limits.transition_window,
                renegotiate_after,
                renegotiate_bytes: config.renegotiation.bytes,
                renegotiate_packets: config.renegotiation.packets,
            },
        })
    }

    fn hello(&self) -> Hello {
        let options = occ::Options {
            role: Role::Server,
            tcp: self.stream,
            tap: false,
            tun_mtu: self.config.tun_mtu,
            cipher: self
                .config
                .ciphers
                .first()
                .copied()
                .unwrap_or(data::Cipher::Aes256Gcm),
            tls_auth: match &self.wrap {
                WrapKey::TlsAuth { direction, .. } => Some(*direction),
                WrapKey::None | WrapKey::TlsCrypt { .. } => None,
            },
        };
        Hello {
            options: options.to_text(),
            ..Hello::default()
        }
    }

    fn create(
        &mut self,
        now: Instant,
        from: SocketAddr,
        ids: Option<(SessionId, SessionId)>,
    ) -> Result<Option<usize>, SessionError> {
        if self.free.is_empty() {
            tracing::warn!(
                max_clients = self.config.max_clients,
                "all places are taken, a client is not answered"
            );
        }
        if self.closing.is_some() || self.free.is_empty() {
            return Ok(None);
        }
        let settings = self.settings(from);
        let rng = self.rng.split();
        let mut session = match ids {
            Some(ids) => Session::server_after_cookie(now, self.clock, rng, settings, ids)?,
            None => Session::server(now, self.clock, rng, settings)?,
        };
        session.set_hello(self.hello());
        Ok(self.insert(from, session))
    }

    /// Which of the sessions at an address a control packet belongs to.
    fn session_of(&self, from: SocketAddr, packet: &[u8]) -> Option<usize> {
        let slots = self.by_address.get(&from)?;
        let (header, _) = Header::decode(packet).ok()?;
        let owner = |slot: &&usize| {
            self.peer(**slot)
                .is_some_and(|peer| peer.session.remote_id().is_none_or(|id| id == header.session))
        };
        slots.iter().find(owner).copied()
    }

    fn handle_control(&mut self, now: Instant, from: SocketAddr, packet: &mut [u8]) {
        let slot = match self.session_of(from, packet) {
            Some(slot) => slot,
            None => match self.admit(now, from, packet) {
                Some(slot) => slot,
                None => return,
            },
        };
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        if let Err(error) = peer.session.handle_control(now, packet) {
            tracing::trace!(%error, "control packet dropped");
            if self.stream {
                self.remove(slot, GoneReason::Failed(SessionError::Packet(error)));
                return;
            }
        }
        self.drain_peer(now, slot);
    }

    /// Decides on a packet that belongs to no session.
    fn admit(&mut self, now: Instant, from: SocketAddr, packet: &mut [u8]) -> Option<usize> {
        let created = if self.stream {
            // A stream's address is proved; one session a stream.
            let proved = |packet: &[u8]| {
                let context = self.wrap.context(Role::Server);
                let mut copy = packet.to_vec();
                let opened = context.authenticate(&mut copy);
                opened.is_ok_and(|(header, _)| header.opcode == Opcode::HardResetClientV2)
            };
            if self.by_address.contains_key(&from) || self.ending_streams.contains(&from) || !proved(packet) {
                self.dropped_datagrams += 1;
                return None;
            }
            self.create(now, from, None)
        } else {
            let unix =
                u32::try_from(self.clock.unix_at(now).as_secs() & u64::from(u32::MAX)).unwrap_or_default();
            // Judging decrypts in place; the session needs the packet as it came.
            let mut copy = packet.to_vec();
            match self.admitter.judge(now, unix, from, &mut copy) {
                Admission::Drop => {
                    self.dropped_datagrams += 1;
                    return None;
                }
                Admission::Answer(bytes) => {
                    if self.closing.is_none() && self.answers.len() < MAX_RELAYED {
                        self.answers.push_back(Transmit { to: from, bytes });
                    }
                    return None;
                }
                Admission::Create(ours, theirs) => {
                    self.make_room_at(from);
                    self.create(now, from, Some((ours, theirs)))
                }
            }
        };
        match created {
            Ok(slot) => slot,
            Err(error) => {
                tracing::error!(%error, "no session could be made for a client");
                None
            }
        }
    }

    /// One address has one handshake at a time: a newer one takes the place of an older that is not through.
    fn make_room_at(&mut self, from: SocketAddr) {
        for slot in self.slots_at(from) {
            if self.peer(slot).is_some_and(|peer| peer.lock.is_none()) {
                self.remove(slot, GoneReason::Replaced);
            }
        }
    }

    fn on_peer_timeout(&mut self, now: Instant, slot: usize) {
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        peer.timer = None;
        if let Stage::Closing { until, reason, .. } = &mut peer.stage
            && *until <= now
        {
            let reason = reason.take().unwrap_or(GoneReason::Left);
            self.remove(slot, reason);
            return;
        }
        if peer
            .awaiting
            .as_ref()
            .is_some_and(|awaiting| awaiting.until <= now)
        {
            let log = "nobody decided about it in time".to_owned();
            let reason = DenyReason {
                log,
                client: String::new(),
            };
            self.deny(now, slot, reason);
        }
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        peer.session.handle_timeout(now);
        self.drain_peer(now, slot);
    }
}

impl Tunnel for Endpoint {
    type Event = Event;

    fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        sink: &mut dyn PacketSink,
    ) {
        if is_data(datagram) {
            self.handle_data(now, from, datagram, sink);
        } else {
            self.handle_control(now, from, datagram);
        }
    }

    fn handle_packet(&mut self, now: Instant, packet: &mut [u8], wire: &mut dyn WireSink) -> Sent {
        self.forward_in(now, packet, wire)
    }

    fn handle_timeout(&mut self, now: Instant) {
        // What is due for sending stays due until `poll_transmit`: each client has one turn here.
        let later = self.timers.split_off(&(now, usize::MAX));
        for (_, slot) in std::mem::replace(&mut self.timers, later) {
            self.on_peer_timeout(now, slot);
        }
        if self.closing.is_some_and(|at| at <= now) {
            self.closing = None;
            for slot in 0..self.peers.len() {
                self.remove(slot, GoneReason::Shutdown);
            }
            self.push_event(Event::Closed);
        }
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if let Some(answer) = self.answers.pop_front().or_else(|| self.relayed.pop_front()) {
            return Some(answer);
        }
        while let Some(slot) = self.busy.front().copied() {
            if let Some(peer) = self.peer_mut(slot)
                && let Some(bytes) = peer.session.poll_transmit(now)
            {
                return Some(Transmit {
                    to: peer.address,
                    bytes,
                });
            }
            self.busy.pop_front();
            self.rearm(slot);
        }
        None
    }

    fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if let Some(Event::CloseStream(address)) = &event {
            self.ending_streams.remove(address);
        }
        event
    }

    fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        let peers = self.timers.first().map(|(at, _)| (*at, Timer::Housekeeping));
        let closing = self.closing.map(|at| (at, Timer::Close));
        [peers, closing].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

impl Endpoint {
    /// Sending moves deadlines (retransmission, ping): the timer table follows.
    fn rearm(&mut self, slot: usize) {
        let deadline = self.peer(slot).and_then(Peer::deadline);
        let Some(peer) = self.peers.get_mut(slot).and_then(|peer| peer.as_deref_mut()) else {
            return;
        };
        if deadline != peer.timer {
            if let Some(old) = peer.timer.take() {
                self.timers.remove(&(old, slot));
            }
            if let Some(at) = deadline {
                self.timers.insert((at, slot));
                peer.timer = Some(at);
            }
        }
    }
}
