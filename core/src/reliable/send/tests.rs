//! Window, retransmission and a lossy link.

use proptest::prelude::*;

use super::*;
use crate::wire::fixtures::start;

const TIMEOUT: Duration = Duration::from_secs(2);

fn at(seconds: u64) -> Instant {
    start() + Duration::from_secs(seconds)
}

/// Sends everything that is due and tells which ids that was.
fn drain(send: &mut Send, now: Instant) -> Vec<u32> {
    let mut ids = Vec::new();
    for _ in 0..100 {
        match send.poll(now) {
            Some(due) => ids.push(due.id.0),
            None => break,
        }
    }
    ids
}

fn full() -> Send {
    let mut send = Send::new(TIMEOUT);
    for _ in 0..6 {
        assert!(send.has_room());
        send.push(at(0), Opcode::Control, vec![1]);
    }
    send
}

#[test]
fn a_message_is_sent_at_doubling_intervals_up_to_a_limit_until_it_is_acknowledged() {
    let mut send = Send::new(TIMEOUT);
    assert_eq!(send.push(at(0), Opcode::HardResetClientV2, vec![]), PacketId(0));
    for (attempts, seconds) in (1..).zip([0, 2, 6, 10, 14]) {
        assert_eq!(send.next_deadline(), Some(at(seconds)));
        let due = Due {
            id: PacketId(0),
            opcode: Opcode::HardResetClientV2,
            payload: &[],
            attempts,
        };
        assert_eq!(send.poll(at(seconds)), Some(due));
        assert_eq!(send.poll(at(seconds)), None);
    }
    send.on_ack(PacketId(0));
    assert!(send.is_empty() && send.next_deadline().is_none());
}

#[test]
fn six_messages_are_in_flight_at_most() {
    let mut send = full();
    assert!(!send.has_room());
    let seventh = send.push(at(0), Opcode::Control, vec![7]);
    assert_eq!(drain(&mut send, at(0)), [0, 1, 2, 3, 4, 5]);
    send.on_ack(PacketId(3));
    assert!(!send.has_room());
    assert_eq!(drain(&mut send, at(0)), Vec::<u32>::new());
    send.on_ack(PacketId(0));
    assert_eq!(drain(&mut send, at(0)), [seventh.0]);
}

#[test]
fn three_acknowledgements_of_later_messages_send_a_lost_one_at_once() {
    let mut send = full();
    drain(&mut send, at(0));
    send.on_ack(PacketId(1));
    send.on_ack(PacketId(2));
    // Acknowledgements come again in later packets; that says nothing new.
    send.on_ack(PacketId(2));
    assert_eq!(drain(&mut send, at(1)), Vec::<u32>::new());
    send.on_ack(PacketId(3));
    assert!(send.next_deadline().unwrap() <= at(1));
    assert_eq!(drain(&mut send, at(1)), [0]);
    send.on_ack(PacketId(4));
    assert_eq!(drain(&mut send, at(1)), Vec::<u32>::new());
}

#[test]
fn what_was_never_sent_cannot_be_acknowledged() {
    let mut send = full();
    send.on_ack(PacketId(0));
    send.on_ack(PacketId(77));
    assert_eq!(drain(&mut send, at(0)), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn the_first_contact_sends_all_again_from_the_first_interval_on() {
    let mut send = full();
    for seconds in [0, 2, 6] {
        drain(&mut send, at(seconds));
    }
    send.on_first_contact(at(7));
    assert_eq!(drain(&mut send, at(7)), [0, 1, 2, 3, 4, 5]);
    assert_eq!(send.next_deadline(), Some(at(9)));
}

#[test]
fn ids_go_round() {
    let mut send = Send::new(TIMEOUT).starting_at(PacketId(u32::MAX - 1));
    for expected in [u32::MAX - 1, u32::MAX, 0, 1, 2, 3] {
        assert_eq!(send.push(at(0), Opcode::Control, vec![]), PacketId(expected));
    }
    assert!(!send.has_room());
    drain(&mut send, at(0));
    send.on_ack(PacketId(u32::MAX - 1));
    assert!(send.has_room());
    assert_eq!(send.push(at(0), Opcode::Control, vec![]), PacketId(4));
}

proptest! {
    /// Both halves over a link that loses, repeats and reorders: everything arrives once and in order.
    #[test]
    fn everything_arrives_in_order_over_a_bad_link(
        seed in any::<u64>(),
        first in prop_oneof![Just(0_u32), Just(1), Just(u32::MAX - 5)],
    ) {
        let mut state = seed | 1;
        let mut draw = |bound: u64| {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % bound
        };
        let mut send = Send::new(TIMEOUT).starting_at(PacketId(first));
        let mut recv = crate::reliable::Recv::expecting(PacketId(first));
        let (mut pushed, mut arrived) = (0_u8, Vec::new());
        let mut wire: Vec<(PacketId, Vec<u8>)> = Vec::new();
        for second in 0..20_000 {
            let now = at(second);
            while pushed < 40 && send.has_room() {
                send.push(now, Opcode::Control, vec![pushed]);
                pushed += 1;
            }
            while let Some(due) = send.poll(now) {
                wire.push((due.id, due.payload.to_vec()));
            }
            if !wire.is_empty() && draw(2) == 0 {
                let picked = usize::try_from(draw(wire.len() as u64)).unwrap();
                let (id, payload) = if draw(4) == 0 { wire[picked].clone() } else { wire.swap_remove(picked) };
                if draw(3) != 0 {
                    recv.accept(id, Opcode::Control, &payload);
                }
            }
            while let Some((_, payload)) = recv.pop() {
                arrived.extend(payload);
            }
            if draw(3) == 0 {
                let max = usize::try_from(draw(9)).unwrap();
                let acks = recv.take_acks(max);
                if draw(3) != 0 {
                    for id in acks.iter() {
                        send.on_ack(id);
                    }
                }
            }
            if pushed == 40 && send.is_empty() {
                break;
            }
        }
        prop_assert!(send.is_empty(), "not all arrived");
        prop_assert_eq!(arrived, (0..40).collect::<Vec<u8>>());
    }
}

#[test]
fn what_was_acknowledged_last_is_repeated_to_make_the_peer_answer() {
    let mut send = Send::new(TIMEOUT);
    send.repeat(at(0));
    assert_eq!(drain(&mut send, at(0)), [0; 0]);
    send.push(at(0), Opcode::HardResetClientV2, vec![]);
    send.push(at(0), Opcode::Control, vec![7]);
    assert_eq!(drain(&mut send, at(0)), [0, 1]);
    send.on_ack(PacketId(0));
    send.repeat(at(1));
    assert_eq!(drain(&mut send, at(1)), [1], "what is in flight goes first");
    send.on_ack(PacketId(1));
    assert!(send.is_empty());
    send.repeat(at(1));
    assert_eq!(
        send.poll(at(1)).map(|due| (due.id, due.payload.to_vec())),
        Some((PacketId(1), vec![7]))
    );
    assert_eq!(send.push(at(1), Opcode::Control, vec![8]), PacketId(2));
    send.on_ack(PacketId(1));
    assert_eq!(drain(&mut send, at(1)), [2]);
}
