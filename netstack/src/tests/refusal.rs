//! A tunnel that is back and takes little or nothing: its thread is free at once, and what was refused leaves later,
//! once. An end that asked again within the same call spun for good when reminders or kept resets waited.

use std::collections::HashSet;
use std::io::Write;
use std::time::Duration;

use super::outage::{lose_tunnel, restore_tunnel};
use super::pair::{End, NEAR, NEAR_V6, Pair, network};
use crate::packet::{IpPacket, PROTOCOL_TCP, TCP_RST};
use crate::{EndReason, Limits};

const BUDGET_PACKETS: usize = 64;
/// Calls until a test gives up.
const MAX_CALLS: usize = 1000;
/// Repeated acknowledgements and notices for a flow that was heard of lately.
const REMINDERS_PER_FLOW: usize = 4 + 7;

/// What the ends of the flows are up to when the tunnel is back.
struct Back {
    pair: Pair,
    idle: Vec<(End, End)>,
    writing: Vec<(End, End)>,
    reset: Vec<(End, End)>,
}

impl Back {
    fn new(idle: usize, writing: usize, reset: usize) -> Self {
        let mut pair = Pair::new(&Limits::default());
        let mut joined = |count| (0..count).map(|_| pair.joined()).collect::<Vec<_>>();
        let (idle, mut writing, mut reset) = (joined(idle), joined(writing), joined(reset));
        lose_tunnel(&mut pair, Duration::ZERO, Duration::from_secs(1));
        for (near, _) in &mut writing {
            near.socket.write_all(b"line").unwrap();
        }
        for (near, _) in &mut reset {
            near.drop_relay();
        }
        pair.pass(Duration::from_millis(5));
        restore_tunnel(&mut pair);
        Self {
            pair,
            idle,
            writing,
            reset,
        }
    }

    /// One call of the loop in which the tunnel takes `room` packets: what left, and whether more waits.
    fn call(&mut self, room: usize) -> (Vec<Vec<u8>>, bool) {
        let mut taken = Vec::new();
        let mut is_refused = false;
        let now = self.pair.now;
        let is_more = self.pair.near.transmit(now, BUDGET_PACKETS, &mut |packet| {
            assert!(!is_refused, "asked again after a refusal");
            is_refused = taken.len() == room;
            if !is_refused {
                taken.push(packet.to_vec());
            }
            !is_refused
        });
        assert!(is_more || !is_refused, "what was refused is not waited for");
        (taken, is_more)
    }

    fn refuse_all(&mut self) {
        for _ in 0..10 {
            assert_eq!(self.call(0), (Vec::new(), true));
        }
    }

    /// All that waits, `room` packets a call.
    fn drain(&mut self, room: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for _ in 0..MAX_CALLS {
            let (taken, is_more) = self.call(room);
            all.extend(taken);
            if !is_more {
                return all;
            }
        }
        panic!("more waits after {MAX_CALLS} calls");
    }

    /// Gives the packets to the far end and looks what becomes of its flows.
    fn check_arrival(mut self, packets: Vec<Vec<u8>>) {
        for mut packet in packets {
            self.pair.far.handle_packet(self.pair.now, &mut packet);
        }
        self.pair.pass(Duration::from_millis(20));
        for (_, far) in &mut self.reset {
            assert_eq!(far.relay_end().unwrap().reason, EndReason::RemoteReset);
        }
        for (_, far) in &mut self.writing {
            assert_eq!(far.drain(), 4);
        }
        for (near, far) in &mut self.idle {
            far.socket.write_all(b"x").unwrap();
            self.pair.until(|_| near.drain() == 1);
        }
    }
}

fn resets(packets: &[Vec<u8>]) -> usize {
    let is_reset = |packet: &&Vec<u8>| {
        let packet = IpPacket::parse(packet).unwrap();
        packet.protocol == PROTOCOL_TCP && packet.tcp_flags().unwrap() & TCP_RST != 0
    };
    packets.iter().filter(is_reset).count()
}

/// Packets left as they would have if nothing had been refused, in whatever order.
fn assert_same(mut packets: Vec<Vec<u8>>, idle: usize, writing: usize, reset: usize) {
    let mut unhindered = Back::new(idle, writing, reset).drain(usize::MAX);
    packets.sort();
    unhindered.sort();
    assert_eq!(packets.len(), unhindered.len());
    assert!(packets == unhindered, "other packets than without refusals");
}

#[test]
fn reminders_that_are_refused_wait_for_the_next_call() {
    for room in [1, 3, 16, usize::MAX] {
        let mut back = Back::new(5, 0, 0);
        back.refuse_all();
        let packets = back.drain(room);
        assert_eq!(packets.len(), 5 * REMINDERS_PER_FLOW);
        assert_same(packets.clone(), 5, 0, 0);
        back.check_arrival(packets);
    }
}

#[test]
fn kept_resets_that_are_refused_wait_for_the_next_call() {
    for room in [1, 2, usize::MAX] {
        let mut back = Back::new(0, 0, 5);
        back.refuse_all();
        let packets = back.drain(room);
        assert_eq!((packets.len(), resets(&packets)), (5, 5));
        assert_same(packets.clone(), 0, 0, 5);
        back.check_arrival(packets);
    }
}

#[test]
fn resets_reminders_and_data_that_are_refused_all_leave_once() {
    for room in [1, 2, 3, 7, 16, usize::MAX] {
        let mut back = Back::new(3, 3, 3);
        back.refuse_all();
        let packets = back.drain(room);
        assert_eq!(resets(&packets), 3);
        assert_same(packets.clone(), 3, 3, 3);
        back.check_arrival(packets);
    }
}

#[test]
fn a_refusal_between_resets_and_reminders_keeps_both() {
    let mut back = Back::new(2, 0, 2);
    // The resets leave, then each first reminder is refused.
    let (mut packets, is_more) = back.call(2);
    assert_eq!((resets(&packets), is_more), (2, true));
    back.refuse_all();
    packets.extend(back.drain(1));
    assert_eq!(packets.len(), 2 + 2 * REMINDERS_PER_FLOW);
    back.check_arrival(packets);
}

#[test]
fn flows_take_turns_when_the_tunnel_takes_one_packet_a_call() {
    const FLOWS: usize = 6;
    let mut back = Back::new(FLOWS, 0, 0);
    let mut spoke = HashSet::new();
    for _ in 0..FLOWS {
        let (taken, _) = back.call(1);
        spoke.extend(taken.iter().map(|packet| {
            let packet = IpPacket::parse(packet).unwrap();
            packet.tuple().unwrap().local
        }));
    }
    assert_eq!(spoke.len(), FLOWS);
}

#[test]
fn a_deadline_that_passes_between_two_timer_calls_does_not_hold_up_the_loop() {
    let mut pair = Pair::new(&Limits {
        idle_timeout: Duration::from_secs(30),
        ..Limits::default()
    });
    let (mut near, _far) = pair.joined();
    pair.pass(Duration::from_millis(50));
    pair.now += Duration::from_secs(31);
    // Marks the flow, which has nothing to do but to end.
    pair.near.bring_up(pair.now, network(&[NEAR, NEAR_V6]));
    let mut is_more = true;
    for _ in 0..MAX_CALLS {
        is_more = is_more && pair.near.transmit(pair.now, BUDGET_PACKETS, &mut |_| true);
    }
    assert!(!is_more);
    assert!(pair.near.poll_timeout().is_some_and(|at| at <= pair.now));
    pair.near.handle_timeout(pair.now);
    assert_eq!(near.relay_end().unwrap().reason, EndReason::IdleTimeout);
}
