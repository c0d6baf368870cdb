//! Debian's `openvpn` on both sides: shows that the lab's servers, keys and hosts are right before our program
//! is measured against them.

use std::time::{Duration, Instant};

use crate::fetch::{Via, curl, download, page, upload};
use crate::inner::{ECHO, HELLO, Inner, WEB};
use crate::netns::{CLIENT, Net, run};
use crate::process::Process;
use crate::server::{
    Derivation, Login, Options, SOON, Server, TUNNEL_PREFIX, TUNNEL_SERVER, Transport, Wrap,
};

/// Starts the stock client on the client host and waits until it is connected.
pub(crate) fn connect(net: &Net, profile: &str) -> Process {
    let path = net.write("stock.ovpn", profile);
    let mut command = net.client.command("openvpn");
    command.arg("--config").arg(path).arg("--disable-dco");
    let mut process = Process::start(net.dir(), "openvpn-client", &mut command);
    process.wait_for("Initialization Sequence Completed", SOON);
    process
}

/// Connects by `options` and gets a page through the tunnel; gives the logs of client and server.
fn get_through(test: &str, options: Options) -> (String, String) {
    let net = Net::new(test);
    let _inner = Inner::start(&net.inner);
    let server = Server::start(&net, options);
    let client = connect(&net, &server.profile(""));
    let stream = Via::Direct
        .connect(&net.client, "10.88.0.2", WEB)
        .expect("a connection");
    let who = page(&stream, "/whoami").expect("a page");
    assert!(who.starts_with(TUNNEL_PREFIX), "came from {who}");
    server.assert_no_errors();
    (client.log(), server.process.log())
}

#[test]
fn a_page_comes_through_udp_with_tls_crypt() {
    get_through("stock-udp4", Options::default());
}

#[test]
fn a_page_comes_through_udp6_with_tls_auth() {
    get_through(
        "stock-udp6",
        Options {
            transport: Transport::Udp6,
            wrap: Wrap::TlsAuth,
            ..Options::default()
        },
    );
}

#[test]
fn a_page_comes_through_tcp_without_a_wrap() {
    get_through(
        "stock-tcp",
        Options {
            transport: Transport::Tcp4,
            wrap: Wrap::None,
            ..Options::default()
        },
    );
}

#[test]
fn a_server_can_be_kept_to_tls_1_2() {
    let (client, _) = get_through(
        "stock-tls12",
        Options {
            tls: Some("1.2"),
            ..Options::default()
        },
    );
    assert!(client.contains("Control Channel: TLSv1.2"));
}

#[test]
fn a_server_can_be_kept_to_keys_by_the_prf() {
    let (_, server) = get_through(
        "stock-prf",
        Options {
            derivation: Derivation::Prf,
            ..Options::default()
        },
    );
    let push = server
        .lines()
        .find(|line| line.contains("'PUSH_REPLY,"))
        .expect("a push reply");
    assert!(
        push.contains("protocol-flags") && !push.contains("tls-ekm"),
        "{push}"
    );
    let (_, server) = get_through("stock-ekm", Options::default());
    let push = server
        .lines()
        .find(|line| line.contains("'PUSH_REPLY,"))
        .expect("a push reply");
    assert!(push.contains("tls-ekm"), "{push}");
}

#[test]
fn a_password_is_asked_for_and_checked() {
    get_through(
        "stock-password",
        Options {
            login: Login::Password,
            ..Options::default()
        },
    );
    get_through(
        "stock-both",
        Options {
            login: Login::Both,
            ..Options::default()
        },
    );
}

#[test]
fn the_inner_host_serves_what_the_tests_compare() {
    let net = Net::new("stock-inner");
    let inner = Inner::start(&net.inner);
    let here = |port| {
        Via::Direct
            .connect(&net.client, "10.88.0.2", port)
            .expect("a connection")
    };
    assert_eq!(page(&here(WEB), "/hello").expect("a page"), HELLO);
    assert_eq!(
        page(&here(WEB), "/whoami").expect("a page").trim(),
        CLIENT.to_string()
    );
    download(&here(WEB), 5_000_000).expect("the right bytes");
    assert_eq!(
        upload(&here(WEB), 5_000_000).expect("a verdict"),
        "5000000 bytes as expected\n"
    );
    drop(here(ECHO));
    let by_name = [
        "http://page.inner.test/hello",
        "--resolve",
        "page.inner.test:80:[fd88::2]",
    ];
    assert_eq!(run(&mut curl(&net.client, 10, &by_name)), HELLO);
    net.client.resolve_by("10.88.0.2");
    assert_eq!(
        run(&mut curl(&net.client, 10, &["http://page.inner.test/hello"])),
        HELLO
    );
    assert_eq!(
        run(&mut curl(&net.client, 10, &["http://long.page.inner.test/hello"])),
        HELLO
    );
    let asked = inner.names.asked();
    assert!(
        asked.contains(&"tcp long.page.inner.test".to_owned()),
        "{asked:?}"
    );
}

#[test]
fn traffic_beside_the_tunnel_is_noticed() {
    let net = Net::new("stock-stray");
    let _inner = Inner::start(&net.inner);
    let server = Server::start(&net, Options::default());
    net.client.watch_outer_link(server.address().port());
    let mut client = connect(&net, &server.profile(""));
    let get = |address: &str| {
        page(
            &Via::Direct
                .connect(&net.client, address, WEB)
                .expect("a connection"),
            "/hello",
        )
    };
    get("10.88.0.2").expect("a page");
    assert_eq!(net.client.stray_packets(), 0);
    client.signal(nix::sys::signal::Signal::SIGTERM);
    client.wait(Duration::from_secs(10));
    get("10.88.0.2").expect("a page beside the tunnel");
    assert!(net.client.stray_packets() > 0);
    drop(Via::Direct.connect(&net.client, TUNNEL_SERVER, WEB));
}

#[test]
fn keys_change_under_load_without_a_word_from_the_server() {
    let net = Net::new("stock-rekey");
    Inner::start(&net.inner);
    let server = Server::start(
        &net,
        Options {
            reneg_sec: 3,
            ..Options::default()
        },
    );
    let _client = connect(&net, &server.profile("reneg-sec 0"));
    let end = Instant::now() + Duration::from_secs(8);
    while Instant::now() < end {
        let stream = Via::Direct
            .connect(&net.client, "10.88.0.2", WEB)
            .expect("a connection");
        download(&stream, 4_000_000).expect("the right bytes");
    }
    assert!(
        server.handshakes() >= 3,
        "only {} handshakes",
        server.handshakes()
    );
    server.assert_no_errors();
}
