//! Datagrams through the tunnel by SOCKS5 UDP ASSOCIATE (RFC 1928 §7): names asked of the inner name server, bursts,
//! lengths up to the tunnel's and beyond, and who is not listened to.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::inner::{ECHO, write_pattern};
use crate::netns::{Host, INNER, INNER_V6};
use crate::server::Options;
use crate::tunnel::{LISTENER, Lab};

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);
/// Wait for an echo before the datagram is sent again: any network may lose one, and a young one is slow over IPv6.
const AGAIN: Duration = Duration::from_secs(5);
/// What fits one inner packet of the usual MTU over IPv4. With the tunnel's own headers it no longer fits one packet of
/// the outer link, so that IP cuts it up there.
const LONGEST: usize = 1500 - (20 + 8);
const NAME_SERVER: u16 = 53;

/// A program on the client host that speaks SOCKS5 over UDP.
struct Client {
    control: TcpStream,
    socket: UdpSocket,
    relay: SocketAddr,
}

fn socket(host: &Host, ip: Ipv4Addr) -> UdpSocket {
    let socket = host
        .enter(|| UdpSocket::bind((ip, 0)))
        .expect("a local UDP socket");
    socket.set_read_timeout(Some(AGAIN)).expect("a time limit");
    socket
}

fn by_address(ip: IpAddr, port: u16) -> Vec<u8> {
    let (kind, octets) = match ip {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (4, ip.octets().to_vec()),
    };
    [&[0, 0, 0, kind], &octets[..], &port.to_be_bytes()].concat()
}

fn by_name(name: &str, port: u16) -> Vec<u8> {
    let len = u8::try_from(name.len()).expect("a short name");
    [&[0, 0, 0, 3, len], name.as_bytes(), &port.to_be_bytes()].concat()
}

impl Client {
    fn associate(host: &Host) -> Self {
        let mut control = host
            .enter(|| TcpStream::connect(LISTENER))
            .expect("the proxy's port");
        control.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        control
            .write_all(&[5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0])
            .expect("a request");
        let mut reply = [0; 12];
        control.read_exact(&mut reply).expect("a reply");
        let [5, 0, 5, 0, 0, 1, a, b, c, d, port @ ..] = reply else {
            panic!("no association: {reply:?}");
        };
        Self {
            control,
            socket: socket(host, Ipv4Addr::LOCALHOST),
            relay: SocketAddr::from(([a, b, c, d], u16::from_be_bytes(port))),
        }
    }

    fn send(&self, header: &[u8], payload: &[u8]) {
        let datagram = [header, payload].concat();
        self.socket
            .send_to(&datagram, self.relay)
            .expect("a datagram is sent");
    }

    /// The next datagram; nothing if none comes soon.
    fn receive(&self) -> Option<Vec<u8>> {
        let mut buf = vec![0; 64 * 1024];
        match self.socket.recv_from(&mut buf) {
            Ok((len, from)) => {
                assert_eq!(from, self.relay);
                buf.truncate(len);
                Some(buf)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(error) => panic!("the client's socket: {error}"),
        }
    }

    /// Sends until something comes back, and gives that.
    fn ask(&self, header: &[u8], payload: &[u8]) -> Vec<u8> {
        let begun = Instant::now();
        loop {
            self.send(header, payload);
            if let Some(reply) = self.receive() {
                return reply;
            }
            assert!(begun.elapsed() < PATIENCE, "no answer to {header:?}");
        }
    }

    fn comes_back(&self, ip: IpAddr, payload: &[u8]) {
        let header = by_address(ip, ECHO);
        assert_eq!(self.ask(&header, payload), [&header, payload].concat());
    }
}

/// A question for the IPv4 address of `name`.
fn question(id: u8, name: &str) -> Vec<u8> {
    let mut query = vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).expect("a label"));
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    query
}

#[test]
fn the_inner_name_server_is_asked_by_address_and_by_name() {
    let mut lab = Lab::new("datagrams-names", Options::default());
    let client = Client::associate(&lab.net.client);
    let from = by_address(INNER, NAME_SERVER);
    for (id, header) in [
        (1, from.clone()),
        (2, by_name("ns.inner.test", NAME_SERVER)),
        (3, by_name("NS.inner.test", NAME_SERVER)),
        (4, by_name("10.88.0.2", NAME_SERVER)),
    ] {
        let reply = client.ask(&header, &question(id, "page.inner.test"));
        let answer = reply
            .strip_prefix(&from[..])
            .expect("the server's address in front");
        assert_eq!(answer[..2], [0, id]);
        assert!(
            answer.ends_with(&[0, 4, 10, 88, 0, 2]),
            "no address in {answer:?}"
        );
    }
    client.comes_back(INNER_V6, b"over IPv6");
    let six = client.ask(&by_name("six.inner.test", ECHO), b"by a name that has IPv6 only");
    assert!(six.starts_with(&by_address(INNER_V6, ECHO)));
    lab.tunnel.end(Signal::SIGTERM);
    lab.server.assert_no_errors();
}

#[test]
fn fragments_and_strangers_are_not_listened_to() {
    let lab = Lab::new("datagrams-strangers", Options::default());
    let client = Client::associate(&lab.net.client);
    let header = by_address(INNER, ECHO);
    let foreign = [&header[..], b"foreign"].concat();
    let other_address = socket(&lab.net.client, Ipv4Addr::new(127, 0, 0, 2));
    let other_port = socket(&lab.net.client, Ipv4Addr::LOCALHOST);
    other_address
        .send_to(&foreign, client.relay)
        .expect("a datagram is sent");
    client.comes_back(INNER, b"first");
    for socket in [&other_address, &other_port] {
        socket
            .send_to(&foreign, client.relay)
            .expect("a datagram is sent");
    }
    for fragment in [1, 0x7f, 0x81] {
        let mut header = header.clone();
        header[2] = fragment;
        client.send(&header, b"a fragment");
    }
    // Whatever of all that was sent on would come back before this.
    client.comes_back(INNER, b"second");
    for socket in [&other_address, &other_port] {
        // Anything would have come before the echo that the client has heard.
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .expect("a time limit");
        let heard = socket.recv_from(&mut [0; 100]).map(|(len, _)| len);
        assert!(heard.is_err(), "a stranger heard {heard:?} bytes");
    }
}

#[test]
fn an_association_ends_with_its_control_connection() {
    let lab = Lab::new("datagrams-end", Options::default());
    let client = Client::associate(&lab.net.client);
    client.comes_back(INNER, b"alive");
    client
        .control
        .shutdown(Shutdown::Write)
        .expect("the end of the control connection");
    client.socket.connect(client.relay).expect("the relay's address");
    // Once the port is closed, the host says so.
    let begun = Instant::now();
    loop {
        let refused = client.socket.send(&by_address(INNER, ECHO)).is_err()
            || client
                .socket
                .recv(&mut [0; 100])
                .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
        if refused {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the port stays open");
    }
    // The proxy goes on, and the next association works like the first.
    Client::associate(&lab.net.client).comes_back(INNER, b"the next one");
}

#[test]
fn a_burst_comes_back_whole() {
    const COUNT: u64 = 2000;
    const WINDOW: usize = 64;
    const BYTES: usize = 1200;
    let lab = Lab::new("datagrams-burst", Options::default());
    let client = Client::associate(&lab.net.client);
    let header = by_address(INNER, ECHO);
    let payload = |number: u64| {
        let mut payload = number.to_be_bytes().to_vec();
        write_pattern(&mut payload, (BYTES - 8) as u64).expect("memory");
        payload
    };
    let (mut next, mut again) = (0, 0);
    let mut outstanding = BTreeMap::new();
    let begun = Instant::now();
    while next < COUNT || !outstanding.is_empty() {
        while next < COUNT && outstanding.len() < WINDOW {
            client.send(&header, &payload(next));
            outstanding.insert(next, Instant::now());
            next += 1;
        }
        if let Some(reply) = client.receive() {
            let body = reply.strip_prefix(&header[..]).expect("the echo's address");
            let number = u64::from_be_bytes(body[..8].try_into().expect("a number"));
            assert!(body == payload(number), "wrong bytes in {number}");
            outstanding.remove(&number);
        }
        for (number, sent) in &mut outstanding {
            if sent.elapsed() > AGAIN {
                client.send(&header, &payload(*number));
                *sent = Instant::now();
                again += 1;
            }
        }
        assert!(
            begun.elapsed() < 3 * PATIENCE,
            "{next} sent, {outstanding:?} not back"
        );
    }
    eprintln!(
        "{COUNT} datagrams there and back in {:?}, {again} again",
        begun.elapsed()
    );
    assert!(again <= COUNT / 50, "{again} of {COUNT} were lost");
}

#[test]
fn every_length_up_to_the_links_goes_through() {
    let lab = Lab::new("datagrams-lengths", Options::default());
    let client = Client::associate(&lab.net.client);
    for (ip, longest) in [(INNER, LONGEST), (INNER_V6, LONGEST - 20)] {
        for len in [0, 1, 1200, 1252, 1350, 1400, 1420, 1421, longest - 1, longest] {
            let mut payload = Vec::new();
            write_pattern(&mut payload, len as u64).expect("memory");
            client.comes_back(ip, &payload);
        }
        // Longer ones are cut up inside, too.
        for len in [longest + 1, 4000, 9000] {
            let mut payload = Vec::new();
            write_pattern(&mut payload, len as u64).expect("memory");
            client.comes_back(ip, &payload);
        }
        // The longest there are may be lost on the way, but come whole or not at all.
        let mut payload = vec![1];
        write_pattern(&mut payload, 64_999).expect("memory");
        let header = by_address(ip, ECHO);
        client.send(&header, &payload);
        let small = [&header[..], b"short"].concat();
        client.send(&header, b"short");
        let first = client.receive().expect("an echo");
        assert!(
            first == small || first == [header, payload].concat(),
            "cut to {}",
            first.len()
        );
        if first != small {
            assert_eq!(client.receive(), Some(small));
        }
    }
}
