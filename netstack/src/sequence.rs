//! Sequence numbers of acknowledgements.
//!
//! After a retransmission time-out smoltcp rewinds its "next" to the oldest byte, and its bare acknowledgements carry
//! that number. A receiver that has those bytes must drop such a segment, acknowledgement and all (RFC 9293
//! §3.10.7.4), so two ends in that state never hear each other again. Here a bare acknowledgement gets the highest
//! number that was sent, as SND.NXT demands.

use crate::packet::{IPV4_HEADER_BYTES, IPV6_HEADER_BYTES, TCP_FIN, TCP_RST, TCP_SYN, be16, fold};

/// The highest sequence number that a flow has sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SentEnd {
    end: Option<u32>,
    segment_bytes: usize,
    /// Acknowledgement number and window of the last segment.
    told: Option<([u8; 4], [u8; 2])>,
}

/// What a bare acknowledgement says: sequence and acknowledgement number, window as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledgement {
    pub(crate) sequence: [u8; 4],
    pub(crate) number: [u8; 4],
    pub(crate) window: [u8; 2],
}

impl SentEnd {
    /// The longest payload of a segment so far.
    pub(crate) fn segment_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// The last acknowledgement, to be sent again; nothing before there was one.
    pub(crate) fn acknowledgement(&self) -> Option<Acknowledgement> {
        let (number, window) = self.told?;
        Some(Acknowledgement {
            sequence: self.end?.to_be_bytes(),
            number,
            window,
        })
    }

    /// Looks at a segment of the flow, and mends it if it is an acknowledgement with a number of the past.
    pub(crate) fn pass(&mut self, packet: &mut [u8]) {
        let header_len = match packet.first() {
            Some(first) if first >> 4 == 4 => IPV4_HEADER_BYTES,
            _ => IPV6_HEADER_BYTES,
        };
        let Some(segment) = packet.get_mut(header_len..) else {
            return;
        };
        let (Some(sequence), Some(offset), Some(flags)) =
            (be32(segment, 4), segment.get(12), segment.get(13))
        else {
            return;
        };
        let flags = *flags;
        let payload_len = segment.len().saturating_sub(usize::from(offset >> 4) * 4);
        if flags & TCP_RST != 0 {
            return;
        }
        self.segment_bytes = self.segment_bytes.max(payload_len);
        if let (Some(number), Some(window)) = (bytes_at(segment, 8), be16(segment, 14)) {
            // A SYN's window is not scaled: told again, it has to be small enough for any scale.
            let window = if flags & TCP_SYN == 0 { window } else { window >> 4 };
            self.told = Some((number, window.to_be_bytes()));
        }
        let is_bare = payload_len == 0 && flags & (TCP_SYN | TCP_FIN) == 0;
        match self.end {
            Some(end) if is_bare && is_before(sequence, end) => replace_sequence(segment, sequence, end),
            Some(_) | None if is_bare => {}
            known => {
                let length = u32::try_from(payload_len).unwrap_or(0)
                    + u32::from(flags & TCP_SYN != 0)
                    + u32::from(flags & TCP_FIN != 0);
                let end = sequence.wrapping_add(length);
                self.end = Some(known.filter(|known| is_before(end, *known)).unwrap_or(end));
            }
        }
    }
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes_at(bytes, at).map(u32::from_be_bytes)
}

/// Comparison modulo 2³² (RFC 9293 §3.4).
fn is_before(sequence: u32, other: u32) -> bool {
    sequence.wrapping_sub(other) > u32::MAX / 2
}

/// Replaces the number and updates the checksum (RFC 1624 §3).
fn replace_sequence(segment: &mut [u8], old: u32, new: u32) {
    let Some(checksum) = be16(segment, 16) else { return };
    let halves = |word: u32| u64::from(word >> 16) + u64::from(word & 0xffff);
    let updated = !fold(u64::from(!checksum) + halves(!old) + halves(new));
    if let Some(to) = segment.get_mut(4..8) {
        to.copy_from_slice(&new.to_be_bytes());
    }
    if let Some(to) = segment.get_mut(16..18) {
        to.copy_from_slice(&updated.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::write_ip_header;
    use crate::packet::{IpPacket, PROTOCOL_TCP, TCP_ACK, transport_sum};

    fn packet(sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let (src, dst) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let mut segment = vec![0; 20];
        segment[4..8].copy_from_slice(&sequence.to_be_bytes());
        segment[12] = 5 << 4;
        segment[13] = flags;
        segment.extend(payload);
        let checksum = !transport_sum(src, dst, PROTOCOL_TCP, &segment);
        segment[16..18].copy_from_slice(&checksum.to_be_bytes());
        let mut packet = vec![0; IPV4_HEADER_BYTES];
        packet.extend(segment);
        assert!(write_ip_header(&mut packet, src, dst, PROTOCOL_TCP));
        packet
    }

    fn pass(end: &mut SentEnd, mut bytes: Vec<u8>) -> u32 {
        end.pass(&mut bytes);
        let packet = IpPacket::parse(&bytes).unwrap();
        assert_eq!(
            transport_sum(packet.src, packet.dst, PROTOCOL_TCP, packet.payload),
            0xffff
        );
        be32(packet.payload, 4).unwrap()
    }

    #[test]
    fn bare_acknowledgements_carry_the_highest_number_sent() {
        let mut end = SentEnd::default();
        let start = u32::MAX - 50;
        assert_eq!(pass(&mut end, packet(start, TCP_SYN, b"")), start);
        assert_eq!(
            pass(&mut end, packet(start.wrapping_add(1), TCP_ACK, &[1; 100])),
            start.wrapping_add(1)
        );
        let highest = start.wrapping_add(101);
        // Rewound: data keeps its number, an acknowledgement does not.
        assert_eq!(
            pass(&mut end, packet(start.wrapping_add(1), TCP_ACK, &[1; 10])),
            start.wrapping_add(1)
        );
        assert_eq!(
            pass(&mut end, packet(start.wrapping_add(11), TCP_ACK, b"")),
            highest
        );
        assert_eq!(pass(&mut end, packet(highest, TCP_ACK | TCP_FIN, b"")), highest);
        assert_eq!(
            pass(&mut end, packet(highest, TCP_ACK, b"")),
            highest.wrapping_add(1)
        );
        assert_eq!(pass(&mut end, packet(start, TCP_RST, b"")), start);
    }
}
