//! In-band messages among inner packets: pings and OCC (reference section 5.8).

use super::{Put, Reader};

/// Payload of a ping: these bytes exactly. Never forwarded, never answered.
pub const PING: [u8; 16] = [
    0x2a, 0x18, 0x7b, 0xf3, 0x64, 0x1e, 0xb4, 0xcb, 0x07, 0xed, 0x2d, 0x0a, 0x98, 0x1f, 0xc7, 0x48,
];

/// First bytes of an OCC message; the code follows.
pub const OCC: [u8; 16] = [
    0x28, 0x7f, 0x34, 0x6b, 0xd4, 0xef, 0x7a, 0x81, 0x2d, 0x56, 0xb8, 0xd3, 0xaf, 0xc5, 0x45, 0x9c,
];

/// What an OCC message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OccCode {
    /// Asks for the options string.
    Request,
    /// The options string, NUL terminated.
    Reply,
    /// Asks for a packet of a given size.
    MtuLoadRequest,
    /// A packet padded to that size.
    MtuLoad,
    /// Asks for the largest packets seen.
    MtuRequest,
    /// The largest packets received and sent.
    MtuReply,
    /// The peer ends the session.
    Exit,
    /// A code that is not known: consumed and ignored.
    Unknown(u8),
}

impl OccCode {
    /// The code on the wire.
    pub const fn value(self) -> u8 {
        match self {
            Self::Request => 0,
            Self::Reply => 1,
            Self::MtuLoadRequest => 2,
            Self::MtuLoad => 3,
            Self::MtuRequest => 4,
            Self::MtuReply => 5,
            Self::Exit => 6,
            Self::Unknown(value) => value,
        }
    }

    /// Names a code.
    pub const fn from_value(value: u8) -> Self {
        match value {
            0 => Self::Request,
            1 => Self::Reply,
            2 => Self::MtuLoadRequest,
            3 => Self::MtuLoad,
            4 => Self::MtuRequest,
            5 => Self::MtuReply,
            6 => Self::Exit,
            other => Self::Unknown(other),
        }
    }
}

/// An in-band message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Magic<'a> {
    /// A ping.
    Ping,
    /// An OCC message and its body.
    Occ(OccCode, &'a [u8]),
}

impl<'a> Magic<'a> {
    /// Recognises an in-band message among opened payloads; `None` is a packet for the inside.
    ///
    /// An OCC prefix without a code is an unknown message, for it is no packet either.
    pub fn of(payload: &'a [u8]) -> Option<Self> {
        if payload == PING {
            return Some(Self::Ping);
        }
        let mut rest = Reader::new(payload.strip_prefix(&OCC)?);
        let code = rest
            .u8("occ code")
            .map_or(OccCode::Unknown(0xFF), OccCode::from_value);
        Some(Self::Occ(code, rest.rest()))
    }
}

/// The payload of an OCC message.
pub fn occ_message(code: OccCode, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(OCC.len() + 1 + body.len());
    out.put(&OCC);
    out.put_u8(code.value());
    out.put(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_band_messages_are_told_from_packets() {
        assert_eq!(Magic::of(&PING), Some(Magic::Ping));
        assert_eq!(
            Magic::of(&occ_message(OccCode::Exit, &[])),
            Some(Magic::Occ(OccCode::Exit, &[]))
        );
        assert_eq!(
            Magic::of(&occ_message(OccCode::Reply, b"V4\0")),
            Some(Magic::Occ(OccCode::Reply, b"V4\0"))
        );
        assert_eq!(Magic::of(&OCC), Some(Magic::Occ(OccCode::Unknown(0xFF), &[])));
        assert_eq!(Magic::of(&[&PING[..], &[0]].concat()), None);
        assert_eq!(Magic::of(&[0x45; 20]), None);
        assert_eq!(Magic::of(&[]), None);
    }

    #[test]
    fn codes_read_back() {
        for value in 0..=255 {
            assert_eq!(OccCode::from_value(value).value(), value);
        }
    }
}
