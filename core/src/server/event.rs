//! What a server endpoint reports and what it is told.

use std::{fmt, net::SocketAddr, time::Duration};

use crate::{
    data::Cipher,
    secret::SecretString,
    server::pool::Lease,
    session::{Counters, SessionError},
    tls::PeerIdentity,
    wire::PeerInfo,
};

/// Number of a client, never used twice by an endpoint (`cid` of the management interface).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// Number of a key exchange of a client (`kid` of the management interface): 0 at first, then one more each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyNumber(pub u32);

/// What is known of a client that asks to be let in.
#[derive(Debug)]
pub struct AdmissionRequest {
    /// Outer address.
    pub address: SocketAddr,
    /// Its certificate, if it has one; already verified against `ca`.
    pub certificate: Option<PeerIdentity>,
    /// User name, if it sent one.
    pub username: Option<SecretString>,
    /// Password, if it sent one.
    pub password: Option<SecretString>,
    /// What its program says of itself.
    pub peer_info: PeerInfo,
    /// Whether this is a renegotiation of a client that is already in.
    pub renewal: bool,
}

/// The answer to an [`AdmissionRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Let it in, with these options in addition to the ones for everybody.
    Accept {
        /// Options to push.
        push: Vec<String>,
    },
    /// Refuse it.
    Deny {
        /// For the log.
        reason: DenyReason,
    },
    /// Something else must happen first (a web login, say); the answer follows.
    Pending {
        /// How long the client is asked to wait.
        timeout: Duration,
        /// What the client is shown (`INFO_PRE`).
        extra: String,
    },
}

/// Why a client was refused, and what it is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DenyReason {
    /// For the log.
    pub log: String,
    /// Sent to the client behind `AUTH_FAILED`; nothing if empty.
    pub client: String,
}

/// What a server endpoint reports.
#[derive(Debug)]
pub enum Event {
    /// A client asks to be let in: answer with [`super::Endpoint::decide`]. Unanswered, it is refused in time.
    Client {
        /// The client.
        cid: ClientId,
        /// The key exchange.
        kid: KeyNumber,
        /// What is known of it.
        request: Box<AdmissionRequest>,
    },
    /// A client has its options and keys: packets go through.
    Established(Box<Established>),
    /// A client's outer address changed.
    Floated {
        /// The client.
        cid: ClientId,
        /// Its new outer address.
        to: SocketAddr,
    },
    /// A client is gone.
    Gone {
        /// The client.
        cid: ClientId,
        /// Its name, once known.
        name: Option<String>,
        /// Its outer address.
        address: SocketAddr,
        /// Its inner addresses, if it had any; they may be leased again.
        lease: Option<Lease>,
        /// Why.
        reason: GoneReason,
        /// What it did.
        stats: PeerStats,
    },
    /// The stream from this address is to be closed.
    CloseStream(SocketAddr),
    /// The endpoint has said good-bye to everybody; nothing follows.
    Closed,
}

/// A client that is in.
#[derive(Debug, Clone)]
pub struct Established {
    /// The client.
    pub cid: ClientId,
    /// Its common name or user name.
    pub name: String,
    /// Its outer address.
    pub address: SocketAddr,
    /// Its inner addresses.
    pub lease: Lease,
    /// Data-channel cipher.
    pub cipher: Cipher,
    /// TLS version and cipher suite, for people.
    pub tls: Option<String>,
}

/// Why a client is gone.
#[derive(Debug)]
pub enum GoneReason {
    /// It said so.
    Left,
    /// It fell silent (`ping-restart`, `ping-exit`).
    Silent,
    /// Its session failed.
    Failed(SessionError),
    /// It was refused.
    Denied(String),
    /// Another client with the same name came in (no `duplicate-cn`), or the same one anew.
    Replaced,
    /// Its stream ended.
    StreamClosed,
    /// The server ends.
    Shutdown,
}

impl fmt::Display for GoneReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left => f.write_str("left"),
            Self::Silent => f.write_str("fell silent"),
            Self::Failed(SessionError::Tls(error)) => write!(f, "TLS: {error}"),
            Self::Failed(error) => write!(f, "{error}"),
            Self::Denied(reason) => write!(f, "refused: {reason}"),
            Self::Replaced => f.write_str("replaced by a newer session"),
            Self::StreamClosed => f.write_str("connection closed"),
            Self::Shutdown => f.write_str("server shuts down"),
        }
    }
}

/// Counters of one client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// What its session counted.
    pub session: Counters,
    /// Inner packets dropped: wrong source, no destination, full.
    pub dropped_packets: u64,
}
