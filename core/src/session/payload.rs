//! Inner packets in and out: which key, in-band messages, MSS, counters (reference sections 2.5, 5.1, 5.8).

use std::time::{Duration, Instant};

use crate::{
    data::{self, DataKeys, OpenError, clamp_mss},
    session::{Session, SessionEvent, event::Silence, key_state::KeyState},
    wire::{
        Magic,
        magic::{OccCode, PING},
    },
};

/// Data packets between two looks at whether a key is worn out.
const WEAR_CHECK_PACKETS: u64 = 1024;
/// What sealing adds at most: the header with a peer id, the packet id and the tag.
const MAX_OVERHEAD_BYTES: usize = 24;

/// What was in a data packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened<'a> {
    /// An inner packet.
    Packet(&'a mut [u8]),
    /// A ping or another message between the two ends: nothing to deliver.
    InBand,
}

/// Why a data packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// There is no key with its id (yet, or any more): harmless.
    #[error("no key with the packet's key id")]
    NoKey,
    /// It does not open under its key.
    #[error("data packet not accepted")]
    Open(#[from] OpenError),
}

/// Why an inner packet was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// No key is established yet.
    #[error("no data key is established")]
    NoKey,
    /// The key's packet ids are used up, or the slot is too short.
    #[error("the packet cannot be sealed")]
    Refused,
}

impl Session {
    /// Opens one data packet in place.
    ///
    /// # Errors
    /// No key of that id, a packet that is not authentic, or a replay. Over UDP the owner drops it.
    pub fn open<'a>(&mut self, now: Instant, datagram: &'a mut [u8]) -> Result<Opened<'a>, DataError> {
        let new_key = data::key_id(datagram) == Some(self.primary.key_id);
        let Some(keys) = self.keys_for(datagram) else {
            self.counters.data_dropped += 1;
            return Err(DataError::NoKey);
        };
        let inner = match keys.open(now, datagram) {
            Ok(inner) => inner,
            Err(error) => {
                self.counters.data_dropped += 1;
                return Err(error.into());
            }
        };
        if new_key {
            // The peer sends under the new key, so it can open it, and may drop the old one at its next renewal.
            self.switch_at = None;
        }
        self.keepalive.on_received(now);
        self.counters.opened_packets += 1;
        self.counters.opened_bytes += inner.len() as u64;
        if self.counters.opened_packets.is_multiple_of(WEAR_CHECK_PACKETS) {
            self.renew_if_due(now);
        }
        if inner.len() >= PING.len()
            && let Some(exit) = in_band(inner)
        {
            if exit {
                self.push_event(SessionEvent::PeerExit);
            }
            return Ok(Opened::InBand);
        }
        if let Some(mss) = self.parameters.and_then(|parameters| parameters.mss) {
            clamp_mss(inner, mss);
        }
        Ok(Opened::Packet(inner))
    }

    /// Bytes that sealing adds to an inner packet.
    pub fn overhead_bytes(&self) -> usize {
        self.sending_keys_ref()
            .map_or(MAX_OVERHEAD_BYTES, DataKeys::overhead_bytes)
    }

    /// Seals one inner packet into `out`, which must be [`Self::overhead_bytes`] longer, and returns the length.
    ///
    /// # Errors
    /// No key, or a key that is used up.
    pub fn seal(&mut self, now: Instant, inner: &mut [u8], out: &mut [u8]) -> Result<usize, SealError> {
        if let Some(mss) = self.parameters.and_then(|parameters| parameters.mss) {
            clamp_mss(inner, mss);
        }
        let keys = self.sending_keys(now).ok_or(SealError::NoKey)?;
        let len = keys
            .seal_into(inner, out)
            .map_err(|_refused| SealError::Refused)?;
        self.keepalive.on_sent(now);
        self.counters.sealed_packets += 1;
        self.counters.sealed_bytes += inner.len() as u64;
        if self.counters.sealed_packets.is_multiple_of(WEAR_CHECK_PACKETS) {
            self.renew_if_due(now);
        }
        Ok(len)
    }

    /// Seals a message between the two ends.
    pub(super) fn seal_in_band(&mut self, now: Instant, message: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; message.len() + self.overhead_bytes()];
        let len = self.sending_keys(now)?.seal_into(message, &mut out).ok()?;
        out.truncate(len);
        self.keepalive.on_sent(now);
        Some(out)
    }

    /// Tells the peer in band that this side leaves (OCC exit); the packet comes from `poll_transmit`.
    pub fn send_exit_in_band(&mut self) {
        self.exit_wanted = true;
    }

    /// Sets when pings are sent and what silence means; zero switches either off.
    pub fn set_keepalive(
        &mut self,
        now: Instant,
        ping: Option<Duration>,
        silence: Option<(Duration, Silence)>,
    ) {
        self.keepalive.set(now, ping, silence);
    }

    /// Silence that ends the session, if any does.
    pub fn silence_after(&self) -> Option<Duration> {
        self.keepalive.silence_after()
    }

    /// Whether data packets carry a peer id, by which a server knows them from any address.
    pub fn has_peer_id(&self) -> bool {
        self.parameters
            .is_some_and(|parameters| parameters.peer_id.is_some())
    }

    fn keys_for(&mut self, datagram: &[u8]) -> Option<&mut DataKeys> {
        let key_id = data::key_id(datagram)?;
        let state = [
            Some(&mut self.primary),
            self.lame_duck.as_mut(),
            self.retired.as_mut(),
        ]
        .into_iter()
        .flatten()
        .find(|state| state.key_id == key_id)?;
        state.data.as_mut()
    }

    /// The key to send with: the old one until its successor's grace time has passed or the peer has used it.
    fn sending_keys(&mut self, now: Instant) -> Option<&mut DataKeys> {
        if self.switch_at.is_some_and(|at| at <= now) && self.primary.has_data() {
            self.switch_at = None;
        }
        let lame = self.lame_duck.as_mut().and_then(|state| state.data.as_mut());
        match (self.primary.data.as_mut(), lame) {
            (Some(_), Some(lame)) if self.switch_at.is_some() && !lame.is_exhausted() => Some(lame),
            (Some(primary), _) => Some(primary),
            (None, lame) => lame,
        }
    }

    fn sending_keys_ref(&self) -> Option<&DataKeys> {
        let lame = self
            .lame_duck
            .as_ref()
            .and_then(|state: &KeyState| state.data.as_ref());
        self.primary.data.as_ref().or(lame)
    }
}

/// Recognises messages between the two ends; `Some(true)` is an exit.
fn in_band(inner: &[u8]) -> Option<bool> {
    match Magic::of(inner)? {
        Magic::Ping => Some(false),
        Magic::Occ(code, _) => Some(code == OccCode::Exit),
    }
}
