//! Order, duplicates and acknowledgements against a slow model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn take(recv: &mut Recv, max: usize) -> Vec<u32> {
    recv.take_acks(max).iter().map(|id| id.0).collect()
}

#[test]
fn messages_come_out_in_order() {
    let mut recv = Recv::new();
    assert_eq!(recv.accept(PacketId(1), Opcode::Control, b"b"), Accepted::New);
    assert_eq!(recv.pop(), None);
    assert_eq!(
        recv.accept(PacketId(0), Opcode::HardResetServerV2, b""),
        Accepted::New
    );
    assert_eq!(recv.pop(), Some((Opcode::HardResetServerV2, vec![])));
    assert_eq!(recv.pop(), Some((Opcode::Control, b"b".to_vec())));
    assert_eq!(recv.pop(), None);
}

#[test]
fn a_replay_is_acknowledged_again_and_what_is_far_ahead_is_not() {
    let mut recv = Recv::expecting(PacketId(1));
    assert_eq!(recv.accept(PacketId(12), Opcode::Control, b""), Accepted::New);
    assert_eq!(
        recv.accept(PacketId(13), Opcode::Control, b""),
        Accepted::OutOfWindow
    );
    assert_eq!(take(&mut recv, 4), [12]);
    assert!(!recv.pending_acks());
    assert_eq!(recv.accept(PacketId(12), Opcode::Control, b""), Accepted::Replay);
    assert_eq!(
        recv.accept(PacketId(0), Opcode::HardResetClientV2, b""),
        Accepted::Replay
    );
    assert_eq!(recv.pending_len(), 2);
    assert_eq!(take(&mut recv, 4), [12, 0]);
}

#[test]
fn acknowledgements_are_repeated_latest_first() {
    let mut recv = Recv::new();
    assert!(recv.take_acks(4).is_empty());
    for id in 0..10 {
        recv.accept(PacketId(id), Opcode::Control, b"");
        recv.pop();
    }
    assert_eq!(take(&mut recv, 0), Vec::<u32>::new());
    assert_eq!(take(&mut recv, 4), [0, 1, 2, 3]);
    assert_eq!(take(&mut recv, 8), [4, 5, 6, 7, 8, 9, 3, 2]);
    assert_eq!(take(&mut recv, 99), [9, 8, 7, 6, 5, 4, 3, 2]);
    recv.accept(PacketId(5), Opcode::Control, b"");
    assert_eq!(take(&mut recv, 3), [5, 9, 8]);
}

#[test]
fn the_list_of_acknowledgements_is_bounded() {
    let mut recv = Recv::new();
    for id in 0..100 {
        recv.accept(PacketId(id), Opcode::Control, b"");
        recv.pop();
    }
    assert_eq!(recv.pending_len(), MAX_PENDING);
    assert_eq!(take(&mut recv, 1), [76]);
}

proptest! {
    #[test]
    fn accepts_like_the_model(
        first in prop_oneof![Just(0_u32), Just(1), Just(u32::MAX - 6)],
        steps in proptest::collection::vec((0_u32..30, any::<bool>()), 1..200),
    ) {
        let mut recv = Recv::expecting(PacketId(first));
        // What waits, by its distance from the first id.
        let mut waiting: BTreeMap<u32, u8> = BTreeMap::new();
        let mut next = 0_u32;
        for (offset, pops) in steps {
            let place = (next + offset).saturating_sub(8);
            let id = PacketId(first.wrapping_add(place));
            let expected = if place < next || waiting.contains_key(&place) {
                Accepted::Replay
            } else if place >= next + 12 {
                Accepted::OutOfWindow
            } else {
                waiting.insert(place, place.to_be_bytes()[3]);
                Accepted::New
            };
            prop_assert_eq!(recv.accept(id, Opcode::Control, &place.to_be_bytes()[3..]), expected);
            if pops {
                let popped = recv.pop().map(|(_, payload)| payload[0]);
                let wanted = waiting.remove(&next);
                next += u32::from(wanted.is_some());
                prop_assert_eq!(popped, wanted);
            }
            prop_assert!(recv.slots.len() <= WINDOW && recv.pending_len() <= MAX_PENDING);
        }
    }
}
