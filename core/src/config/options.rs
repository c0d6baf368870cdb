//! Values that both roles' configurations share: transport, control-channel wrap, TLS, timers.

use std::time::Duration;

use crate::secret::{SecretBytes, SecretString};
pub use crate::{
    tls::{CertProfile, NameRule, TlsVersion, Usage},
    wrap::WrapKey,
};

/// What carries the outer packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// Datagrams.
    #[default]
    Udp,
    /// A stream with a length before each packet.
    Tcp,
}

/// Which outer addresses may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// Whatever the name resolves to.
    #[default]
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

/// Transport and address family together (`proto`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Proto {
    /// UDP or TCP.
    pub transport: Transport,
    /// Addresses that may be used.
    pub family: Family,
}

/// How inner TCP segments are kept small (`mssfix`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MssFix {
    /// Leave the MSS alone (`mssfix 0`).
    Off,
    /// The whole outer packet, IP and UDP headers included, fits this many bytes (`mssfix n mtu`).
    OuterPacket(u16),
    /// The outer payload, without IP and UDP headers, fits this many bytes (`mssfix n`).
    OuterPayload(u16),
    /// The inner IP packet fits this many bytes (`mssfix n fixed`).
    InnerPacket(u16),
}

/// Replay window of the data channel and of wraps (`replay-window`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayWindow {
    /// Packets that may be overtaken.
    pub packets: u32,
    /// Longest delay of an overtaken packet.
    pub time: Duration,
}

/// When the data keys are renewed (`reneg-sec`, `reneg-bytes`, `reneg-pkts`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renegotiation {
    /// Earliest and latest age of a key, between which this side draws; `None` never renews by age.
    pub after: Option<(Duration, Duration)>,
    /// Bytes under one key; `None` for no limit.
    pub bytes: Option<u64>,
    /// Packets under one key; `None` for no limit.
    pub packets: Option<u64>,
}

/// Time limits of the control channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest time from hard reset to derived keys (`hand-window`, 60 s by default).
    pub handshake_window: Duration,
    /// First retransmission of a control packet (`tls-timeout`, 2 s by default).
    pub tls_timeout: Duration,
    /// How long an old key stays valid after a renegotiation (`tran-window`, 3600 s by default).
    pub transition_window: Duration,
}

/// What counts as an idle tunnel (`inactive`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inactive {
    /// Length of the period that is looked at.
    pub after: Duration,
    /// Inner bytes in that period below which the tunnel ends; 0 means that any packet keeps it.
    pub bytes: u64,
}

/// Timers of an established session; a local value that a push overrides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timers {
    /// A ping is sent after this long without sending (`ping`).
    pub ping: Option<Duration>,
    /// The session restarts after this long without receiving (`ping-restart`); never set beside `ping_exit`.
    pub ping_restart: Option<Duration>,
    /// The session ends after this long without receiving (`ping-exit`); never set beside `ping_restart`.
    pub ping_exit: Option<Duration>,
    /// The tunnel ends when it idles (`inactive`).
    pub inactive: Option<Inactive>,
    /// The session ends this long after it was established (`session-timeout`).
    pub session_timeout: Option<Duration>,
}

/// A name that the peer's certificate must carry (`verify-x509-name`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyName {
    /// What is compared.
    pub rule: NameRule,
    /// With what.
    pub name: String,
}

/// Our own certificate and its key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// PEM: our certificate first, intermediates after it (`cert`, then `extra-certs`).
    pub certs: Vec<u8>,
    /// PEM: the private key (`key`), perhaps encrypted.
    pub key: SecretBytes,
    /// What an encrypted key is opened with, as far as it is known (`askpass FILE`).
    pub passphrase: Option<SecretString>,
}

/// Everything that TLS needs to know.
#[derive(Debug, Clone)]
pub struct TlsOptions {
    /// PEM: the authorities that are trusted (`ca`); absent only beside `peer_fingerprints`.
    pub ca: Option<Vec<u8>>,
    /// Our certificate, if we have one.
    pub identity: Option<Identity>,
    /// PEM: revocation lists (`crl-verify`).
    pub crl: Option<Vec<u8>>,
    /// SHA-256 of the peers' certificates that are taken (`peer-fingerprint`); empty means not checked.
    pub peer_fingerprints: Vec<[u8; 32]>,
    /// What the peer's certificate must be meant for; sets the key usage and extended key usage to check.
    pub remote_usage: Option<Usage>,
    /// Key usage values of which one must match (`remote-cert-ku`); empty means not checked. A value of 0 stands
    /// for "the extension has to be there".
    pub remote_ku: Vec<u16>,
    /// Extended key usage, as an OID or by its usual name (`remote-cert-eku`).
    pub remote_eku: Option<String>,
    /// The name that the peer must have.
    pub verify_name: Option<VerifyName>,
    /// Lowest TLS version.
    pub version_min: TlsVersion,
    /// Highest TLS version.
    pub version_max: TlsVersion,
    /// How strong certificates have to be.
    pub profile: CertProfile,
    /// TLS 1.2 suites by either usual name (`tls-cipher`); empty means the default.
    pub tls12_ciphers: Vec<String>,
    /// TLS 1.3 suites by IANA name (`tls-ciphersuites`); empty means the default.
    pub tls13_ciphersuites: Vec<String>,
}
