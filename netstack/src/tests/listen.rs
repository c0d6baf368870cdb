//! Ports that listen inside the tunnel.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::pair::{End, NEAR, NEAR_V6, Pair, network};
use crate::emit::write_ip_header;
use crate::packet::{IpPacket, PROTOCOL_TCP, TCP_ACK, TCP_RST, TCP_SYN, transport_sum};
use crate::{EndReason, FlowError, Limits};

fn syn(from: &str, to: &str) -> Vec<u8> {
    let [from, to] = [from, to].map(|end| end.parse::<SocketAddr>().unwrap());
    let mut segment = vec![0; 20];
    segment[..2].copy_from_slice(&from.port().to_be_bytes());
    segment[2..4].copy_from_slice(&to.port().to_be_bytes());
    segment[12..16].copy_from_slice(&[5 << 4, TCP_SYN, 0xff, 0xff]);
    let checksum = !transport_sum(from.ip(), to.ip(), PROTOCOL_TCP, &segment);
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
    let mut packet = vec![0; if to.is_ipv4() { 20 } else { 40 }];
    packet.extend(segment);
    assert!(write_ip_header(&mut packet, from.ip(), to.ip(), PROTOCOL_TCP));
    packet
}

/// Flags of what is on its way to `host`.
fn flags_to(pair: &Pair, host: IpAddr) -> Vec<u8> {
    let packets = pair.under_way_to_far().iter();
    let parsed = packets.map(|packet| IpPacket::parse(packet).unwrap());
    parsed
        .filter(|packet| packet.dst == host)
        .filter_map(|packet| packet.tcp_flags())
        .collect()
}

#[test]
fn connections_of_both_families_are_accepted_and_carried() {
    let mut pair = Pair::new(&Limits::default());
    let mut listener = pair.listen(8080).unwrap();
    for (to, from) in [("10.8.0.2:8080", "10.8.0.3"), ("[fd00::2]:8080", "fd00::3")] {
        let far = pair.connect_from_far(to).unwrap();
        let near = pair.wait(listener.accept()).unwrap();
        assert_eq!(near.local.to_string(), to);
        assert_eq!(near.remote, far.local);
        assert_eq!(near.remote.ip().to_string(), from);
        let (mut near, mut far) = (End::new(near), End::new(far));
        far.socket.write_all(b"request").unwrap();
        pair.until(|_| near.drain() == 7);
        near.socket.write_all(b"response").unwrap();
        drop(near.socket.shutdown(std::net::Shutdown::Write));
        pair.until(|_| far.drain() == 8);
        drop(far.socket.shutdown(std::net::Shutdown::Write));
        let mut end = None;
        pair.until(|_| {
            end = end.or_else(|| near.relay_end());
            end.is_some()
        });
        assert_eq!(end.unwrap().reason, EndReason::Finished);
    }
}

#[test]
fn ports_are_given_once_and_come_back() {
    let mut pair = Pair::new(&Limits::default());
    let any = pair.listen(0).unwrap();
    assert!(any.port() >= 49152);
    let first = pair.listen(80).unwrap();
    assert_eq!(pair.listen(80).unwrap_err(), FlowError::PortInUse);
    assert_eq!(pair.listen(any.port()).unwrap_err(), FlowError::PortInUse);
    drop(first);
    assert_eq!(pair.listen(80).unwrap().port(), 80);
    assert_eq!(
        pair.connect_from_far("10.8.0.2:81").unwrap_err(),
        FlowError::Refused
    );
}

#[test]
fn a_flood_is_refused_beyond_the_backlog_and_forgotten_after_a_while() {
    let mut pair = Pair::new(&Limits::default());
    let _listener = pair.listen(80).unwrap();
    for port in 1..=400 {
        pair.inject(syn(&format!("10.8.0.9:{port}"), "10.8.0.2:80"));
    }
    pair.turn();
    assert_eq!(pair.near.stats().flows_open, 64);
    assert!(pair.near.stats().buffer_bytes < 64 << 20);
    let mut flags = flags_to(&pair, "10.8.0.9".parse().unwrap());
    pair.until(|pair| {
        flags.extend(flags_to(pair, "10.8.0.9".parse().unwrap()));
        flags.len() > 390
    });
    assert!(
        flags
            .iter()
            .any(|flags| flags & (TCP_SYN | TCP_ACK) == TCP_SYN | TCP_ACK)
    );
    assert!(flags.iter().filter(|flags| *flags & TCP_RST != 0).count() >= 330);
    assert_eq!(
        pair.connect_from_far("10.8.0.2:80").unwrap_err(),
        FlowError::Refused
    );
    pair.pass(Duration::from_secs(12));
    assert_eq!(pair.near.stats().flows_open, 0);
    assert!(pair.connect_from_far("10.8.0.2:80").is_ok());
}

#[test]
fn connections_that_nobody_accepts_fill_the_backlog() {
    let mut pair = Pair::new(&Limits::default());
    let mut listener = pair.listen(80).unwrap();
    let waiting: Vec<_> = (0..64)
        .map(|_| pair.connect_from_far("10.8.0.2:80").unwrap())
        .collect();
    assert_eq!(
        pair.connect_from_far("10.8.0.2:80").unwrap_err(),
        FlowError::Refused
    );
    let taken = pair.wait(listener.accept()).unwrap();
    assert_eq!(taken.remote, waiting[0].local);
    assert!(pair.connect_from_far("10.8.0.2:80").is_ok());
}

#[test]
fn damaged_and_impossible_syns_open_nothing() {
    let mut pair = Pair::new(&Limits::default());
    let _listener = pair.listen(80).unwrap();
    let mut damaged = syn("10.8.0.9:1", "10.8.0.2:80");
    damaged[30] ^= 1;
    pair.inject(damaged);
    // From ourselves, from nowhere, from many, from no port.
    for from in ["10.8.0.2:80", "0.0.0.0:5", "224.0.0.1:5", "10.8.0.9:0"] {
        pair.inject(syn(from, "10.8.0.2:80"));
    }
    pair.turn();
    assert_eq!(pair.near.stats().flows_open, 0);
    assert!(pair.under_way_to_far().is_empty());
}

#[test]
fn a_listener_that_is_dropped_resets_what_it_did_not_accept() {
    let mut pair = Pair::new(&Limits::default());
    let listener = pair.listen(80).unwrap();
    let mut far = End::new(pair.connect_from_far("10.8.0.2:80").unwrap());
    drop(listener);
    pair.pass(Duration::from_millis(10));
    assert_eq!(far.relay_end().unwrap().reason, EndReason::RemoteReset);
    assert_eq!(
        pair.connect_from_far("10.8.0.2:80").unwrap_err(),
        FlowError::Refused
    );
    assert_eq!(pair.near.stats().flows_open, 0);
}

#[test]
fn a_port_stays_open_while_the_tunnel_is_down_and_when_the_address_changes() {
    let mut pair = Pair::new(&Limits::default());
    let mut listener = pair.listen(80).unwrap();
    pair.near.take_down(pair.now);
    let mut late = pair.listen(81).unwrap();
    pair.near.bring_up(pair.now, network(&[NEAR, NEAR_V6]));
    let _far = pair.connect_from_far("10.8.0.2:80").unwrap();
    assert!(pair.wait(listener.accept()).is_some());
    pair.near.bring_up(pair.now, network(&["10.8.0.77/24"]));
    let _far = pair.connect_from_far("10.8.0.77:81").unwrap();
    let flow = pair.wait(late.accept()).unwrap();
    assert_eq!(flow.local.to_string(), "10.8.0.77:81");
    drop(pair);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(listener.accept()).is_none());
}
