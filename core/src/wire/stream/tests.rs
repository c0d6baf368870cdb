//! Tests of `stream`: round trips, vectors and malformed input.

use proptest::prelude::*;

use super::*;

#[test]
fn a_frame_needs_a_length_that_fits() {
    assert_eq!(frame(0x0102), Ok([1, 2]));
    frame(0).unwrap_err();
    assert_eq!(frame(65535), Ok([255, 255]));
    frame(65536).unwrap_err();
}

#[test]
fn a_stream_out_of_step_stays_so() {
    let mut framer = Framer::new(100);
    framer.feed(&[0, 1, 7, 0, 101, 0, 1, 7]);
    assert_eq!(framer.next_packet().unwrap().unwrap(), &[7]);
    let error = WireError::FrameLength { len: 101, limit: 100 };
    assert_eq!(framer.next_packet(), Err(error));
    framer.feed(&[0, 1, 7]);
    assert_eq!(framer.next_packet(), Err(error));
    let mut empty = Framer::new(100);
    empty.feed(&[0, 0]);
    assert_eq!(
        empty.next_packet(),
        Err(WireError::FrameLength { len: 0, limit: 100 })
    );
}

#[test]
fn the_largest_packet_fits_the_smallest_buffer() {
    let mut framer = Framer::with_capacity(10, 0);
    assert_eq!(framer.feed(&[0, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 1]), 12);
    assert_eq!(framer.feed(&[0, 1]), 0);
    assert_eq!(framer.next_packet().unwrap().unwrap().len(), 10);
    assert_eq!(framer.feed(&[0, 1, 9]), 3);
    assert_eq!(framer.next_packet().unwrap().unwrap(), &[9]);
}

proptest! {
    #[test]
    fn packets_come_out_however_the_stream_is_cut(
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..60), 0..20),
        cuts in proptest::collection::vec(1_usize..70, 1..40),
        capacity in 0_usize..200,
    ) {
        let mut stream = Vec::new();
        for packet in &packets {
            stream.extend(frame(packet.len()).unwrap());
            stream.extend(packet);
        }
        let mut framer = Framer::with_capacity(60, capacity);
        let mut seen = Vec::new();
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let taken = framer.feed(&rest[..rest.len().min(*cut)]);
            rest = &rest[taken..];
            while let Some(packet) = framer.next_packet().unwrap() {
                seen.push(packet.to_vec());
            }
        }
        prop_assert_eq!(seen, packets);
    }
}
