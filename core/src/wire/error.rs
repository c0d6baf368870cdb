//! What can be wrong with bytes that claim to be ours.

use super::Opcode;

/// Bytes that do not form what they should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("{field} wants {wanted} bytes, {left} are left")]
    Truncated {
        /// The field.
        field: &'static str,
        /// Its size in bytes.
        wanted: usize,
        /// How many bytes were left.
        left: usize,
    },
    /// A first byte whose opcode is unknown or obsolete.
    #[error("opcode {0} is not known")]
    UnknownOpcode(u8),
    /// A data packet where a control packet was wanted.
    #[error("{0:?} is not a control packet")]
    NotControl(Opcode),
    /// A control packet where a data packet was wanted.
    #[error("{0:?} is not a data packet")]
    NotData(Opcode),
    /// A session id of zeros.
    #[error("session id is zero")]
    ZeroSessionId,
    /// More acknowledgements than a packet may carry.
    #[error("packet acknowledges {count} packets, at most 8 are allowed")]
    TooManyAcks {
        /// How many it claims to carry.
        count: usize,
    },
    /// A key exchange message of another method than 2.
    #[error("key method {0} is not supported, only 2 is")]
    KeyMethod(u8),
    /// A field or message above its limit.
    #[error("{field} has {len} bytes, at most {limit} are allowed")]
    TooLong {
        /// The field.
        field: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A TCP frame of length 0 or above the limit: the stream is out of step and must be closed.
    #[error("frame of {len} bytes, 1 to {limit} are allowed")]
    FrameLength {
        /// The length it claims.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// An inner packet that is neither IPv4 nor IPv6.
    #[error("inner packet has IP version {0}")]
    IpVersion(u8),
    /// An inner packet whose length fields contradict its size.
    #[error("inner packet claims {claimed} bytes, has {has}")]
    InnerLength {
        /// What the header claims.
        claimed: usize,
        /// How many bytes there are.
        has: usize,
    },
}
