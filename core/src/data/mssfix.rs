//! Keeps inner TCP segments small enough for the tunnel (`mssfix`, reference section 5.11).

use crate::config::MssFix;

/// What stands around an inner packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer {
    /// Runs over TCP.
    pub tcp: bool,
    /// Runs over IPv6.
    pub ipv6: bool,
    /// Bytes that the data channel adds: [`crate::data::DataKeys::overhead_bytes`].
    pub overhead_bytes: usize,
}

/// The largest segment size (for IPv4 inside) that fits, in bytes; `None` leaves segments alone.
pub fn mss_for(setting: MssFix, outer: Outer) -> Option<u16> {
    let wire_headers = match (outer.tcp, outer.ipv6) {
        (false, false) => 28,
        (false, true) => 48,
        (true, false) => 40,
        (true, true) => 60,
    };
    let tunnel = outer.overhead_bytes + if outer.tcp { 2 } else { 0 };
    let (size, around) = match setting {
        MssFix::Off => return None,
        MssFix::InnerPacket(size) => (size, 0),
        MssFix::OuterPayload(size) => (size, tunnel),
        MssFix::OuterPacket(size) => (size, tunnel + wire_headers),
    };
    // An IPv4 and a TCP header.
    usize::from(size)
        .checked_sub(around + 40)
        .and_then(|mss| u16::try_from(mss).ok())
        .filter(|mss| *mss > 0)
}

/// Lowers the maximum segment size that a TCP SYN announces to `mss` (less 20 for IPv6) and adjusts its checksum.
///
/// Tells whether the packet was changed. Anything but a whole TCP SYN at the start of an IP packet stays as it is.
pub fn clamp_mss(packet: &mut [u8], mss: u16) -> bool {
    let Some(tcp) = syn_segment(packet) else {
        return false;
    };
    let limit = if tcp.ipv6 { mss.saturating_sub(20) } else { mss };
    let Some(segment) = packet.get_mut(tcp.start..) else {
        return false;
    };
    lower(segment, limit).is_some()
}

struct Segment {
    start: usize,
    ipv6: bool,
}

const TCP: u8 = 6;
const SYN: u8 = 0x02;

/// Finds the TCP header of a SYN: not in a later fragment, not behind IPv6 extension headers.
fn syn_segment(packet: &[u8]) -> Option<Segment> {
    let first = *packet.first()?;
    let segment = match first >> 4 {
        4 => {
            let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]);
            let start = 4 * usize::from(first & 0x0F);
            if *packet.get(9)? != TCP || fragment & 0x1FFF != 0 || start < 20 {
                return None;
            }
            Segment { start, ipv6: false }
        }
        6 if *packet.get(6)? == TCP => Segment {
            start: 40,
            ipv6: true,
        },
        _ => return None,
    };
    let flags = *packet.get(segment.start + 13)?;
    (flags & SYN != 0).then_some(segment)
}

/// Finds the MSS option and lowers its value.
fn lower(segment: &mut [u8], limit: u16) -> Option<()> {
    let header_bytes = 4 * usize::from(*segment.get(12)? >> 4);
    let at = mss_option(segment.get(20..header_bytes)?)? + 20;
    let old = u16::from_be_bytes([*segment.get(at)?, *segment.get(at + 1)?]);
    if old <= limit {
        return None;
    }
    let checksum = u16::from_be_bytes([*segment.get(16)?, *segment.get(17)?]);
    // A value at an odd offset has its bytes swapped in the sum.
    let (from, to) = if at % 2 == 0 {
        (old, limit)
    } else {
        (old.swap_bytes(), limit.swap_bytes())
    };
    put_u16(segment, at, limit)?;
    put_u16(segment, 16, adjusted(checksum, from, to))
}

/// Offset of the value of the MSS option within the options.
fn mss_option(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    // Each turn moves on by a byte at least; there are at most 40.
    while let Some(kind) = options.get(at) {
        let len = match kind {
            0 => return None,
            1 => 1,
            _ => usize::from(*options.get(at + 1)?),
        };
        if *kind == 2 {
            return (len == 4 && at + 4 <= options.len()).then_some(at + 2);
        }
        if *kind != 1 && len < 2 {
            return None;
        }
        at += len;
    }
    None
}

fn put_u16(bytes: &mut [u8], at: usize, value: u16) -> Option<()> {
    let slot = bytes.get_mut(at..)?.first_chunk_mut::<2>()?;
    *slot = value.to_be_bytes();
    Some(())
}

/// The Internet checksum after one 16-bit word has changed (RFC 1624 §3).
const fn adjusted(checksum: u16, from: u16, to: u16) -> u16 {
    let sum = !checksum as u32 + !from as u32 + to as u32;
    let folded = (sum & 0xFFFF) + (sum >> 16);
    let folded = (folded & 0xFFFF) + (folded >> 16);
    !((folded & 0xFFFF) as u16)
}

#[cfg(test)]
mod tests;
