//! What a session is built from: roles, keys and times.

use std::{sync::Arc, time::Duration};

use crate::{
    data::{Cipher, ReplayConfig},
    secret::SecretString,
    tls::PumpFactory,
    wire::{PeerId, Role},
    wrap::WrapKey,
};

/// Settings of a session, shared by all sessions of an endpoint.
#[derive(Debug)]
pub struct SessionSettings {
    /// Which end this is.
    pub role: Role,
    /// How control packets are wrapped.
    pub wrap: WrapKey,
    /// Makes a TLS session for each key exchange.
    pub tls: Arc<dyn PumpFactory>,
    /// Whether the transport is a stream: nothing is lost there, so a bad packet ends the session.
    pub stream: bool,
    /// Bytes of IP and UDP header in front of a packet: 28 over IPv4, 48 over IPv6.
    pub outer_header_bytes: usize,
    /// Largest control packet, headers of IP and UDP included (`max-packet-size`, 1250 by default).
    pub max_packet_bytes: usize,
    /// Replay protection of data packets and of the wrap (`replay-window`).
    pub replay: ReplayConfig,
    /// Time limits.
    pub timing: Timing,
}

/// Time limits of the control channel and of keys (reference section 2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From the first reset to an active key (`hand-window`).
    pub handshake_window: Duration,
    /// First retransmission (`tls-timeout`).
    pub retransmit: Duration,
    /// Life of a key after its successor was started (`tran-window`).
    pub transition_window: Duration,
    /// Age at which a key is renewed (`reneg-sec`); `None` is never.
    pub renegotiate_after: Option<Duration>,
    /// Bytes after which a key is renewed (`reneg-bytes`).
    pub renegotiate_bytes: Option<u64>,
    /// Packets after which a key is renewed (`reneg-pkts`).
    pub renegotiate_packets: Option<u64>,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            handshake_window: Duration::from_mins(1),
            retransmit: Duration::from_secs(2),
            transition_window: Duration::from_hours(1),
            renegotiate_after: Some(Duration::from_hours(1)),
            renegotiate_bytes: None,
            renegotiate_packets: None,
        }
    }
}

impl Timing {
    /// How long the old key is still used for sending after a soft reset (reference section 2.5).
    pub fn grace(&self) -> Duration {
        match self.renegotiate_after {
            Some(after) => self.handshake_window.min(after / 2),
            None => self.handshake_window,
        }
    }
}

/// What this side says of itself in each key exchange (reference section 4.1).
#[derive(Debug, Clone, Default)]
pub struct Hello {
    /// The options string.
    pub options: String,
    /// User name, from clients that have one.
    pub username: Option<SecretString>,
    /// Password or token, from clients that have one.
    pub password: Option<SecretString>,
    /// `IV_…` lines.
    pub peer_info: String,
}

/// What both sides agreed on for the data channel; holds for all renegotiations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataParameters {
    /// The cipher.
    pub cipher: Cipher,
    /// With one, packets carry it (`P_DATA_V2`).
    pub peer_id: Option<PeerId>,
    /// Keys come from the TLS exporter rather than from the PRF.
    pub exporter: bool,
    /// Control packets of renegotiations use a wrap derived from the first TLS session.
    pub dynamic_wrap: bool,
    /// Largest TCP MSS that fits (`mssfix`); `None` leaves packets alone.
    pub mss: Option<u16>,
}
