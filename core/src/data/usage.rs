//! How much a key has been used, and when that is too much (reference section 5.6).

use super::Cipher;

/// Packets and 16-byte blocks that one AES-GCM key may see: 2³⁶ − 1 (draft-irtf-cfrg-aead-limits, for 1500-byte
/// packets and an advantage of 2⁻⁵⁷); `None` where nothing practical limits it.
pub const fn aead_limit(cipher: Cipher) -> Option<u64> {
    match cipher {
        Cipher::Aes128Gcm | Cipher::Aes192Gcm | Cipher::Aes256Gcm => Some((1 << 36) - 1),
        Cipher::ChaCha20Poly1305 => None,
    }
}

/// What went through one direction of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Packets that were sealed or opened.
    pub packets: u64,
    /// Bytes inside them.
    pub bytes: u64,
    /// 16-byte blocks inside them, the last of each counted as whole.
    blocks: u64,
}

impl Usage {
    /// Counts a packet with `len` bytes inside.
    pub(super) const fn count(&mut self, len: usize) {
        self.packets += 1;
        self.bytes += len as u64;
        self.blocks += len.div_ceil(16) as u64;
    }

    /// Tells whether seven eighths of the limit are used up.
    pub(super) const fn nears(&self, limit: Option<u64>) -> bool {
        match limit {
            Some(limit) => self.packets + self.blocks >= limit / 8 * 7,
            None => false,
        }
    }
}
