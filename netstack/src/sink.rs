//! Packets on their way into the tunnel: a bounded queue of small ones that the stack writes itself.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Packets that may wait.
const MAX_WAITING: usize = 512;
/// Buffers that are kept for the next packets.
const MAX_SPARE: usize = 128;
/// Packets that nobody asked for (resets, ICMP errors, echo replies) in one second.
const ANSWERS_PER_SECOND: u32 = 1000;

/// The queue; buffers go round, so that a steady flow of packets allocates nothing.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    answers_left: u32,
    answers_since: Option<Instant>,
    /// Packets for which there was no room.
    pub(crate) dropped: u64,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            spare: Vec::new(),
            answers_left: ANSWERS_PER_SECOND,
            answers_since: None,
            dropped: 0,
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// Packets that there is room for.
    pub(crate) fn room(&self) -> usize {
        MAX_WAITING.saturating_sub(self.waiting.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Queues what `write` leaves in the buffer, if it says that it is a packet and there is room.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        if !self.has_room() {
            self.dropped += 1;
            return false;
        }
        let mut buf = self.spare.pop().unwrap_or_default();
        if write(&mut buf) {
            self.waiting.push_back(buf);
            true
        } else {
            self.recycle(buf);
            false
        }
    }

    /// The same for answers that a flood could ask for: at most [`ANSWERS_PER_SECOND`].
    pub(crate) fn answer(&mut self, now: Instant, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let second_is_over = self
            .answers_since
            .is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1));
        if second_is_over {
            self.answers_since = Some(now);
            self.answers_left = ANSWERS_PER_SECOND;
        }
        if self.answers_left == 0 {
            return false;
        }
        let is_sent = self.push(write);
        self.answers_left -= u32::from(is_sent);
        is_sent
    }

    /// Offers what waits, up to a budget. Nothing is returned if the tunnel refused, else how many were taken.
    pub(crate) fn drain(
        &mut self,
        is_open: bool,
        budget_packets: usize,
        emit: &mut dyn FnMut(&mut [u8]) -> bool,
    ) -> Option<usize> {
        if !is_open {
            return None;
        }
        let mut sent = 0;
        while sent < budget_packets
            && let Some(packet) = self.waiting.front_mut()
        {
            if !emit(packet) {
                return None;
            }
            sent += 1;
            if let Some(buf) = self.waiting.pop_front() {
                self.recycle(buf);
            }
        }
        Some(sent)
    }

    /// Forgets everything that waits.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    fn recycle(&mut self, mut buf: Vec<u8>) {
        if self.spare.len() < MAX_SPARE {
            buf.clear();
            self.spare.push(buf);
        }
    }
}
