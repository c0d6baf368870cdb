//! The moving half: bytes between the rings of marked flows and their host sockets, once a batch.

use std::time::Instant;

use super::{Carrier, Change, Owner, send};
use crate::error::FlowError;
use crate::flow::FlowState;
use crate::relay::Turn;
use crate::slab::Id;

impl Carrier {
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
        relay.let_go(&self.registry);
        match turn {
            Turn::Waiting => self.mark_for_egress(id),
            Turn::Again => {
                self.mark(id);
                self.mark_for_egress(id);
            }
            Turn::Ended(reason) => self.end_relay(now, id, reason),
        }
    }
}
