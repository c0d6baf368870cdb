//! The pseudo-random function of TLS 1.0 (RFC 2246 §5): HMAC-MD5 and HMAC-SHA-1, each over half of the secret.

use zeroize::Zeroizing;

use crate::wrap::Digest;

/// Fills `out` from `secret` and the parts of the seed (label first).
pub fn prf(secret: &[u8], seed: &[&[u8]], out: &mut [u8]) {
    let half = secret.len().div_ceil(2);
    let first = secret.get(..half).unwrap_or_default();
    let second = secret.get(secret.len() - half..).unwrap_or_default();
    out.fill(0);
    expand_onto(Digest::Md5, first, seed, out);
    expand_onto(Digest::Sha1, second, seed, out);
}

/// `P_hash`, combined with what is in `out` by exclusive or.
fn expand_onto(digest: Digest, secret: &[u8], seed: &[&[u8]], out: &mut [u8]) {
    let joined = Zeroizing::new(seed.concat());
    let mut chain = digest.hmac(secret, &[&joined]);
    for chunk in out.chunks_mut(digest.len_bytes()) {
        let block = digest.hmac(secret, &[chain.as_bytes(), &joined]);
        for (to, from) in chunk.iter_mut().zip(block.as_bytes()) {
            *to ^= from;
        }
        chain = digest.hmac(secret, &[chain.as_bytes()]);
    }
}
