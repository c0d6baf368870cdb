//! One question and its answer on the wire (RFC 1035, RFC 6891).

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use crate::packet::be16;

/// Largest answer asked for over UDP: it is not fragmented on any path (RFC 9715 §3.2 gives 1400; DNS flag day 1232).
const UDP_PAYLOAD_BYTES: u16 = 1232;
/// Aliases that are followed within one answer.
const MAX_ALIASES: usize = 16;

/// Which family of addresses is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    fn record_type(self) -> RecordType {
        match self {
            Self::V4 => RecordType::A,
            Self::V6 => RecordType::AAAA,
        }
    }
}

/// What a message says about a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Addresses; none if the name has none of that family.
    Addresses { addresses: Vec<IpAddr>, ttl: Duration },
    /// There is no such name.
    NameNotFound,
    /// Ask again over TCP.
    Truncated,
    /// This server is of no use for this question.
    Useless,
    /// Not an answer to this question at all.
    Foreign,
}

/// Encodes a question; nothing if the name cannot be encoded.
pub(crate) fn encode_query(id: u16, name: &str, family: Family) -> Option<Vec<u8>> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(absolute(name)?, family.record_type()));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_PAYLOAD_BYTES);
    message.set_edns(edns);
    message.to_vec().ok()
}

fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_str(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// Reads a message that came from the server which was asked.
pub(crate) fn decode_answer(bytes: &[u8], id: u16, name: &str, family: Family) -> Answer {
    if be16(bytes, 0) != Some(id) {
        return Answer::Foreign;
    }
    let Some(asked) = absolute(name) else {
        return Answer::Useless;
    };
    // The id is right: whatever else is wrong is this server's fault.
    let Ok(message) = Message::from_vec(bytes) else {
        return Answer::Useless;
    };
    if message.metadata.message_type != MessageType::Response {
        return Answer::Foreign;
    }
    if let Some(question) = message.queries.first()
        && (question.name != asked || question.query_type != family.record_type())
    {
        return Answer::Foreign;
    }
    if message.metadata.truncation {
        return Answer::Truncated;
    }
    if message.metadata.response_code == ResponseCode::NXDomain {
        return Answer::NameNotFound;
    }
    if message.metadata.response_code != ResponseCode::NoError || message.queries.len() != 1 {
        return Answer::Useless;
    }
    addresses(&message, asked, family)
}

fn addresses(message: &Message, asked: Name, family: Family) -> Answer {
    let mut owner = asked;
    let mut ttl = u32::MAX;
    for _ in 0..MAX_ALIASES {
        let alias = message
            .answers
            .iter()
            .filter(|record| record.name == owner)
            .find_map(|record| {
                let RData::CNAME(target) = &record.data else {
                    return None;
                };
                Some((target.0.clone(), record.ttl))
            });
        let Some((target, alias_ttl)) = alias else { break };
        ttl = ttl.min(alias_ttl);
        owner = target;
    }
    let mut addresses = Vec::new();
    for record in message.answers.iter().filter(|record| record.name == owner) {
        let address = if let (RData::A(address), Family::V4) = (&record.data, family) {
            IpAddr::V4(address.0)
        } else if let (RData::AAAA(address), Family::V6) = (&record.data, family) {
            IpAddr::V6(address.0)
        } else {
            continue;
        };
        ttl = ttl.min(record.ttl);
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Answer::Addresses {
        addresses,
        ttl: Duration::from_secs(u64::from(ttl)),
    }
}
