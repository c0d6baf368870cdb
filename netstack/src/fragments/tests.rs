//! Datagrams cut up and put together, against fragments in any order and a slow model.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::emit;
use crate::rng::Rng;

const MTU: usize = 576;

fn datagram(is_v4: bool, payload: &[u8]) -> Vec<u8> {
    let ends = if is_v4 {
        ["10.8.0.1:53", "10.8.0.2:5353"]
    } else {
        ["[fd00::1]:53", "[fd00::2]:5353"]
    };
    let [src, dst] = ends.map(|end| end.parse::<SocketAddr>().unwrap());
    let mut packet = Vec::new();
    assert!(emit::udp(&mut packet, src, dst, payload));
    packet
}

fn cut(packet: &[u8], mtu_bytes: usize, seed: u64) -> Vec<Vec<u8>> {
    let mut outbox = Outbox::new();
    assert!(push(&mut outbox, packet, mtu_bytes, &mut Rng::new(seed)));
    let mut fragments = Vec::new();
    outbox.drain(true, usize::MAX, &mut |packet| {
        fragments.push(packet.to_vec());
        true
    });
    fragments
}

fn feed(reassembly: &mut Reassembly, now: Instant, fragment: &[u8]) -> Option<Vec<u8>> {
    let packet = IpPacket::parse(fragment)?;
    assert!(packet.is_fragment && packet.header_is_intact());
    reassembly.handle_fragment(now, &packet)
}

/// A fragment with any place and bytes.
fn fragment(is_v4: bool, place: Place, piece: &[u8]) -> Vec<u8> {
    let whole = datagram(is_v4, b"");
    let mut buf = Vec::new();
    assert!(write(&mut buf, &IpPacket::parse(&whole).unwrap(), place, piece));
    buf
}

#[test]
fn the_longest_datagrams_arrive_unchanged() {
    for (is_v4, len) in [(true, 65_507), (false, 65_527), (true, 549), (false, 529)] {
        let payload: Vec<u8> = (0..len)
            .map(|at: u32| at.to_le_bytes()[0] ^ at.to_le_bytes()[1])
            .collect();
        let packet = datagram(is_v4, &payload);
        let fragments = cut(&packet, MTU, 1);
        assert!(fragments.len() > 1 && fragments.iter().all(|fragment| fragment.len() <= MTU));
        let mut reassembly = Reassembly::default();
        let (last, rest) = fragments.split_first().unwrap();
        for fragment in rest {
            assert_eq!(feed(&mut reassembly, Instant::now(), fragment), None);
        }
        let whole = feed(&mut reassembly, Instant::now(), last).unwrap();
        let parsed = IpPacket::parse(&whole).unwrap();
        assert_eq!(parsed.udp_payload(), Some(&payload[..]));
    }
}

#[test]
fn a_datagram_that_fits_is_not_cut() {
    let packet = datagram(true, &[7; MTU - 28]);
    assert_eq!(cut(&packet, MTU, 1), [packet]);
}

#[test]
fn an_atomic_fragment_is_whole() {
    let mut whole = datagram(false, b"atomic");
    let place = Place {
        id: 9,
        offset: 0,
        has_more: false,
        protocol: 17,
    };
    let parsed = IpPacket::parse(&whole).unwrap();
    let mut bytes = Vec::new();
    assert!(write(&mut bytes, &parsed, place, parsed.payload));
    let mut reassembly = Reassembly::default();
    // It has nothing to do with others of its id (RFC 6946 §4).
    let other = Place {
        has_more: true,
        ..place
    };
    assert_eq!(
        feed(&mut reassembly, Instant::now(), &fragment(false, other, &[0; 8])),
        None
    );
    let got = feed(&mut reassembly, Instant::now(), &bytes).unwrap();
    // The flow label and traffic class are not kept.
    whole[0] = 0x60;
    assert_eq!(got, whole);
}

#[test]
fn overlaps_spoil_the_datagram_for_good() {
    for is_v4 in [true, false] {
        let packet = datagram(is_v4, &[3; 1200]);
        let fragments = cut(&packet, MTU, 4);
        let first = IpPacket::parse(&fragments[0]).unwrap();
        let (place, _) = place(&first).unwrap();
        let mut reassembly = Reassembly::default();
        let now = Instant::now();
        assert_eq!(feed(&mut reassembly, now, &fragments[0]), None);
        let overlapping = Place { offset: 8, ..place };
        assert_eq!(
            feed(&mut reassembly, now, &fragment(is_v4, overlapping, &[3; 16])),
            None
        );
        for fragment in fragments.iter().chain(&fragments[..1]) {
            assert_eq!(feed(&mut reassembly, now, fragment), None);
        }
        // Its id is good again later.
        let later = now + Duration::from_mins(1);
        let got: Vec<_> = fragments
            .iter()
            .filter_map(|fragment| feed(&mut reassembly, later, fragment))
            .collect();
        assert_eq!(got.len(), 1);
    }
}

#[test]
fn fragments_wait_a_bounded_time() {
    let fragments = cut(&datagram(true, &[3; 1000]), MTU, 5);
    let mut reassembly = Reassembly::default();
    let now = Instant::now();
    assert_eq!(feed(&mut reassembly, now, &fragments[0]), None);
    assert_eq!(
        feed(&mut reassembly, now + Duration::from_secs(31), &fragments[1]),
        None
    );
}

#[test]
fn a_flood_of_first_fragments_holds_a_bounded_amount() {
    let mut reassembly = Reassembly::default();
    let now = Instant::now();
    for host in 0..64_u16 {
        for id in 0..64 {
            let place = Place {
                id,
                offset: 65_528 - 8 * 200,
                has_more: true,
                protocol: 17,
            };
            let mut bytes = fragment(false, place, &[1; 8 * 100]);
            bytes[22..24].copy_from_slice(&host.to_be_bytes());
            assert_eq!(feed(&mut reassembly, now, &bytes), None);
        }
    }
    let (datagrams, held) = reassembly.held();
    assert!((1..=128).contains(&datagrams), "{datagrams} datagrams");
    assert!(held <= 2 * 1024 * 1024, "{held} bytes");
}

#[test]
fn what_does_not_fit_the_queue_is_not_sent_in_part() {
    let mut outbox = Outbox::new();
    while outbox.room() > 3 {
        assert!(outbox.push(|buf| {
            buf.push(1);
            true
        }));
    }
    let packet = datagram(true, &[0; 3000]);
    assert!(!push(&mut outbox, &packet, MTU, &mut Rng::new(1)));
    assert_eq!(outbox.room(), 3);
}

/// The slow model: a byte is what the one fragment that has it says; two different fragments on one byte, or two
/// ends, spoil everything after.
#[derive(Default)]
struct Model {
    fragments: BTreeMap<(usize, usize), Vec<u8>>,
    total: Option<usize>,
    is_spoilt: bool,
}

impl Model {
    fn add(&mut self, offset: usize, has_more: bool, piece: &[u8]) -> Option<Vec<u8>> {
        let end = offset + piece.len();
        let same = self.fragments.get(&(offset, end)).map(Vec::as_slice) == Some(piece);
        let clash = self
            .fragments
            .keys()
            .any(|(start, stop)| *start < end && offset < *stop);
        let total = if has_more { self.total } else { Some(end) };
        let highest = self
            .fragments
            .keys()
            .map(|(_, stop)| *stop)
            .max()
            .unwrap_or(0)
            .max(end);
        let ends_clash = self.total.is_some() && total != self.total;
        self.is_spoilt |= (clash && !same) || ends_clash || total.is_some_and(|total| highest > total);
        self.total = total;
        self.fragments.insert((offset, end), piece.to_vec());
        let there: Vec<u8> = self.fragments.values().flatten().copied().collect();
        (!self.is_spoilt && self.total == Some(there.len())).then_some(there)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_with_copies_gives_the_datagram(
        is_v4 in any::<bool>(),
        payload in vec(any::<u8>(), 600..6000),
        order in vec(any::<Index>(), 0..40),
        mtu_bytes in 256..1500usize,
    ) {
        let packet = datagram(is_v4, &payload);
        prop_assume!(packet.len() > mtu_bytes);
        let fragments = cut(&packet, mtu_bytes, 2);
        let mut reassembly = Reassembly::default();
        let now = Instant::now();
        let mut seen = vec![false; fragments.len()];
        let mut rounds = 0;
        let picks = order.iter().map(|index| index.index(fragments.len())).chain(0..fragments.len());
        for pick in picks {
            seen[pick] = true;
            let got = feed(&mut reassembly, now, &fragments[pick]);
            // Each full set gives it once; what comes again after that begins anew.
            prop_assert_eq!(got.is_some(), seen.iter().all(|seen| *seen));
            if let Some(got) = got {
                let parsed = IpPacket::parse(&got).unwrap();
                prop_assert_eq!(parsed.udp_payload(), Some(&payload[..]));
                seen.fill(false);
                rounds += 1;
            }
        }
        prop_assert!(rounds >= 1);
    }

    #[test]
    fn any_fragments_do_what_the_model_does(
        is_v4 in any::<bool>(),
        records in vec((0..12usize, 1..6usize, any::<bool>(), 0..3u8), 1..14),
    ) {
        let mut reassembly = Reassembly::default();
        let mut model = Model::default();
        let now = Instant::now();
        for (offset, eighths, has_more, fill) in records {
            let (offset, piece) = (offset * 8, vec![fill; eighths * 8]);
            if offset == 0 && !has_more {
                continue;
            }
            let place = Place { id: 1, offset, has_more, protocol: 17 };
            let got = feed(&mut reassembly, now, &fragment(is_v4, place, &piece));
            let wanted = model.add(offset, has_more, &piece);
            let got = got.map(|packet| IpPacket::parse(&packet).unwrap().payload.to_vec());
            prop_assert_eq!(&got, &wanted);
            if wanted.is_some() {
                model = Model::default();
            }
        }
    }
}
