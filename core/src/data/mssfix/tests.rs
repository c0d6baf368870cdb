//! MSS arithmetic and clamping, against a full recomputation of the checksum.

use proptest::prelude::*;

use super::*;

const UDP4: Outer = Outer {
    tcp: false,
    ipv6: false,
    overhead_bytes: 24,
};

/// A SYN over IPv4 or IPv6 with these TCP options and a right checksum.
fn syn(ipv6: bool, options: &[u8]) -> Vec<u8> {
    let mut options = options.to_vec();
    while !options.len().is_multiple_of(4) {
        options.push(0);
    }
    let offset = u8::try_from((20 + options.len()) / 4 * 16).unwrap();
    let mut tcp = vec![
        0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, offset, SYN, 0xFF, 0xFF, 0, 0, 0, 0,
    ];
    tcp.extend(options);
    let len = u8::try_from(tcp.len()).unwrap();
    let mut packet = if ipv6 {
        [&[0x60, 0, 0, 0, 0, len, TCP, 64][..], &[0xFD; 32]].concat()
    } else {
        let head = [0x45, 0, 0, 20 + len, 0, 0, 0x40, 0, 64, TCP, 0, 0];
        [&head[..], &[10, 0, 0, 1, 10, 0, 0, 2]].concat()
    };
    let start = packet.len();
    packet.extend(tcp);
    let sum = checksum(&packet, start);
    packet[start + 16..start + 18].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The TCP checksum in full, over the segment whose own checksum counts, too: 0 if that is right.
fn checksum(packet: &[u8], start: usize) -> u16 {
    let addresses = if start == 40 {
        &packet[8..40]
    } else {
        &packet[12..20]
    };
    let segment = &packet[start..];
    let words = addresses.chunks(2).chain(segment.chunks(2));
    let mut sum: u32 = words
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    sum += u32::from(TCP) + u32::try_from(segment.len()).unwrap();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

#[test]
fn the_sizes_of_the_reference_come_out() {
    assert_eq!(mss_for(MssFix::OuterPacket(1492), UDP4), Some(1400));
    assert_eq!(mss_for(MssFix::OuterPayload(1450), UDP4), Some(1386));
    assert_eq!(mss_for(MssFix::InnerPacket(1400), UDP4), Some(1360));
    assert_eq!(mss_for(MssFix::Off, UDP4), None);
    let tcp6 = Outer {
        tcp: true,
        ipv6: true,
        ..UDP4
    };
    assert_eq!(
        mss_for(MssFix::OuterPacket(1492), tcp6),
        Some(1492 - 60 - 2 - 24 - 40)
    );
    assert_eq!(mss_for(MssFix::OuterPacket(60), UDP4), None);
}

#[test]
fn a_syn_is_lowered_with_its_checksum() {
    for (ipv6, start, limit) in [(false, 20, 1400), (true, 40, 1380)] {
        let mut packet = syn(ipv6, &[2, 4, 0x05, 0xB4]);
        assert_eq!(checksum(&packet, start), 0);
        assert!(clamp_mss(&mut packet, 1400));
        assert_eq!(packet[start + 22..start + 24], u16::to_be_bytes(limit));
        assert_eq!(checksum(&packet, start), 0);
        assert!(!clamp_mss(&mut packet, 1400));
    }
}

#[test]
fn a_size_at_an_odd_offset_keeps_the_checksum() {
    let mut packet = syn(false, &[1, 2, 4, 0x05, 0xB4]);
    assert!(clamp_mss(&mut packet, 1399));
    assert_eq!(checksum(&packet, 20), 0);
}

#[test]
fn anything_but_a_syn_stays() {
    let with = |index: usize, value: u8| {
        let mut packet = syn(false, &[2, 4, 0x05, 0xB4]);
        packet[index] = value;
        packet
    };
    let packets = [
        with(33, 0x10), // no SYN
        with(9, 17),    // UDP
        with(7, 1),     // a later fragment
        with(0, 0x44),  // an impossible header
        with(0, 0x55),  // another IP version
        with(41, 3),    // an impossible option
        with(40, 3),    // another option
    ];
    for packet in packets {
        let mut copy = packet.clone();
        assert!(!clamp_mss(&mut copy, 1000));
        assert_eq!(copy, packet);
    }
}

#[test]
fn a_cut_packet_stays() {
    for ipv6 in [false, true] {
        let packet = syn(ipv6, &[2, 4, 0x05, 0xB4]);
        for len in 0..packet.len() {
            let mut cut = packet[..len].to_vec();
            assert!(!clamp_mss(&mut cut, 1000), "{len} bytes");
            assert_eq!(cut, packet[..len]);
        }
    }
}

proptest! {
    #[test]
    fn any_options_leave_the_checksum_right(
        options in proptest::collection::vec(0_u8..6, 0..40),
        ipv6 in any::<bool>(),
        mss in any::<u16>(),
    ) {
        let mut packet = syn(ipv6, &options);
        clamp_mss(&mut packet, mss);
        prop_assert_eq!(checksum(&packet, if ipv6 { 40 } else { 20 }), 0);
    }

    #[test]
    fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..100), mss in any::<u16>()) {
        clamp_mss(&mut bytes, mss);
    }
}
