//! Data-channel ciphers: their names on the wire and their sizes.

use std::{fmt, str::FromStr};

/// An AEAD cipher of the data channel (`data-ciphers`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cipher {
    /// AES-128-GCM.
    Aes128Gcm,
    /// AES-192-GCM.
    Aes192Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

impl Cipher {
    /// Every cipher there is, in the order of preference of `data-ciphers`' default, AES-192 last.
    pub const ALL: [Self; 4] = [
        Self::Aes256Gcm,
        Self::Aes128Gcm,
        Self::ChaCha20Poly1305,
        Self::Aes192Gcm,
    ];

    /// The default of `data-ciphers` since `OpenVPN` 2.6.
    pub const DEFAULT: [Self; 3] = [Self::Aes256Gcm, Self::Aes128Gcm, Self::ChaCha20Poly1305];

    /// Canonical name: what is pushed, announced in `IV_CIPHERS` and compared letter by letter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "AES-128-GCM",
            Self::Aes192Gcm => "AES-192-GCM",
            Self::Aes256Gcm => "AES-256-GCM",
            Self::ChaCha20Poly1305 => "CHACHA20-POLY1305",
        }
    }

    /// Key length in bytes.
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes192Gcm => 24,
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => 32,
        }
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A cipher name that is not one of [`Cipher::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cipher {0:?} is not supported; known are AES-256-GCM, AES-192-GCM, AES-128-GCM and CHACHA20-POLY1305"
)]
pub struct UnknownCipher(pub String);

impl FromStr for Cipher {
    type Err = UnknownCipher;

    /// Reads a name in any case, as a configuration may write it.
    fn from_str(name: &str) -> Result<Self, UnknownCipher> {
        let found = Self::ALL
            .into_iter()
            .find(|cipher| cipher.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| UnknownCipher(name.to_owned()))
    }
}
