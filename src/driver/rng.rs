//! The operating system's randomness, behind core's trait.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use tunless_core::rng::Rng;

/// Randomness for keys, from the operating system's seeded generator.
#[derive(Debug, Default)]
pub struct SystemRng(SystemRandom);

impl Rng for SystemRng {
    fn fill(&mut self, out: &mut [u8]) {
        if self.0.fill(out).is_err() {
            // Going on without randomness would give keys away; there is nobody who could handle this.
            std::process::abort();
        }
    }

    fn split(&mut self) -> Box<dyn Rng> {
        Box::new(Self::default())
    }
}

impl SystemRng {
    /// Draws a number of 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}
