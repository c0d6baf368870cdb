//! The data channel: seals and opens packets in place (reference section 5).

mod cipher;
mod keys;
mod mssfix;
mod replay;
mod usage;

pub use cipher::{Cipher, UnknownCipher};
pub use keys::{DataKeys, OpenError, SealError, key_id, peer_id};
pub use mssfix::{Outer, clamp_mss, mss_for};
pub use replay::{LongReplayWindow, ReplayConfig, ReplayWindow, Replayed};
pub use usage::{Usage, aead_limit};
