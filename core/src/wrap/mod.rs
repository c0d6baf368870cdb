//! Control-channel wrapping: authenticates a control packet before anything in it is parsed (reference section 3).
//!
//! [`WrapKey`] is what a configuration gives; [`Wrap`] is its state in one session: a counter one way, a replay
//! window the other. tls-crypt-v2 would be one more [`WrapKey`]: its unwrapped client key is a [`StaticKey`]
//! that goes through [`WrapKey::TlsCrypt`], and what it appends to a packet lies outside this wrap.

mod digest;
mod mac;
mod static_key;
mod tls_auth;
mod tls_crypt;

use std::time::Instant;

pub use digest::{Digest, UnknownDigest};
pub use static_key::{KeyDirection, KeyHalf, STATIC_KEY_BYTES, StaticKey, StaticKeyError};
use tls_auth::TlsAuth;
use tls_crypt::TlsCrypt;
use zeroize::Zeroizing;

use crate::{
    data::{LongReplayWindow, ReplayConfig},
    wire::{Header, Put, Reader, Role, WireError},
};

/// Packet id and time that make a wrapped packet unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Counts packets from 1.
    pub id: u32,
    /// Seconds since 1970 when the counter started.
    pub time: u32,
}

impl Stamp {
    /// Size in bytes.
    const BYTES: usize = 8;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: reader.u32("wrap packet id")?,
            time: reader.u32("wrap time")?,
        })
    }

    const fn to_bytes(self) -> [u8; Self::BYTES] {
        ((self.id as u64) << 32 | self.time as u64).to_be_bytes()
    }
}

/// Why a packet could not be wrapped or unwrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// The packet is too short for its wrap.
    #[error("packet of {len} bytes is too short, its wrap alone takes {wanted}")]
    TooShort {
        /// Size of the packet in bytes.
        len: usize,
        /// Least size in bytes.
        wanted: usize,
    },
    /// The first byte or the session id is not that of a control packet.
    #[error("not a control packet")]
    Header(#[source] WireError),
    /// The packet does not authenticate: another key, another digest, or altered.
    #[error("packet does not authenticate; both sides need the same key file, digest and direction")]
    Mac,
    /// The packet was here before, or is too old to tell.
    #[error("packet {id} of time {time} is a replay")]
    Replay {
        /// Its wrap packet id.
        id: u32,
        /// Its wrap time.
        time: u32,
    },
}

/// How control packets are wrapped, as configured.
#[derive(Debug, Clone, Default)]
pub enum WrapKey {
    /// Not at all: TLS alone protects.
    #[default]
    None,
    /// Authenticated (`tls-auth`).
    TlsAuth {
        /// The key file.
        key: StaticKey,
        /// Its digest (`auth`).
        digest: Digest,
        /// Which half is for which direction (`key-direction`).
        direction: KeyDirection,
    },
    /// Encrypted and authenticated (`tls-crypt`).
    TlsCrypt {
        /// The key file.
        key: StaticKey,
    },
}

impl WrapKey {
    /// Fresh state for one session.
    pub fn context(&self, role: Role) -> Wrap {
        Wrap::new(match self {
            Self::None => Kind::None,
            Self::TlsAuth {
                key,
                digest,
                direction,
            } => Kind::TlsAuth(TlsAuth::new(key, *digest, *direction)),
            Self::TlsCrypt { key } => Kind::TlsCrypt(TlsCrypt::new(key, role)),
        })
    }

    /// The key file, if there is one: it goes into a dynamic tls-crypt key.
    pub const fn static_key(&self) -> Option<&StaticKey> {
        match self {
            Self::None => None,
            Self::TlsAuth { key, .. } | Self::TlsCrypt { key } => Some(key),
        }
    }

    /// Bytes that the wrap adds to a packet.
    pub const fn overhead_bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::TlsAuth { digest, .. } => digest.len_bytes() + Stamp::BYTES,
            Self::TlsCrypt { .. } => tls_crypt::OVERHEAD_BYTES,
        }
    }
}

/// The wrap of one session: keys, the counter of what is sent, the replay window of what is received.
#[derive(Debug)]
pub struct Wrap {
    kind: Kind,
    next_id: u32,
    /// When the counter started; unknown until the first packet.
    started: Option<u32>,
    replay: LongReplayWindow,
}

#[derive(Debug)]
enum Kind {
    None,
    TlsAuth(TlsAuth),
    TlsCrypt(TlsCrypt),
}

/// A packet that authenticated.
struct Opened<'a> {
    header: Header,
    stamp: Option<Stamp>,
    body: &'a [u8],
}

impl Wrap {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            next_id: 1,
            started: None,
            replay: LongReplayWindow::new(ReplayConfig::default()),
        }
    }

    /// The wrap of renegotiations (dynamic tls-crypt): `exported` comes from the first TLS session under
    /// [`crate::keys::EXPORTER_DYNAMIC_TLS_CRYPT`]; `static_key` is that of the configured wrap.
    pub fn from_dynamic(
        exported: &[u8; STATIC_KEY_BYTES],
        static_key: Option<&StaticKey>,
        role: Role,
    ) -> Self {
        let mut bytes = Zeroizing::new(*exported);
        if let Some(key) = static_key {
            for (to, from) in bytes.iter_mut().zip(key.bytes()) {
                *to ^= from;
            }
        }
        Self::new(Kind::TlsCrypt(TlsCrypt::new(
            &StaticKey::from_bytes(&bytes),
            role,
        )))
    }

    /// Uses another replay window (`replay-window`) than the default one.
    #[must_use]
    pub fn with_replay(mut self, config: ReplayConfig) -> Self {
        self.replay = LongReplayWindow::new(config);
        self
    }

    /// Appends the wrapped packet to `out`.
    ///
    /// `unix_seconds` becomes the time of the counter when it starts, and again when it has run through.
    ///
    /// # Errors
    /// `header` is not that of a control packet.
    pub fn seal(
        &mut self,
        unix_seconds: u32,
        header: Header,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), WrapError> {
        if header.opcode.is_data() {
            return Err(WrapError::Header(WireError::NotControl(header.opcode)));
        }
        if matches!(self.kind, Kind::None) {
            header.encode(out);
            out.put(body);
            return Ok(());
        }
        let stamp = self.next_stamp(unix_seconds);
        match &self.kind {
            Kind::None => {}
            Kind::TlsAuth(auth) => auth.seal(stamp, header, body, out),
            Kind::TlsCrypt(crypt) => crypt.seal(stamp, header, body, out),
        }
        Ok(())
    }

    /// Authenticates a packet, checks that it is no replay, remembers it and hands out its body.
    ///
    /// # Errors
    /// The packet does not authenticate or was here before; then nothing is remembered.
    pub fn open<'a>(&mut self, now: Instant, packet: &'a mut [u8]) -> Result<(Header, &'a [u8]), WrapError> {
        let opened = self.kind.open(packet)?;
        if let Some(stamp) = opened.stamp {
            self.replay
                .accept(now, stamp.id, stamp.time)
                .map_err(|_seen| WrapError::Replay {
                    id: stamp.id,
                    time: stamp.time,
                })?;
        }
        Ok((opened.header, opened.body))
    }

    /// Authenticates a packet without looking for replays: for a server that keeps no state yet.
    ///
    /// # Errors
    /// The packet does not authenticate.
    pub fn authenticate<'a>(&self, packet: &'a mut [u8]) -> Result<(Header, &'a [u8]), WrapError> {
        let opened = self.kind.open(packet)?;
        Ok((opened.header, opened.body))
    }

    /// Bytes that the wrap adds to a packet.
    pub const fn overhead_bytes(&self) -> usize {
        match &self.kind {
            Kind::None => 0,
            Kind::TlsAuth(auth) => auth.overhead_bytes(),
            Kind::TlsCrypt(_) => tls_crypt::OVERHEAD_BYTES,
        }
    }

    /// Leaves out id 1, which a stateless reset has used.
    pub fn skip_first_id(&mut self) {
        self.next_id = self.next_id.max(2);
    }

    /// The counter never runs dry: a later time makes ids unique again. The time does not go back, even if the
    /// clock does, for the peer would drop everything.
    fn next_stamp(&mut self, unix_seconds: u32) -> Stamp {
        let started = *self.started.get_or_insert(unix_seconds);
        let stamp = Stamp {
            id: self.next_id,
            time: started,
        };
        if let Some(next) = self.next_id.checked_add(1) {
            self.next_id = next;
        } else {
            self.next_id = 1;
            self.started = Some(unix_seconds.max(started.saturating_add(1)));
        }
        stamp
    }
}

impl Kind {
    fn open<'a>(&self, packet: &'a mut [u8]) -> Result<Opened<'a>, WrapError> {
        match self {
            Self::None => {
                let (header, body) = Header::decode(packet).map_err(WrapError::Header)?;
                Ok(Opened {
                    header,
                    stamp: None,
                    body,
                })
            }
            Self::TlsAuth(auth) => auth.open(packet),
            Self::TlsCrypt(crypt) => crypt.open(packet),
        }
    }
}

/// Reads the clear header of a packet that must have `wanted` bytes at least.
fn clear_header(packet: &[u8], wanted: usize) -> Result<(Header, &[u8]), WrapError> {
    if packet.len() < wanted {
        return Err(WrapError::TooShort {
            len: packet.len(),
            wanted,
        });
    }
    Header::decode(packet).map_err(WrapError::Header)
}

#[cfg(test)]
mod tests;
