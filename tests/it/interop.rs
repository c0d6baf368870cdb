//! The program as an unprivileged client of Debian's `openvpn` server: what the two agree on, and pages through
//! it. What moves much data is in [`crate::bulk`], what takes time in [`crate::endurance`].

use crate::fetch::{Via, curl, page};
use crate::inner::{HELLO, Inner, WEB};
use crate::netns::{Net, run};
use crate::runner::Confinement;
use crate::server::{
    Derivation, Login, Options, Server, TUNNEL_PREFIX, TUNNEL_PREFIX_V6, Transport, USER, Wrap,
};
use crate::tunnel::{LISTENER, Lab, Tunnel};

use nix::sys::signal::Signal;

/// Connects by `options`, gets pages by SOCKS5 and HTTP CONNECT over both address families, and ends.
fn agrees(test: &str, options: Options) -> Lab {
    let mut lab = Lab::new(test, options);
    for stream in [lab.socks("10.88.0.2", WEB), lab.http("10.88.0.2", WEB)] {
        let who = page(&stream, "/whoami").expect("a page");
        assert!(who.starts_with(TUNNEL_PREFIX), "came from {who}");
    }
    for stream in [lab.socks("fd88::2", WEB), lab.http("fd88::2", WEB)] {
        let who = page(&stream, "/whoami").expect("a page");
        assert!(who.starts_with(TUNNEL_PREFIX_V6), "came from {who}");
    }
    lab.tunnel.end(Signal::SIGTERM);
    lab.server.assert_no_errors();
    lab
}

macro_rules! matrix {
    ($($name:ident: $($field:ident $value:expr),+;)+) => {$(
        #[test]
        fn $name() {
            agrees(stringify!($name), Options { $($field: $value,)+ ..Options::default() });
        }
    )+};
}

matrix! {
    udp4_without_a_wrap: transport Transport::Udp4, wrap Wrap::None;
    udp4_with_tls_auth: transport Transport::Udp4, wrap Wrap::TlsAuth;
    udp4_with_tls_crypt: transport Transport::Udp4, wrap Wrap::TlsCrypt;
    udp6_without_a_wrap: transport Transport::Udp6, wrap Wrap::None;
    udp6_with_tls_auth: transport Transport::Udp6, wrap Wrap::TlsAuth;
    udp6_with_tls_crypt: transport Transport::Udp6, wrap Wrap::TlsCrypt;
    tcp_without_a_wrap: transport Transport::Tcp4, wrap Wrap::None;
    tcp_with_tls_auth: transport Transport::Tcp4, wrap Wrap::TlsAuth;
    tcp_with_tls_crypt: transport Transport::Tcp4, wrap Wrap::TlsCrypt;
    cipher_aes_128_gcm: cipher "AES-128-GCM";
    cipher_aes_192_gcm: cipher "AES-192-GCM";
    cipher_aes_256_gcm: cipher "AES-256-GCM";
    cipher_chacha20_poly1305: cipher "CHACHA20-POLY1305";
    password_instead_of_a_certificate: login Login::Password;
    password_besides_a_certificate: login Login::Both;
}

#[test]
fn tls_1_2_and_1_3_with_keys_by_exporter_and_by_prf() {
    for tls in ["1.2", "1.3"] {
        for derivation in [Derivation::Exporter, Derivation::Prf] {
            let options = Options {
                tls: Some(tls),
                derivation,
                ..Options::default()
            };
            let lab = agrees(&format!("tls-{tls}-{derivation:?}"), options);
            let log = lab.server.process.log();
            assert!(
                log.contains(&format!("Control Channel: TLSv{tls}")),
                "not TLS {tls}"
            );
            let push = log
                .lines()
                .find(|line| line.contains("'PUSH_REPLY,"))
                .expect("a push reply");
            assert_eq!(
                push.contains("tls-ekm"),
                derivation == Derivation::Exporter,
                "{push}"
            );
        }
    }
}

#[test]
fn a_password_can_come_from_a_file() {
    let net = Net::new("password-file");
    let _inner = Inner::start(&net.inner);
    let server = Server::start(
        &net,
        Options {
            login: Login::Password,
            ..Options::default()
        },
    );
    let profile = net.write("client.ovpn", &server.profile("auth-user-pass"));
    let secret = net.write("secret.txt", &format!("{}\n{}\n", USER.0, USER.1));
    let mut command = net.tunless(&net.client, Confinement::Unprivileged);
    command
        .arg("connect")
        .arg(profile)
        .arg("--auth-user-pass")
        .arg(secret);
    let mut tunnel = Tunnel::start(&net, &mut command);
    let stream = Via::Socks(LISTENER)
        .connect(&net.client, "10.88.0.2", WEB)
        .expect("a connection");
    assert_eq!(page(&stream, "/hello").expect("a page"), HELLO);
    tunnel.end(Signal::SIGINT);
}

#[test]
fn the_server_hears_at_once_that_the_client_ended() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut lab = Lab::new(&format!("exit-{signal}"), Options::default());
        lab.tunnel.end(signal);
        lab.server.process.wait_for(
            "CC-EEN exit message received by peer",
            std::time::Duration::from_secs(2),
        );
    }
}

#[test]
fn the_client_runs_without_any_privilege() {
    let lab = Lab::new("privileges", Options::default());
    let process = &lab.tunnel.process;
    for field in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(process.status_field(field), "0000000000000000", "{field}");
    }
    assert_eq!(process.status_field("NoNewPrivs"), "1");
    assert_eq!(process.status_field("Uid"), "65534\t65534\t65534\t65534");
    assert_eq!(process.status_field("Groups"), "");
}

#[test]
fn the_first_lines_say_what_a_user_needs() {
    let mut lab = Lab::new("first-lines", Options::default());
    let soon = std::time::Duration::from_secs(2);
    let connected = lab.tunnel.process.wait_for("connected to ", soon);
    assert!(connected.contains("10.77.0.2:1194/udp"), "{connected}");
    for text in [
        "10.99.0.",
        "fd99::",
        "10.88.0.2",
        "curl ",
        &format!("socks5h://{LISTENER}"),
    ] {
        lab.tunnel.process.wait_for(text, soon);
    }
    let log = lab.tunnel.process.log();
    assert!(log.find("listening on ") < log.find("connected to "), "{log}");
}

#[test]
fn names_are_resolved_inside_and_the_hosts_resolver_hears_nothing() {
    let net = Net::new("names");
    let inner = Inner::start(&net.inner);
    let server = Server::start(&net, Options::default());
    net.client.resolve_by("127.0.0.53");
    let hosts_resolver =
        crate::names::Names::start(&net.client, "127.0.0.53:53".parse().expect("an address"), &[]);
    net.client.watch_outer_link(server.address().port());
    let _tunnel = Tunnel::connect(&net, Confinement::Unprivileged, &server.profile(""));
    for name in ["page.inner.test", "six.inner.test", "long.page.inner.test"] {
        for scheme in ["socks5h", "http"] {
            let url = format!("http://{name}/hello");
            let proxy = format!("{scheme}://{LISTENER}");
            let get = curl(&net.client, 15, &["--proxy", &proxy, "--proxytunnel", &url])
                .output()
                .expect("curl");
            assert_eq!(
                String::from_utf8_lossy(&get.stdout),
                HELLO,
                "{name} by {scheme}: {get:?}"
            );
        }
    }
    let asked = inner.names.asked();
    assert!(
        asked.iter().any(|question| question == "udp page.inner.test"),
        "{asked:?}"
    );
    assert!(
        asked
            .iter()
            .any(|question| question == "tcp long.page.inner.test"),
        "{asked:?}"
    );
    assert_eq!(hosts_resolver.asked(), Vec::<String>::new());
    assert_eq!(net.client.stray_packets(), 0);
    // The watch itself works: the host's own resolver is heard when it is asked.
    let beside = curl(&net.client, 5, &["http://page.inner.test/hello"])
        .output()
        .expect("curl");
    assert!(!beside.status.success());
    assert!(!hosts_resolver.asked().is_empty());
}

#[test]
fn names_without_a_pushed_resolver_need_one_by_option() {
    let net = Net::new("no-resolver");
    let _inner = Inner::start(&net.inner);
    let server = Server::start(
        &net,
        Options {
            push_resolver: false,
            ..Options::default()
        },
    );
    let proxy = Via::Socks(LISTENER);
    let mut tunnel = Tunnel::connect(&net, Confinement::Unprivileged, &server.profile(""));
    assert!(proxy.connect(&net.client, "page.inner.test", WEB).is_err());
    tunnel.end(Signal::SIGTERM);
    let mut command = net.tunless(&net.client, Confinement::Unprivileged);
    command
        .arg(net.dir().join("client.ovpn"))
        .args(["--dns", "10.88.0.2"]);
    let _tunnel = Tunnel::start(&net, &mut command);
    let stream = proxy
        .connect(&net.client, "page.inner.test", WEB)
        .expect("a connection");
    assert_eq!(page(&stream, "/hello").expect("a page"), HELLO);
}

#[test]
fn reply_codes_tell_what_went_wrong() {
    let lab = Lab::new("reply-codes", Options::default());
    let ask = |target, port| {
        let error = Via::Socks(LISTENER)
            .connect(&lab.net.client, target, port)
            .expect_err("no connection");
        error.to_string()
    };
    assert_eq!(ask("10.88.0.2", 81), "SOCKS reply 5", "refused");
    assert_eq!(ask("fd88::2", 81), "SOCKS reply 5", "refused over IPv6");
    assert_eq!(ask("gone.inner.test", WEB), "SOCKS reply 4", "no such name");
    let unreachable = ask("10.88.0.99", WEB);
    assert!(
        ["SOCKS reply 3", "SOCKS reply 4"].contains(&unreachable.as_str()),
        "{unreachable}"
    );
}

#[test]
fn either_side_of_a_connection_can_end_first() {
    use std::io::{Read, Write};
    let lab = Lab::new("half-close", Options::default());
    for mut stream in [
        lab.socks("10.88.0.2", crate::inner::ECHO),
        lab.http("10.88.0.2", crate::inner::ECHO),
    ] {
        stream.write_all(b"last words").expect("a write");
        stream.shutdown(std::net::Shutdown::Write).expect("half a close");
        let mut back = String::new();
        stream.read_to_string(&mut back).expect("the rest");
        assert_eq!(back, "last words");
    }
}

#[test]
fn several_remotes_are_tried_in_turn() {
    let net = Net::new("remotes");
    let _inner = Inner::start(&net.inner);
    let server = Server::start(&net, Options::default());
    let profile = server.profile("server-poll-timeout 3\nconnect-retry 1 2\n");
    let (head, rest) = profile.split_once("remote ").expect("a remote");
    let profile = format!("{head}remote 10.77.0.2 1195\nremote {rest}");
    let _tunnel = Tunnel::connect(&net, Confinement::Unprivileged, &profile);
    let proxy = format!("socks5h://{LISTENER}");
    assert_eq!(
        run(&mut curl(
            &net.client,
            10,
            &["--proxy", &proxy, "http://page.inner.test/hello"]
        )),
        HELLO
    );
}
