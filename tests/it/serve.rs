//! The program as a server without privileges: Debian's `openvpn` connects to it and reaches the host behind it.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::fetch::{Via, curl, download, page, upload};
use crate::inner::{HELLO, Inner, WEB};
use crate::netns::{Net, run};
use crate::pki::{Authority, CLIENT_NAME, Purpose, SERVER_NAME};
use crate::process::Process;
use crate::runner::Confinement;
use crate::server::{PORT, SOON, inline, static_key};
use crate::stock;
use crate::tunnel::{END, Tunnel};

/// A host that serves, and the profile for its clients.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) process: Process,
    pub(crate) profile: String,
}

impl Serving {
    /// Starts `tunless serve` on the server host; `extra` are lines for its configuration.
    pub(crate) fn start(net: &Net, confinement: Confinement, proto: &str, extra: &str) -> Self {
        let authority = Authority::new("lab authority");
        let key = static_key(net, "static.key");
        let keepalive = if extra.contains("keepalive") {
            ""
        } else {
            "keepalive 10 60\n"
        };
        let mut config = format!(
            "dev tun\nproto {proto}\nport {PORT}\ntopology subnet\nserver 10.99.0.0 255.255.255.0\n\
             server-ipv6 fd99::/64\npush \"route-ipv6 fd88::/64\"\npush \"route 10.88.0.0 255.255.255.0\"\npush \"dhcp-option DNS 10.88.0.2\"\n{keepalive}\
             dh none\ndata-ciphers AES-256-GCM:CHACHA20-POLY1305\n{extra}\n"
        );
        let mut profile = format!(
            "client\ndev tun\nproto {proto}\nremote 10.77.0.2 {PORT}\nnobind\nremote-cert-tls server\nverb 4\n"
        );
        for (text, name, purpose) in [
            (&mut config, SERVER_NAME, Purpose::Server),
            (&mut profile, CLIENT_NAME, Purpose::Client),
        ] {
            let identity = authority.issue(name, purpose);
            inline(text, "ca", &authority.certificate);
            inline(text, "cert", &identity.certificate);
            inline(text, "key", &identity.key);
            inline(text, "tls-crypt", &key);
        }
        let path = net.write("serve.conf", &config);
        let mut command = net.tunless(&net.server, confinement);
        command.arg("serve").arg(path);
        let mut process = Process::start(net.dir(), "tunless-serve", &mut command);
        process.wait_for("listening on ", SOON);
        Self { process, profile }
    }
}

/// Connects the stock client over `proto`, and reaches the host behind the server by TCP, names and ping.
fn stock_client_reaches_the_inner_host(test: &str, proto: &str) {
    let net = Net::new(test);
    let inner = Inner::start(&net.inner);
    let mut serving = Serving::start(&net, Confinement::Unprivileged, proto, "");
    assert_eq!(serving.process.status_field("CapEff"), "0000000000000000");
    let mut client = stock::connect(&net, &serving.profile);
    net.client.watch_outer_link(PORT);

    let connect = || {
        Via::Direct
            .connect(&net.client, "10.88.0.2", WEB)
            .expect("a connection")
    };
    assert_eq!(
        page(&connect(), "/whoami").expect("a page").trim(),
        "10.88.0.1",
        "leaves from the server"
    );
    download(&connect(), 16_000_000).expect("the right bytes");
    assert_eq!(
        upload(&connect(), 4_000_000).expect("a verdict"),
        "4000000 bytes as expected\n"
    );

    net.client.resolve_by("10.88.0.2");
    assert_eq!(
        run(&mut curl(&net.client, 10, &["http://page.inner.test/hello"])),
        HELLO
    );
    assert!(inner.names.asked().contains(&"udp page.inner.test".to_owned()));
    let pings = run(net
        .client
        .command("ping")
        .args(["-n", "-c", "3", "-i", "0.2", "-W", "2", "10.88.0.2"]));
    assert!(pings.contains("3 received"), "{pings}");
    assert_eq!(net.client.stray_packets(), 0);

    client.signal(Signal::SIGTERM);
    client.wait(Duration::from_secs(10));
    serving.process.signal(Signal::SIGTERM);
    let (status, took) = serving.process.wait(Duration::from_secs(20));
    assert_eq!(status.code(), Some(0));
    assert!(took < END, "ended after {took:?}");
}

#[test]
fn the_stock_client_reaches_the_inner_host_over_udp() {
    stock_client_reaches_the_inner_host("serve-udp", "udp");
}

#[test]
fn the_stock_client_reaches_the_inner_host_over_tcp() {
    stock_client_reaches_the_inner_host("serve-tcp", "tcp");
}

#[test]
fn a_closed_inner_port_is_refused_at_once() {
    let net = Net::new("serve-refused");
    let _inner = Inner::start(&net.inner);
    let serving = Serving::start(&net, Confinement::Unprivileged, "udp", "");
    let _client = stock::connect(&net, &serving.profile);
    let error = Via::Direct
        .connect(&net.client, "10.88.0.2", 81)
        .expect_err("no connection");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{error}");
}

#[test]
fn the_servers_own_loopback_stays_closed() {
    let net = Net::new("serve-loopback");
    let _inner = Inner::start(&net.inner);
    let listener = net
        .server
        .enter(|| std::net::TcpListener::bind("127.0.0.1:8080"))
        .expect("a listener");
    listener.set_nonblocking(true).expect("a non-blocking listener");
    let serving = Serving::start(&net, Confinement::Unprivileged, "udp", "");
    let mut client = Tunnel::connect(&net, Confinement::Unprivileged, &serving.profile);
    let proxy = Via::Socks(crate::tunnel::LISTENER);
    for target in ["127.0.0.1", "0.0.0.0", "::1", "::ffff:127.0.0.1"] {
        let error = proxy
            .connect(&net.client, target, 8080)
            .expect_err("no connection to the server's loopback");
        assert!(
            listener.accept().is_err(),
            "{target} reached the loopback: {error}"
        );
    }
    client.end(Signal::SIGTERM);
}

#[test]
fn our_client_and_our_server_carry_pages() {
    let net = Net::new("serve-ours");
    let _inner = Inner::start(&net.inner);
    let serving = Serving::start(&net, Confinement::Unprivileged, "udp", "");
    let mut client = Tunnel::connect(&net, Confinement::Unprivileged, &serving.profile);
    let connect = |target| {
        Via::Http(crate::tunnel::LISTENER)
            .connect(&net.client, target, WEB)
            .expect("a connection")
    };
    assert_eq!(
        page(&connect("page.inner.test"), "/hello").expect("a page"),
        HELLO
    );
    download(&connect("10.88.0.2"), 32_000_000).expect("the right bytes");
    client.end(Signal::SIGINT);
}

#[test]
fn one_name_connects_once_unless_duplicates_are_allowed() {
    for (test, extra, kept) in [
        ("serve-single", "", false),
        ("serve-duplicate", "duplicate-cn", true),
    ] {
        let net = Net::new(test);
        let _inner = Inner::start(&net.inner);
        let mut serving = Serving::start(&net, Confinement::Unprivileged, "udp", extra);
        let mut first = Tunnel::connect(&net, Confinement::Unprivileged, &serving.profile);
        let path = net.write("second.ovpn", &serving.profile);
        let mut command = net.tunless(&net.client, Confinement::Unprivileged);
        command.arg(path).args(["--listen", "127.0.0.1:1081"]);
        let mut second = Process::start(net.dir(), "tunless-second", &mut command);
        second.wait_for("connected to ", SOON);
        let get = |port: u16| {
            let proxy = Via::Socks(([127, 0, 0, 1], port).into());
            page(&proxy.connect(&net.client, "10.88.0.2", WEB)?, "/hello")
        };
        assert_eq!(get(1081).expect("a page for the second"), HELLO);
        if kept {
            assert_eq!(get(1080).expect("a page for the first"), HELLO);
            assert!(first.process.is_running());
        }
        assert!(serving.process.is_running());
    }
}
