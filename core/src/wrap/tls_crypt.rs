//! tls-crypt: the body encrypted with AES-256-CTR under an HMAC-SHA-256 that is also the IV (reference section 3.3).

use std::fmt;

use aes::Aes256;
use ctr::{
    Ctr128BE,
    cipher::{KeyIvInit, StreamCipher},
};

use super::{Digest, KeyDirection, KeyHalf, Opened, Stamp, StaticKey, WrapError, clear_header};
use crate::wire::{Header, Put, Reader, Role};

const TAG_BYTES: usize = 32;
const IV_BYTES: usize = 16;
const CLEAR_BYTES: usize = Header::BYTES + Stamp::BYTES;

/// Bytes that tls-crypt adds to a packet.
pub(super) const OVERHEAD_BYTES: usize = Stamp::BYTES + TAG_BYTES;

/// Keys of tls-crypt for one side.
pub(super) struct TlsCrypt {
    tx: KeyHalf,
    rx: KeyHalf,
}

impl TlsCrypt {
    /// The direction is fixed: the server sends with half 0. (For data keys it is the client.)
    pub(super) fn new(key: &StaticKey, role: Role) -> Self {
        let (tx, rx) = key.directed(match role {
            Role::Client => KeyDirection::Inverse,
            Role::Server => KeyDirection::Normal,
        });
        Self {
            tx: tx.clone(),
            rx: rx.clone(),
        }
    }

    pub(super) fn seal(&self, stamp: Stamp, header: Header, body: &[u8], out: &mut Vec<u8>) {
        let mut clear = [0; CLEAR_BYTES];
        for (to, from) in clear
            .iter_mut()
            .zip(header.to_bytes().into_iter().chain(stamp.to_bytes()))
        {
            *to = from;
        }
        out.put(&clear);
        seal_parts(&self.tx, &clear, body, out);
    }

    pub(super) fn open<'a>(&self, packet: &'a mut [u8]) -> Result<Opened<'a>, WrapError> {
        let wanted = Header::BYTES + OVERHEAD_BYTES;
        let (header, rest) = clear_header(packet, wanted)?;
        let stamp = Stamp::decode(&mut Reader::new(rest)).map_err(WrapError::Header)?;
        let too_short = WrapError::TooShort {
            len: packet.len(),
            wanted,
        };
        let (clear, rest) = packet.split_first_chunk_mut::<CLEAR_BYTES>().ok_or(too_short)?;
        let (tag, body) = rest.split_first_chunk_mut::<TAG_BYTES>().ok_or(too_short)?;
        open_parts(&self.rx, clear, tag, body)?;
        Ok(Opened {
            header,
            stamp: Some(stamp),
            body,
        })
    }
}

/// Appends tag and ciphertext of `body`, authenticated together with `clear`.
fn seal_parts(half: &KeyHalf, clear: &[u8], body: &[u8], out: &mut Vec<u8>) {
    let tag = tag_of(half, clear, body);
    out.put(&tag);
    let start = out.len();
    out.put(body);
    apply_keystream(half, &tag, out.get_mut(start..).unwrap_or_default());
}

/// Decrypts first, then compares the tag.
fn open_parts(half: &KeyHalf, clear: &[u8], tag: &[u8; TAG_BYTES], body: &mut [u8]) -> Result<(), WrapError> {
    apply_keystream(half, tag, body);
    if hmac(half, clear, body).matches(tag) {
        Ok(())
    } else {
        Err(WrapError::Mac)
    }
}

fn hmac(half: &KeyHalf, clear: &[u8], body: &[u8]) -> super::mac::Tag {
    let key = half.hmac.first_chunk::<32>().map_or(&[][..], |key| key);
    Digest::Sha256.hmac(key, &[clear, body])
}

fn tag_of(half: &KeyHalf, clear: &[u8], body: &[u8]) -> [u8; TAG_BYTES] {
    let mut tag = [0; TAG_BYTES];
    for (to, from) in tag.iter_mut().zip(hmac(half, clear, body).as_bytes()) {
        *to = *from;
    }
    tag
}

/// The first half of the tag is the initial counter block.
fn apply_keystream(half: &KeyHalf, tag: &[u8; TAG_BYTES], body: &mut [u8]) {
    let mut key = [0; 32];
    for (to, from) in key.iter_mut().zip(&half.cipher) {
        *to = *from;
    }
    let mut iv = [0; IV_BYTES];
    for (to, from) in iv.iter_mut().zip(tag) {
        *to = *from;
    }
    Ctr128BE::<Aes256>::new(&key.into(), &iv.into()).apply_keystream(body);
    zeroize::Zeroize::zeroize(&mut key);
}

impl fmt::Debug for TlsCrypt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsCrypt")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::fixtures::hex;

    #[test]
    fn the_reference_vector_of_a_dynamic_key_comes_out() {
        let key = StaticKey::from_bytes(&[0xBA; 256]);
        let crypt = TlsCrypt::new(&key, Role::Client);
        let clear = hex("00000001 00000000");
        let mut out = Vec::new();
        seal_parts(&crypt.tx, &clear, b"1234567890", &mut out);
        let wrapped = "e319277f1c8d6e6a7796a855337b9cfb56e1f13a870e6647dfa195c92c17a015 ba4967a11d55ea1a06a7";
        assert_eq!(out, hex(wrapped));
        let (tag, body) = out.split_first_chunk_mut().unwrap();
        open_parts(&crypt.rx, &clear, tag, body).unwrap();
        assert_eq!(body, b"1234567890");
    }
}
