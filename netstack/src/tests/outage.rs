//! A tunnel that is gone for a while: what goes on, how soon, and what ends meanwhile.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use super::pair::{End, NEAR, NEAR_V6, Pair, network};
use crate::packet::{IpPacket, TCP_RST};
use crate::{EndReason, FlowError, Limits, Target};

/// Longest time from the return of the tunnel to the first byte.
const SOON: Duration = Duration::from_millis(100);

/// Lets nothing through, and notices it a while later.
pub(super) fn lose_tunnel(pair: &mut Pair, unnoticed: Duration, noticed: Duration) {
    pair.is_cut = true;
    pair.pass(unnoticed);
    pair.near.take_down(pair.now);
    pair.pass(noticed);
}

pub(super) fn restore_tunnel(pair: &mut Pair) {
    pair.is_cut = false;
    pair.near.bring_up(pair.now, network(&[NEAR, NEAR_V6]));
}

/// Runs a transfer, loses the tunnel within it, and says how long it stood still after that.
fn gap_of_a_transfer(is_upload: bool, unnoticed: Duration, noticed: Duration) -> Duration {
    let mut pair = Pair::new(&Limits::default());
    let (near, far) = pair.joined();
    let (mut from, mut to) = if is_upload { (near, far) } else { (far, near) };
    let mut moved = 0;
    pair.until(|_| {
        from.fill();
        moved += to.drain();
        moved > 4 << 20
    });
    lose_tunnel(&mut pair, unnoticed, noticed);
    to.drain();
    restore_tunnel(&mut pair);
    let gap = pair.until(|_| to.drain() > 0);
    // It goes on from there, and not by one segment a time-out.
    let mut moved = 0;
    let rest = pair.until(|_| {
        from.fill();
        moved += to.drain();
        moved > 1 << 20
    });
    // What the far end sends is by its own rules, which know one lost segment a round trip.
    let limit = if is_upload { 1 } else { 3 };
    assert!(
        rest < Duration::from_secs(limit),
        "upload {is_upload}: a megabyte took {rest:?}"
    );
    gap
}

#[test]
fn transfers_go_on_a_round_trip_after_the_tunnel_is_back() {
    for is_upload in [true, false] {
        for (unnoticed, noticed) in [
            (0, 30_000),
            (30_000, 0),
            (200, 300),
            (10_000, 20_000),
            (45_000, 5_000),
        ] {
            let (unnoticed, noticed) = (Duration::from_millis(unnoticed), Duration::from_millis(noticed));
            let gap = gap_of_a_transfer(is_upload, unnoticed, noticed);
            assert!(
                gap < SOON,
                "upload {is_upload}, {unnoticed:?} + {noticed:?}: {gap:?}"
            );
        }
    }
}

#[test]
fn a_line_written_during_the_outage_arrives_at_once() {
    for from_near in [true, false] {
        let mut pair = Pair::new(&Limits::default());
        let (mut near, mut far) = pair.joined();
        pair.pass(Duration::from_millis(50));
        pair.is_cut = true;
        let from = if from_near { &mut near } else { &mut far };
        from.socket.write_all(b"line").unwrap();
        lose_tunnel(&mut pair, Duration::from_secs(20), Duration::from_secs(10));
        restore_tunnel(&mut pair);
        let to = if from_near { &mut far } else { &mut near };
        let gap = pair.until(|_| to.drain() == 4);
        assert!(gap < SOON, "from near {from_near}: {gap:?}");
    }
}

#[test]
fn an_idle_flow_answers_at_once() {
    let mut pair = Pair::new(&Limits::default());
    let (mut near, mut far) = pair.joined();
    lose_tunnel(&mut pair, Duration::from_secs(5), Duration::from_secs(25));
    restore_tunnel(&mut pair);
    near.socket.write_all(b"x").unwrap();
    let there = pair.until(|_| far.drain() == 1);
    far.socket.write_all(b"x").unwrap();
    let back = pair.until(|_| near.drain() == 1);
    assert!(there + back < SOON, "{there:?} + {back:?}");
}

#[test]
fn many_flows_come_back_without_a_burst() {
    let mut pair = Pair::new(&Limits::default());
    let flows: Vec<_> = (0..40).map(|_| pair.joined()).collect();
    lose_tunnel(&mut pair, Duration::ZERO, Duration::from_secs(1));
    restore_tunnel(&mut pair);
    // One call of the loop gives no more than its budget.
    let mut sent = 0;
    let is_more = pair.near.transmit(pair.now, 16, &mut |_| {
        sent += 1;
        true
    });
    assert!(is_more && sent <= 16, "{sent} packets, more: {is_more}");
    drop(flows);
}

#[test]
fn an_outage_longer_than_the_stall_limit_is_no_stall() {
    let mut pair = Pair::new(&Limits {
        stall_timeout: Duration::from_secs(10),
        ..Limits::default()
    });
    let (mut near, mut far) = pair.joined();
    near.socket.write_all(b"x").unwrap();
    lose_tunnel(&mut pair, Duration::ZERO, Duration::from_mins(1));
    assert_eq!(near.relay_end(), None);
    restore_tunnel(&mut pair);
    pair.until(|_| far.drain() == 1);
    pair.pass(Duration::from_secs(1));
    assert_eq!(near.relay_end(), None);
    // A far end that is silent while the tunnel is up is one.
    pair.is_cut = true;
    near.socket.write_all(b"y").unwrap();
    let mut end = None;
    let took = pair.until(|_| {
        end = near.relay_end();
        end.is_some()
    });
    assert_eq!(end.unwrap().reason, EndReason::TimedOut);
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn the_idle_limit_holds_during_an_outage_too() {
    let mut pair = Pair::new(&Limits {
        idle_timeout: Duration::from_secs(30),
        ..Limits::default()
    });
    let (mut near, _far) = pair.joined();
    lose_tunnel(&mut pair, Duration::ZERO, Duration::from_secs(20));
    assert_eq!(near.relay_end(), None);
    pair.pass(Duration::from_secs(11));
    assert_eq!(near.relay_end().unwrap().reason, EndReason::IdleTimeout);
    assert_eq!(pair.near.stats().flows_open, 0);
}

#[test]
fn what_was_reset_during_the_outage_is_reset_at_the_far_end_once_the_tunnel_is_back() {
    let mut pair = Pair::new(&Limits::default());
    let (mut near, mut far) = pair.joined();
    lose_tunnel(&mut pair, Duration::ZERO, Duration::from_secs(1));
    near.drop_relay();
    pair.pass(Duration::from_millis(5));
    assert_eq!(pair.near.stats().flows_open, 0, "buffers go at once");
    assert!(near.ending().is_some(), "the local socket goes at once");
    assert_eq!(far.relay_end(), None);
    restore_tunnel(&mut pair);
    pair.pass(Duration::from_millis(5));
    assert_eq!(far.relay_end().unwrap().reason, EndReason::RemoteReset);
}

#[test]
fn a_local_socket_that_was_closed_both_ways_is_let_go_of_during_the_outage() {
    let mut pair = Pair::new(&Limits::default());
    let (mut near, mut far) = pair.joined();
    // The far end has closed, which the local program has seen.
    far.socket.shutdown(Shutdown::Write).unwrap();
    pair.until(|_| near.ending() == Some(Ok(())));
    lose_tunnel(&mut pair, Duration::ZERO, Duration::from_secs(1));
    near.socket.write_all(b"last words").unwrap();
    near.socket.shutdown(Shutdown::Write).unwrap();
    pair.pass(Duration::from_millis(5));
    // Nobody holds the other end any more.
    let error = near.socket.write(b"x").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    assert!(is_peer_gone(&near), "the descriptor is still open");
    restore_tunnel(&mut pair);
    pair.until(|_| far.drain() == 10);
    pair.until(|_| far.ending() == Some(Ok(())));
    let mut end = None;
    pair.until(|_| {
        end = end.or_else(|| near.relay_end());
        end.is_some()
    });
    assert_eq!(end.unwrap().reason, EndReason::Finished);
}

/// Whether the peer of a socket that has shut its writing down has closed.
fn is_peer_gone(end: &End) -> bool {
    let mut poll = mio::Poll::new().unwrap();
    let mut socket = mio::net::UnixStream::from_std(end.socket.try_clone().unwrap());
    poll.registry()
        .register(&mut socket, mio::Token(0), mio::Interest::WRITABLE)
        .unwrap();
    let mut events = mio::Events::with_capacity(1);
    poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
    events.iter().any(mio::event::Event::is_write_closed)
}

#[test]
fn a_changed_address_resets_local_sockets_and_says_nothing_to_the_far_end() {
    let mut pair = Pair::new(&Limits::default());
    let (mut near, _far) = pair.joined();
    let (mut dropped, _other) = pair.joined();
    lose_tunnel(&mut pair, Duration::ZERO, Duration::from_secs(1));
    dropped.drop_relay();
    pair.pass(Duration::from_millis(2));
    pair.is_cut = false;
    pair.near.bring_up(pair.now, network(&["10.8.0.77/24"]));
    pair.turn();
    assert!(pair.under_way_to_far().is_empty());
    assert_eq!(near.relay_end().unwrap().reason, EndReason::AddressChanged);
    assert!(near.ending().is_some());
}

#[test]
fn a_dropped_relay_resets_both_sides() {
    let mut pair = Pair::new(&Limits::default());
    let (mut near, mut far) = pair.joined();
    near.fill();
    pair.pass(Duration::from_millis(5));
    near.drop_relay();
    pair.turn();
    let sent_reset = pair.under_way_to_far().iter().any(|packet| {
        let packet = IpPacket::parse(packet).unwrap();
        packet.tcp_flags().unwrap() & TCP_RST != 0
    });
    assert!(sent_reset);
    pair.pass(Duration::from_millis(5));
    assert_eq!(far.relay_end().unwrap().reason, EndReason::RemoteReset);
    assert!(near.ending().is_some(), "the local socket stays open");
    assert_eq!(pair.near.stats().flows_open, 0);
}

#[test]
fn nobody_waits_for_a_request_whose_asker_has_gone() {
    let mut pair = Pair::new(&Limits {
        flows: 4,
        ..Limits::default()
    });
    pair.near.take_down(pair.now);
    for _ in 0..20 {
        let handle = pair.near_handle.clone();
        let mut asking = Box::pin(async move {
            let target = Target::Address("10.8.0.3:9".parse().unwrap());
            handle.connect(target).await
        });
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(asking.as_mut().poll(&mut context).is_pending());
        pair.turn();
        // Still waiting: it was parked, though more had asked before than may wait.
        assert!(asking.as_mut().poll(&mut context).is_pending());
    }
    restore_tunnel(&mut pair);
    pair.turn();
    assert_eq!(pair.near.stats().flows_open, 0, "somebody connects for nobody");
    assert_eq!(
        pair.connect_from_far("10.8.0.2:9").unwrap_err(),
        FlowError::Refused
    );
}
