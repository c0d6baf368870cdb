//! The receiving half: brings messages into order and knows what to acknowledge.

use std::collections::VecDeque;

use crate::wire::{Acks, Opcode, PacketId};

/// Messages that may wait for an earlier one (`TLS_RELIABLE_N_REC_BUFFERS` since 2.6).
const WINDOW: usize = 12;
/// Ids that may wait to be acknowledged. Above it the oldest is forgotten: its sender will ask again.
const MAX_PENDING: usize = 2 * WINDOW;
/// Acknowledged ids that are repeated in later packets (`RELIABLE_ACK_SIZE`).
const MAX_RECENT: usize = Acks::CAPACITY;

/// What became of a message that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is new: kept, and to be acknowledged.
    New,
    /// It was here before: dropped, and to be acknowledged again.
    Replay,
    /// It lies too far ahead: dropped, and not acknowledged.
    OutOfWindow,
}

/// Messages that arrived, and acknowledgements to send.
#[derive(Debug, Default)]
pub struct Recv {
    next: PacketId,
    /// Message `next + index`, if it is here.
    slots: VecDeque<Option<(Opcode, Vec<u8>)>>,
    pending: VecDeque<PacketId>,
    /// Ids that were acknowledged, the latest first.
    recent: VecDeque<PacketId>,
}

impl Recv {
    /// Expects id 0 first.
    pub fn new() -> Self {
        Self::default()
    }

    /// Expects `id` first: 1 where a stateless server has seen 0 already.
    pub fn expecting(id: PacketId) -> Self {
        Self {
            next: id,
            ..Self::default()
        }
    }

    /// Takes a message that was authenticated.
    pub fn accept(&mut self, id: PacketId, opcode: Opcode, payload: &[u8]) -> Accepted {
        if id.is_before(self.next) {
            self.acknowledge(id);
            return Accepted::Replay;
        }
        // Saturation keeps it out of the window.
        let offset = usize::try_from(id.ahead_of(self.next)).unwrap_or(usize::MAX);
        if offset >= WINDOW {
            return Accepted::OutOfWindow;
        }
        while self.slots.len() <= offset {
            self.slots.push_back(None);
        }
        self.acknowledge(id);
        match self.slots.get_mut(offset) {
            Some(slot @ None) => {
                *slot = Some((opcode, payload.to_vec()));
                Accepted::New
            }
            Some(Some(_)) | None => Accepted::Replay,
        }
    }

    /// Takes the next message in order.
    pub fn pop(&mut self) -> Option<(Opcode, Vec<u8>)> {
        let message = self.slots.front_mut()?.take()?;
        self.slots.pop_front();
        self.next = self.next.next();
        Some(message)
    }

    /// Tells whether something waits to be acknowledged.
    pub fn pending_acks(&self) -> bool {
        !self.pending.is_empty()
    }

    /// How many ids wait to be acknowledged.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// Takes at most `max` ids to acknowledge: those that wait, oldest first, then recent ones once more.
    pub fn take_acks(&mut self, max: usize) -> Acks {
        let max = max.min(Acks::CAPACITY);
        let fresh: Acks = self.pending.drain(..max.min(self.pending.len())).collect();
        let mut acks = fresh;
        for id in &self.recent {
            if acks.len() < max && !acks.contains(*id) {
                acks.push(*id);
            }
        }
        for id in fresh.iter() {
            self.recent.retain(|known| *known != id);
            self.recent.push_front(id);
        }
        self.recent.truncate(MAX_RECENT);
        acks
    }

    fn acknowledge(&mut self, id: PacketId) {
        if self.pending.contains(&id) {
            return;
        }
        if self.pending.len() >= MAX_PENDING {
            self.pending.pop_front();
        }
        self.pending.push_back(id);
    }
}

#[cfg(test)]
mod tests;
