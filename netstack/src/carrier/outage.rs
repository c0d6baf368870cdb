//! A tunnel that goes down and comes back: flows wait, and go on at once when their address is still ours.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Carrier, Change};
use crate::emit;
use crate::engine::Egress;
use crate::error::{EndReason, FlowError};
use crate::flow::FlowState;
use crate::slab::Id;

/// Equal acknowledgements that each flow sends when the tunnel is back. A far end that lost segments waits for its
/// timer, which may be a minute away; the third duplicate makes it send at once (RFC 5681 §3.2), and the first may
/// be news to it.
const REMINDERS: u8 = 4;
/// Linux heeds duplicates no more once its timer has run out, but takes a step of its back-off back for each of these:
/// seven lead from 25 s to its shortest time, 200 ms.
const NOTICES: u8 = 7;
/// Only flows that were heard of not longer ago are worth notices.
const NOTICE_AGE: Duration = Duration::from_mins(5);

impl Carrier {
    /// The tunnel is back: all flows say what they have to say.
    pub(crate) fn bring_up(&mut self, now: Instant, mtu_bytes: usize, is_ours: impl Fn(IpAddr) -> bool) {
        self.engine.set_mtu(now, mtu_bytes);
        self.is_up = true;
        self.keep_farewells_of(&is_ours);
        for id in self.entries.ids() {
            let Some(entry) = self.entries.get_mut(id) else {
                continue;
            };
            if is_ours(entry.tuple.local.ip()) {
                entry.notices = if entry.heard_at + NOTICE_AGE >= now {
                    NOTICES
                } else {
                    0
                };
                entry.heard_at = now;
                entry.is_to_hasten = true;
                entry.reminders = REMINDERS;
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

    /// Repeats the last acknowledgement of a flow, and says that the path was gone, as often as is due and as the
    /// budget allows. Returns the packets sent, and what the last call came to; what is left waits for its next turn.
    pub(super) fn remind(
        &mut self,
        id: Id,
        budget_packets: usize,
        emit: &mut dyn FnMut(&mut [u8]) -> bool,
    ) -> (usize, Egress) {
        let Some(entry) = self.entries.get_mut(id) else {
            return (0, Egress::Idle);
        };
        let acknowledgement = entry.flow.sent_end.acknowledgement();
        let Some(acknowledgement) = acknowledgement.filter(|_| entry.flow.state() == FlowState::Open) else {
            entry.reminders = 0;
            entry.notices = 0;
            return (0, Egress::Idle);
        };
        let mut packet = Vec::new();
        if !emit::acknowledgement(&mut packet, &entry.tuple, acknowledgement) {
            entry.reminders = 0;
        }
        let mut sent = 0;
        let mut last = Egress::Idle;
        let mut offer = |packet: &mut [u8], left: &mut u8| {
            while *left > 0 && sent < budget_packets && last != Egress::Refused {
                last = if emit(packet) {
                    sent += 1;
                    *left -= 1;
                    Egress::Sent
                } else {
                    Egress::Refused
                };
            }
        };
        offer(&mut packet, &mut entry.reminders);
        if entry.reminders == 0 {
            if !emit::undelivered(&mut packet, &entry.tuple, acknowledgement.number) {
                entry.notices = 0;
            }
            offer(&mut packet, &mut entry.notices);
        }
        if entry.owes_reminders() {
            self.mark_for_egress(id);
        }
        (sent, last)
    }
}
