//! What a session reports to its owner, and what can go wrong in one.

use std::time::Duration;

use crate::{
    keys::KeyError,
    session::{message::Message, payload::DataError},
    tls::TlsError,
    wire::{KeyId, KeyMethod, WireError},
    wrap::WrapError,
};

/// Something the owner of a session has to know or decide.
#[derive(Debug)]
pub enum SessionEvent {
    /// The peer's first authentic packet arrived.
    FirstContact,
    /// The peer's key-method-2 message of `key_id` arrived; a server now decides whom it is talking to.
    PeerHello {
        /// Which key exchange it belongs to.
        key_id: KeyId,
        /// What the peer said of itself.
        message: Box<KeyMethod>,
    },
    /// The key exchange of `key_id` is complete: control messages flow.
    Active {
        /// The key id.
        key_id: KeyId,
    },
    /// Data keys of `key_id` are installed.
    Keys {
        /// The key id.
        key_id: KeyId,
    },
    /// A renegotiation has begun; `key_id` is the coming key.
    Renewing {
        /// The key id.
        key_id: KeyId,
    },
    /// A text arrived on the control channel.
    Message(Message),
    /// The peer said in band that it leaves (OCC exit).
    PeerExit,
    /// Nothing came from the peer for the configured time.
    Silent(Silence),
    /// The session cannot go on.
    Failed(SessionError),
}

/// What silence of the peer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// `ping-restart`: connect again.
    Restart,
    /// `ping-exit`: end.
    Exit,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The TLS engine refused to go on.
    #[error("TLS failed")]
    Tls(#[from] TlsError),
    /// The key exchange did not complete in time (`hand-window`).
    #[error("the key exchange did not complete within {} seconds (hand-window)", window.as_secs())]
    HandshakeTimeout {
        /// The window.
        window: Duration,
    },
    /// The peer's key-method-2 message is malformed.
    #[error("the peer's key exchange message is malformed")]
    KeyMethod(#[from] WireError),
    /// The key material that both sides drew is unusable.
    #[error("no data keys could be derived")]
    Keys(#[source] KeyError),
    /// The peer's half of the key material is missing.
    #[error("the peer's key material is missing")]
    NoKeyMaterial,
    /// A data packet did not open over TCP: the two ends are out of step.
    #[error("a data packet over TCP did not open")]
    DataOverStream(#[source] DataError),
    /// The peer sent more control data than it may.
    #[error("the peer sent {what} beyond the limit of {limit} bytes")]
    TooMuch {
        /// What there was too much of.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// A packet broke a session over TCP, where nothing may be skipped.
    #[error("a bad packet arrived over TCP")]
    Packet(#[from] PacketError),
}

/// Why one datagram was dropped.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// The control wrap did not hold.
    #[error("control packet not accepted")]
    Wrap(#[from] WrapError),
    /// The packet does not parse.
    #[error("control packet malformed")]
    Wire(#[from] WireError),
    /// An opcode that this role never receives, or that does not fit the state.
    #[error("unexpected {0}")]
    Unexpected(&'static str),
    /// The sender's session id is not the peer's.
    #[error("foreign session id")]
    ForeignSession,
    /// It acknowledges a session that is not ours.
    #[error("acknowledges a session id that is not ours")]
    NotOurs,
    /// Key ids are out of step.
    #[error("key id {got:?} where {wanted:?} is current")]
    KeyId {
        /// The key id of the packet.
        got: KeyId,
        /// The current one.
        wanted: KeyId,
    },
}
