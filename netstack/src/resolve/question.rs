//! What is asked: as a client wrote it, as it goes to a server, and how the answer goes back.

use super::answer::Answer;
use super::wire::{
    self, AUTHENTIC_DATA, CHECKING_DISABLED, CLASS_IN, DNSSEC_OK, HEADER_BYTES, IS_RESPONSE, OPCODE,
    RECURSION_DESIRED, TYPE_A, TYPE_AAAA, TYPE_OPT,
};
use crate::error::QueryError;
use crate::packet::be16;

/// Largest answer asked for over UDP: it is not fragmented on any path (RFC 9715 §3.2 gives 1400; DNS flag day 1232).
const UDP_PAYLOAD_BYTES: u16 = 1232;
/// Longest time to live that is passed on, so that nothing outlives the tunnel by much.
pub(crate) const MAX_TTL_SECONDS: u32 = 3600;

/// Which family of addresses is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// All that an answer depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Question {
    /// Labels on the wire, in lower case.
    pub(crate) name: Vec<u8>,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    dnssec_ok: bool,
    checking_disabled: bool,
}

impl Question {
    /// Asks for addresses; nothing if the name cannot be asked for.
    pub(crate) fn addresses(name: &str, family: Family) -> Option<Self> {
        Some(Self {
            name: wire::encode_name(name)?,
            kind: match family {
                Family::V4 => TYPE_A,
                Family::V6 => TYPE_AAAA,
            },
            class: CLASS_IN,
            dnssec_ok: false,
            checking_disabled: false,
        })
    }

    /// The message for a server. A server that does not know EDNS is asked without it (RFC 6891 §6.2.2).
    pub(crate) fn encode(&self, id: u16, with_edns: bool) -> Vec<u8> {
        let mut message = id.to_be_bytes().to_vec();
        // AD says that we know what it means in an answer (RFC 6840 §5.7).
        let checking = if self.checking_disabled {
            CHECKING_DISABLED
        } else {
            0
        };
        message.extend([RECURSION_DESIRED, AUTHENTIC_DATA | checking]);
        message.extend([0, 1, 0, 0, 0, 0, 0, u8::from(with_edns)]);
        message.extend(&self.name);
        message.extend(self.kind.to_be_bytes());
        message.extend(self.class.to_be_bytes());
        if with_edns {
            opt(&mut message, self.dnssec_ok);
        }
        message
    }
}

/// Appends an OPT record without options (RFC 6891 §6.1.2).
fn opt(message: &mut Vec<u8>, dnssec_ok: bool) {
    message.push(0);
    message.extend(TYPE_OPT.to_be_bytes());
    message.extend(UDP_PAYLOAD_BYTES.to_be_bytes());
    message.extend([0, 0]);
    message.extend((if dnssec_ok { DNSSEC_OK } else { 0 }).to_be_bytes());
    message.extend([0, 0]);
}

/// How a client asked, for the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    id: u16,
    /// The third and fourth byte of its header.
    flags: [u8; 2],
    /// The name in the letters of the client (some check them, draft-vixie-dnsext-dns0x20).
    name: Vec<u8>,
    /// The bit for DNSSEC, if EDNS is spoken.
    edns: Option<bool>,
}

/// Reads a client's message.
pub(crate) fn decode_query(message: &[u8]) -> Result<(Question, Asked), QueryError> {
    let header = message
        .first_chunk::<HEADER_BYTES>()
        .ok_or(QueryError::Malformed)?;
    let [a, b, high, low, rest @ ..] = *header;
    if high & IS_RESPONSE != 0 {
        return Err(QueryError::Malformed);
    }
    if high & OPCODE != 0 {
        return Err(QueryError::NotSupported);
    }
    let [0, 1, 0, 0, 0, 0, _, _] = rest else {
        return Err(QueryError::Malformed);
    };
    let end = wire::skip_name(message, HEADER_BYTES).ok_or(QueryError::Malformed)?;
    let name = message.get(HEADER_BYTES..end).unwrap_or_default().to_vec();
    let lower = wire::read_name(message, HEADER_BYTES).filter(|lower| lower.len() == name.len());
    let kind = be16(message, end);
    let class = be16(message, end + 2);
    let (Some(lower), Some(kind), Some(class)) = (lower, kind, class) else {
        return Err(QueryError::Malformed);
    };
    let (records, _) = wire::records(message, end + 4).ok_or(QueryError::Malformed)?;
    let mut options = records.iter().filter(|record| record.kind == TYPE_OPT);
    let edns = options
        .next()
        .map(|record| record.ttl & u32::from(DNSSEC_OK) != 0);
    if options.next().is_some() {
        return Err(QueryError::Malformed);
    }
    let question = Question {
        name: lower,
        kind,
        class,
        dnssec_ok: edns == Some(true),
        checking_disabled: low & CHECKING_DISABLED != 0,
    };
    let asked = Asked {
        id: u16::from_be_bytes([a, b]),
        flags: [high, low],
        name,
        edns,
    };
    Ok((question, asked))
}

impl Asked {
    /// The answer as this client gets it: its own id, letters and flags, times to live as they are by now.
    pub(crate) fn render(&self, answer: &Answer, age_seconds: u32) -> Vec<u8> {
        let mut message = answer.bytes().to_vec();
        wire::put(&mut message, 0, &self.id.to_be_bytes());
        wire::put(&mut message, HEADER_BYTES, &self.name);
        let [high, low] = self.flags;
        if let Some(flags) = message.get_mut(2..4).and_then(<[u8]>::first_chunk_mut::<2>) {
            flags[0] = flags[0] & !RECURSION_DESIRED | high & RECURSION_DESIRED;
            // Only those who ask for it hear of validation (RFC 6840 §5.8).
            let wants = low & AUTHENTIC_DATA != 0 || self.edns == Some(true);
            let kept = if wants { AUTHENTIC_DATA } else { 0 };
            flags[1] = flags[1] & !(AUTHENTIC_DATA & !kept) & !CHECKING_DISABLED | low & CHECKING_DISABLED;
        }
        for (at, ttl) in answer.ttls() {
            let left = ttl.min(MAX_TTL_SECONDS).saturating_sub(age_seconds);
            wire::put(&mut message, at, &left.to_be_bytes());
        }
        if let Some(dnssec_ok) = self.edns {
            opt(&mut message, dnssec_ok);
            let additional = be16(&message, 10).unwrap_or_default().saturating_add(1);
            wire::put(&mut message, 10, &additional.to_be_bytes());
        }
        message
    }
}
