//! DNS messages as bytes (RFC 1035 §4): names, records, times to live.
//!
//! Every walk is bounded by the message or by a count, and no pointer is followed that does not lead back.

use std::ops::Range;

use crate::packet::be16;

pub(crate) const HEADER_BYTES: usize = 12;
/// RFC 1035 §2.3.4, lengths of labels and the root included.
pub(crate) const MAX_NAME_BYTES: usize = 255;
/// Pointers that are followed within one name.
const MAX_JUMPS: usize = 16;

pub(crate) const TYPE_A: u16 = 1;
pub(crate) const TYPE_CNAME: u16 = 5;
pub(crate) const TYPE_SOA: u16 = 6;
pub(crate) const TYPE_AAAA: u16 = 28;
pub(crate) const TYPE_OPT: u16 = 41;
pub(crate) const CLASS_IN: u16 = 1;

/// Bits of the header's third byte.
pub(crate) const IS_RESPONSE: u8 = 0x80;
pub(crate) const OPCODE: u8 = 0x78;
pub(crate) const IS_TRUNCATED: u8 = 0x02;
pub(crate) const RECURSION_DESIRED: u8 = 0x01;
/// Bits of the header's fourth byte.
pub(crate) const AUTHENTIC_DATA: u8 = 0x20;
pub(crate) const CHECKING_DISABLED: u8 = 0x10;
pub(crate) const CODE: u8 = 0x0f;
/// The bit for DNSSEC in the flags of an OPT record (RFC 3225 §3).
pub(crate) const DNSSEC_OK: u16 = 0x8000;

/// Part of a message that a record stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Answer,
    Authority,
    Additional,
}

/// Where a record is and what its fixed part says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) section: Section,
    /// Where its name starts.
    pub(crate) start: usize,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    /// Seconds, but for OPT.
    pub(crate) ttl: u32,
    /// Where that number stands.
    pub(crate) ttl_at: usize,
    pub(crate) data: Range<usize>,
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk::<4>()
        .copied()
        .map(u32::from_be_bytes)
}

/// Writes over what is there; nothing happens beyond the end.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(to) = at.checked_add(value.len()).and_then(|end| bytes.get_mut(at..end)) {
        to.copy_from_slice(value);
    }
}

/// Where the name that starts at `at` ends; pointers are not followed but must lead back.
pub(crate) fn skip_name(message: &[u8], at: usize) -> Option<usize> {
    let mut next = at;
    loop {
        let length = usize::from(*message.get(next)?);
        match length >> 6 {
            0 => next += 1 + length,
            3 => return (usize::from(be16(message, next)?) & 0x3fff < at).then_some(next + 2),
            _ => return None,
        }
        if next - at > MAX_NAME_BYTES || next > message.len() {
            return None;
        }
        if length == 0 {
            return Some(next);
        }
    }
}

/// The name that starts at `at`, without pointers and in lower case.
pub(crate) fn read_name(message: &[u8], at: usize) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let mut next = at;
    let mut jumps = 0;
    loop {
        let length = usize::from(*message.get(next)?);
        match length >> 6 {
            0 => {
                name.extend(
                    message
                        .get(next..=next + length)?
                        .iter()
                        .map(u8::to_ascii_lowercase),
                );
                next += 1 + length;
            }
            3 => {
                let target = usize::from(be16(message, next)?) & 0x3fff;
                jumps += 1;
                if target >= next || jumps > MAX_JUMPS {
                    return None;
                }
                next = target;
                continue;
            }
            _ => return None,
        }
        if name.len() > MAX_NAME_BYTES {
            return None;
        }
        if length == 0 {
            return Some(name);
        }
    }
}

/// A name's labels as they go on the wire, in lower case; nothing if it is none.
pub(crate) fn encode_name(text: &str) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(text.len() + 2);
    for label in text.strip_suffix('.').unwrap_or(text).split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|length| (1..=63).contains(length))?;
        name.push(length);
        name.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
    }
    name.push(0);
    (name.len() <= MAX_NAME_BYTES).then_some(name)
}

/// All records of a message whose questions end at `at`, and where they end; nothing if one is cut or malformed.
pub(crate) fn records(message: &[u8], at: usize) -> Option<(Vec<Record>, usize)> {
    let mut found = Vec::new();
    let mut next = at;
    for (section, count_at) in [
        (Section::Answer, 6),
        (Section::Authority, 8),
        (Section::Additional, 10),
    ] {
        for _ in 0..be16(message, count_at)? {
            let fixed = skip_name(message, next)?;
            let data = fixed + 10;
            let end = data + usize::from(be16(message, fixed + 8)?);
            if end > message.len() {
                return None;
            }
            found.push(Record {
                section,
                start: next,
                kind: be16(message, fixed)?,
                class: be16(message, fixed + 2)?,
                ttl: be32(message, fixed + 4)?,
                ttl_at: fixed + 4,
                data: data..end,
            });
            next = end;
        }
    }
    Some((found, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_through_pointers_that_lead_back() {
        let mut message = vec![0; HEADER_BYTES];
        message.extend(b"\x04Corp\x07Example\0");
        let second = message.len();
        message.extend(b"\x03www\xc0\x0c");
        assert_eq!(
            read_name(&message, second).unwrap(),
            b"\x03www\x04corp\x07example\0"
        );
        assert_eq!(skip_name(&message, second), Some(message.len()));
        assert_eq!(
            encode_name("WWW.corp.example.").unwrap(),
            b"\x03www\x04corp\x07example\0"
        );
        for bad in [&b"\xc0\x0c"[..], b"\xc0\x20", b"\x80a", b"\x05abc", b"\xc0", b""] {
            let mut message = vec![0; HEADER_BYTES];
            message.extend(bad);
            assert_eq!(read_name(&message, HEADER_BYTES), None, "{bad:?}");
            assert_eq!(skip_name(&message, HEADER_BYTES), None, "{bad:?}");
        }
    }

    #[test]
    fn names_that_cannot_be_are_not_encoded() {
        for bad in ["", ".", "a..b", &"x".repeat(64), &"abcdefg.".repeat(40)] {
            assert_eq!(encode_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_chain_of_pointers_is_cut_off() {
        let mut message = vec![0; HEADER_BYTES];
        message.push(0);
        message.push(0);
        for at in (12..80).step_by(2) {
            message.extend([0xc0, at]);
        }
        let last = message.len() - 2;
        assert_eq!(read_name(&message, last), None);
        assert_eq!(read_name(&message, 18), Some(vec![0]));
    }
}
