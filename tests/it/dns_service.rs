//! The name service for local programs (`--dns-listen`): every kind of answer, split names, and that nothing is asked
//! outside the tunnel however broken the name servers inside it are.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::fetch::curl;
use crate::inner::{HELLO, Inner};
use crate::names::{Mode, Names};
use crate::netns::{Host, INNER, INNER_V6, Net, run};
use crate::process::Process;
use crate::runner::Confinement;
use crate::server::{Options, SOON, Server};
use crate::tunnel::{LISTENER, Tunnel};

const SERVICE: &str = "127.0.0.1:5353";
/// Longest wait for an answer: the program's own limits, and some for a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const A: u16 = 1;
const MX: u16 = 15;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// An answer's code, how many records it has, and its bytes.
#[derive(Debug)]
struct Answer {
    code: u8,
    records: u8,
    bytes: Vec<u8>,
}

impl Answer {
    fn new(bytes: Vec<u8>) -> Self {
        assert_eq!(bytes[..2], [0x12, 0x34], "{bytes:?}");
        assert_eq!(bytes[2] & 0x80, 0x80, "{bytes:?}");
        Self {
            code: bytes[3] & 15,
            records: bytes[7],
            bytes,
        }
    }

    fn is_cut(&self) -> bool {
        self.bytes[2] & 2 != 0
    }
}

fn service() -> SocketAddr {
    SERVICE.parse().expect("an address")
}

fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).expect("a label"));
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    // EDNS with room for 1232 bytes.
    message.extend([0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]);
    message
}

fn ask(host: &Host, name: &str, kind: u16) -> Answer {
    let bytes = host.enter(|| {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send_to(&query(name, kind), service())?;
        let mut buf = vec![0; 4096];
        let (length, from) = socket.recv_from(&mut buf)?;
        assert_eq!(from, service());
        buf.truncate(length);
        Ok::<_, std::io::Error>(buf)
    });
    Answer::new(bytes.unwrap_or_else(|error| panic!("{name} {kind}: {error}")))
}

fn ask_tcp(host: &Host, names: &[&str], kind: u16) -> Vec<Answer> {
    let answers = host.enter(|| {
        let mut stream = TcpStream::connect(service())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        for name in names {
            let message = query(name, kind);
            let length = u16::try_from(message.len()).expect("a length").to_be_bytes();
            stream.write_all(&[&length[..], &message].concat())?;
        }
        let mut answers = Vec::new();
        for _ in names {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer)?;
            answers.push(answer);
        }
        Ok::<_, std::io::Error>(answers)
    });
    answers
        .expect("answers over TCP")
        .into_iter()
        .map(Answer::new)
        .collect()
}

/// A client with the name service, whose host's own resolver and outer link are watched.
fn watched(net: &Net, server: &Server) -> (Tunnel, Names) {
    net.client.resolve_by("127.0.0.53");
    let hosts_resolver = Names::start(&net.client, "127.0.0.53:53".parse().expect("an address"), &[]);
    net.client.watch_outer_link(server.address().port());
    let path = net.write("client.ovpn", &server.profile(""));
    let mut command = net.tunless(&net.client, Confinement::Unprivileged);
    command.arg(path).args(["--dns-listen", SERVICE]);
    let mut tunnel = Tunnel::start(net, &mut command);
    tunnel.process.wait_for(&format!("DNS on {SERVICE}"), SOON);
    (tunnel, hosts_resolver)
}

fn assert_nothing_outside(net: &Net, hosts_resolver: &Names) {
    assert_eq!(hosts_resolver.asked(), Vec::<String>::new());
    assert_eq!(net.client.stray_packets(), 0);
}

#[test]
fn local_programs_get_every_kind_of_answer() {
    let net = Net::new("dns-kinds");
    let inner = Inner::start(&net.inner);
    let server = Server::start(&net, Options::default());
    let (_tunnel, hosts_resolver) = watched(&net, &server);
    let has = |kind: u16, data: &[u8]| {
        let answer = ask(&net.client, "page.inner.test", kind);
        assert_eq!((answer.code, answer.records), (0, 1), "{answer:?}");
        let found = answer.bytes.windows(data.len()).any(|window| window == data);
        assert!(found, "{kind}: {answer:?}");
    };
    let (IpAddr::V4(v4), IpAddr::V6(v6)) = (INNER, INNER_V6) else {
        panic!("addresses of both families")
    };
    for _ in 0..2 {
        has(A, &v4.octets());
        has(AAAA, &v6.octets());
        has(TXT, b"some text");
        has(MX, &[0, 10]);
        has(SRV, &[0, 1, 0, 2, 1, 187]);
    }
    // Each was asked for once, whoever wants it.
    let got = curl(
        &net.client,
        15,
        &[
            "--proxy",
            &format!("socks5h://{LISTENER}"),
            "http://page.inner.test/hello",
        ],
    );
    let got = { got }.output().expect("curl");
    assert_eq!(String::from_utf8_lossy(&got.stdout), HELLO, "{got:?}");
    assert_eq!(inner.names.asked(), ["udp page.inner.test"; 5]);
    let missing = ask(&net.client, "missing.inner.test", A);
    assert_eq!((missing.code, missing.records), (3, 0));
    let long = "long.page.inner.test";
    let cut = ask(&net.client, long, TXT);
    assert!(cut.is_cut() && cut.records == 0, "{cut:?}");
    for whole in ask_tcp(&net.client, &[long, "page.inner.test", long], TXT) {
        assert_eq!((whole.code, whole.records, whole.is_cut()), (0, 1, false));
        assert!(whole.bytes.windows(9).any(|window| window == b"some text"));
    }
    assert_nothing_outside(&net, &hosts_resolver);
}

#[test]
fn names_of_a_domain_go_to_its_own_server() {
    let net = Net::new("dns-split");
    let general = Inner::start(&net.inner);
    run(net
        .inner
        .command("ip")
        .args(["address", "add", "10.88.0.3/24", "dev", "lan"]));
    let corp = Names::start(
        &net.inner,
        "10.88.0.3:53".parse().expect("an address"),
        &[("page.corp.test", Some(INNER), None)],
    );
    let server = Server::start(
        &net,
        Options {
            push_resolver: false,
            extra: "push \"dns server 0 address 10.88.0.2\"\npush \"dns server 1 address 10.88.0.3\"\n\
                    push \"dns server 1 resolve-domains corp.test\"",
            ..Options::default()
        },
    );
    let (_tunnel, hosts_resolver) = watched(&net, &server);
    assert_eq!(ask(&net.client, "page.corp.test", A).records, 1);
    assert_eq!(ask(&net.client, "page.inner.test", A).records, 1);
    assert_eq!(ask(&net.client, "missing.corp.test", A).code, 3);
    let url = "http://page.corp.test/hello";
    let proxy = format!("socks5h://{LISTENER}");
    let got = curl(&net.client, 15, &["--proxy", &proxy, url])
        .output()
        .expect("curl");
    assert_eq!(String::from_utf8_lossy(&got.stdout), HELLO, "{got:?}");
    assert_eq!(general.names.asked(), ["udp page.inner.test"]);
    assert!(corp.asked().iter().all(|asked| asked.ends_with(".corp.test")));
    corp.behave(Mode::ServFail);
    assert_eq!(ask(&net.client, "other.corp.test", A).code, 2);
    assert_eq!(
        general.names.asked().len(),
        1,
        "a name of the domain was asked elsewhere"
    );
    assert_nothing_outside(&net, &hosts_resolver);
}

#[test]
fn nothing_leaves_outside_however_the_name_server_fails() {
    let net = Net::new("dns-broken");
    let inner = Inner::start(&net.inner);
    let server = Server::start(&net, Options::default());
    let (_tunnel, hosts_resolver) = watched(&net, &server);
    let proxy = format!("socks5h://{LISTENER}");
    for mode in [Mode::Silent, Mode::ServFail, Mode::Garbage, Mode::CutShort] {
        inner.names.behave(mode);
        let name = format!("{mode:?}.inner.test").to_ascii_lowercase();
        let answer = ask(&net.client, &name, A);
        assert_eq!((answer.code, answer.records), (2, 0), "{mode:?}: {answer:?}");
        let url = format!("http://{name}/hello");
        let get = curl(&net.client, 20, &["--proxy", &proxy, &url])
            .output()
            .expect("curl");
        assert!(!get.status.success(), "{mode:?}: {get:?}");
        assert_nothing_outside(&net, &hosts_resolver);
    }
    inner.names.behave(Mode::Good);
    assert_eq!(ask(&net.client, "page.inner.test", A).records, 1);
}

#[test]
fn without_a_tunnel_the_service_says_that_it_is_down() {
    let net = Net::new("dns-down");
    let _inner = Inner::start(&net.inner);
    let server = Server::start(&net, Options::default());
    let path = net.write("client.ovpn", &server.profile(""));
    let port = server.address().port();
    drop(server);
    net.client.resolve_by("127.0.0.53");
    let hosts_resolver = Names::start(&net.client, "127.0.0.53:53".parse().expect("an address"), &[]);
    net.client.watch_outer_link(port);
    let mut command = net.tunless(&net.client, Confinement::Unprivileged);
    command.arg(path).args(["--dns-listen", SERVICE]);
    let mut process = Process::start(net.dir(), "tunless-client", &mut command);
    process.wait_for(&format!("DNS on {SERVICE}"), SOON);
    let answer = ask(&net.client, "page.inner.test", A);
    assert_eq!(answer.code, 2);
    // The extended error's number is 23, Network Error.
    assert!(answer.bytes.ends_with(b"\x00\x17tunnel down"), "{answer:?}");
    assert_eq!(ask(&net.client, "localhost", A).records, 1);
    assert_nothing_outside(&net, &hosts_resolver);
}
