//! All TCP flows of one tunnel end: who they belong to, which of them have work, and their host sockets.
//!
//! Shared by the client's stack, which opens flows, and the exit, which accepts them. Work is deferred: whatever
//! happens to a flow marks it, and [`Carrier::settle`] and [`Carrier::egress`] touch each marked flow once a batch.

mod end;
mod entry;
mod outage;
mod send;
mod settle;

pub(crate) use entry::{Change, Owner, Timeouts};

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Registry, Token};
use tokio::sync::oneshot;

use crate::counts::Counts;
use crate::engine::{Engine, Fault};
use crate::error::{EndReason, FlowError};
use crate::flow::{FlowState, TcpFlow};
use crate::handle::{LocalSocket, Meter, RelayEnd};
use crate::packet::{IpPacket, Tuple};
use crate::relay::{HostSocket, Relay};
use crate::rng::FlowHash;
use crate::sink::Outbox;
use crate::slab::{Id, Slab};
use crate::timers::Timers;
use entry::Entry;

/// Flows that are kept for stray segments after their end; each holds its buffers.
const MAX_LINGERING: usize = 32;
/// Tokens between two flows: the owner has other sockets, too.
pub(crate) const TOKEN_STRIDE: usize = 4;

/// The flows.
#[derive(Debug)]
pub(crate) struct Carrier {
    engine: Engine,
    entries: Slab<Entry>,
    by_tuple: HashMap<Tuple, Id, FlowHash>,
    by_remote: Counts,
    to_settle: VecDeque<Id>,
    to_send: VecDeque<Id>,
    lingering: VecDeque<Id>,
    timers: Timers,
    timeouts: Timeouts,
    registry: Registry,
    first_token: usize,
    is_up: bool,
    /// What carries the tunnel neither loses nor overflows (a stream): what is in flight needs no bound.
    pub(crate) is_lossless: bool,
    /// Flows that wait for acknowledgements of their relays' bytes.
    senders: usize,
    changes: VecDeque<(Id, Owner, Change)>,
    /// Resets that could not leave while the tunnel was down.
    farewells: VecDeque<Vec<u8>>,
    pub(crate) opened: u64,
    pub(crate) failed: u64,
    pub(crate) faulted: u64,
}

impl Carrier {
    pub(crate) fn new(
        engine: Engine,
        flows: usize,
        timeouts: Timeouts,
        hash: FlowHash,
        sockets: (Registry, usize),
    ) -> Self {
        let (registry, first_token) = sockets;
        Self {
            engine,
            entries: Slab::new(flows),
            by_tuple: HashMap::with_hasher(hash),
            by_remote: Counts::default(),
            to_settle: VecDeque::new(),
            to_send: VecDeque::new(),
            lingering: VecDeque::new(),
            timers: Timers::default(),
            timeouts,
            registry,
            first_token,
            is_up: true,
            is_lossless: false,
            senders: 0,
            changes: VecDeque::new(),
            farewells: VecDeque::new(),
            opened: 0,
            failed: 0,
            faulted: 0,
        }
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn buffer_bytes(&self) -> usize {
        self.engine.pool.in_use_bytes()
    }

    pub(crate) fn mtu_bytes(&self) -> usize {
        self.engine.mtu_bytes()
    }

    /// Flows whose far end is that host.
    pub(crate) fn flows_of(&self, remote: IpAddr) -> usize {
        self.by_remote.of(remote)
    }

    pub(crate) fn is_known(&self, tuple: &Tuple) -> bool {
        self.by_tuple.contains_key(tuple)
    }

    /// Opens a flow; its SYN leaves with the next egress.
    pub(crate) fn connect(&mut self, now: Instant, tuple: Tuple, owner: Owner) -> Result<Id, FlowError> {
        self.make_room();
        if self.entries.is_full() || self.is_known(&tuple) {
            return Err(FlowError::TooManyFlows);
        }
        let Some(flow) = self.engine.connect(tuple.local, tuple.remote) else {
            return Err(FlowError::TooManyFlows);
        };
        self.insert(now, tuple, flow, owner, None)
            .ok_or(FlowError::TooManyFlows)
    }

    /// Accepts the flow whose SYN is `syn`; a host socket that is connected already is joined to it.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        (tuple, owner): (Tuple, Owner),
        syn: &[u8],
        socket: Option<HostSocket>,
        outbox: &mut Outbox,
    ) -> Option<Id> {
        self.make_room();
        if self.entries.is_full() || self.is_known(&tuple) {
            return None;
        }
        let flow = self.engine.listen(tuple.local)?;
        let id = self.insert(now, tuple, flow, owner, None)?;
        let token = self.token(id);
        if let Some(entry) = self.entries.get_mut(id) {
            let mut is_registered = true;
            if let Some(mut socket) = socket {
                is_registered = socket.register(&self.registry, token).is_ok();
                entry.relay = Some(Relay::new(socket, Vec::new(), None));
            }
            let is_fed = self.engine.ingress(now, &mut entry.flow, syn, outbox).is_ok();
            if is_registered && is_fed && entry.flow.state() == FlowState::Opening {
                return Some(id);
            }
        }
        self.remove(id, EndReason::Closed);
        None
    }

    fn insert(
        &mut self,
        now: Instant,
        tuple: Tuple,
        flow: TcpFlow,
        owner: Owner,
        relay: Option<Relay>,
    ) -> Option<Id> {
        let entry = Entry {
            tuple,
            flow,
            owner,
            relay,
            is_open: false,
            wants_settling: false,
            wants_egress: false,
            is_sending: false,
            round_trip: Duration::ZERO,
            pending: None,
            heard_at: now,
            moved_at: now,
            time_wait_since: None,
            is_to_hasten: false,
            reminders: 0,
            notices: 0,
        };
        match self.entries.insert(entry) {
            Ok(id) => {
                self.by_tuple.insert(tuple, id);
                self.by_remote.add(tuple.remote.ip());
                self.mark(id);
                Some(id)
            }
            Err(entry) => {
                self.engine.pool.give(entry.flow);
                None
            }
        }
    }

    /// A full table lets go of flows that only wait for stray segments.
    fn make_room(&mut self) {
        while self.entries.is_full()
            && let Some(id) = self.lingering.pop_front()
        {
            self.remove(id, EndReason::Finished);
        }
    }

    fn token(&self, id: Id) -> Token {
        Token(self.first_token + id.index() * TOKEN_STRIDE)
    }

    /// Marks a flow for the next [`Carrier::settle`].
    fn mark(&mut self, id: Id) {
        if let Some(entry) = self.entries.get_mut(id)
            && !entry.wants_settling
        {
            entry.wants_settling = true;
            self.to_settle.push_back(id);
        }
    }

    fn mark_for_egress(&mut self, id: Id) {
        if let Some(entry) = self.entries.get_mut(id)
            && !entry.wants_egress
        {
            entry.wants_egress = true;
            self.to_send.push_back(id);
        }
    }

    /// Takes a TCP segment. False if no flow is known for it.
    pub(crate) fn handle_segment(
        &mut self,
        now: Instant,
        packet: &IpPacket<'_>,
        tuple: &Tuple,
        outbox: &mut Outbox,
    ) -> bool {
        let Some(id) = self.by_tuple.get(tuple).copied() else {
            return false;
        };
        let Some(entry) = self.entries.get_mut(id) else {
            return false;
        };
        entry.heard_at = now;
        entry.reminders = 0;
        entry.notices = 0;
        if self
            .engine
            .ingress(now, &mut entry.flow, packet.whole, outbox)
            .is_err()
        {
            self.on_fault(id, &Fault);
        } else {
            self.mark(id);
        }
        true
    }

    /// Takes an ICMP error about a flow of ours; only one that is being opened heeds it (RFC 5927 §4).
    pub(crate) fn handle_icmp_error(&mut self, tuple: &Tuple, error: FlowError) {
        let Some(id) = self.by_tuple.get(tuple).copied() else {
            return;
        };
        if self.entries.get(id).is_some_and(|entry| !entry.is_open) {
            self.lose(id, error);
        }
    }

    /// Takes readiness of a relay's socket; `offset` counts from the first token.
    pub(crate) fn handle_ready(&mut self, offset: usize, event: &Event) {
        let Some(id) = self.entries.at(offset / TOKEN_STRIDE) else {
            return;
        };
        if let Some(relay) = self.entries.get_mut(id).and_then(|entry| entry.relay.as_mut()) {
            relay.handle_ready(event);
            self.mark(id);
        }
    }

    /// Joins a local socket to an open flow.
    pub(crate) fn attach(
        &mut self,
        now: Instant,
        id: Id,
        local: LocalSocket,
        early: Vec<u8>,
        (meter, done): (Arc<Meter>, oneshot::Sender<RelayEnd>),
    ) {
        let token = self.token(id);
        let adopted = HostSocket::adopt(local).and_then(|mut socket| {
            socket.register(&self.registry, token)?;
            Ok(socket)
        });
        let Some(entry) = self.entries.get_mut(id) else {
            if let Ok(socket) = adopted {
                Relay::new(socket, early, Some((meter, done))).finish(&self.registry, EndReason::RemoteReset);
            }
            return;
        };
        match adopted {
            Ok(socket) => {
                entry.relay = Some(Relay::new(socket, early, Some((meter, done))));
                entry.moved_at = now;
                self.mark(id);
            }
            Err(error) => {
                tracing::debug!(%error, "local socket cannot be used");
                if done.send(RelayEnd::nothing(EndReason::LocalReset)).is_err() {
                    tracing::trace!("nobody waits for the end of this relay");
                }
                self.abort(id);
            }
        }
    }

    /// Hands an open flow over from its attempt to whoever attaches a socket.
    pub(crate) fn release(&mut self, id: Id) -> Option<Tuple> {
        let entry = self.entries.get_mut(id)?;
        entry.owner = Owner::Relay;
        Some(entry.tuple)
    }

    /// Direct access to the rings of a flow without a relay.
    pub(crate) fn with_flow<R>(&mut self, id: Id, use_it: impl FnOnce(&mut TcpFlow) -> R) -> Option<R> {
        let entry = self.entries.get_mut(id)?;
        let result = use_it(&mut entry.flow);
        self.mark_for_egress(id);
        Some(result)
    }

    /// What happened to flows whose owner must know.
    pub(crate) fn poll_change(&mut self) -> Option<(Id, Owner, Change)> {
        self.changes.pop_front()
    }

    /// Whether a flow from that port to that end could be opened.
    pub(crate) fn is_free(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        !self.is_known(&Tuple { local, remote })
    }
}
