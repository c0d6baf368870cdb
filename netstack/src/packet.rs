//! Inner packets as they are read: addresses, protocol, ports; nothing is trusted, nothing is copied.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::error::FlowError;

pub(crate) const IPV4_HEADER_BYTES: usize = 20;
pub(crate) const IPV6_HEADER_BYTES: usize = 40;
pub(crate) const UDP_HEADER_BYTES: usize = 8;
pub(crate) const TCP_HEADER_BYTES: usize = 20;

/// A SYN has options, but no data.
pub(crate) const MAX_SYN_BYTES: usize = 160;

pub(crate) const PROTOCOL_ICMP: u8 = 1;
pub(crate) const PROTOCOL_TCP: u8 = 6;
pub(crate) const PROTOCOL_UDP: u8 = 17;
pub(crate) const PROTOCOL_FRAGMENT: u8 = 44;
pub(crate) const PROTOCOL_ICMPV6: u8 = 58;

/// Both ends of a flow as this end sees it; `local` is the destination of what comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tuple {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

impl std::hash::Hash for Tuple {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        for end in [self.local, self.remote] {
            match end.ip() {
                IpAddr::V4(address) => {
                    state.write_u64(u64::from(u32::from(address)) << 16 | u64::from(end.port()));
                }
                IpAddr::V6(address) => {
                    state.write(&address.octets());
                    state.write_u64(u64::from(end.port()));
                }
            }
        }
    }
}

/// An IP packet whose lengths are consistent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpPacket<'a> {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: u8,
    /// Part of a fragmented datagram.
    pub(crate) is_fragment: bool,
    /// The packet without what may follow it.
    pub(crate) whole: &'a [u8],
    pub(crate) header: &'a [u8],
    pub(crate) payload: &'a [u8],
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn address<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

impl<'a> IpPacket<'a> {
    /// Reads the IP header. IPv6 extension headers are not walked.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => Self::parse_v4(bytes),
            6 => Self::parse_v6(bytes),
            _ => None,
        }
    }

    fn parse_v4(bytes: &'a [u8]) -> Option<Self> {
        let header_len = usize::from(bytes.first()? & 0x0f) * 4;
        let total_len = usize::from(be16(bytes, 2)?);
        if header_len < IPV4_HEADER_BYTES || total_len < header_len {
            return None;
        }
        let whole = bytes.get(..total_len)?;
        let (header, payload) = whole.split_at_checked(header_len)?;
        Some(Self {
            src: Ipv4Addr::from(address::<4>(header, 12)?).into(),
            dst: Ipv4Addr::from(address::<4>(header, 16)?).into(),
            protocol: *header.get(9)?,
            // More fragments, or an offset.
            is_fragment: be16(header, 6)? & 0x3fff != 0,
            whole,
            header,
            payload,
        })
    }

    fn parse_v6(bytes: &'a [u8]) -> Option<Self> {
        let total_len = usize::from(be16(bytes, 4)?) + IPV6_HEADER_BYTES;
        let whole = bytes.get(..total_len)?;
        let (header, payload) = whole.split_at_checked(IPV6_HEADER_BYTES)?;
        let protocol = *header.get(6)?;
        Some(Self {
            src: Ipv6Addr::from(address::<16>(header, 8)?).into(),
            dst: Ipv6Addr::from(address::<16>(header, 24)?).into(),
            protocol,
            is_fragment: protocol == PROTOCOL_FRAGMENT,
            whole,
            header,
            payload,
        })
    }

    /// Both ends, for a protocol that starts with two ports.
    pub(crate) fn tuple(&self) -> Option<Tuple> {
        let src = SocketAddr::new(self.src, be16(self.payload, 0)?);
        let dst = SocketAddr::new(self.dst, be16(self.payload, 2)?);
        Some(Tuple {
            local: dst,
            remote: src,
        })
    }

    /// The TCP flags and header length, if the header is all there.
    pub(crate) fn tcp_flags(&self) -> Option<u8> {
        if self.payload.len() < TCP_HEADER_BYTES {
            return None;
        }
        self.payload.get(13).copied()
    }

    /// The datagram within, if lengths and checksum are right.
    pub(crate) fn udp_payload(&self) -> Option<&'a [u8]> {
        let len = usize::from(be16(self.payload, 4)?);
        let datagram = self.payload.get(..len)?;
        let checksum = be16(datagram, 6)?;
        // Zero means "not computed", which IPv6 forbids (RFC 8200 §8.1).
        let is_right = if checksum == 0 {
            self.dst.is_ipv4()
        } else {
            transport_sum(self.src, self.dst, PROTOCOL_UDP, datagram) == 0xffff
        };
        datagram.get(UDP_HEADER_BYTES..).filter(|_| is_right)
    }

    /// Whether the IPv4 header's checksum is right; IPv6 has none.
    pub(crate) fn header_is_intact(&self) -> bool {
        self.dst.is_ipv6() || fold(sum(self.header)) == 0xffff
    }
}

pub(crate) const TCP_FIN: u8 = 0x01;
pub(crate) const TCP_SYN: u8 = 0x02;
pub(crate) const TCP_RST: u8 = 0x04;
pub(crate) const TCP_ACK: u8 = 0x10;

/// One's-complement sum of big-endian words, not folded.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut total: u64 = words
        .iter()
        .map(|word| u64::from(u32::from_be_bytes(*word)))
        .sum();
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    total += u64::from(u32::from_be_bytes(last));
    total
}

/// Folds a sum to 16 bits.
pub(crate) fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).unwrap_or(u16::MAX)
}

/// Sum over pseudo-header and segment (RFC 9293 §3.1, RFC 8200 §8.1); 0xffff if a checksum in it is right.
pub(crate) fn transport_sum(src: IpAddr, dst: IpAddr, protocol: u8, segment: &[u8]) -> u16 {
    let addresses: u64 = [src, dst]
        .iter()
        .map(|end| match end {
            IpAddr::V4(address) => sum(&address.octets()),
            IpAddr::V6(address) => sum(&address.octets()),
        })
        .sum();
    fold(addresses + u64::from(protocol) + segment.len() as u64 + sum(segment))
}

/// What an ICMP error says, and about which flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IcmpError {
    /// Protocol of the packet that was refused.
    pub(crate) protocol: u8,
    /// Its flow, as this end sees it.
    pub(crate) tuple: Tuple,
    pub(crate) error: FlowError,
}

/// Reads an ICMP "destination unreachable" or "time exceeded" about a packet of ours.
pub(crate) fn icmp_error(packet: &IpPacket<'_>) -> Option<IcmpError> {
    let [kind, code, ..] = *packet.payload else {
        return None;
    };
    let error = if packet.dst.is_ipv4() {
        unreachable_v4(kind, code)?
    } else {
        unreachable_v6(kind, code)?
    };
    let quoted = packet.payload.get(8..)?;
    let (src, dst, protocol, ports) = quoted_packet(quoted)?;
    if src != packet.dst || src.is_ipv4() != packet.dst.is_ipv4() {
        return None;
    }
    let local = SocketAddr::new(src, be16(ports, 0)?);
    let remote = SocketAddr::new(dst, be16(ports, 2)?);
    Some(IcmpError {
        protocol,
        tuple: Tuple { local, remote },
        error,
    })
}

/// RFC 792, RFC 1122 §3.2.2.1, RFC 1812 §5.2.7.1.
fn unreachable_v4(kind: u8, code: u8) -> Option<FlowError> {
    match (kind, code) {
        (3, 0 | 6 | 11) => Some(FlowError::NetworkUnreachable),
        (3, 2 | 3 | 9 | 10 | 13) => Some(FlowError::Refused),
        // Code 4 asks for smaller packets: the MTU is the tunnel's business.
        (3, 4) => None,
        (3, _) | (11, 0) => Some(FlowError::HostUnreachable),
        _ => None,
    }
}

/// RFC 4443 §3.1, §3.3.
fn unreachable_v6(kind: u8, code: u8) -> Option<FlowError> {
    match (kind, code) {
        (1, 0) => Some(FlowError::NetworkUnreachable),
        (1, 1 | 4 | 5 | 6) => Some(FlowError::Refused),
        (1, _) | (3, 0) => Some(FlowError::HostUnreachable),
        _ => None,
    }
}

/// The quoted header; the quote is cut short, so its length field is not checked.
fn quoted_packet(quoted: &[u8]) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    match quoted.first()? >> 4 {
        4 => {
            let header_len = usize::from(quoted.first()? & 0x0f) * 4;
            let src = Ipv4Addr::from(address::<4>(quoted, 12)?).into();
            let dst = Ipv4Addr::from(address::<4>(quoted, 16)?).into();
            Some((src, dst, *quoted.get(9)?, quoted.get(header_len..)?))
        }
        6 => {
            let src = Ipv6Addr::from(address::<16>(quoted, 8)?).into();
            let dst = Ipv6Addr::from(address::<16>(quoted, 24)?).into();
            Some((src, dst, *quoted.get(6)?, quoted.get(IPV6_HEADER_BYTES..)?))
        }
        _ => None,
    }
}
