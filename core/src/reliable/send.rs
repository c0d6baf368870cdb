//! The sending half: a window of messages that are sent until they are acknowledged.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::wire::{Opcode, PacketId};

/// Messages in flight at most (`TLS_RELIABLE_N_SEND_BUFFERS` since 2.6).
const WINDOW: u32 = 6;
/// Acknowledgements of later messages after which a message counts as lost (`N_ACK_RETRANSMIT`).
const FAST_RETRANSMIT_ACKS: u32 = 3;
/// Longest interval between retransmissions. Our choice: the reference doubles without end, which leaves five
/// attempts in a handshake window; this leaves fifteen, enough where a third of the packets is lost.
const MAX_INTERVAL: Duration = Duration::from_secs(4);

/// Messages that wait to be sent or acknowledged.
#[derive(Debug)]
pub struct Send {
    entries: VecDeque<Entry>,
    /// The last message that was acknowledged, for [`Send::repeat`].
    last: Option<Entry>,
    next_id: PacketId,
    initial_timeout: Duration,
}

#[derive(Debug)]
struct Entry {
    id: PacketId,
    opcode: Opcode,
    payload: Vec<u8>,
    due: Instant,
    interval: Duration,
    attempts: u32,
    later_acks: u32,
}

/// A message that is to be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due<'a> {
    /// Its id.
    pub id: PacketId,
    /// Its opcode.
    pub opcode: Opcode,
    /// Its payload.
    pub payload: &'a [u8],
    /// How many times it has been sent, this time included.
    pub attempts: u32,
}

impl Send {
    /// An empty window whose first id is 0. The first retransmission comes after `initial_timeout` (`tls-timeout`,
    /// 2 s by default), each further one after twice the time, up to 4 s.
    pub fn new(initial_timeout: Duration) -> Self {
        Self {
            entries: VecDeque::with_capacity(WINDOW as usize),
            last: None,
            next_id: PacketId(0),
            initial_timeout,
        }
    }

    /// The same with another first id: 1 where a stateless reset has used up 0.
    #[must_use]
    pub fn starting_at(mut self, id: PacketId) -> Self {
        self.next_id = id;
        self
    }

    /// Tells whether one more message can be in flight. Ask before every [`Send::push`].
    pub fn has_room(&self) -> bool {
        self.in_window(self.next_id)
    }

    /// Takes a message over; it is due at once.
    ///
    /// Without room it waits until the window has moved on; that is no queue to rely on.
    pub fn push(&mut self, now: Instant, opcode: Opcode, payload: Vec<u8>) -> PacketId {
        let id = self.next_id;
        self.next_id = id.next();
        self.entries.push_back(Entry {
            id,
            opcode,
            payload,
            due: now,
            interval: self.initial_timeout,
            attempts: 0,
            later_acks: 0,
        });
        id
    }

    /// Forgets the message that the peer has acknowledged; an unknown id changes nothing.
    pub fn on_ack(&mut self, id: PacketId) {
        let Some(index) = self.entries.iter().position(|entry| entry.id == id) else {
            return;
        };
        if self.entries.get(index).is_none_or(|entry| entry.attempts == 0) {
            return;
        }
        self.last = self.entries.remove(index);
        for earlier in self
            .entries
            .iter_mut()
            .take(index)
            .filter(|entry| entry.attempts > 0)
        {
            earlier.later_acks += 1;
            if earlier.later_acks == FAST_RETRANSMIT_ACKS {
                // The deadline goes back to the last transmission: a time that has passed.
                let waits = earlier.interval / 2;
                earlier.due = earlier.due.checked_sub(waits).unwrap_or(earlier.due);
            }
        }
    }

    /// Takes the first message that is due and counts it as sent.
    pub fn poll(&mut self, now: Instant) -> Option<Due<'_>> {
        let lowest = self.entries.front()?.id;
        let entry = self
            .entries
            .iter_mut()
            .find(|entry| entry.due <= now && entry.id.ahead_of(lowest) < WINDOW)?;
        entry.due = now.checked_add(entry.interval).unwrap_or(now);
        entry.interval = entry
            .interval
            .saturating_mul(2)
            .min(MAX_INTERVAL.max(self.initial_timeout));
        entry.attempts = entry.attempts.saturating_add(1);
        entry.later_acks = 0;
        Some(Due {
            id: entry.id,
            opcode: entry.opcode,
            payload: &entry.payload,
            attempts: entry.attempts,
        })
    }

    /// When [`Send::poll`] has the next message.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.entries
            .iter()
            .filter(|entry| self.in_window(entry.id))
            .map(|entry| entry.due)
            .min()
    }

    /// Tells whether everything has been acknowledged.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sends everything again at once, from the initial timeout on: the peer has just shown that it is there.
    pub fn on_first_contact(&mut self, now: Instant) {
        for entry in &mut self.entries {
            entry.due = now;
            entry.interval = self.initial_timeout;
        }
    }

    /// Makes the peer answer: what is in flight is due again at once, otherwise the last message that it has
    /// acknowledged. A peer acknowledges what it knows already and does nothing else with it.
    pub fn repeat(&mut self, now: Instant) {
        if self.entries.is_empty() {
            self.entries.extend(self.last.take());
        }
        self.on_first_contact(now);
    }

    fn in_window(&self, id: PacketId) -> bool {
        self.entries
            .front()
            .is_none_or(|lowest| id.ahead_of(lowest.id) < WINDOW)
    }
}

#[cfg(test)]
mod tests;
