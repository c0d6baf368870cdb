//! Where randomness comes from: always a value that the caller passes in.

use std::fmt;

/// A source of random bytes good enough for keys and session ids.
///
/// The shell passes the operating system's; tests pass a seeded one, so that a run can be repeated. rustls
/// draws its own: a seed does not fix handshake bytes.
pub trait Rng: fmt::Debug + Send {
    /// Fills `out` with random bytes.
    fn fill(&mut self, out: &mut [u8]);

    /// An independent source for something that lives on its own.
    fn split(&mut self) -> Box<dyn Rng>;

    /// Draws a number below `bound`; 0 for a bound of 0. The bias is below 2⁻³² for the bounds used here.
    fn below(&mut self, bound: u32) -> u32 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        let draw = u64::from_be_bytes(bytes);
        if bound == 0 {
            0
        } else {
            u32::try_from(draw % u64::from(bound)).unwrap_or(0)
        }
    }
}
