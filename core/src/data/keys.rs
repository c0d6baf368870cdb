//! One data key in both directions: seals and opens packets with an AEAD cipher (reference section 5.2).
//!
//! ```text
//! V2: opcode and key id (1) | peer id (3) | packet id (4) | tag (16) | ciphertext
//! V1: opcode and key id (1) |               packet id (4) | tag (16) | ciphertext
//! ```
//! V2 authenticates all in front of the tag, V1 the packet id alone. The nonce is the packet id and eight secret
//! bytes of the key. Nothing here allocates a packet, and replays are remembered only once they authenticated.

use std::{fmt, time::Instant};

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};

use super::{Cipher, ReplayConfig, ReplayWindow, Replayed, Usage, aead_limit};
use crate::{
    keys::{Key2, KeyError},
    wire::{KeyId, Opcode, PeerId, Role, WireError},
    wrap::KeyHalf,
};

const TAG_BYTES: usize = 16;
const ID_BYTES: usize = 4;
const IV_BYTES: usize = 8;
/// First byte and peer id.
const V2_HEADER_BYTES: usize = 4;
const V1_HEADER_BYTES: usize = 1;

/// Packet id from which a key is to be renewed (`PACKET_ID_WRAP_TRIGGER`).
const RENEWAL_ID: u32 = 0xFF00_0000;
/// Failed authentications from which a key is to be renewed.
const RENEWAL_FAILURES: u64 = 1 << 35;
/// Failed authentications after which a key opens nothing more.
const MAX_FAILURES: u64 = 1 << 36;

/// Why a packet could not be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The slot is too small.
    #[error("sealed packet takes {wanted} bytes, the slot has {room}")]
    NoRoom {
        /// Size of the sealed packet in bytes.
        wanted: usize,
        /// Size of the slot in bytes.
        room: usize,
    },
    /// Nothing to seal: peers drop empty packets.
    #[error("payload is empty")]
    Empty,
    /// The key has no packet ids left: it must be renewed.
    #[error("key has no packet ids left, it needs a renegotiation")]
    Exhausted,
    /// The cryptographic library refused.
    #[error("cryptographic library refused to seal {0} bytes")]
    Refused(usize),
}

/// Why a datagram could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is no data packet, or too short.
    #[error("malformed data packet")]
    Malformed(#[source] WireError),
    /// Its packet id was here before.
    #[error("replayed data packet")]
    Replay(#[source] Replayed),
    /// It does not authenticate: another key, or altered.
    #[error("data packet {0} does not authenticate")]
    Authentication(u32),
    /// Too many packets failed: the key opens nothing more.
    #[error("too many packets failed to authenticate, the key needs a renegotiation")]
    Exhausted,
}

/// Keys, counters and replay window of one data key.
pub struct DataKeys {
    tx: Direction,
    rx: Direction,
    /// First byte and peer id of what is sent.
    header: [u8; V2_HEADER_BYTES],
    has_peer_id: bool,
    next_id: u32,
    replay: ReplayWindow,
    limit: Option<u64>,
    failures: u64,
    cipher: Cipher,
    key_id: KeyId,
}

struct Direction {
    key: LessSafeKey,
    iv: [u8; IV_BYTES],
    usage: Usage,
}

impl DataKeys {
    /// Makes keys out of `material` for one side. With a peer id packets are sent as V2, without one as V1.
    ///
    /// # Errors
    /// The cipher key is all zeros, or the cryptographic library refuses it.
    pub fn new(
        cipher: Cipher,
        material: &Key2,
        role: Role,
        key_id: KeyId,
        peer_id: Option<PeerId>,
        replay: ReplayConfig,
    ) -> Result<Self, KeyError> {
        let (tx, rx) = material.directed(role);
        let opcode = if peer_id.is_some() {
            Opcode::DataV2
        } else {
            Opcode::DataV1
        };
        let [_, high, mid, low] = peer_id.map_or(0, PeerId::value).to_be_bytes();
        Ok(Self {
            tx: Direction::new(cipher, tx)?,
            rx: Direction::new(cipher, rx)?,
            header: [opcode.encode_byte(key_id), high, mid, low],
            has_peer_id: peer_id.is_some(),
            next_id: 1,
            replay: ReplayWindow::new(replay),
            limit: aead_limit(cipher),
            failures: 0,
            cipher,
            key_id,
        })
    }

    /// Seals `payload` into the front of `out` and tells how many bytes it took.
    ///
    /// # Errors
    /// No room, no payload, no packet id left; then nothing was counted.
    pub fn seal_into(&mut self, payload: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        let wanted = payload.len() + self.overhead_bytes();
        let no_room = SealError::NoRoom {
            wanted,
            room: out.len(),
        };
        if payload.is_empty() {
            return Err(SealError::Empty);
        }
        if self.is_exhausted() {
            return Err(SealError::Exhausted);
        }
        let id = self.next_id.to_be_bytes();
        let slot = out.get_mut(..wanted).ok_or(no_room)?;
        let (clear, sealed) = slot.split_at_mut_checked(self.clear_bytes()).ok_or(no_room)?;
        let (tag, ciphertext) = sealed.split_first_chunk_mut::<TAG_BYTES>().ok_or(no_room)?;
        for (to, from) in clear.iter_mut().zip(self.header) {
            *to = from;
        }
        *clear.last_chunk_mut().ok_or(no_room)? = id;
        let aad = if self.has_peer_id { &*clear } else { &id[..] };
        let nonce = self.tx.nonce(id);
        self.tx
            .key
            .seal_out_of_place_scatter(nonce, Aad::from(aad), payload, ciphertext, &[], tag)
            .map_err(|_unspecified| SealError::Refused(payload.len()))?;
        self.next_id += 1;
        self.tx.usage.count(payload.len());
        Ok(wanted)
    }

    /// Opens a datagram in place and hands out what is inside. V1 and V2 are both accepted.
    ///
    /// # Errors
    /// The datagram is malformed, replayed or not authentic; then only failures are counted.
    pub fn open<'a>(&mut self, now: Instant, datagram: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        if self.failures > MAX_FAILURES {
            return Err(OpenError::Exhausted);
        }
        let parts = Parts::split(datagram).map_err(OpenError::Malformed)?;
        let id = u32::from_be_bytes(parts.id);
        self.replay.check(now, id).map_err(OpenError::Replay)?;
        let aad = if parts.has_peer_id {
            parts.clear
        } else {
            &parts.id[..]
        };
        let nonce = self.rx.nonce(parts.id);
        let opened =
            self.rx
                .key
                .open_in_place_separate_tag(nonce, Aad::from(aad), parts.tag, parts.ciphertext);
        if opened.is_err() {
            self.failures += 1;
            return Err(OpenError::Authentication(id));
        }
        self.replay.record(now, id);
        self.rx.usage.count(parts.ciphertext.len());
        Ok(parts.ciphertext)
    }

    /// Bytes that sealing adds to a payload.
    pub const fn overhead_bytes(&self) -> usize {
        self.clear_bytes() + TAG_BYTES
    }

    /// The cipher.
    pub const fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// The key id that goes into sealed packets.
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Packets sealed so far.
    pub const fn packets_sent(&self) -> u64 {
        self.tx.usage.packets
    }

    /// Packets opened so far.
    pub const fn packets_received(&self) -> u64 {
        self.rx.usage.packets
    }

    /// Bytes of payload sealed so far.
    pub const fn bytes_sent(&self) -> u64 {
        self.tx.usage.bytes
    }

    /// Bytes of payload opened so far.
    pub const fn bytes_received(&self) -> u64 {
        self.rx.usage.bytes
    }

    /// Tells whether the key is so used up in either direction that it is time to renegotiate.
    pub const fn wants_renewal(&self) -> bool {
        self.next_id >= RENEWAL_ID
            || self.replay.highest() >= RENEWAL_ID
            || self.tx.usage.nears(self.limit)
            || self.rx.usage.nears(self.limit)
            || self.failures > RENEWAL_FAILURES
    }

    /// Tells whether the key can seal nothing more.
    pub const fn is_exhausted(&self) -> bool {
        self.next_id == u32::MAX
    }

    const fn clear_bytes(&self) -> usize {
        if self.has_peer_id {
            V2_HEADER_BYTES + ID_BYTES
        } else {
            V1_HEADER_BYTES + ID_BYTES
        }
    }
}

impl Direction {
    fn new(cipher: Cipher, half: &KeyHalf) -> Result<Self, KeyError> {
        let algorithm = match cipher {
            Cipher::Aes128Gcm => &aead::AES_128_GCM,
            Cipher::Aes192Gcm => &aead::AES_192_GCM,
            Cipher::Aes256Gcm => &aead::AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        };
        let bytes = half.cipher.get(..cipher.key_bytes()).unwrap_or_default();
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(KeyError::ZeroKey);
        }
        let key = UnboundKey::new(algorithm, bytes).map_err(|_unspecified| KeyError::Refused(cipher))?;
        let iv = half.hmac.first_chunk().ok_or(KeyError::Refused(cipher))?;
        Ok(Self {
            key: LessSafeKey::new(key),
            iv: *iv,
            usage: Usage::default(),
        })
    }

    fn nonce(&self, id: [u8; ID_BYTES]) -> Nonce {
        // A packet id is used once a key: sealing counts, and a received one is checked.
        let wide = u128::from(u32::from_be_bytes(id)) << 64 | u128::from(u64::from_be_bytes(self.iv));
        let [_, _, _, _, nonce @ ..] = wide.to_be_bytes();
        Nonce::assume_unique_for_key(nonce)
    }
}

impl Drop for Direction {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.iv);
    }
}

impl fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKeys")
            .field("cipher", &self.cipher)
            .field("key_id", &self.key_id)
            .field("next_id", &self.next_id)
            .field("tx", &self.tx.usage)
            .field("rx", &self.rx.usage)
            .finish_non_exhaustive()
    }
}

/// A data packet taken apart.
struct Parts<'a> {
    has_peer_id: bool,
    clear: &'a [u8],
    id: [u8; ID_BYTES],
    tag: &'a [u8],
    ciphertext: &'a mut [u8],
}

impl<'a> Parts<'a> {
    fn split(datagram: &'a mut [u8]) -> Result<Self, WireError> {
        let left = datagram.len();
        let truncated = WireError::Truncated {
            field: "data packet",
            wanted: V1_HEADER_BYTES + ID_BYTES + TAG_BYTES + 1,
            left,
        };
        let (opcode, _) = Opcode::decode_byte(*datagram.first().ok_or(truncated)?)?;
        if !opcode.is_data() {
            return Err(WireError::NotData(opcode));
        }
        let has_peer_id = opcode == Opcode::DataV2;
        let clear_bytes = ID_BYTES
            + if has_peer_id {
                V2_HEADER_BYTES
            } else {
                V1_HEADER_BYTES
            };
        let (clear, sealed) = datagram.split_at_mut_checked(clear_bytes).ok_or(truncated)?;
        let (tag, ciphertext) = sealed.split_at_mut_checked(TAG_BYTES).ok_or(truncated)?;
        if ciphertext.is_empty() {
            return Err(truncated);
        }
        Ok(Self {
            has_peer_id,
            id: *clear.last_chunk().ok_or(truncated)?,
            clear,
            tag,
            ciphertext,
        })
    }
}

/// The peer id of a data packet; `None` for V1 and for anything else.
pub fn peer_id(datagram: &[u8]) -> Option<PeerId> {
    let [first, high, mid, low] = *datagram.first_chunk()?;
    match Opcode::decode_byte(first) {
        Ok((Opcode::DataV2, _)) => Some(PeerId::from_low_bits(u32::from_be_bytes([0, high, mid, low]))),
        Ok(_) | Err(_) => None,
    }
}

/// The key id of a data packet; `None` for anything else.
pub fn key_id(datagram: &[u8]) -> Option<KeyId> {
    match Opcode::decode_byte(*datagram.first()?) {
        Ok((opcode, key_id)) if opcode.is_data() => Some(key_id),
        Ok(_) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests;
