//! Packets that the stack writes by itself: UDP, ICMP, resets of unknown flows.
//!
//! Each function leaves one whole IP packet in `buf`. Lengths are the caller's care: a payload fits the MTU.

use std::net::{IpAddr, SocketAddr};

use crate::packet::{
    IPV4_HEADER_BYTES, IPV6_HEADER_BYTES, IpPacket, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP,
    PROTOCOL_UDP, TCP_ACK, TCP_FIN, TCP_HEADER_BYTES, TCP_RST, TCP_SYN, Tuple, UDP_HEADER_BYTES, fold, sum,
    transport_sum,
};
use crate::sequence::Acknowledgement;

/// Hop limit of our packets (IANA's recommended default).
const HOP_LIMIT: u8 = 64;
/// Bytes of an ICMP error with its IP header (RFC 1812 §4.3.2.3); below every MTU that IPv6 allows, too.
const MAX_ICMP_ERROR_BYTES: usize = 548;

/// Size of the IP header in that family.
pub(crate) fn ip_header_bytes(address: IpAddr) -> usize {
    if address.is_ipv4() {
        IPV4_HEADER_BYTES
    } else {
        IPV6_HEADER_BYTES
    }
}

/// Writes the IP header into the first bytes of `packet`. False if families differ or it is too long.
pub(crate) fn write_ip_header(packet: &mut [u8], src: IpAddr, dst: IpAddr, protocol: u8) -> bool {
    let total = packet.len();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let (Some(header), Ok(total)) = (
                packet.first_chunk_mut::<IPV4_HEADER_BYTES>(),
                u16::try_from(total),
            ) else {
                return false;
            };
            // Never fragmented, so the identification may be zero (RFC 6864 §4.1).
            *header = [0; IPV4_HEADER_BYTES];
            put(header, 0, &[0x45]);
            put16(header, 2, total);
            put(header, 6, &[0x40, 0, HOP_LIMIT, protocol]);
            put(header, 12, &src.octets());
            put(header, 16, &dst.octets());
            let checksum = !fold(sum(header));
            put16(header, 10, checksum);
            true
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let (Some(header), Ok(payload_len)) = (
                packet.first_chunk_mut::<IPV6_HEADER_BYTES>(),
                u16::try_from(total.saturating_sub(IPV6_HEADER_BYTES)),
            ) else {
                return false;
            };
            put(header, 0, &[0x60, 0, 0, 0]);
            put16(header, 4, payload_len);
            put(header, 6, &[protocol, HOP_LIMIT]);
            put(header, 8, &src.octets());
            put(header, 24, &dst.octets());
            true
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(to) = bytes.get_mut(at..at + value.len()) {
        to.copy_from_slice(value);
    }
}

fn put16(bytes: &mut [u8], at: usize, value: u16) {
    put(bytes, at, &value.to_be_bytes());
}

/// Bytes in front of a UDP payload.
pub(crate) fn udp_overhead_bytes(address: IpAddr) -> usize {
    ip_header_bytes(address) + UDP_HEADER_BYTES
}

/// Completes a datagram whose payload is already in `packet` behind [`udp_overhead_bytes`].
pub(crate) fn finish_udp(packet: &mut [u8], src: SocketAddr, dst: SocketAddr) -> bool {
    if !write_ip_header(packet, src.ip(), dst.ip(), PROTOCOL_UDP) {
        return false;
    }
    let Some(datagram) = packet.get_mut(ip_header_bytes(dst.ip())..) else {
        return false;
    };
    let Ok(len) = u16::try_from(datagram.len()) else {
        return false;
    };
    put16(datagram, 0, src.port());
    put16(datagram, 2, dst.port());
    put16(datagram, 4, len);
    put16(datagram, 6, 0);
    // A sum of zero is sent as its other form (RFC 768).
    let checksum = match !transport_sum(src.ip(), dst.ip(), PROTOCOL_UDP, datagram) {
        0 => 0xffff,
        checksum => checksum,
    };
    put16(datagram, 6, checksum);
    true
}

/// A datagram.
pub(crate) fn udp(buf: &mut Vec<u8>, src: SocketAddr, dst: SocketAddr, payload: &[u8]) -> bool {
    buf.clear();
    buf.resize(udp_overhead_bytes(dst.ip()), 0);
    buf.extend_from_slice(payload);
    finish_udp(buf, src, dst)
}

/// An ICMP message; `message` starts with type and code, its checksum field is filled in.
pub(crate) fn icmp(buf: &mut Vec<u8>, src: IpAddr, dst: IpAddr, parts: [&[u8]; 2]) -> bool {
    buf.clear();
    let header_len = ip_header_bytes(dst);
    buf.resize(header_len, 0);
    for part in parts {
        buf.extend_from_slice(part);
    }
    let protocol = if dst.is_ipv4() {
        PROTOCOL_ICMP
    } else {
        PROTOCOL_ICMPV6
    };
    if !write_ip_header(buf, src, dst, protocol) {
        return false;
    }
    let Some(message) = buf.get_mut(header_len..) else {
        return false;
    };
    put16(message, 2, 0);
    let total = if dst.is_ipv4() {
        fold(sum(message))
    } else {
        transport_sum(src, dst, protocol, message)
    };
    put16(message, 2, !total);
    true
}

/// Completes an echo reply whose message is already in `packet` behind the IP header, with that identifier.
pub(crate) fn finish_echo(packet: &mut [u8], src: IpAddr, dst: IpAddr, identifier: u16) -> bool {
    let protocol = if dst.is_ipv4() {
        PROTOCOL_ICMP
    } else {
        PROTOCOL_ICMPV6
    };
    if !write_ip_header(packet, src, dst, protocol) {
        return false;
    }
    let Some(message) = packet.get_mut(ip_header_bytes(dst)..) else {
        return false;
    };
    if !matches!(*message, [0 | 129, 0, _, _, _, _, _, _, ..]) {
        return false;
    }
    put16(message, 4, identifier);
    finish_icmp(message, src, dst, protocol);
    true
}

fn finish_icmp(message: &mut [u8], src: IpAddr, dst: IpAddr, protocol: u8) {
    put16(message, 2, 0);
    let total = if dst.is_ipv4() {
        fold(sum(message))
    } else {
        transport_sum(src, dst, protocol, message)
    };
    put16(message, 2, !total);
}

/// The answer to an echo request, if that is what `packet` is.
pub(crate) fn echo_reply(buf: &mut Vec<u8>, packet: &IpPacket<'_>) -> bool {
    let Some((head, rest)) = packet.payload.split_first_chunk::<4>() else {
        return false;
    };
    let (request, reply) = if packet.dst.is_ipv4() { (8, 0) } else { (128, 129) };
    if *head.first_chunk::<2>().unwrap_or(&[0; 2]) != [request, 0] || !icmp_is_intact(packet) {
        return false;
    }
    icmp(buf, packet.dst, packet.src, [&[reply, 0, 0, 0], rest])
}

/// Whether the checksum of an ICMP message is right.
pub(crate) fn icmp_is_intact(packet: &IpPacket<'_>) -> bool {
    match packet.dst {
        IpAddr::V4(_) => fold(sum(packet.payload)) == 0xffff,
        IpAddr::V6(_) => transport_sum(packet.src, packet.dst, PROTOCOL_ICMPV6, packet.payload) == 0xffff,
    }
}

/// Why a packet is not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreachable {
    Network,
    Host,
    Port,
    Prohibited,
}

impl Unreachable {
    fn v4(self) -> [u8; 4] {
        let code = match self {
            Self::Network => 0,
            Self::Host => 1,
            Self::Port => 3,
            Self::Prohibited => 13,
        };
        [3, code, 0, 0]
    }

    fn v6(self) -> [u8; 4] {
        let code = match self {
            Self::Network => 0,
            Self::Host => 3,
            Self::Port => 4,
            Self::Prohibited => 1,
        };
        [1, code, 0, 0]
    }
}

/// An ICMP error about `packet`, sent as if by its destination. Nothing for what must not be answered
/// (RFC 1122 §3.2.2).
pub(crate) fn unreachable(buf: &mut Vec<u8>, packet: &IpPacket<'_>, why: Unreachable) -> bool {
    let is_icmp = packet.protocol == PROTOCOL_ICMP || packet.protocol == PROTOCOL_ICMPV6;
    let is_request = packet
        .payload
        .first()
        .is_some_and(|kind| *kind == 8 || *kind == 128);
    if (is_icmp && !is_request) || !is_answerable(packet) {
        return false;
    }
    let kind = if packet.dst.is_ipv4() { why.v4() } else { why.v6() };
    let [a, b, c, d] = kind;
    let room = MAX_ICMP_ERROR_BYTES - ip_header_bytes(packet.dst) - 8;
    let quoted = packet.whole.get(..room).unwrap_or(packet.whole);
    icmp(buf, packet.dst, packet.src, [&[a, b, c, d, 0, 0, 0, 0], quoted])
}

/// "Port unreachable" about a datagram that is not at hand any more; its headers are written anew.
pub(crate) fn port_unreachable(buf: &mut Vec<u8>, src: SocketAddr, dst: SocketAddr) -> bool {
    let mut quoted = Vec::new();
    udp(&mut quoted, src, dst, &[])
        && IpPacket::parse(&quoted).is_some_and(|packet| unreachable(buf, &packet, Unreachable::Port))
}

/// Whether source and destination are single hosts.
fn is_answerable(packet: &IpPacket<'_>) -> bool {
    let is_single = |address: IpAddr| {
        let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
        !address.is_multicast() && !address.is_unspecified() && !is_broadcast
    };
    !packet.is_fragment && is_single(packet.src) && is_single(packet.dst)
}

/// A bare acknowledgement of a flow.
pub(crate) fn acknowledgement(buf: &mut Vec<u8>, tuple: &Tuple, says: Acknowledgement) -> bool {
    let (src, dst) = (tuple.local, tuple.remote);
    let header_len = ip_header_bytes(dst.ip());
    buf.clear();
    buf.resize(header_len + TCP_HEADER_BYTES, 0);
    if !write_ip_header(buf, src.ip(), dst.ip(), PROTOCOL_TCP) {
        return false;
    }
    let Some(segment) = buf.get_mut(header_len..) else {
        return false;
    };
    put16(segment, 0, src.port());
    put16(segment, 2, dst.port());
    put(segment, 4, &says.sequence);
    put(segment, 8, &says.number);
    put(segment, 12, &[5 << 4, TCP_ACK]);
    put(segment, 14, &says.window);
    let checksum = !transport_sum(src.ip(), dst.ip(), PROTOCOL_TCP, segment);
    put16(segment, 16, checksum);
    true
}

/// Tells the far end of a flow that its segment with that number could not be delivered. A sender that had to double
/// its retransmission time takes that as the path's fault and goes back by one step (RFC 6069 §4); none ends a
/// connection for it (RFC 1122 §4.2.3.9).
pub(crate) fn undelivered(buf: &mut Vec<u8>, tuple: &Tuple, sequence: [u8; 4]) -> bool {
    let theirs = Tuple {
        local: tuple.remote,
        remote: tuple.local,
    };
    let says = Acknowledgement {
        sequence,
        number: [0; 4],
        window: [0; 2],
    };
    let mut quoted = Vec::new();
    acknowledgement(&mut quoted, &theirs, says)
        && IpPacket::parse(&quoted).is_some_and(|packet| unreachable(buf, &packet, Unreachable::Network))
}

/// A reset for a segment of no known flow (RFC 9293 §3.5.2); nothing for a reset.
pub(crate) fn reset(buf: &mut Vec<u8>, packet: &IpPacket<'_>) -> bool {
    let Some(flags) = packet.tcp_flags() else {
        return false;
    };
    if flags & TCP_RST != 0 || !is_answerable(packet) {
        return false;
    }
    let segment = packet.payload;
    let word = |at: usize| {
        segment
            .get(at..at + 4)
            .and_then(|word| <[u8; 4]>::try_from(word).ok())
    };
    let (Some(sequence), Some(acknowledged), Some(ports), Some(offset)) =
        (word(4), word(8), word(0), segment.get(12))
    else {
        return false;
    };
    let [src_high, src_low, dst_high, dst_low] = ports;
    let header_len = ip_header_bytes(packet.dst);
    buf.clear();
    buf.resize(header_len + 20, 0);
    let (sequence, acknowledgement, flags) = if flags & TCP_ACK != 0 {
        (acknowledged, [0; 4], TCP_RST)
    } else {
        let data = segment.len().saturating_sub(usize::from(offset >> 4) * 4);
        let length = u32::try_from(data).unwrap_or(0)
            + u32::from(flags & TCP_SYN != 0)
            + u32::from(flags & TCP_FIN != 0);
        (
            [0; 4],
            u32::from_be_bytes(sequence).wrapping_add(length).to_be_bytes(),
            TCP_RST | TCP_ACK,
        )
    };
    if !write_ip_header(buf, packet.dst, packet.src, PROTOCOL_TCP) {
        return false;
    }
    let Some(reply) = buf.get_mut(header_len..) else {
        return false;
    };
    put(reply, 0, &[dst_high, dst_low, src_high, src_low]);
    put(reply, 4, &sequence);
    put(reply, 8, &acknowledgement);
    put(reply, 12, &[5 << 4, flags]);
    let checksum = !transport_sum(packet.dst, packet.src, PROTOCOL_TCP, reply);
    put16(reply, 16, checksum);
    true
}
