//! Help for tests of this and other packages: two peers in virtual time, links that lose, a test PKI, fuzz bodies.
//!
//! Behind the feature `testing`; nothing of it is in the program.

pub mod certs;
pub mod fuzz_config;
pub mod fuzz_tls;
pub mod fuzz_upstream;
pub mod fuzz_wire;
mod link;
mod pair;
mod random;
mod scenario;

pub use link::Link;
pub use pair::{Pair, Stuck};
pub use random::SeededRng;
pub use scenario::Scenario;
