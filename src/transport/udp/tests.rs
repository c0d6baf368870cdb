//! Datagrams over loopback: what goes in comes out, in order.

use std::{net::UdpSocket, time::Duration};

use super::*;

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn pair() -> (UdpTransport, UdpTransport) {
    let server = UdpTransport::bind(loopback()).unwrap();
    let client = UdpTransport::connect(server.local(), None).unwrap();
    (client, server)
}

/// Queues datagrams whose first two bytes number them.
fn queue_numbered(from: &mut UdpTransport, to: SocketAddr, lens: &[usize]) {
    for (number, &len) in lens.iter().enumerate() {
        let slot = from.reserve(to, len).expect("loopback takes it");
        slot.fill(7);
        slot[..2].copy_from_slice(&u16::try_from(number).unwrap().to_be_bytes());
        from.commit(len);
    }
}

fn receive(at: &mut UdpTransport, count: usize) -> Vec<(SocketAddr, usize, u16)> {
    let mut got = Vec::new();
    let mut poll = mio::Poll::new().unwrap();
    let interest = mio::Interest::READABLE;
    poll.registry()
        .register(&mut at.socket, mio::Token(0), interest)
        .unwrap();
    let mut events = mio::Events::with_capacity(4);
    // Each round waits for the socket, so this ends after `count` datagrams or one silent second.
    while got.len() < count {
        let before = got.len();
        at.recv(64, &mut |from, bytes| {
            got.push((from, bytes.len(), u16::from_be_bytes([bytes[0], bytes[1]])));
        })
        .unwrap();
        if got.len() == before {
            poll.poll(&mut events, Some(Duration::from_secs(1))).unwrap();
            assert!(!events.is_empty(), "silent after {before} datagrams");
        }
    }
    poll.registry().deregister(&mut at.socket).unwrap();
    got
}

fn numbered(from: SocketAddr, lens: &[usize]) -> Vec<(SocketAddr, usize, u16)> {
    let numbers = lens.iter().zip(0..);
    numbers.map(|(&len, number)| (from, len, number)).collect()
}

fn check(mut client: UdpTransport, mut server: UdpTransport, lens: &[usize]) {
    let (to, from) = (server.local(), client.local());
    queue_numbered(&mut client, to, lens);
    assert_eq!(client.flush(), Flushed::Clear);
    assert_eq!(receive(&mut server, lens.len()), numbered(from, lens));
    let (packets, bytes) = (lens.len() as u64, lens.iter().sum::<usize>() as u64);
    let (sent, received) = (client.counters(), server.counters());
    assert_eq!((sent.sent, sent.sent_bytes), (packets, bytes));
    assert_eq!((received.received, received.received_bytes), (packets, bytes));
}

#[test]
fn datagrams_arrive_whole_and_in_order() {
    let (client, server) = pair();
    let lens: Vec<usize> = (0..100).map(|n| if n % 7 == 3 { 60 } else { 1400 }).collect();
    check(client, server, &lens);
}

#[test]
fn without_segmentation_the_same_arrives() {
    let (mut client, server) = pair();
    client.stop_segmenting();
    let lens: Vec<usize> = (0..60).map(|n| 40 + 13 * (n % 5)).collect();
    check(client, server, &lens);
}

#[test]
fn a_train_that_is_refused_is_sent_singly_without_loss() {
    let (mut client, mut server) = pair();
    let (to, from) = (server.local(), client.local());
    let lens = [500, 500, 500, 500, 500, 100];
    queue_numbered(&mut client, to, &lens);
    assert_eq!(client.flush_singly(), Flushed::Clear);
    assert_eq!(receive(&mut server, lens.len()), numbered(from, &lens));
}

#[test]
fn what_a_device_without_offload_answers_is_known() {
    for code in [EIO, EINVAL, EMSGSIZE] {
        assert!(cannot_segment(&io::Error::from_raw_os_error(code)));
    }
    assert!(!cannot_segment(&io::Error::from(ErrorKind::WouldBlock)));
}

#[test]
fn a_server_answers_each_client_at_its_own_address() {
    let mut server = UdpTransport::bind(loopback()).unwrap();
    let clients = [(); 3].map(|()| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server.local()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    });
    for (client, number) in clients.iter().cycle().zip(0..9) {
        let to = client.local_addr().unwrap();
        server.reserve(to, 10).unwrap().fill(number);
        server.commit(10);
    }
    assert_eq!(server.flush(), Flushed::Clear);
    for (client, index) in clients.iter().zip(0..) {
        for round in 0..3 {
            let mut buf = [0; 20];
            assert_eq!(client.recv(&mut buf).unwrap(), 10);
            assert_eq!(buf[0], index + 3 * round);
        }
    }
}

#[test]
fn a_port_where_nobody_listens_is_counted_and_not_fatal() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut client = UdpTransport::connect(gone, None).unwrap();
    for _ in 0..3 {
        client.reserve(gone, 10).unwrap().fill(1);
        client.commit(10);
        assert_eq!(client.flush(), Flushed::Clear);
    }
    client.recv(8, &mut |_, _| panic!("nobody sends")).unwrap();
    assert!(client.counters().refused >= 1, "{:?}", client.counters());
}

#[test]
fn a_datagram_that_no_socket_takes_is_dropped() {
    let (mut client, server) = pair();
    assert!(client.reserve(server.local(), 70_000).is_none());
    assert_eq!(client.counters().send_errors, 1);
}
