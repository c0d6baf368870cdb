//! Pushes: joined, filtered, merged.

use std::net::Ipv4Addr;

use super::*;

fn options(text: &str) -> Vec<String> {
    let Ok(Assembled::Complete(options)) = PushAssembler::default().add(text) else {
        panic!("{text} is not all")
    };
    options
}

fn push(profile: &str, text: &str) -> Result<Pushed, PushError> {
    let config = client(&with(profile));
    Pushed::merge(&config, &config.remotes[0], &options(text))
}

const USUAL: &str = "PUSH_REPLY,route-gateway 10.8.0.1,topology subnet,ping 10,ping-restart 60,\
    ifconfig 10.8.0.2 255.255.255.0,peer-id 0,cipher AES-256-GCM,protocol-flags cc-exit tls-ekm dyn-tls-crypt,tun-mtu 1500";

#[test]
fn a_usual_push_is_read() {
    let pushed = push("", USUAL).unwrap();
    let inner = pushed.ifconfig.unwrap();
    assert_eq!(
        (inner.addr, inner.prefix_len, inner.peer),
        (Ipv4Addr::new(10, 8, 0, 2), 24, None)
    );
    assert_eq!(pushed.route_gateway, Some(Ipv4Addr::new(10, 8, 0, 1)));
    assert_eq!(pushed.timers.ping_restart, Some(Duration::from_mins(1)));
    assert_eq!(
        (pushed.peer_id, pushed.cipher, pushed.tun_mtu),
        (Some(0), Some(Cipher::Aes256Gcm), 1500)
    );
    let flags = pushed.protocol_flags;
    assert!(flags.cc_exit && flags.tls_ekm && flags.dyn_tls_crypt && !flags.aead_epoch);
    assert!(pushed.ignored.is_empty(), "{:?}", pushed.ignored);
}

#[test]
fn everything_that_may_be_pushed_is_read() {
    let pushed = push(
        "dns server 5 address 10.0.0.9\nroute 192.168.1.0 255.255.255.0\n",
        "PUSH_REPLY,redirect-gateway def1 bypass-dhcp,redirect-gateway ipv6,dhcp-option DNS 10.8.0.1,\
         dns server 0 address 10.8.0.53 [fd00::53]:54,dns search-domains corp.example,ifconfig-ipv6 fd00:8::1000/64 fd00:8::1,\
         route 10.20.0.0 255.255.0.0 vpn_gateway 9,route-ipv6 2001:db8::/32,route-metric 4,ping-exit 99,inactive 7 8,\
         session-timeout 9,explicit-exit-notify 2,key-derivation tls-ekm,tun-mtu 1400,auth-token SESS_ID_AT_x,\
         auth-token-user YWxpY2U=,block-ipv6,compress stub-v2,topology net30,ifconfig 10.8.0.6 10.8.0.5,tun-ipv6",
    )
    .unwrap();
    assert!(pushed.redirect.ipv4 && pushed.redirect.ipv6 && pushed.redirect.bypass_dhcp);
    assert_eq!(pushed.dns.servers.len(), 2);
    assert_eq!(
        pushed.dns.servers[0].addresses[1],
        "[fd00::53]:54".parse().unwrap()
    );
    assert_eq!(pushed.dns.search_domains, ["corp.example"]);
    assert_eq!(pushed.route_ipv6_gateway, Some("fd00:8::1".parse().unwrap()));
    assert_eq!(
        pushed.routes.iter().map(|route| route.metric).collect::<Vec<_>>(),
        [Some(4), Some(9)]
    );
    assert_eq!(pushed.routes6.len(), 1);
    assert_eq!(
        (pushed.timers.ping_exit, pushed.timers.ping_restart),
        (Some(Duration::from_secs(99)), None)
    );
    assert_eq!(pushed.explicit_exit_notify, Some(2));
    assert!(
        pushed.protocol_flags.tls_ekm && pushed.protocol_flags_pushed && pushed.stub_v2 && pushed.block_ipv6
    );
    assert_eq!(pushed.auth_token.as_ref().unwrap().expose(), "SESS_ID_AT_x");
    assert_eq!(pushed.auth_token_user.as_deref(), Some("alice"));
    assert_eq!(pushed.ifconfig.unwrap().peer, Some(Ipv4Addr::new(10, 8, 0, 5)));
    assert!(pushed.ignored.is_empty(), "{:?}", pushed.ignored);
}

#[test]
fn dhcp_options_serve_where_there_is_no_dns() {
    let pushed = push(
        "",
        "PUSH_REPLY,dhcp-option DNS 10.8.0.1,dhcp-option DNS6 fd00::1,dhcp-option DOMAIN a.example",
    )
    .unwrap();
    assert_eq!(
        pushed.dns.servers[0].addresses,
        ["10.8.0.1:53".parse().unwrap(), "[fd00::1]:53".parse().unwrap()]
    );
    assert_eq!(pushed.dns.search_domains, ["a.example"]);
}

#[test]
fn what_is_unknown_or_not_allowed_is_left_out_and_told() {
    let pushed = push(
        "",
        "PUSH_REPLY,frobnicate 1,mssfix 1300,up /bin/sh,route nowhere,ping x,sndbuf 0,auth SHA256,auth-token-user !,\
         block-outside-dns,protocol-flags cc-exit fly,cert \"x",
    )
    .unwrap();
    let told = [
        "\"frobnicate 1\": it cannot be pushed to this client",
        "\"mssfix 1300\": it cannot be pushed to this client",
        "\"up /bin/sh\": it cannot be pushed to this client",
        "\"route nowhere\": wants an IPv4 address, vpn_gateway, net_gateway or remote_host (names are not resolved), got \"nowhere\"",
        "\"ping x\": wants whole seconds, got \"x\"",
        "\"sndbuf 0\": socket buffers have sizes of their own",
        "\"auth SHA256\": it cannot be pushed to this client",
        "\"auth-token …\": wants a name in base64, got \"something else\"",
        "\"block-outside-dns\": names are never asked outside the tunnel",
        "\"protocol-flags cc-exit fly\": wants cc-exit, tls-ekm, dyn-tls-crypt or aead-epoch, got \"fly\"",
        "\"cert \\\"x\": has a \" that is not closed on the same line",
    ];
    assert_eq!(pushed.ignored, told);
    assert!(pushed.protocol_flags.cc_exit);
}

#[test]
fn an_mtu_out_of_range_is_brought_within() {
    assert_eq!(push("", "PUSH_REPLY,tun-mtu 9000").unwrap().tun_mtu, 1600);
    assert_eq!(push("", "PUSH_REPLY,tun-mtu 20").unwrap().tun_mtu, 100);
    assert_eq!(
        push("tun-mtu-max 9000\n", "PUSH_REPLY,tun-mtu 9000")
            .unwrap()
            .tun_mtu,
        9000
    );
}

#[test]
fn filters_accept_ignore_and_reject_by_prefix() {
    let filters =
        "pull-filter accept \"route 10.1.\"\npull-filter ignore \"route \"\npull-filter reject dhcp-option\n";
    let pushed = push(
        filters,
        "PUSH_REPLY,route 10.1.0.0 255.255.0.0,route 10.2.0.0 255.255.0.0,route-metric 3",
    )
    .unwrap();
    assert_eq!(pushed.routes.len(), 1);
    assert_eq!(
        pushed.ignored,
        ["\"route 10.2.0.0 255.255.0.0\": a pull-filter ignores it"]
    );
    let rejected = push(filters, "PUSH_REPLY,dhcp-option DNS 1.2.3.4").unwrap_err();
    assert_eq!(
        rejected.to_string(),
        "server pushed \"dhcp-option DNS 1.2.3.4\", which a pull-filter rejects"
    );
}

#[test]
fn route_nopull_keeps_routes_and_dns_out() {
    let text = "PUSH_REPLY,redirect-gateway def1,route 10.0.0.0,dhcp-option DNS 10.8.0.1,route-gateway 10.8.0.1,ping 5";
    let pushed = push("route-nopull\n", text).unwrap();
    assert!(pushed.routes.is_empty() && pushed.dns.servers.is_empty() && !pushed.redirect.ipv4);
    assert!(pushed.route_gateway.is_some() && pushed.timers.ping.is_some());
    assert_eq!(pushed.ignored.len(), 3);
}

#[test]
fn what_makes_a_tunnel_unusable_is_an_error() {
    for (text, words) in [
        (
            "PUSH_REPLY,comp-lzo no",
            "server wants \"comp-lzo no\", and compression is not spoken; the server has to switch it off, or to push \"compress stub-v2\"",
        ),
        (
            "PUSH_REPLY,compress",
            "server wants \"compress\", and compression is not spoken; the server has to switch it off, or to push \"compress stub-v2\"",
        ),
        (
            "PUSH_REPLY,dns server 1 sni x",
            "server pushed resolver 1 without an address",
        ),
        (
            "PUSH_REPLY,topology subnet,ifconfig 10.0.0.2 10.0.0.1",
            "server pushed an ifconfig that cannot be used: it wants an IPv4 netmask, got \"10.0.0.1\"",
        ),
    ] {
        assert_eq!(push("", text).unwrap_err().to_string(), words);
    }
}

#[test]
fn continued_messages_are_joined_and_bounded() {
    let mut assembler = PushAssembler::default();
    assert_eq!(
        assembler.add("PUSH_REPLY,a 1,push-continuation 2"),
        Ok(Assembled::More)
    );
    assert_eq!(
        assembler.add("PUSH_REPLY,b 2,push-continuation 1"),
        Ok(Assembled::Complete(vec!["a 1".to_owned(), "b 2".to_owned()]))
    );
    assert_eq!(assembler.add("PUSH_REPLY"), Ok(Assembled::Complete(Vec::new())));
    assert_eq!(assembler.add("PUSH_REPLYX"), Err(PushError::NotAReply));
    assert_eq!(assembler.add("AUTH_FAILED"), Err(PushError::NotAReply));
    let message = format!("PUSH_REPLY{},push-continuation 2", ",x".repeat(1000));
    let ended = (0..100).find_map(|_| assembler.add(&message).err());
    assert_eq!(ended, Some(PushError::TooManyOptions));
    let message = format!("PUSH_REPLY,{},push-continuation 2", "x".repeat(100_000));
    let ended = (0..100).find_map(|_| assembler.add(&message).err());
    assert_eq!(ended, Some(PushError::TooManyBytes));
    assert_eq!(
        assembler.add("PUSH_REPLY,z"),
        Ok(Assembled::Complete(vec!["z".to_owned()]))
    );
}

#[test]
fn the_digest_ignores_what_changes_each_time() {
    let digest = |profile: &str, text: &str| push(profile, text).unwrap().digest;
    let usual = digest("", USUAL);
    assert_eq!(
        usual,
        digest(
            "",
            &USUAL
                .replace("peer-id 0", "peer-id 7,auth-token x")
                .replace("ping 10", "ping 3")
        )
    );
    assert_ne!(usual, digest("", &USUAL.replace("10.8.0.2", "10.8.0.3")));
    let other_cipher = USUAL.replace("AES-256", "AES-128");
    assert_ne!(usual, digest("", &other_cipher));
    assert_eq!(
        digest("tun-mtu 1500\n", USUAL),
        digest("tun-mtu 1500\n", &other_cipher)
    );
}
