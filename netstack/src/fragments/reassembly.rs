//! Fragments that wait for the rest of their datagram: few, small, and not for long.
//!
//! A datagram whose fragments overlap is lost as a whole, with whatever of it comes later (RFC 5722 §4); only an
//! exact copy of a fragment is ignored. What is whole already (RFC 6946) waits for nothing.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Place, place};
use crate::emit::{ip_header_bytes, write_ip_header};
use crate::packet::IpPacket;

/// Datagrams that wait; a new one takes the place of the oldest.
const MAX_DATAGRAMS: usize = 128;
/// Datagrams of one host that wait; more are dropped, so that no host takes all the room.
const MAX_DATAGRAMS_OF_HOST: usize = 32;
/// Bytes that wait, all datagrams together; a new fragment takes the place of the oldest datagram.
const MAX_BYTES: usize = 2 * 1024 * 1024;
/// Fragments of one datagram: the longest one at the smallest MTU.
const MAX_PIECES: usize = 300;
/// Time for a datagram to arrive as a whole (RFC 1122 §3.3.2 has 60 s for slower links).
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest IP packet, and longest payload of an IPv6 packet.
const MAX_PACKET_BYTES: usize = 65_535;

/// What fragments of one datagram have in common. IPv6 leaves the protocol out (RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    protocol: u8,
}

#[derive(Debug)]
struct Partial {
    /// Tells this one from a later one of the same key.
    number: u64,
    /// Protocol by the first fragment.
    protocol: u8,
    /// The datagram from its start, with holes.
    bytes: Vec<u8>,
    /// Start and end of what is there, in order.
    pieces: Vec<(usize, usize)>,
    /// Length of the datagram, once the last fragment came.
    total: Option<usize>,
    /// Fragments contradicted each other: nothing will come of it.
    is_spoilt: bool,
}

/// Datagrams that wait.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    partials: HashMap<Key, Partial>,
    /// By age; stale items are recognised by their number.
    by_age: VecDeque<(Instant, Key, u64)>,
    bytes: usize,
    next_number: u64,
}

impl Reassembly {
    /// Takes a fragment whose header is intact. Gives the whole packet once nothing is missing.
    pub(crate) fn handle_fragment(&mut self, now: Instant, packet: &IpPacket<'_>) -> Option<Vec<u8>> {
        let (place, piece) = place(packet)?;
        let (offset, end) = (place.offset, place.offset + piece.len());
        let header_len = if packet.dst.is_ipv4() {
            ip_header_bytes(packet.dst)
        } else {
            0
        };
        if place.has_more && (piece.is_empty() || piece.len() % 8 != 0) || end + header_len > MAX_PACKET_BYTES
        {
            return None;
        }
        if offset == 0 && !place.has_more {
            return whole(packet, place.protocol, piece);
        }
        self.expire(now);
        let key = Key {
            src: packet.src,
            dst: packet.dst,
            id: place.id,
            protocol: if packet.dst.is_ipv4() { place.protocol } else { 0 },
        };
        if !self.partials.contains_key(&key) && !self.begin(now, key) {
            return None;
        }
        while self.bytes + end > MAX_BYTES
            && let Some((_, oldest, number)) = self.by_age.pop_front()
        {
            self.forget(&oldest, number);
        }
        let partial = self.partials.get_mut(&key)?;
        let before = partial.bytes.len();
        partial.add(place, piece);
        self.bytes = (self.bytes + partial.bytes.len()).saturating_sub(before);
        if !partial.is_whole() {
            return None;
        }
        let number = partial.number;
        let (protocol, bytes) = (partial.protocol, std::mem::take(&mut partial.bytes));
        self.bytes = self.bytes.saturating_sub(bytes.len());
        self.forget(&key, number);
        whole(packet, protocol, &bytes)
    }

    fn begin(&mut self, now: Instant, key: Key) -> bool {
        let of_host = self.partials.keys().filter(|other| other.src == key.src).count();
        if of_host >= MAX_DATAGRAMS_OF_HOST {
            return false;
        }
        while self.partials.len() >= MAX_DATAGRAMS
            && let Some((_, oldest, number)) = self.by_age.pop_front()
        {
            self.forget(&oldest, number);
        }
        self.next_number += 1;
        let number = self.next_number;
        let partial = Partial {
            number,
            protocol: key.protocol,
            bytes: Vec::new(),
            pieces: Vec::new(),
            total: None,
            is_spoilt: false,
        };
        self.partials.insert(key, partial);
        self.by_age.push_back((now + PATIENCE, key, number));
        true
    }

    fn forget(&mut self, key: &Key, number: u64) {
        if self
            .partials
            .get(key)
            .is_some_and(|partial| partial.number == number)
            && let Some(partial) = self.partials.remove(key)
        {
            self.bytes = self.bytes.saturating_sub(partial.bytes.len());
        }
        // Items of datagrams that became whole go once they are the oldest, or when there are too many.
        while let Some((_, oldest, number)) = self.by_age.front()
            && self
                .partials
                .get(oldest)
                .is_none_or(|partial| partial.number != *number)
        {
            self.by_age.pop_front();
        }
        if self.by_age.len() > 2 * MAX_DATAGRAMS {
            let partials = &self.partials;
            self.by_age.retain(|(_, key, number)| {
                partials.get(key).is_some_and(|partial| partial.number == *number)
            });
        }
    }

    /// Forgets datagrams whose time is over. Nothing else wakes for them: they are bounded.
    fn expire(&mut self, now: Instant) {
        while let Some((until, key, number)) = self.by_age.front().copied()
            && until <= now
        {
            self.by_age.pop_front();
            self.forget(&key, number);
        }
    }

    /// Forgets what a host sent.
    pub(crate) fn forget_host(&mut self, src: IpAddr) {
        let of_host = self.partials.iter().filter(|(key, _)| key.src == src);
        let keys: Vec<_> = of_host.map(|(key, partial)| (*key, partial.number)).collect();
        for (key, number) in keys {
            self.forget(&key, number);
        }
    }

    /// Datagrams and bytes that wait.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        (self.partials.len(), self.bytes)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Partial {
    fn add(&mut self, place: Place, piece: &[u8]) {
        if self.is_spoilt {
            return;
        }
        let (start, end) = (place.offset, place.offset + piece.len());
        let is_copy = self.pieces.contains(&(start, end)) && self.bytes.get(start..end) == Some(piece);
        let total = if place.has_more { self.total } else { Some(end) };
        let is_contradicted = self.total.is_some_and(|known| total != Some(known))
            || total.is_some_and(|total| end > total || self.bytes.len() > total);
        // The first piece that does not end before this one starts, and where this one belongs.
        let at = self.pieces.partition_point(|(_, other)| *other <= start);
        let is_overlapping = self.pieces.get(at).is_some_and(|(other, _)| *other < end);
        if is_contradicted || (is_overlapping && !is_copy) || self.pieces.len() >= MAX_PIECES {
            self.is_spoilt = true;
            self.bytes = Vec::new();
            self.pieces = Vec::new();
            return;
        }
        self.total = total;
        if is_copy || piece.is_empty() {
            return;
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        if let Some(room) = self.bytes.get_mut(start..end) {
            room.copy_from_slice(piece);
        }
        self.pieces.insert(at, (start, end));
        if start == 0 {
            self.protocol = place.protocol;
        }
    }

    fn is_whole(&self) -> bool {
        let there: usize = self.pieces.iter().map(|(start, end)| end - start).sum();
        !self.is_spoilt && self.total == Some(there)
    }
}

/// The packet as if it had never been cut up.
fn whole(packet: &IpPacket<'_>, protocol: u8, payload: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = vec![0; ip_header_bytes(packet.dst)];
    bytes.extend_from_slice(payload);
    write_ip_header(&mut bytes, packet.src, packet.dst, protocol).then_some(bytes)
}
