//! Digests that `auth` may name: the HMAC of tls-auth.

use std::{fmt, str::FromStr};

/// A message digest (`auth`); with AEAD data ciphers it only serves tls-auth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Digest {
    /// MD5, 16 bytes.
    Md5,
    /// SHA-1, 20 bytes: the default of `auth`.
    #[default]
    Sha1,
    /// SHA-224, 28 bytes.
    Sha224,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl Digest {
    /// Every digest there is.
    pub const ALL: [Self; 6] = [
        Self::Md5,
        Self::Sha1,
        Self::Sha224,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
    ];

    /// Canonical name, as it stands in the options string.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA1",
            Self::Sha224 => "SHA224",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
        }
    }

    /// Length of the digest, and of its HMAC key here, in bytes.
    pub const fn len_bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A digest name that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("digest {0:?} is not supported; known are MD5, SHA1, SHA224, SHA256, SHA384 and SHA512")]
pub struct UnknownDigest(pub String);

impl FromStr for Digest {
    type Err = UnknownDigest;

    /// Reads a name in any case, also in the forms `SHA-256` and `RSA-SHA256`.
    fn from_str(name: &str) -> Result<Self, UnknownDigest> {
        let upper = name.to_ascii_uppercase();
        let bare = upper
            .strip_prefix("RSA-")
            .unwrap_or(&upper)
            .replace("SHA-", "SHA");
        let found = Self::ALL.into_iter().find(|digest| digest.name() == bare);
        found.ok_or_else(|| UnknownDigest(name.to_owned()))
    }
}
