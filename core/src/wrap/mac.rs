//! HMAC with a digest that is chosen at run time.

use hmac::{Hmac, KeyInit, Mac};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Digest;

/// Longest digest in bytes.
const MAX_BYTES: usize = 64;

/// An authentication tag, or a link of a key derivation: wiped when dropped, compared in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Tag {
    bytes: [u8; MAX_BYTES],
    len: usize,
}

impl Tag {
    /// The bytes of the digest.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Compares in constant time.
    pub(crate) fn matches(&self, other: &[u8]) -> bool {
        self.as_bytes().ct_eq(other).into()
    }
}

impl Digest {
    /// Computes the HMAC of the parts, one after the other.
    pub(crate) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Tag {
        match self {
            Self::Md5 => compute::<Hmac<md5::Md5>>(key, parts),
            Self::Sha1 => compute::<Hmac<sha1::Sha1>>(key, parts),
            Self::Sha224 => compute::<Hmac<sha2::Sha224>>(key, parts),
            Self::Sha256 => compute::<Hmac<sha2::Sha256>>(key, parts),
            Self::Sha384 => compute::<Hmac<sha2::Sha384>>(key, parts),
            Self::Sha512 => compute::<Hmac<sha2::Sha512>>(key, parts),
        }
    }
}

fn compute<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Tag {
    let mut tag = Tag {
        bytes: [0; MAX_BYTES],
        len: 0,
    };
    // HMAC takes keys of any length; an empty tag would match nothing but an empty field, which no layout has.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else {
        return tag;
    };
    for part in parts {
        mac.update(part);
    }
    let mut digest = mac.finalize().into_bytes();
    for (to, from) in tag.bytes.iter_mut().zip(&digest) {
        *to = *from;
        tag.len += 1;
    }
    digest.zeroize();
    tag
}
