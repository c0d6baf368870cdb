//! Ports that listen inside the tunnel: the far side opens flows, and whoever asked for the port takes them.
//!
//! A flood of SYNs holds a bounded number of flows for a bounded time; beyond that it is refused with resets. Ports
//! stay open while the tunnel is down and when the inner address changes.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::Stack;
use crate::carrier::{Change, Owner};
use crate::emit;
use crate::error::FlowError;
use crate::handle::{Flow, InnerListener, LISTEN_BACKLOG};
use crate::packet::{IpPacket, MAX_SYN_BYTES, PROTOCOL_TCP, TCP_ACK, TCP_RST, TCP_SYN, Tuple, transport_sum};
use crate::slab::Id;

/// Ports that listen at the same time.
const MAX_LISTENERS: usize = 256;
/// Flows of all ports together whose far end has not finished the handshake; each holds buffers.
const MAX_HALF_OPEN: usize = 128;

/// A port that listens.
#[derive(Debug)]
pub(super) struct Listening {
    flows: mpsc::Sender<Flow>,
    /// Flows whose handshake is not done.
    half_open: usize,
}

impl Listening {
    /// Whether one more flow would find room to wait.
    fn has_room(&self) -> bool {
        self.half_open < self.flows.capacity() && !self.flows.is_closed()
    }
}

impl Stack {
    /// Opens a port, or any free one for port 0.
    pub(super) fn listen(&mut self, port: u16) -> Result<InnerListener, FlowError> {
        if self.listeners.len() >= MAX_LISTENERS {
            return Err(FlowError::TooManyFlows);
        }
        let port = match port {
            0 => {
                let listeners = &self.listeners;
                let port = self.rng.port(|port| !listeners.contains_key(&port));
                port.ok_or(FlowError::TooManyFlows)?
            }
            port if self.listeners.contains_key(&port) => return Err(FlowError::PortInUse),
            port => port,
        };
        let (flows, accepted) = mpsc::channel(LISTEN_BACKLOG);
        self.listeners.insert(port, Listening { flows, half_open: 0 });
        Ok(InnerListener::new(port, accepted, Arc::clone(&self.shared)))
    }

    /// Takes a segment that no flow is known for. False if it opens none, either.
    pub(super) fn on_syn(&mut self, now: Instant, packet: &IpPacket<'_>, tuple: Tuple) -> bool {
        let is_syn = packet
            .tcp_flags()
            .is_some_and(|flags| flags & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN);
        let port = tuple.local.port();
        if !is_syn || !self.listeners.contains_key(&port) {
            return false;
        }
        let remote = tuple.remote;
        let is_sound = packet.header_is_intact()
            && transport_sum(packet.src, packet.dst, PROTOCOL_TCP, packet.payload) == 0xffff
            && packet.whole.len() <= MAX_SYN_BYTES;
        let is_host =
            remote.port() != 0 && !remote.ip().is_multicast() && !self.addresses.is_ours(remote.ip());
        if !is_sound || !is_host {
            // Not worth an answer.
            return true;
        }
        let half_open: usize = self.listeners.values().map(|one| one.half_open).sum();
        let Some(listening) = self.listeners.get_mut(&port) else {
            return false;
        };
        if half_open >= MAX_HALF_OPEN || !listening.has_room() {
            return false;
        }
        let owner = Owner::Listener(port);
        let accepted = self
            .carrier
            .accept(now, (tuple, owner), packet.whole, None, &mut self.outbox);
        if accepted.is_some() {
            listening.half_open += 1;
        }
        accepted.is_some()
    }

    /// Takes what became of a flow whose handshake was under way.
    pub(super) fn on_accept_change(&mut self, flow: Id, port: u16, change: Change) {
        let listening = self.listeners.get_mut(&port);
        match change {
            Change::Moved => {}
            Change::Lost(_) => {
                if let Some(listening) = listening {
                    listening.half_open = listening.half_open.saturating_sub(1);
                }
            }
            Change::Opened => {
                let (Some(listening), Some(tuple)) = (listening, self.carrier.release(flow)) else {
                    return self.carrier.abort(flow);
                };
                listening.half_open = listening.half_open.saturating_sub(1);
                let flow = Flow::new(flow, tuple.local, tuple.remote, Arc::clone(&self.shared));
                // A flow that finds no room, or nobody who wants it, resets itself as it is dropped.
                drop(listening.flows.try_send(flow));
            }
        }
    }

    /// A segment that belongs nowhere.
    pub(super) fn on_stray(&mut self, now: Instant, packet: &IpPacket<'_>) -> bool {
        packet.header_is_intact() && self.outbox.answer(now, |buf| emit::reset(buf, packet))
    }
}
