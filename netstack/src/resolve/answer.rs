//! A server's message: whether it answers the question, and what of it may be kept.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::question::{MAX_TTL_SECONDS, Question};
use super::wire::{
    self, CLASS_IN, CODE, HEADER_BYTES, IS_RESPONSE, IS_TRUNCATED, OPCODE, Record, Section, TYPE_A,
    TYPE_AAAA, TYPE_CNAME, TYPE_OPT, TYPE_SOA,
};
use crate::packet::be16;

/// Aliases that are followed within one answer.
const MAX_ALIASES: usize = 16;
/// Records that are looked at for addresses.
const MAX_RECORDS: usize = 256;
/// Longest time that a name is known not to exist (RFC 2308 §5 allows hours; a new host should not wait for them).
const MAX_NEGATIVE: Duration = Duration::from_mins(5);
/// Shortest time that an answer is used, since one page asks for one name many times.
const MIN_AGE: Duration = Duration::from_secs(1);

const NO_ERROR: u8 = 0;
const FORMAT_ERROR: u8 = 1;
const NAME_ERROR: u8 = 3;
const NOT_IMPLEMENTED: u8 = 4;

/// What a message says about a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Records, or that there are none.
    Answer(Answer),
    /// Ask again over TCP.
    Truncated,
    /// This server does not understand EDNS.
    TooModern,
    /// This server is of no use for this question.
    Useless,
    /// Not an answer to this question at all.
    Foreign,
}

/// A whole answer with one question and without OPT, which is between neighbours only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    bytes: Vec<u8>,
    records: Vec<Record>,
}

/// Reads a message that came from the server which was asked.
pub(crate) fn decode_answer(bytes: &[u8], id: u16, question: &Question) -> Verdict {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Verdict::Foreign;
    };
    let [a, b, high, low, q0, q1, ..] = *header;
    if u16::from_be_bytes([a, b]) != id || high & IS_RESPONSE == 0 {
        return Verdict::Foreign;
    }
    // The id is right: whatever else is wrong is this server's fault, but for another question.
    let code = low & CODE;
    if [q0, q1] != [0, 1] || high & OPCODE != 0 {
        return if matches!(code, FORMAT_ERROR | NOT_IMPLEMENTED) && [q0, q1] == [0, 0] {
            Verdict::TooModern
        } else {
            Verdict::Useless
        };
    }
    let Some(end) = wire::skip_name(bytes, HEADER_BYTES) else {
        return Verdict::Useless;
    };
    let is_same = wire::read_name(bytes, HEADER_BYTES).as_ref() == Some(&question.name)
        && end == HEADER_BYTES + question.name.len()
        && be16(bytes, end) == Some(question.kind)
        && be16(bytes, end + 2) == Some(question.class);
    if !is_same {
        return Verdict::Foreign;
    }
    match code {
        NO_ERROR | NAME_ERROR => {}
        FORMAT_ERROR | NOT_IMPLEMENTED => return Verdict::TooModern,
        _ => return Verdict::Useless,
    }
    if high & IS_TRUNCATED != 0 {
        return Verdict::Truncated;
    }
    Answer::new(bytes, end + 4).map_or(Verdict::Useless, Verdict::Answer)
}

impl Answer {
    /// Takes a message whose question ends at `at`.
    fn new(bytes: &[u8], at: usize) -> Option<Self> {
        let (mut records, mut end) = wire::records(bytes, at)?;
        if let Some(option) = records.iter().position(|record| record.kind == TYPE_OPT) {
            let first = records.get(option)?;
            // The upper bits of the code (RFC 6891 §6.1.3): nothing that has any is an answer.
            if first.section != Section::Additional || first.ttl >> 24 != 0 {
                return None;
            }
            // What follows could point behind it; it is additional and may be missed.
            end = first.start;
            records.truncate(option);
        }
        let mut bytes = bytes.get(..end)?.to_vec();
        let additional = records
            .iter()
            .filter(|record| record.section == Section::Additional);
        let additional = u16::try_from(additional.count()).ok()?;
        wire::put(&mut bytes, 10, &additional.to_be_bytes());
        Some(Self { bytes, records })
    }

    /// The message; its id means nothing any more.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it costs to keep it.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.records.len() * size_of::<Record>()
    }

    /// Where the times to live stand, and what they are; values over 31 bits are none (RFC 2181 §8).
    pub(crate) fn ttls(&self) -> impl Iterator<Item = (usize, u32)> {
        self.records
            .iter()
            .map(|record| (record.ttl_at, seconds(record.ttl)))
    }

    /// How long it may be used (RFC 2308 §5 for what says that there is nothing).
    pub(crate) fn lifetime(&self) -> Option<Duration> {
        let within = |section| {
            self.records
                .iter()
                .filter(move |record| record.section == section)
        };
        let answers = within(Section::Answer).map(|record| seconds(record.ttl)).min();
        let nothing = within(Section::Authority)
            .find(|record| record.kind == TYPE_SOA)
            .map(|record| {
                // The last of the five numbers at the end of the data.
                let at = record.data.end.saturating_sub(4).max(record.data.start);
                let minimum = wire::be32(&self.bytes, at).map_or(0, seconds);
                let longest = u32::try_from(MAX_NEGATIVE.as_secs()).unwrap_or(u32::MAX);
                seconds(record.ttl).min(minimum).min(longest)
            });
        let shortest = answers.into_iter().chain(nothing).min()?;
        let lifetime = Duration::from_secs(shortest.min(MAX_TTL_SECONDS).into());
        Some(lifetime.max(MIN_AGE))
    }

    /// Addresses at the end of the aliases.
    pub(crate) fn addresses(&self, question: &Question) -> Vec<IpAddr> {
        let usable = self
            .records
            .iter()
            .filter(|record| record.section == Section::Answer && record.class == CLASS_IN)
            .take(MAX_RECORDS);
        let named: Vec<(Vec<u8>, &Record)> = usable
            .filter_map(|record| Some((wire::read_name(&self.bytes, record.start)?, record)))
            .collect();
        let mut owner = question.name.clone();
        for _ in 0..MAX_ALIASES {
            let alias = named
                .iter()
                .find(|(name, record)| record.kind == TYPE_CNAME && *name == owner)
                .and_then(|(_, record)| wire::read_name(&self.bytes, record.data.start));
            let Some(target) = alias else { break };
            owner = target;
        }
        let mut found = Vec::new();
        for (_, record) in named.iter().filter(|(name, _)| *name == owner) {
            let address = address(self.bytes.get(record.data.clone()), record.kind);
            if let Some(address) = address.filter(|address| !found.contains(address))
                && record.kind == question.kind
            {
                found.push(address);
            }
        }
        found
    }
}

fn seconds(ttl: u32) -> u32 {
    if ttl > i32::MAX.unsigned_abs() { 0 } else { ttl }
}

fn address(data: Option<&[u8]>, kind: u16) -> Option<IpAddr> {
    match kind {
        TYPE_A => <[u8; 4]>::try_from(data?)
            .ok()
            .map(|bytes| Ipv4Addr::from(bytes).into()),
        TYPE_AAAA => <[u8; 16]>::try_from(data?)
            .ok()
            .map(|bytes| Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}
