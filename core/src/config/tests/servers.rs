//! Server configurations.

use std::net::Ipv4Addr;

use super::*;

fn server(lines: &str) -> ServerConfig {
    try_server(&with_server(lines))
        .unwrap_or_else(|errors| panic!("{errors}"))
        .0
}

#[test]
fn a_usual_server_is_read() {
    let text = "port 443\nproto tcp-server\ndev tun\ntopology subnet\ntls-crypt ta.key\npush \"redirect-gateway def1\"\n\
                push \"dhcp-option DNS 10.8.0.1\"\nserver-ipv6 fd00:8::/64\nkeepalive 10 120\nmax-clients 5\nduplicate-cn\n\
                client-to-client\nverify-client-cert optional\nusername-as-common-name\ndata-ciphers CHACHA20-POLY1305\n\
                local 192.0.2.1\nstatus /var/log/status.log\nuser nobody\nexplicit-exit-notify 1\nreneg-sec 100\nconnect-freq 5 10\n";
    let (config, notes) = try_server(&with_server(text)).unwrap();
    assert_eq!((config.port, config.proto.transport), (443, Transport::Tcp));
    assert_eq!(config.addr, Ipv4Addr::new(10, 8, 0, 1));
    assert_eq!(
        (config.pool_first, config.pool_last),
        (Ipv4Addr::new(10, 8, 0, 2), Ipv4Addr::new(10, 8, 0, 254))
    );
    let inside6 = config.ipv6.unwrap();
    assert_eq!(
        (inside6.addr.to_string(), inside6.pool_first.to_string()),
        ("fd00:8::1".into(), "fd00:8::1000".into())
    );
    assert_eq!(
        config.push,
        [
            "redirect-gateway def1",
            "dhcp-option DNS 10.8.0.1",
            "tun-ipv6",
            "route-gateway 10.8.0.1",
            "topology subnet",
            "ping 10",
            "ping-restart 120"
        ]
    );
    assert_eq!(config.timers.ping, Some(Duration::from_secs(10)));
    assert_eq!(config.timers.ping_restart, Some(Duration::from_mins(4)));
    assert_eq!(config.client_cert, ClientCert::Optional);
    assert!(config.duplicate_cn && config.client_to_client && config.username_as_common_name);
    assert_eq!((config.max_clients, config.explicit_exit_notify), (5, None));
    assert_eq!(
        config.renegotiation.after,
        Some((Duration::from_secs(90), Duration::from_secs(100)))
    );
    assert_eq!(
        config.connect_freq,
        Some(Rate {
            count: 5,
            per: Duration::from_secs(10)
        })
    );
    assert_eq!(
        config.connect_freq_initial,
        Rate {
            count: 100,
            per: Duration::from_secs(10)
        }
    );
    assert!(
        notes.contains(&"server.conf:5: note: `dh` is ignored: key exchange uses elliptic curves".to_owned())
    );
    assert!(
        notes
            .iter()
            .any(|note| note.contains("`verify-client-cert` lets in clients"))
    );
}

#[test]
fn a_small_server_has_the_defaults() {
    let config = server("");
    assert_eq!(
        (config.port, config.proto, config.max_clients),
        (1194, Proto::default(), 1024)
    );
    assert_eq!(config.push, ["route-gateway 10.8.0.1", "topology subnet"]);
    assert_eq!(config.client_cert, ClientCert::Require);
    assert!(config.tls.identity.is_some() && config.timers.ping.is_none());
}

#[test]
fn the_pool_may_be_narrowed() {
    let config = server("ifconfig-pool 10.8.0.10 10.8.0.20 255.255.255.0\n");
    assert_eq!(
        (config.pool_first, config.pool_last),
        (Ipv4Addr::new(10, 8, 0, 10), Ipv4Addr::new(10, 8, 0, 20))
    );
}

#[test]
fn options_that_clients_do_not_take_are_noted() {
    let (_, notes) = try_server(&with_server("push \"mssfix 1300\"\n")).unwrap();
    assert!(
        notes.iter().any(|note| note.contains("sends \"mssfix 1300\"")),
        "{notes:?}"
    );
}

#[test]
fn faults_of_a_server_are_told() {
    for (line, words) in [
        (
            "topology net30",
            "server.conf:6: `topology` cannot be used: only `topology subnet` is served; write that",
        ),
        (
            "auth-user-pass-verify x via-env",
            "server.conf:6: `auth-user-pass-verify` cannot be used: no scripts are run, so no password could be checked; use certificates",
        ),
        (
            "client-config-dir ccd",
            "server.conf:6: `client-config-dir` cannot be used: per-client files are not read yet; remove it",
        ),
        (
            "push \"comp-lzo no\"",
            "server.conf:6: `push` cannot be used: compression and its framing are not served; remove it",
        ),
        (
            "push \"a,b\"",
            "server.conf:6: `push` wants one option in quotes, without commas and at most 929 bytes, as \"route 10.0.0.0 255.0.0.0\", got \"a,b\"",
        ),
        (
            "push \"a \\\\x\"",
            "server.conf:6: `push` has a backslash before 'x'; write two for one, or put the parameter in single quotes",
        ),
        (
            "remote x",
            "server.conf:6: `remote` is for clients only; remove it",
        ),
        (
            "proto tcp-client",
            "server.conf:6: `proto` wants udp, udp4, udp6, tcp, tcp4 or tcp6 (or tcp-server, tcp4-server, tcp6-server), got \"tcp-client\"",
        ),
        (
            "server 10.8.0.0 255.0.0.0",
            "server.conf:6: `server` wants a network and its netmask from 255.255.0.0 to 255.255.255.248, as `10.8.0.0 255.255.255.0`, got \"10.8.0.0 255.0.0.0\"",
        ),
        (
            "server 10.8.0.1 255.255.255.0",
            "server.conf:6: `server` wants a network and its netmask from 255.255.0.0 to 255.255.255.248, as `10.8.0.0 255.255.255.0`, got \"10.8.0.1 255.255.255.0\"",
        ),
        (
            "ifconfig-pool 10.9.0.1 10.9.0.5",
            "server.conf:6: `ifconfig-pool` wants first and last address within `server`, got \"10.9.0.1 10.9.0.5\"",
        ),
        (
            "server-ipv6 fd00::/48",
            "server.conf:6: `server-ipv6` wants an IPv6 network of /64 to /124, as fd00:8::/64, got \"fd00::/48\"",
        ),
        (
            "server-bridge",
            "server.conf:6: `server-bridge` cannot be used: TAP is not served; use `server`",
        ),
        (
            "local vpn.example",
            "server.conf:6: `local` wants an IP address (names are not resolved), got \"vpn.example\"",
        ),
    ] {
        assert_eq!(try_server(&with_server(&format!("{line}\n"))).unwrap_err(), words);
    }
    let told = try_server("mode server\ntls-server\n").unwrap_err();
    for name in ["cert", "key", "ca", "server"] {
        assert!(
            told.contains(&format!("server.conf: `{name}` is missing: ")),
            "{told}"
        );
    }
    let told = try_server(&with("")).unwrap_err();
    assert_eq!(
        told,
        "server.conf: `server` is missing: this is a client's profile; run it with `tunless connect`"
    );
}
