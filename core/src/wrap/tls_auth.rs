//! tls-auth: an HMAC in front of the body (reference section 3.2).

use std::fmt;

use super::{Digest, KeyDirection, KeyHalf, Opened, Stamp, StaticKey, WrapError, clear_header};
use crate::wire::{Header, Put, Reader};

/// Keys of tls-auth for one side.
pub(super) struct TlsAuth {
    digest: Digest,
    tx: KeyHalf,
    rx: KeyHalf,
}

impl TlsAuth {
    pub(super) fn new(key: &StaticKey, digest: Digest, direction: KeyDirection) -> Self {
        let (tx, rx) = key.directed(direction);
        Self {
            digest,
            tx: tx.clone(),
            rx: rx.clone(),
        }
    }

    pub(super) const fn overhead_bytes(&self) -> usize {
        self.digest.len_bytes() + Stamp::BYTES
    }

    pub(super) fn seal(&self, stamp: Stamp, header: Header, body: &[u8], out: &mut Vec<u8>) {
        // The MAC covers the stamp first, then the header: not the order on the wire.
        let parts: [&[u8]; 3] = [&stamp.to_bytes(), &header.to_bytes(), body];
        let tag = self.digest.hmac(self.key(&self.tx), &parts);
        header.encode(out);
        out.put(tag.as_bytes());
        out.put(&stamp.to_bytes());
        out.put(body);
    }

    pub(super) fn open<'a>(&self, packet: &'a [u8]) -> Result<Opened<'a>, WrapError> {
        let (header, rest) = clear_header(packet, Header::BYTES + self.overhead_bytes())?;
        let mut reader = Reader::new(rest);
        let tag = reader
            .take(self.digest.len_bytes(), "tls-auth digest")
            .map_err(WrapError::Header)?;
        let stamp = Stamp::decode(&mut reader).map_err(WrapError::Header)?;
        let body = reader.rest();
        let parts: [&[u8]; 3] = [&stamp.to_bytes(), &header.to_bytes(), body];
        if !self.digest.hmac(self.key(&self.rx), &parts).matches(tag) {
            return Err(WrapError::Mac);
        }
        Ok(Opened {
            header,
            stamp: Some(stamp),
            body,
        })
    }

    /// As many bytes of the key as the digest is long.
    fn key<'a>(&self, half: &'a KeyHalf) -> &'a [u8] {
        half.hmac.get(..self.digest.len_bytes()).unwrap_or_default()
    }
}

impl fmt::Debug for TlsAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsAuth({})", self.digest)
    }
}
