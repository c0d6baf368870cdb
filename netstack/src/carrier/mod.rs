//! All TCP flows of one tunnel end: who they belong to, which of them have work, and their host sockets.
//!
//! Shared by the client's stack, which opens flows, and the exit, which accepts them. Work is deferred: whatever
//! happens to a flow marks it, and [`Carrier::settle`] and [`Carrier::egress`] touch each marked flow once a batch.

mod entry;
mod send;

pub(crate) use entry::{Change, Owner, Timeouts};

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Registry, Token};
use tokio::sync::oneshot;

use crate::counts::Counts;
use crate::engine::{Engine, Fault};
use crate::error::{EndReason, FlowError};
use crate::flow::{FlowState, TcpFlow};
use crate::handle::{LocalSocket, RelayEnd};
use crate::packet::{IpPacket, Tuple};
use crate::relay::{HostSocket, Relay, Turn};
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

    /// Accepts the flow whose SYN is `syn` and joins it to a host socket that is connected already.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        tuple: Tuple,
        syn: &[u8],
        mut socket: HostSocket,
        outbox: &mut Outbox,
    ) -> Option<Id> {
        self.make_room();
        if self.entries.is_full() || self.is_known(&tuple) {
            return None;
        }
        let flow = self.engine.listen(tuple.local)?;
        let id = self.insert(now, tuple, flow, Owner::Relay, None)?;
        let token = self.token(id);
        let is_registered = socket.register(&self.registry, token).is_ok();
        if let Some(entry) = self.entries.get_mut(id) {
            entry.relay = Some(Relay::new(socket, Vec::new(), None));
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
        done: oneshot::Sender<RelayEnd>,
    ) {
        let token = self.token(id);
        let adopted = HostSocket::adopt(local).and_then(|mut socket| {
            socket.register(&self.registry, token)?;
            Ok(socket)
        });
        let Some(entry) = self.entries.get_mut(id) else {
            if let Ok(socket) = adopted {
                Relay::new(socket, early, Some(done)).finish(&self.registry, EndReason::RemoteReset);
            }
            return;
        };
        match adopted {
            Ok(socket) => {
                entry.relay = Some(Relay::new(socket, early, Some(done)));
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

    /// Ends a flow with a reset; its owner is not told.
    pub(crate) fn abort(&mut self, id: Id) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        entry.flow.abort();
        entry.owner = Owner::Relay;
        entry.is_open = true;
        if entry.flow.state() == FlowState::Aborting && self.is_up {
            self.mark_for_egress(id);
        } else {
            self.remove(id, EndReason::Closed);
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

    /// Moves bytes of all marked flows, once each. Returns whether some want to go on at once.
    pub(crate) fn settle(&mut self, now: Instant) -> bool {
        for _ in 0..self.to_settle.len() {
            let Some(id) = self.to_settle.pop_front() else {
                break;
            };
            if let Some(entry) = self.entries.get_mut(id) {
                entry.wants_settling = false;
                self.settle_one(now, id);
            }
        }
        !self.to_settle.is_empty()
    }

    fn settle_one(&mut self, now: Instant, id: Id) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let state = entry.flow.state();
        if !entry.is_open {
            match state {
                FlowState::Opening => {
                    self.mark_for_egress(id);
                    return;
                }
                // Nobody but the far end's reset ends a flow that is being opened.
                FlowState::Gone | FlowState::Aborting => {
                    self.lose(id, FlowError::Refused);
                    return;
                }
                FlowState::Open | FlowState::TimeWait => {
                    entry.is_open = true;
                    entry.round_trip = now.saturating_duration_since(entry.moved_at);
                    entry.moved_at = now;
                    self.opened += 1;
                    self.changes.push_back((id, entry.owner, Change::Opened));
                }
            }
        }
        if entry.relay.is_some() {
            self.settle_relay(now, id);
        } else if state == FlowState::Gone {
            self.lose(id, FlowError::Reset);
        } else {
            if let Owner::Query(..) = entry.owner {
                self.changes.push_back((id, entry.owner, Change::Moved));
            }
            self.mark_for_egress(id);
        }
    }

    fn settle_relay(&mut self, now: Instant, id: Id) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let Some(relay) = entry.relay.as_mut() else { return };
        let before = relay.moved_bytes();
        let others = self.senders.saturating_sub(usize::from(entry.is_sending));
        let limit = if self.is_lossless {
            usize::MAX
        } else {
            send::in_flight_limit(entry.round_trip, others + 1)
        };
        entry.flow.limit_sending(limit);
        let turn = relay.turn(&mut entry.flow);
        entry.is_sending = entry.flow.unacknowledged_bytes() > 0;
        self.senders = others + usize::from(entry.is_sending);
        if relay.moved_bytes() != before {
            entry.moved_at = now;
        }
        match turn {
            Turn::Waiting => self.mark_for_egress(id),
            Turn::Again => {
                self.mark(id);
                self.mark_for_egress(id);
            }
            Turn::Ended(reason) => self.end_relay(now, id, reason),
        }
    }

    /// Ends the relay of a flow; the flow itself is reset, or stays for stray segments.
    fn end_relay(&mut self, now: Instant, id: Id, reason: EndReason) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        entry.moved_at = now;
        self.senders = self
            .senders
            .saturating_sub(usize::from(std::mem::take(&mut entry.is_sending)));
        if let Some(relay) = entry.relay.take() {
            relay.finish(&self.registry, reason);
        }
        match entry.flow.state() {
            FlowState::TimeWait if reason == EndReason::Finished => {
                self.lingering.push_back(id);
                self.mark_for_egress(id);
                while self.lingering.len() > MAX_LINGERING
                    && let Some(oldest) = self.lingering.pop_front()
                {
                    self.remove(oldest, EndReason::Finished);
                }
            }
            FlowState::Gone => self.remove(id, reason),
            FlowState::Opening | FlowState::Open | FlowState::TimeWait | FlowState::Aborting => {
                self.abort(id);
            }
        }
    }

    /// Removes a flow that failed and tells its owner.
    fn lose(&mut self, id: Id, error: FlowError) {
        let Some(entry) = self.entries.get(id) else { return };
        let owner = entry.owner;
        if !entry.is_open {
            self.failed += 1;
        }
        self.remove(id, EndReason::RemoteReset);
        self.changes.push_back((id, owner, Change::Lost(error)));
    }

    fn on_fault(&mut self, id: Id, _: &Fault) {
        tracing::warn!("the tcp engine failed on one flow, which was dropped");
        self.faulted += 1;
        if let Some(entry) = self.take_out(id, EndReason::RemoteReset) {
            self.changes
                .push_back((id, entry.owner, Change::Lost(FlowError::Reset)));
            self.engine.pool.discard(entry.flow);
        }
    }

    fn remove(&mut self, id: Id, reason: EndReason) {
        if let Some(entry) = self.take_out(id, reason) {
            self.engine.pool.give(entry.flow);
        }
    }

    fn take_out(&mut self, id: Id, reason: EndReason) -> Option<Entry> {
        let mut entry = self.entries.remove(id)?;
        self.by_tuple.remove(&entry.tuple);
        self.by_remote.remove(entry.tuple.remote.ip());
        self.senders = self.senders.saturating_sub(usize::from(entry.is_sending));
        if let Some(relay) = entry.relay.take() {
            relay.finish(&self.registry, reason);
        }
        Some(entry)
    }

    /// The tunnel is back: all flows say what they have to say.
    pub(crate) fn bring_up(&mut self, now: Instant, mtu_bytes: usize, is_ours: impl Fn(IpAddr) -> bool) {
        self.engine.set_mtu(now, mtu_bytes);
        self.is_up = true;
        for id in self.entries.ids() {
            let Some(entry) = self.entries.get_mut(id) else {
                continue;
            };
            if is_ours(entry.tuple.local.ip()) {
                entry.heard_at = now;
                self.mark(id);
            } else {
                let owner = entry.owner;
                self.remove(id, EndReason::AddressChanged);
                self.changes
                    .push_back((id, owner, Change::Lost(FlowError::Reset)));
            }
        }
    }

    /// The tunnel is down: flows wait.
    pub(crate) fn take_down(&mut self) {
        self.is_up = false;
        self.engine.forget_blocked();
    }

    /// Ends everything at once, without a word to the far ends.
    pub(crate) fn close(&mut self) {
        for id in self.entries.ids() {
            self.remove(id, EndReason::Closed);
        }
    }

    /// Ends all flows with that host, without a word to it.
    pub(crate) fn forget_remote(&mut self, remote: IpAddr) {
        for id in self.entries.ids() {
            if self
                .entries
                .get(id)
                .is_some_and(|entry| entry.tuple.remote.ip() == remote)
            {
                self.remove(id, EndReason::Closed);
            }
        }
    }

    /// Whether a flow from that port to that end could be opened.
    pub(crate) fn is_free(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        !self.is_known(&Tuple { local, remote })
    }
}
