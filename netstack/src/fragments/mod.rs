//! Datagrams above the MTU: what we send is cut up (RFC 791 §3.2, RFC 8200 §4.5), what comes is put together.
//!
//! TCP never gets here. Nothing here is touched while no fragment comes and no datagram is too long.

mod reassembly;

pub(crate) use reassembly::Reassembly;

use std::net::IpAddr;

use crate::packet::{IPV4_HEADER_BYTES, IPV6_HEADER_BYTES, IpPacket, PROTOCOL_FRAGMENT, be16, fold, sum};
use crate::rng::Rng;
use crate::sink::Outbox;

/// Size of IPv6's fragment header.
pub(crate) const FRAGMENT_HEADER_BYTES: usize = 8;
/// "More fragments" in IPv4's flags.
const MORE_V4: u16 = 0x2000;
/// "More fragments" in IPv6's fragment header.
const MORE_V6: u16 = 1;

/// What a fragment says about its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    id: u32,
    offset: usize,
    has_more: bool,
    /// Protocol of what was cut up.
    protocol: u8,
}

/// Reads a fragment's place and its piece of the datagram.
fn place<'a>(packet: &IpPacket<'a>) -> Option<(Place, &'a [u8])> {
    if packet.dst.is_ipv4() {
        let field = be16(packet.header, 6)?;
        let place = Place {
            id: be16(packet.header, 4)?.into(),
            offset: usize::from(field & 0x1fff) * 8,
            has_more: field & MORE_V4 != 0,
            protocol: packet.protocol,
        };
        return Some((place, packet.payload));
    }
    let (header, piece) = packet.payload.split_first_chunk::<FRAGMENT_HEADER_BYTES>()?;
    let [protocol, _, high, low, a, b, c, d] = *header;
    let field = u16::from_be_bytes([high, low]);
    let place = Place {
        id: u32::from_be_bytes([a, b, c, d]),
        offset: usize::from(field & !7),
        has_more: field & MORE_V6 != 0,
        protocol,
    };
    Some((place, piece))
}

/// Queues a whole packet of ours, in fragments if it is longer than the MTU; all of them or none.
pub(crate) fn push(outbox: &mut Outbox, packet: &[u8], mtu_bytes: usize, rng: &mut Rng) -> bool {
    let Some(parsed) = IpPacket::parse(packet) else {
        return false;
    };
    if packet.len() <= mtu_bytes {
        return outbox.push(|buf| {
            buf.extend_from_slice(packet);
            true
        });
    }
    let overhead = match parsed.dst {
        IpAddr::V4(_) => IPV4_HEADER_BYTES,
        IpAddr::V6(_) => IPV6_HEADER_BYTES + FRAGMENT_HEADER_BYTES,
    };
    // All pieces but the last are multiples of eight bytes.
    let piece_bytes = mtu_bytes.saturating_sub(overhead) & !7;
    if piece_bytes == 0 {
        return false;
    }
    let count = parsed.payload.len().div_ceil(piece_bytes);
    if outbox.room() < count {
        outbox.dropped += 1;
        return false;
    }
    let id = rng.next_u32();
    let mut offset = 0;
    for piece in parsed.payload.chunks(piece_bytes) {
        let has_more = offset + piece.len() < parsed.payload.len();
        let place = Place {
            id,
            offset,
            has_more,
            protocol: parsed.protocol,
        };
        if !outbox.push(|buf| write(buf, &parsed, place, piece)) {
            return false;
        }
        offset += piece.len();
    }
    true
}

/// Writes one fragment.
fn write(buf: &mut Vec<u8>, whole: &IpPacket<'_>, place: Place, piece: &[u8]) -> bool {
    let Ok(offset) = u16::try_from(place.offset) else {
        return false;
    };
    buf.clear();
    buf.extend_from_slice(whole.header);
    if whole.dst.is_ipv4() {
        buf.extend_from_slice(piece);
        let more = if place.has_more { MORE_V4 } else { 0 };
        let [.., id_high, id_low] = place.id.to_be_bytes();
        let Ok(total) = u16::try_from(buf.len()) else {
            return false;
        };
        let Some(header) = buf.get_mut(..whole.header.len()) else {
            return false;
        };
        put(header, 2, total.to_be_bytes());
        put(header, 4, [id_high, id_low]);
        put(header, 6, ((offset / 8) | more).to_be_bytes());
        put(header, 10, [0, 0]);
        let checksum = !fold(sum(header));
        put(header, 10, checksum.to_be_bytes());
        return true;
    }
    let more = if place.has_more { MORE_V6 } else { 0 };
    buf.extend_from_slice(&[place.protocol, 0]);
    buf.extend_from_slice(&(offset | more).to_be_bytes());
    buf.extend_from_slice(&place.id.to_be_bytes());
    buf.extend_from_slice(piece);
    let Ok(len) = u16::try_from(buf.len() - IPV6_HEADER_BYTES) else {
        return false;
    };
    put(buf, 4, len.to_be_bytes());
    put(buf, 6, [PROTOCOL_FRAGMENT]);
    true
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(to) = bytes.get_mut(at..at + N) {
        to.copy_from_slice(&value);
    }
}

#[cfg(test)]
mod tests;
