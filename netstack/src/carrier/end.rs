//! How flows end: relays that are over, resets, failures, and what is still to be said while the tunnel is down.
//!
//! A reset that cannot leave is kept as the packet that it is: the flow's buffers and descriptor go at once.

use std::net::IpAddr;
use std::time::Instant;

use super::entry::Entry;
use super::{Carrier, Change, MAX_LINGERING, Owner};
use crate::engine::{Egress, Fault};
use crate::error::{EndReason, FlowError};
use crate::flow::FlowState;
use crate::packet::IpPacket;
use crate::slab::Id;

/// Resets that wait for the tunnel.
const MAX_FAREWELLS: usize = 4096;

impl Carrier {
    /// Ends a flow with a reset, and its relay with it; its owner is not told.
    pub(crate) fn abort(&mut self, id: Id) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        self.senders = self
            .senders
            .saturating_sub(usize::from(std::mem::take(&mut entry.is_sending)));
        if let Some(relay) = entry.relay.take() {
            relay.finish(&self.registry, EndReason::Closed);
        }
        entry.flow.abort();
        entry.owner = Owner::Relay;
        entry.is_open = true;
        if entry.flow.state() != FlowState::Aborting {
            self.remove(id, EndReason::Closed);
        } else if self.is_up {
            self.mark_for_egress(id);
        } else {
            self.keep_farewell(id);
            self.remove(id, EndReason::Closed);
        }
    }

    /// Keeps the reset of a flow for the time when the tunnel is back. The oldest gives way when too many wait: its
    /// far end is reset once it says something.
    fn keep_farewell(&mut self, id: Id) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let Ok(Some(packet)) = self.engine.last_word(&mut entry.flow) else {
            return;
        };
        if self.farewells.len() >= MAX_FAREWELLS {
            self.farewells.pop_front();
        }
        self.farewells.push_back(packet);
    }

    /// Sends resets that were kept. Returns how many left, and what the last call came to.
    pub(super) fn say_farewell(
        &mut self,
        budget_packets: usize,
        emit: &mut dyn FnMut(&mut [u8]) -> bool,
    ) -> (usize, Egress) {
        let mut sent = 0;
        while sent < budget_packets {
            let Some(packet) = self.farewells.front_mut() else {
                return (sent, Egress::Idle);
            };
            if !emit(packet) {
                return (sent, Egress::Refused);
            }
            self.farewells.pop_front();
            sent += 1;
        }
        (sent, Egress::Sent)
    }

    /// Forgets the resets of addresses that are not ours any more.
    pub(super) fn keep_farewells_of(&mut self, is_ours: impl Fn(IpAddr) -> bool) {
        self.farewells
            .retain(|packet| IpPacket::parse(packet).is_some_and(|packet| is_ours(packet.src)));
    }

    /// Ends the relay of a flow; the flow itself is reset, or stays for stray segments.
    pub(super) fn end_relay(&mut self, now: Instant, id: Id, reason: EndReason) {
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
    pub(super) fn lose(&mut self, id: Id, error: FlowError) {
        let Some(entry) = self.entries.get(id) else { return };
        let owner = entry.owner;
        if !entry.is_open {
            self.failed += 1;
        }
        self.remove(id, EndReason::RemoteReset);
        self.changes.push_back((id, owner, Change::Lost(error)));
    }

    pub(super) fn on_fault(&mut self, id: Id, _: &Fault) {
        tracing::warn!("the tcp engine failed on one flow, which was dropped");
        self.faulted += 1;
        if let Some(entry) = self.take_out(id, EndReason::RemoteReset) {
            self.changes
                .push_back((id, entry.owner, Change::Lost(FlowError::Reset)));
            self.engine.pool.discard(entry.flow);
        }
    }

    pub(super) fn remove(&mut self, id: Id, reason: EndReason) {
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
}
