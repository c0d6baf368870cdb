//! Associations for datagrams over real sockets, with a mirror in the tunnel's place.

use std::net::IpAddr;

use tokio::net::UdpSocket;

use super::double::{DATAGRAMS, THE_END};
use super::*;
use crate::connect::Target;
use crate::connections::ConnectionKind;
use crate::datagrams;
use crate::incoming::{Incoming, Local};

/// The header of a datagram to a name server inside.
const FAR_HEADER: [u8; 10] = [0, 0, 0, 1, 192, 0, 2, 53, 0, 53];

/// A client with an open association.
struct Associated {
    control: TcpStream,
    socket: UdpSocket,
    relay: SocketAddr,
}

impl Associated {
    async fn open(server: &Running) -> Self {
        let mut control = server.client().await;
        control
            .write_all(&[5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0])
            .await
            .unwrap();
        assert_eq!(read(&mut control).await, [5, 0]);
        let [5, 0, 0, 1, a, b, c, d, port @ ..] = read::<10>(&mut control).await else {
            panic!("no association");
        };
        let relay = SocketAddr::from(([a, b, c, d], u16::from_be_bytes(port)));
        assert_eq!(relay.ip(), server.address.ip());
        Self {
            control,
            socket: UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            relay,
        }
    }

    async fn send(&self, header: &[u8], payload: &[u8]) {
        let datagram = [header, payload].concat();
        self.socket.send_to(&datagram, self.relay).await.unwrap();
    }

    async fn receive(&self) -> Vec<u8> {
        let mut buf = vec![0; 70_000];
        let (length, from) = self.socket.recv_from(&mut buf).await.unwrap();
        assert_eq!(from, self.relay);
        buf.truncate(length);
        buf
    }

    /// Sends and awaits the echo of `payload`, which is then also the next datagram that comes.
    async fn comes_back(&self, header: &[u8], payload: &[u8]) {
        self.send(header, payload).await;
        assert_eq!(self.receive().await, [header, payload].concat());
    }

    /// Waits for the server to end the control connection.
    async fn ended(mut self) {
        let mut byte = [0];
        assert!(matches!(self.control.read(&mut byte).await, Ok(0) | Err(_)));
        // The port is free again, for whoever binds it next.
        let relay = self.relay;
        until(|| std::net::UdpSocket::bind(relay).is_ok()).await;
    }
}

fn by_name(name: &str, port: u8) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap();
    [&[0, 0, 0, 3, length], name.as_bytes(), &[0, port]].concat()
}

#[tokio::test]
async fn datagrams_of_every_length_go_both_ways_and_are_counted() {
    let server = Running::start(&[], |_| {}).await;
    let client = Associated::open(&server).await;
    let mut bytes = 0;
    for length in [0, 1, 1200, 1472, 65_497 - 10] {
        let payload: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
        client.comes_back(&FAR_HEADER, &payload).await;
        bytes += u64::try_from(length).unwrap();
    }
    let listed = server.connections.list();
    assert_eq!((listed.len(), listed[0].kind), (1, ConnectionKind::Socks5Udp));
    assert_eq!(
        (listed[0].is_open, listed[0].up_bytes, listed[0].down_bytes),
        (true, bytes, bytes)
    );
    assert_eq!(listed[0].target, format!("datagrams by {}", client.relay));
    drop(client);
    until(|| server.connections.count() == 0).await;
    let stats = server.stats.clone();
    server.stop().await;
    let counts = stats.snapshot();
    assert_eq!((counts.socks5_udp, counts.socks5, counts.opened), (1, 0, 1));
    assert_eq!(
        (counts.up_bytes, counts.down_bytes, counts.datagrams_dropped),
        (bytes, bytes, 0)
    );
}

#[tokio::test]
async fn a_burst_comes_back_whole_and_in_order() {
    let server = Running::start(&[], |_| {}).await;
    let client = Associated::open(&server).await;
    for first in (0..4000_u16).step_by(40) {
        for number in first..first + 40 {
            client.send(&FAR_HEADER, &number.to_be_bytes()).await;
        }
        for number in first..first + 40 {
            assert_eq!(client.receive().await[10..], number.to_be_bytes());
        }
    }
}

#[tokio::test]
async fn names_are_looked_up_inside_and_replies_come_from_the_address() {
    let known = Fate::Open("198.51.100.7:1".parse().unwrap());
    let server = Running::start(&[("ns.example", known), ("slow.example", Fate::Hang)], |_| {}).await;
    let client = Associated::open(&server).await;
    client.send(&by_name("slow.example", 9), b"waits for ever").await;
    client.send(&by_name("unknown.example", 9), b"lost").await;
    for payload in [&b"first"[..], b"second"] {
        client.send(&by_name("NS.example", 53), payload).await;
        let back = client.receive().await;
        assert_eq!(back, [&[0, 0, 0, 1, 198, 51, 100, 7, 0, 53], payload].concat());
    }
    client.comes_back(&FAR_HEADER, b"not held up").await;
    // An address written as a name.
    client.send(&by_name("192.0.2.53", 53), b"literal").await;
    assert_eq!(client.receive().await, [&FAR_HEADER[..], b"literal"].concat());
    until(|| server.stats.snapshot().datagrams_dropped == 1).await;
    let sent = server.script.sent();
    assert!(
        sent.iter().all(|(_, to)| matches!(to, Target::Address(_))),
        "{sent:?}"
    );
}

#[tokio::test]
async fn lookups_are_bounded_and_the_newest_is_dropped() {
    let names: Vec<_> = (0..40).map(|number| format!("n{number}.example")).collect();
    let fates: Vec<_> = names.iter().map(|name| (name.as_str(), Fate::Hang)).collect();
    let server = Running::start(&fates, |_| {}).await;
    let client = Associated::open(&server).await;
    for name in &names {
        client.send(&by_name(name, 9), b"x").await;
    }
    client.comes_back(&FAR_HEADER, b"goes on").await;
    assert_eq!(server.stats.snapshot().datagrams_dropped, 40 - 16);
    // One name, more than may wait: 16 wait already.
    for _ in 0..50 {
        for _ in 0..4 {
            client.send(&by_name("n0.example", 9), b"x").await;
        }
        client.comes_back(&FAR_HEADER, b"goes on").await;
    }
    assert_eq!(
        server.stats.snapshot().datagrams_dropped,
        40 - 16 + 200 - (128 - 16)
    );
}

#[tokio::test]
async fn only_the_client_is_listened_to() {
    let server = Running::start(&[], |_| {}).await;
    let client = Associated::open(&server).await;
    let datagram = [&FAR_HEADER[..], b"foreign"].concat();
    // From another address, before and after the client has been heard of.
    let other_host = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    other_host.send_to(&datagram, client.relay).await.unwrap();
    // What is no datagram does not make its sender the client.
    let other_port = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    other_port.send_to(b"\0\0\x01junk", client.relay).await.unwrap();
    client.comes_back(&FAR_HEADER, b"first").await;
    assert_eq!(server.stats.snapshot().datagrams_dropped, 2);
    other_host.send_to(&datagram, client.relay).await.unwrap();
    other_port.send_to(&datagram, client.relay).await.unwrap();
    client.comes_back(&FAR_HEADER, b"second").await;
    assert_eq!(server.stats.snapshot().datagrams_dropped, 4);
    let payloads: Vec<_> = server
        .script
        .sent()
        .into_iter()
        .map(|(payload, _)| payload)
        .collect();
    assert_eq!(payloads, [&b"first"[..], b"second"]);
}

#[tokio::test]
async fn an_association_ends_with_its_control_connection() {
    let server = Running::start(&[], |_| {}).await;
    let mut client = Associated::open(&server).await;
    client.comes_back(&FAR_HEADER, b"alive").await;
    client.control.write_all(b"means nothing").await.unwrap();
    client.comes_back(&FAR_HEADER, b"still alive").await;
    client.control.shutdown().await.unwrap();
    client.ended().await;
    until(|| server.stats.snapshot().active == 0).await;
}

#[tokio::test]
async fn an_association_ends_when_the_client_talks_on_the_control_connection() {
    let server = Running::start(&[], |_| {}).await;
    let mut client = Associated::open(&server).await;
    // Fails once the server has had enough.
    drop(client.control.write_all(&vec![0; 1 << 20]).await);
    client.ended().await;
}

#[tokio::test]
async fn an_association_ends_with_the_tunnel_the_list_and_the_listener() {
    let server = Running::start(&[], |_| {}).await;
    let client = Associated::open(&server).await;
    client.send(&FAR_HEADER, THE_END).await;
    client.ended().await;

    let client = Associated::open(&server).await;
    let id = server.connections.list()[0].id;
    assert!(server.connections.close(id));
    client.ended().await;

    let client = Associated::open(&server).await;
    assert_eq!(server.stop().await, Drained { finished: 1, cut: 0 });
    client.ended().await;
}

#[tokio::test(start_paused = true)]
async fn an_association_that_carries_nothing_ends() {
    let server = Running::start(&[], |_| {}).await;
    let client = Associated::open(&server).await;
    let began = tokio::time::Instant::now();
    client.ended().await;
    assert!(began.elapsed() >= Duration::from_mins(5), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_mins(6), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_port_that_cannot_be_opened_has_its_reply() {
    for (error, code) in [
        (ConnectError::TunnelDown, 1),
        (ConnectError::NotAllowed, 2),
        (ConnectError::TooManyConnections, 1),
    ] {
        let server = Running::start(&[(DATAGRAMS, Fate::Fail(error))], |_| {}).await;
        let answer = server.ask([5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0]).await;
        assert_eq!(answer, [5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0], "{error}");
        assert_eq!(server.stats.snapshot().failed, 1);
        until(|| server.connections.count() == 0).await;
    }
}

#[tokio::test]
async fn associations_count_as_connections() {
    let server = Running::start(&[], |settings| settings.limits.connections = 1).await;
    let client = Associated::open(&server).await;
    assert_eq!(rest(&mut server.client().await).await, b"");
    client.comes_back(&FAR_HEADER, b"the one").await;
}

/// Opens an association on a connection that was accepted as `ours`; gives the relay's address.
async fn relay_of(ours: impl Local, theirs: impl tokio::io::AsyncRead + Unpin + Send + 'static) -> IpAddr {
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let serving = tokio::spawn(async move {
        let (script, settings) = (Script::default(), Settings::default());
        datagrams::serve(&script, &settings, &stop, Incoming::new(ours), "a client".into()).await;
    });
    let mut theirs = theirs;
    let mut head = [0; 4];
    theirs.read_exact(&mut head).await.unwrap();
    let ip = match head {
        [5, 0, 0, 1] => {
            let mut ip = [0; 4];
            theirs.read_exact(&mut ip).await.unwrap();
            IpAddr::from(ip)
        }
        [5, 0, 0, 4] => {
            let mut ip = [0; 16];
            theirs.read_exact(&mut ip).await.unwrap();
            IpAddr::from(ip)
        }
        other => panic!("{other:?}"),
    };
    shutdown.cancel();
    serving.await.unwrap();
    ip
}

#[tokio::test]
async fn the_relay_is_where_the_client_has_reached_the_proxy() {
    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    assert_eq!(relay_of(ours, theirs).await, LOOPBACK);
    for (listen, dial, relay) in [
        ("[::]:0", "127.0.0.3", "127.0.0.3"),
        ("[::]:0", "::1", "::1"),
        ("0.0.0.0:0", "127.0.0.1", "127.0.0.1"),
    ] {
        let listener = TcpListener::bind(listen).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let dial: IpAddr = dial.parse().unwrap();
        let theirs = TcpStream::connect((dial, port)).await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        assert_eq!(
            relay_of(ours, theirs).await,
            relay.parse::<IpAddr>().unwrap(),
            "{listen}"
        );
    }
}

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
