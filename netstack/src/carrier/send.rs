//! The sending half: which flows may send, and which of them are due.

use std::time::{Duration, Instant};

use super::{Carrier, Change, Owner};
use crate::engine::{Egress, Engine, Fault};
use crate::error::{EndReason, FlowError};
use crate::flow::{FlowState, TcpFlow};
use crate::slab::Id;

/// Packets that one flow sends before others have their turn.
const BURST_PACKETS: usize = 16;

// What may be in flight. A stock peer reads one packet at a time out of a socket buffer that holds about 90 of them,
// and smoltcp's sender, which knows neither SACK nor a retransmission timer below a second, stands still for a
// second whenever that overflows. So bytes that the path itself does not hold are bounded, for all flows together.
// The price: on paths of more than some 100 Mbit/s a flow that has to share sends less than it could. To go with
// smoltcp's sender.

/// Bytes that may wait in front of the peer: 73 full datagrams of the 90.
const QUEUE_BYTES: usize = 96 * 1024;
/// Round trips up to here are taken for a busy host's delays: the path holds nothing.
const BUSY_MS: usize = 5;
/// Bytes that the path is taken to hold for each further millisecond: 100 Mbit/s.
const PATH_BYTES_PER_MS: usize = 12_500;
/// What each flow may have in flight in any case.
const MIN_IN_FLIGHT_BYTES: usize = 4 * 1024;

/// Most bytes that one of `senders` flows may have in flight.
pub(super) fn in_flight_limit(round_trip: Duration, senders: usize) -> usize {
    let milliseconds = usize::try_from(round_trip.as_millis()).unwrap_or(usize::MAX);
    let path = milliseconds
        .saturating_sub(BUSY_MS)
        .saturating_mul(PATH_BYTES_PER_MS);
    (path.saturating_add(QUEUE_BYTES) / senders.max(1)).max(MIN_IN_FLIGHT_BYTES)
}

impl Carrier {
    /// Lets marked flows send. Stops at the first packet that `emit` refuses: it would refuse the next one as well, and
    /// what is refused waits for the next call. The caller has flushed.
    pub(crate) fn egress(
        &mut self,
        now: Instant,
        budget_packets: usize,
        emit: &mut dyn FnMut(&mut [u8]) -> bool,
    ) {
        let (mut sent, mut last) = self.say_farewell(budget_packets, emit);
        while sent < budget_packets && last != Egress::Refused {
            let Some(id) = self.to_send.pop_front() else { break };
            let Some(entry) = self.entries.get_mut(id) else {
                continue;
            };
            entry.wants_egress = false;
            if entry.is_to_be_kept_quiet(now) {
                let (deadline, _) = entry.deadline(&self.timeouts, self.is_up);
                self.timers.schedule(id, deadline, &mut entry.pending);
                continue;
            }
            if std::mem::take(&mut entry.is_to_hasten)
                && let Err(fault) = self.engine.hasten(now, &mut entry.flow)
            {
                self.on_fault(id, &fault);
                continue;
            }
            let burst = BURST_PACKETS.min(budget_packets - sent);
            match send_burst(&mut self.engine, now, &mut entry.flow, burst, emit) {
                Ok((packets, of_flow)) => {
                    sent += packets;
                    last = of_flow;
                    if entry.owes_reminders() && last == Egress::Idle {
                        let (packets, of_reminders) = self.remind(id, budget_packets - sent, emit);
                        sent += packets;
                        last = of_reminders;
                    }
                    self.after_egress(now, id, of_flow);
                }
                Err(fault) => self.on_fault(id, &fault),
            }
        }
    }

    fn after_egress(&mut self, now: Instant, id: Id, last: Egress) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        if entry.flow.state() == FlowState::Gone {
            if entry.relay.is_none() && entry.is_open && entry.owner == Owner::Relay {
                self.remove(id, EndReason::Closed);
            } else {
                self.mark(id);
            }
            return;
        }
        match self.engine.poll_at(now, &entry.flow, last == Egress::Idle) {
            Ok(next) => {
                let (deadline, _) = entry.deadline(&self.timeouts, self.is_up);
                // What was idle has been reminded already, as far as the tunnel took it.
                let is_to_remind = last != Egress::Idle && entry.owes_reminders();
                if is_to_remind || next.is_some_and(|next| next <= now) {
                    self.mark_for_egress(id);
                } else {
                    // A deadline that has passed is the timer's as well: asking the flow again would not end it.
                    let at = next.map_or(deadline, |next| next.min(deadline));
                    self.timers.schedule(id, at, &mut entry.pending);
                }
            }
            Err(fault) => self.on_fault(id, &fault),
        }
    }

    /// Offers a packet that was refused before.
    pub(crate) fn flush(&mut self, emit: &mut dyn FnMut(&mut [u8]) -> bool) -> bool {
        self.engine.flush(emit)
    }

    /// Whether something waits to be sent or moved.
    pub(crate) fn has_work(&mut self) -> bool {
        !self.to_settle.is_empty()
            || (self.is_up
                && (!self.to_send.is_empty() || self.engine.is_blocked() || !self.farewells.is_empty()))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.earliest()
    }

    /// Wakes flows whose timer is due and gives up those whose time is over.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, id)) = self.timers.pop_due(now) {
            let Some(entry) = self.entries.get_mut(id) else {
                continue;
            };
            if entry.pending != Some(at) {
                continue;
            }
            entry.pending = None;
            let (deadline, reason) = entry.deadline(&self.timeouts, self.is_up);
            if deadline <= now {
                self.give_up(now, id, reason);
            } else if self.is_up {
                self.mark_for_egress(id);
            } else {
                self.timers.schedule(id, deadline, &mut entry.pending);
            }
        }
    }

    fn give_up(&mut self, now: Instant, id: Id, reason: EndReason) {
        let Some(entry) = self.entries.get(id) else { return };
        if entry.relay.is_some() {
            self.end_relay(now, id, reason);
            return;
        }
        if entry.owner != Owner::Relay {
            self.failed += u64::from(!entry.is_open);
            self.changes
                .push_back((id, entry.owner, Change::Lost(FlowError::TimedOut)));
        }
        if matches!(entry.flow.state(), FlowState::Aborting | FlowState::TimeWait) {
            self.remove(id, reason);
        } else {
            self.abort(id);
        }
    }
}

fn send_burst(
    engine: &mut Engine,
    now: Instant,
    flow: &mut TcpFlow,
    burst: usize,
    emit: &mut dyn FnMut(&mut [u8]) -> bool,
) -> Result<(usize, Egress), Fault> {
    let mut sent = 0;
    while sent < burst {
        match engine.egress(now, flow, emit)? {
            Egress::Sent => sent += 1,
            last @ (Egress::Idle | Egress::Refused) => return Ok((sent, last)),
        }
    }
    Ok((sent, Egress::Sent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_share_what_may_wait_in_front_of_the_peer() {
        let near = Duration::from_millis(5);
        assert_eq!(in_flight_limit(near, 1), QUEUE_BYTES);
        assert_eq!(in_flight_limit(near, 4), QUEUE_BYTES / 4);
        assert_eq!(in_flight_limit(near, 4096), MIN_IN_FLIGHT_BYTES);
        assert_eq!(in_flight_limit(near, 0), QUEUE_BYTES);
    }

    #[test]
    fn a_long_path_may_hold_more() {
        let limit = in_flight_limit(Duration::from_millis(25), 1);
        assert_eq!(limit, QUEUE_BYTES + 250_000);
        assert_eq!(in_flight_limit(Duration::MAX, 1), usize::MAX);
    }
}
