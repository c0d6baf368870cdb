//! A repeatable source of randomness.

use crate::rng::Rng;

/// A generator that gives the same bytes for the same seed (`SplitMix64`). Good for tests only.
#[derive(Debug, Clone)]
pub struct SeededRng {
    state: u64,
}

impl SeededRng {
    /// Starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// True once in `n` draws per thousand.
    pub fn per_mille(&mut self, n: u32) -> bool {
        self.below(1000) < n
    }
}

impl Rng for SeededRng {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            for (to, from) in chunk.iter_mut().zip(self.next_u64().to_be_bytes()) {
                *to = from;
            }
        }
    }

    fn split(&mut self) -> Box<dyn Rng> {
        Box::new(Self::new(self.next_u64()))
    }
}
