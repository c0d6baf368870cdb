//! Identifiers that travel on the wire, each a type of its own.

use std::fmt;

use crate::rng::Rng;

/// Names one TLS session in one direction; never zero when it is ours.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub [u8; 8]);

impl SessionId {
    /// Draws a fresh one.
    pub fn random(rng: &mut dyn Rng) -> Self {
        let mut bytes = [0; 8];
        rng.fill(&mut bytes);
        Self::never_zero(bytes)
    }

    /// Makes `bytes` an id (a cookie, say); zeros become a one.
    pub const fn never_zero(bytes: [u8; 8]) -> Self {
        let number = u64::from_be_bytes(bytes);
        Self(if number == 0 { 1 } else { number }.to_be_bytes())
    }

    /// Tells whether all bytes are zero, which no peer may send.
    pub const fn is_zero(self) -> bool {
        u64::from_be_bytes(self.0) == 0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// Number of a message of the control channel, from 0, or of a data packet, from 1. Ordering is plain, not modular.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PacketId(pub u32);

impl PacketId {
    /// The id after this one, modulo 2³².
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// How far this id lies ahead of `other`, modulo 2³².
    #[must_use]
    pub const fn ahead_of(self, other: Self) -> u32 {
        self.0.wrapping_sub(other.0)
    }

    /// Tells whether this id comes before `other` on the circle of 2³² ids.
    #[must_use]
    pub const fn is_before(self, other: Self) -> bool {
        self.0 != other.0 && other.ahead_of(self) < 1 << 31
    }
}

/// Which key of a session a packet belongs to: 0 for the first, then 1 to 7 around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct KeyId(u8);

impl KeyId {
    /// The key of the first handshake.
    pub const FIRST: Self = Self(0);

    /// A key id from a number of 0 to 7.
    pub const fn new(value: u8) -> Option<Self> {
        if value < 8 { Some(Self(value)) } else { None }
    }

    /// The key id in the low three bits of a packet's first byte.
    pub const fn from_low_bits(byte: u8) -> Self {
        Self(byte & 7)
    }

    /// The number, 0 to 7.
    pub const fn value(self) -> u8 {
        self.0
    }

    /// The number as an index into a table of eight.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The id of the next renegotiation; 0 does not come back.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(if self.0 >= 7 { 1 } else { self.0 + 1 })
    }
}

/// Which session a data packet belongs to, 24 bits; both directions carry the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(u32);

impl PeerId {
    /// No number: the source address tells the session. Still selects the header with room for one.
    pub const DISABLED: Self = Self(0xFF_FFFF);

    /// A peer id, unless `value` needs more than 24 bits.
    pub const fn new(value: u32) -> Option<Self> {
        if value <= Self::DISABLED.0 {
            Some(Self(value))
        } else {
            None
        }
    }

    /// A peer id from the low 24 bits.
    pub const fn from_low_bits(value: u32) -> Self {
        Self(value & Self::DISABLED.0)
    }

    /// The number.
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Zeros;

    impl Rng for Zeros {
        fn split(&mut self) -> Box<dyn Rng> {
            Box::new(Self)
        }

        fn fill(&mut self, out: &mut [u8]) {
            out.fill(0);
        }
    }

    #[test]
    fn a_drawn_session_id_is_never_zero() {
        let id = SessionId::random(&mut Zeros);
        assert!(!id.is_zero());
        assert_eq!(format!("{id:?}"), "SessionId(0000000000000001)");
    }

    #[test]
    fn key_ids_cycle_without_coming_back_to_zero() {
        let mut id = KeyId::FIRST;
        let seen: Vec<u8> = (0..9)
            .map(|_| {
                id = id.next();
                id.value()
            })
            .collect();
        assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7, 1, 2]);
        assert_eq!((KeyId::new(7).map(KeyId::value), KeyId::new(8)), (Some(7), None));
    }

    #[test]
    fn packet_ids_are_ordered_on_a_circle() {
        let last = PacketId(u32::MAX);
        assert_eq!(last.next(), PacketId(0));
        assert!(last.is_before(PacketId(3)) && !PacketId(3).is_before(last));
        assert!(!last.is_before(last));
        assert_eq!(PacketId(3).ahead_of(last), 4);
    }

    #[test]
    fn a_peer_id_has_24_bits() {
        assert_eq!(PeerId::new(0xFF_FFFF), Some(PeerId::DISABLED));
        assert_eq!(PeerId::new(0x100_0000), None);
    }
}
