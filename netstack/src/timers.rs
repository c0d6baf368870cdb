//! Deadlines by entry: a heap whose stale items are recognised when they come up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::slab::Id;

/// Pending deadlines. The owner keeps the one that counts in its entry and ignores others that come up.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Id)>>,
}

impl Timers {
    /// Adds a deadline, if it is earlier than the one that is pending already.
    pub(crate) fn schedule(&mut self, id: Id, at: Instant, pending: &mut Option<Instant>) {
        if pending.is_none_or(|earlier| at < earlier) {
            *pending = Some(at);
            self.heap.push(Reverse((at, id)));
        }
    }

    /// The next deadline that is not after `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Instant, Id)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(item)| item)
    }

    /// The earliest deadline; it may be stale, which costs one early call.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}
