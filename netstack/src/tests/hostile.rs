//! Whatever comes out of the tunnel, nothing panics.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::packet::{IpPacket, icmp_error};
use crate::testing;

/// Mostly what an honest peer sends.
fn flags() -> impl Strategy<Value = u8> {
    prop_oneof![
        Just(0x12),
        Just(0x10),
        Just(0x02),
        Just(0x18),
        Just(0x11),
        Just(0x04),
        any::<u8>()
    ]
}

/// A segment that an honest peer sends next, acknowledging what begins a flow.
fn segment(kind: u8, flags: u8) -> Vec<u8> {
    vec![
        kind,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        1,
        5 << 4,
        flags,
        0xff,
        0xff,
        0,
        0,
        0,
        0,
    ]
}

/// Records as the fuzz bodies read them: raw, or aimed at a flow with plausible flags and header length.
fn records(handshake: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let segment = (
        prop_oneof![Just(b'T'), Just(b'S')],
        vec(any::<u8>(), 20..60),
        flags(),
        any::<bool>(),
    );
    let aimed = segment.prop_map(|(kind, mut bytes, flags, is_plain)| {
        if is_plain {
            // Small numbers, so that the segment falls into the window.
            bytes[4..7].fill(0);
            bytes[8..11].fill(0);
            bytes[11] %= 4;
            bytes[12] = 5 << 4;
        }
        bytes[13] = flags;
        bytes.insert(0, kind);
        bytes
    });
    let raw = vec(any::<u8>(), 0..100).prop_map(|mut bytes| {
        if let Some(first) = bytes.first_mut() {
            *first = if *first & 1 == 0 { 0x45 } else { 0x60 };
        }
        bytes
    });
    vec(prop_oneof![3 => aimed, 1 => raw], 0..24).prop_map(move |records| {
        let framed = handshake.iter().cloned().chain(records).map(|record| {
            let length = u16::try_from(record.len()).unwrap().to_be_bytes();
            [&length[..], &record].concat()
        });
        framed.flatten().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stack_survives_any_packets(data in records(vec![segment(b'T', 0x12)])) {
        testing::stack_input(&data);
    }

    #[test]
    fn an_exit_survives_any_packets(data in records(vec![segment(b'S', 0x02), Vec::new(), Vec::new(), segment(b'T', 0x10)])) {
        testing::exit_input(&data);
    }

    #[test]
    fn a_resolver_survives_any_answer(data in vec(any::<u8>(), 0..600)) {
        testing::dns_answer(&data);
    }

    #[test]
    fn parsing_any_bytes_never_reads_outside(data in vec(any::<u8>(), 0..120)) {
        if let Some(packet) = IpPacket::parse(&data) {
            prop_assert!(packet.whole.len() <= data.len());
            let _ = (packet.tuple(), packet.udp_payload(), packet.tcp_flags(), icmp_error(&packet));
        }
    }
}
