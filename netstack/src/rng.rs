//! Ports, query ids and hash keys from one seed.

use std::hash::{BuildHasher, Hash, Hasher};

/// First port of the ephemeral range (RFC 6335 §6).
const FIRST_EPHEMERAL: u16 = 49152;

/// A counter under `SipHash`: what was seen of it does not tell what comes next.
#[derive(Debug)]
pub(crate) struct Rng {
    seed: u64,
    counter: u64,
}

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, counter: 0 }
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        let mut hasher = std::hash::DefaultHasher::new();
        (self.seed, self.counter, !self.seed).hash(&mut hasher);
        hasher.finish()
    }

    pub(crate) fn next_u16(&mut self) -> u16 {
        let [low, high, ..] = self.next_u64().to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    pub(crate) fn next_u32(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.next_u64().to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// A port of the ephemeral range for which `is_free` holds; random start, then upwards.
    pub(crate) fn port(&mut self, mut is_free: impl FnMut(u16) -> bool) -> Option<u16> {
        let span = u16::MAX - FIRST_EPHEMERAL + 1;
        let start = self.next_u16() % span;
        (0..span)
            .map(|step| FIRST_EPHEMERAL + start.wrapping_add(step) % span)
            .find(|port| is_free(*port))
    }
}

/// Keyed multiply-and-fold hash: a few nanoseconds for a 5-tuple, and collisions cannot be made without the key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlowHash {
    key: u64,
}

impl FlowHash {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self {
            key: rng.next_u64() | 1,
        }
    }
}

impl BuildHasher for FlowHash {
    type Hasher = FlowHasher;

    fn build_hasher(&self) -> FlowHasher {
        FlowHasher {
            state: self.key,
            key: self.key,
        }
    }
}

/// State of [`FlowHash`].
#[derive(Debug)]
pub(crate) struct FlowHasher {
    state: u64,
    key: u64,
}

/// 2⁶⁴ divided by the golden ratio, odd.
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

impl Hasher for FlowHasher {
    fn finish(&self) -> u64 {
        self.state
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.key ^ MIX);
        let low = u64::try_from(product & u128::from(u64::MAX)).unwrap_or(0);
        let high = u64::try_from(product >> 64).unwrap_or(0);
        self.state = (low ^ high).wrapping_add(MIX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_ephemeral_and_the_last_free_one_is_found() {
        let mut rng = Rng::new(7);
        for _ in 0..100 {
            assert!(rng.port(|_| true).unwrap() >= FIRST_EPHEMERAL);
        }
        assert_eq!(rng.port(|port| port == 50_000), Some(50_000));
        assert_eq!(rng.port(|_| false), None);
    }

    #[test]
    fn neighbouring_words_hash_apart() {
        let hash = FlowHash::new(&mut Rng::new(1));
        let values: std::collections::HashSet<u64> = (0..10_000u64).map(|n| hash.hash_one(n)).collect();
        assert_eq!(values.len(), 10_000);
    }
}
