//! Queries as local programs send them, and the short answers that are made here (RFC 1035 §4.1, RFC 6891, RFC 8914).

use super::ResolveError;

pub(crate) const HEADER_BYTES: usize = 12;
/// Longest name (RFC 1035 §2.3.4).
const MAX_NAME_BYTES: usize = 255;
/// What a client without EDNS takes over UDP (RFC 1035 §4.2.1).
const PLAIN_UDP_BYTES: u16 = 512;
/// What is sent over UDP at most, whatever a client says (DNS flag day 2020).
const MAX_UDP_BYTES: u16 = 1232;

pub(crate) const TYPE_A: u16 = 1;
pub(crate) const TYPE_PTR: u16 = 12;
const TYPE_HINFO: u16 = 13;
pub(crate) const TYPE_AAAA: u16 = 28;
const TYPE_OPT: u16 = 41;
/// Types of queries that are no types of records (RFC 5395 §3.1), first and last; all but ANY are refused.
const META_TYPES: std::ops::RangeInclusive<u16> = 128..=254;
pub(crate) const TYPE_ANY: u16 = 255;
pub(crate) const CLASS_IN: u16 = 1;

const IS_RESPONSE: u8 = 0x80;
const OPCODE: u8 = 0x78;
const IS_TRUNCATED: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;
const CHECKING_DISABLED: u8 = 0x10;

/// Option of an extended error (RFC 8914 §2).
const OPTION_ERROR: u16 = 15;
const NO_REACHABLE_AUTHORITY: u16 = 22;
const NETWORK_ERROR: u16 = 23;
const OTHER_ERROR: u16 = 0;

/// What an answer that is made here says. Numbers above 15 need EDNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NameError = 3,
    NotImplemented = 4,
    Refused = 5,
    BadVersion = 16,
}

/// What is known of EDNS in a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extended {
    udp_bytes: u16,
    version: u8,
    dnssec_ok: bool,
}

/// A query that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    header: [u8; 4],
    /// The question as it was written: name, type, class.
    question: Vec<u8>,
    /// The name's labels in lower case, the root left out.
    pub(crate) labels: Vec<Vec<u8>>,
    pub(crate) kind: u16,
    class: u16,
    edns: Option<Extended>,
}

/// What to do with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// It is no query: whoever sends it is not answered, so that no two services talk to each other for ever.
    Ignore,
    /// It is answered at once.
    Answer(Vec<u8>),
    /// It is a question.
    Ask(Request),
}

/// Reads a message of a client.
pub(crate) fn read(message: &[u8]) -> Incoming {
    let Some(header) = message.first_chunk::<HEADER_BYTES>() else {
        return Incoming::Ignore;
    };
    let [a, b, high, low, counts @ ..] = *header;
    if high & IS_RESPONSE != 0 {
        return Incoming::Ignore;
    }
    let header = [a, b, high, low];
    if high & OPCODE != 0 {
        return Incoming::Answer(bare(header, Code::NotImplemented));
    }
    let [0, 1, 0, 0, 0, 0, _, additional] = counts else {
        return Incoming::Answer(bare(header, Code::FormatError));
    };
    let Some(request) = read_question(header, message, additional) else {
        return Incoming::Answer(bare(header, Code::FormatError));
    };
    let code = if request.edns.is_some_and(|edns| edns.version != 0) {
        Code::BadVersion
    } else if request.class != CLASS_IN || META_TYPES.contains(&request.kind) || request.kind == TYPE_OPT {
        Code::Refused
    } else {
        return Incoming::Ask(request);
    };
    Incoming::Answer(request.answer(code, &[], None))
}

fn read_question(header: [u8; 4], message: &[u8], additional: u8) -> Option<Request> {
    let mut labels = Vec::new();
    let mut at = HEADER_BYTES;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        // Pointers have nothing to point to in a query.
        let label = message.get(at..at + length).filter(|_| length < 64)?;
        labels.push(label.to_ascii_lowercase());
        at += length;
        if at - HEADER_BYTES >= MAX_NAME_BYTES {
            return None;
        }
    }
    let [k0, k1, c0, c1] = *message.get(at..)?.first_chunk::<4>()?;
    at += 4;
    let question = message.get(HEADER_BYTES..at)?.to_vec();
    let mut edns = None;
    for _ in 0..additional {
        let (record, next) = read_extra(message, at)?;
        if record.is_some() && edns.is_some() {
            return None;
        }
        edns = edns.or(record);
        at = next;
    }
    Some(Request {
        header,
        question,
        labels,
        kind: u16::from_be_bytes([k0, k1]),
        class: u16::from_be_bytes([c0, c1]),
        edns,
    })
}

/// Reads a record behind the question, whose name must be the root, as OPT's is, and where the next one starts.
fn read_extra(message: &[u8], at: usize) -> Option<(Option<Extended>, usize)> {
    let [0, k0, k1, u0, u1, _, version, flags, _, l0, l1] = *message.get(at..)?.first_chunk::<11>()? else {
        return None;
    };
    let next = at + 11 + usize::from(u16::from_be_bytes([l0, l1]));
    if next > message.len() {
        return None;
    }
    let edns = Extended {
        udp_bytes: u16::from_be_bytes([u0, u1]),
        version,
        dnssec_ok: flags & 0x80 != 0,
    };
    Some(((u16::from_be_bytes([k0, k1]) == TYPE_OPT).then_some(edns), next))
}

/// An answer of which there is but the header.
fn bare([a, b, high, _]: [u8; 4], code: Code) -> Vec<u8> {
    let flags = IS_RESPONSE | high & (OPCODE | RECURSION_DESIRED);
    vec![
        a,
        b,
        flags,
        RECURSION_AVAILABLE | code as u8 & 15,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ]
}

impl Request {
    /// The id and flags of the client, for messages that came from elsewhere.
    pub(crate) fn is_answered_by(&self, answer: &[u8]) -> bool {
        let [a, b, ..] = self.header;
        let is_response = answer.get(2).is_some_and(|high| high & IS_RESPONSE != 0);
        let end = HEADER_BYTES + self.question.len();
        answer.starts_with(&[a, b]) && is_response && answer.get(HEADER_BYTES..end) == Some(&self.question)
    }

    /// Longest answer over UDP.
    fn udp_bytes(&self) -> u16 {
        self.edns.map_or(PLAIN_UDP_BYTES, |edns| {
            edns.udp_bytes.clamp(PLAIN_UDP_BYTES, MAX_UDP_BYTES)
        })
    }

    /// The answer itself if it fits a datagram for this client, else one that sends it to TCP.
    pub(crate) fn fit_datagram(&self, answer: Vec<u8>) -> Vec<u8> {
        if answer.len() <= usize::from(self.udp_bytes()) {
            return answer;
        }
        let mut short = self.answer(Code::NoError, &[], None);
        // Codes of both kinds of answers that can be long are in the low bits.
        if let (Some(to), Some(from)) = (short.get_mut(2..4), answer.get(2..4)) {
            to.copy_from_slice(from);
        }
        if let Some(high) = short.get_mut(2) {
            *high |= IS_TRUNCATED;
        }
        short
    }

    /// An answer that is made here: records of the name itself, and an extended error.
    pub(crate) fn answer(
        &self,
        code: Code,
        records: &[(u16, u32, Vec<u8>)],
        error: Option<(u16, &str)>,
    ) -> Vec<u8> {
        let mut message = bare(self.header, code);
        let [_, _, _, low] = self.header;
        let records_count = u8::try_from(records.len()).unwrap_or(u8::MAX);
        if let Some(rest) = message.get_mut(3..12) {
            let flags = rest.first().copied().unwrap_or_default() | low & CHECKING_DISABLED;
            let additional = u8::from(self.edns.is_some());
            rest.copy_from_slice(&[flags, 0, 1, 0, records_count, 0, 0, 0, additional]);
        }
        message.extend(&self.question);
        for (kind, ttl, data) in records.iter().take(records_count.into()) {
            // The name of the question.
            message.extend([0xc0, 0x0c]);
            message.extend(kind.to_be_bytes());
            message.extend(CLASS_IN.to_be_bytes());
            message.extend(ttl.to_be_bytes());
            message.extend(u16::try_from(data.len()).unwrap_or_default().to_be_bytes());
            message.extend(data);
        }
        if let Some(edns) = self.edns {
            message.push(0);
            message.extend(TYPE_OPT.to_be_bytes());
            message.extend(MAX_UDP_BYTES.to_be_bytes());
            message.extend([(code as u8) >> 4, 0, u8::from(edns.dnssec_ok) << 7, 0]);
            let mut options = Vec::new();
            if let Some((info, text)) = error {
                let length = u16::try_from(text.len() + 2).unwrap_or_default();
                options.extend(OPTION_ERROR.to_be_bytes());
                options.extend(length.to_be_bytes());
                options.extend(info.to_be_bytes());
                options.extend(text.as_bytes());
            }
            message.extend(u16::try_from(options.len()).unwrap_or_default().to_be_bytes());
            message.extend(options);
        }
        message
    }

    /// Says that there is no answer, and why (RFC 8914 §4).
    pub(crate) fn fail(&self, error: ResolveError) -> Vec<u8> {
        let info = match error {
            ResolveError::TunnelDown => NETWORK_ERROR,
            ResolveError::NoServer | ResolveError::Failed | ResolveError::TimedOut => NO_REACHABLE_AUTHORITY,
            ResolveError::Overloaded | ResolveError::Malformed => OTHER_ERROR,
        };
        let code = match error {
            ResolveError::Malformed => Code::FormatError,
            ResolveError::TunnelDown
            | ResolveError::NoServer
            | ResolveError::Failed
            | ResolveError::TimedOut
            | ResolveError::Overloaded => Code::ServerFailure,
        };
        self.answer(code, &[], Some((info, &error.to_string())))
    }

    /// The least that ANY may be answered by (RFC 8482 §4.2).
    pub(crate) fn answer_any(&self) -> Vec<u8> {
        let data = b"\x07RFC8482\x00".to_vec();
        self.answer(Code::NoError, &[(TYPE_HINFO, 3600, data)], None)
    }
}
