//! Client profiles: the kinds that are found, and what is said about bad ones.

use super::*;

#[test]
fn a_small_profile_has_the_defaults() {
    let config = client(&with(""));
    let remote = &config.remotes[0];
    assert_eq!(
        (remote.host.as_str(), remote.port, remote.proto),
        ("vpn.example", 1194, Proto::default())
    );
    assert_eq!(remote.mssfix, MssFix::OuterPacket(1492));
    assert_eq!(
        (remote.tun_mtu, remote.tun_mtu_max, remote.max_packet_size),
        (1500, 1600, 1250)
    );
    assert_eq!(remote.connect_timeout, Duration::from_mins(2));
    assert!(matches!(remote.wrap, WrapKey::None));
    assert_eq!(config.ciphers, Cipher::DEFAULT);
    assert_eq!(config.credentials, Some(CredentialSource::Prompt));
    assert_eq!(config.limits.handshake_window, Duration::from_mins(1));
    assert_eq!(
        config.renegotiation.after,
        Some((Duration::from_hours(1), Duration::from_hours(1)))
    );
    assert_eq!(
        (config.replay_window.packets, config.replay_window.time),
        (64, Duration::from_secs(15))
    );
    assert_eq!(
        (
            config.connect_retry.wait.as_secs(),
            config.connect_retry.max.as_secs()
        ),
        (1, 300)
    );
    assert_eq!(
        (config.tls.version_min, config.tls.version_max),
        (TlsVersion::V12, TlsVersion::V13)
    );
    assert_eq!(config.resolv_retry, ResolvRetry::Infinite);
    assert_eq!(config.verbosity, 1);
}

#[test]
fn a_commercial_provider_profile_is_read() {
    let text = format!(
        "client\ndev tun\nproto udp\nremote 198.51.100.7 1194\nremote 198.51.100.8 443 tcp\nremote-random\n\
         resolv-retry infinite\nnobind\ntun-mtu 1500\ntun-mtu-extra 32\nmssfix 1450\npersist-key\npersist-tun\n\
         ping 15\nping-restart 0\nping-timer-rem\nreneg-sec 0\nremote-cert-tls server\nauth-user-pass\n\
         verb 3\npull\nfast-io\ncipher AES-256-CBC\nauth SHA512\nsetenv UV_APP \"provider 1.0\"\n\
         data-ciphers AES-256-GCM:AES-256-CBC:?XCHACHA\n<ca>\n{CERT}</ca>\nkey-direction 1\n<tls-auth>\n#\n# 2048 bit OpenVPN static key\n#\n{}</tls-auth>\n",
        static_key()
    );
    let (config, notes) = try_client(&text).unwrap();
    assert_eq!(config.remotes.len(), 2);
    assert_eq!(config.remotes[1].proto.transport, Transport::Tcp);
    assert_eq!((config.remotes[1].port, config.remotes[1].line), (443, 5));
    assert!(config.remote_random);
    assert_eq!(config.remotes[0].mssfix, MssFix::OuterPayload(1450));
    assert_eq!(config.timers.ping, Some(Duration::from_secs(15)));
    assert_eq!(config.timers.ping_restart, None);
    assert_eq!(config.renegotiation.after, None);
    assert_eq!(config.ciphers, [Cipher::Aes256Gcm]);
    assert_eq!(config.cipher_name.as_deref(), Some("AES-256-CBC"));
    assert_eq!(
        config.peer_info_vars,
        [("UV_APP".to_owned(), "provider 1.0".to_owned())]
    );
    let WrapKey::TlsAuth {
        digest, direction, ..
    } = config.remotes[0].wrap
    else {
        panic!("no tls-auth")
    };
    assert_eq!((digest, direction), (Digest::Sha512, KeyDirection::Inverse));
    assert!(
        notes.contains(&"vpn.ovpn:12: note: `persist-key` is ignored: keys stay in memory anyway".to_owned())
    );
    assert!(notes.contains(
        &"vpn.ovpn:26: note: `data-ciphers` goes without AES-256-CBC, which is not supported".to_owned()
    ));
    assert!(
        notes
            .iter()
            .any(|note| note.starts_with("vpn.ovpn:23: note: `cipher` is only announced"))
    );
}

#[test]
fn an_easy_rsa_profile_with_blocks_is_read() {
    let text = format!(
        "\u{feff}client\r\ndev tun\r\nproto tcp4-client\r\nremote vpn.example 443\r\ndata-ciphers ?CHACHA20-POLY1305:AES-128-GCM\r\n\
         verify-x509-name server_1 name\r\ntls-version-min 1.2 or-highest\r\ntls-cipher TLS-ECDHE-RSA-WITH-AES-128-GCM-SHA256\r\n\
         explicit-exit-notify 3\r\n<ca>\r\n{CERT}</ca>\r\n<cert>\r\n{CERT}</cert>\r\n<key>\r\n{KEY}</key>\r\n<tls-crypt>\r\n{}</tls-crypt>\r\n",
        static_key()
    );
    let config = client(&text);
    let remote = &config.remotes[0];
    assert_eq!(
        remote.proto,
        Proto {
            transport: Transport::Tcp,
            family: Family::V4
        }
    );
    assert_eq!(
        remote.explicit_exit_notify, None,
        "there is nothing to announce over TCP"
    );
    assert!(matches!(remote.wrap, WrapKey::TlsCrypt { .. }));
    assert_eq!(config.ciphers, [Cipher::ChaCha20Poly1305, Cipher::Aes128Gcm]);
    assert!(config.tls.identity.is_some() && config.credentials.is_none());
    let rule = config.tls.verify_name.unwrap();
    assert_eq!((rule.rule, rule.name.as_str()), (NameRule::Name, "server_1"));
    assert_eq!(config.tls.tls12_ciphers.len(), 1);
}

#[test]
fn an_access_server_profile_is_read() {
    let text = format!(
        "# OVPN_ACCESS_SERVER_PROFILE=alice@vpn.example\n# OVPN_ACCESS_SERVER_CLI_PREF_ALLOW_WEB_IMPORT=True\n\
         setenv FORWARD_COMPATIBLE 1\nclient\nserver-poll-timeout 4\nnobind\nremote vpn.example 1194 udp\n\
         remote vpn.example 443 tcp\ndev tun\ndev-type tun\nremote-cert-tls server\ntls-version-min 1.2\nreneg-sec 604800\n\
         auth-user-pass\nverb 3\npush-peer-info\nsetenv opt allow-compression-of-the-future 1\nsome-new-thing 7\n\
         setenv opt block-outside-dns\nsetenv PROFILE_NAME work\n<ca>\n{CERT}</ca>\n<tls-auth>\n{}</tls-auth>\n\
         ## -----BEGIN RSA SIGNATURE-----\n## DIGEST:sha256\n## {}\n",
        static_key(),
        "x".repeat(400)
    );
    let (config, notes) = try_client(&text).unwrap();
    assert_eq!(config.remotes[1].connect_timeout, Duration::from_secs(4));
    assert!(config.push_peer_info);
    assert_eq!(config.renegotiation.after.unwrap().1, Duration::from_hours(168));
    for line in [17, 18, 19, 20] {
        assert!(
            notes
                .iter()
                .any(|note| note.starts_with(&format!("vpn.ovpn:{line}: note: "))),
            "{line}: {notes:#?}"
        );
    }
}

#[test]
fn a_profile_of_2_4_with_files_is_read() {
    let text = "tls-client\npull\nremote vpn.example\nport 53\nca ca.crt\ncert client.crt\nkey client.key\n\
                tls-auth ta.key 1\nns-cert-type server\nncp-ciphers AES-256-GCM:BF-CBC\ncipher BF-CBC\nuser nobody\n\
                group nogroup\nup /etc/up.sh\nscript-security 2\nkeepalive 10 60\ncrl-verify crl.pem\nextra-certs ca.crt\n\
                tls-version-min 1.0\ncd /etc/openvpn\n";
    let (config, notes) = try_client(text).unwrap();
    assert_eq!(config.remotes[0].port, 53);
    assert_eq!(config.tls.remote_usage, Some(Usage::Server));
    assert_eq!(config.timers.ping_restart, Some(Duration::from_mins(1)));
    assert!(config.tls.crl.is_some());
    assert_eq!(config.tls.identity.unwrap().certs.len(), 2 * CERT.len() + 1);
    assert!(notes.contains(&"vpn.ovpn:14: note: `up` is ignored: no scripts are run".to_owned()));
    assert!(
        notes
            .iter()
            .any(|note| note.contains("`tls-version-min` is read as 1.2"))
    );
    let directives = Directives::parse("vpn.ovpn", text).unwrap();
    assert_eq!(directives.directory(), Some("/etc/openvpn"));
}

#[test]
fn blocks_inherit_what_stands_before_them() {
    let text = format!(
        "client\nca ca.crt\nauth-user-pass login.txt\nproto tcp\nconnect-timeout 9\nremote ignored.example\n\
         <connection>\nremote one.example 1\n</connection>\n\
         <connection>\nremote [fd00::1] 2 udp6\nconnect-timeout 3\nexplicit-exit-notify\nlocal 192.0.2.1\n<tls-crypt>\n{}</tls-crypt>\n</connection>\n\
         proto udp\ntls-auth ta.key 1\n",
        static_key()
    );
    let (config, notes) = try_client(&text).unwrap();
    let [one, two] = config.remotes.as_slice() else {
        panic!("two remotes")
    };
    assert_eq!(
        (one.proto.transport, one.connect_timeout.as_secs()),
        (Transport::Tcp, 9)
    );
    assert!(matches!(one.wrap, WrapKey::TlsAuth { .. }));
    assert_eq!(
        (two.host.as_str(), two.port, two.proto.family),
        ("fd00::1", 2, Family::V6)
    );
    assert_eq!(
        (two.connect_timeout.as_secs(), two.explicit_exit_notify),
        (3, Some(1))
    );
    assert_eq!(two.local, Some("192.0.2.1".parse().unwrap()));
    assert!(matches!(two.wrap, WrapKey::TlsCrypt { .. }));
    assert!(
        notes
            .iter()
            .any(|note| note.contains(":6: note: `remote` is ignored"))
    );
}

#[test]
fn credentials_come_from_file_block_or_prompt() {
    let base = "client\nremote a\nca ca.crt\n";
    let read = |line: &str| client(&format!("{base}{line}\n")).credentials.unwrap();
    let given = CredentialSource::Given {
        username: "alice".to_owned(),
        password: "hunter2".into(),
    };
    assert_eq!(read("auth-user-pass login.txt"), given);
    assert_eq!(read("<auth-user-pass>\nalice\nhunter2\n</auth-user-pass>"), given);
    assert_eq!(
        read("auth-user-pass name.txt"),
        CredentialSource::PromptPassword {
            username: "alice".to_owned()
        }
    );
    assert_eq!(read("auth-user-pass stdin"), CredentialSource::Prompt);
    assert!(!format!("{given:?}").contains("hunter2"));
}

#[test]
fn inline_placeholders_of_old_profiles_are_read() {
    let text = format!(
        "client\nremote a\nauth-user-pass\nca [inline]\ntls-auth [inline] 1\n<ca>\n{CERT}</ca>\n<tls-auth>\n{}</tls-auth>\n",
        static_key()
    );
    let WrapKey::TlsAuth { direction, .. } = client(&text).remotes[0].wrap else {
        panic!("no tls-auth")
    };
    assert_eq!(direction, KeyDirection::Inverse);
}

#[test]
fn fingerprints_replace_the_authority() {
    let print = ["ab"; 32].join(":");
    let config = client(&format!(
        "client\nremote a\nauth-user-pass\n<peer-fingerprint>\n# server\n{print}\n</peer-fingerprint>\n"
    ));
    assert_eq!(config.tls.peer_fingerprints, [[0xab; 32]]);
    assert!(config.tls.ca.is_none());
}

#[test]
fn networks_filters_and_timers_are_read() {
    let config = client(&with(
        "route 10.0.0.0 255.0.0.0\nredirect-gateway def1\ndns server 1 address 10.0.0.1\ndhcp-option DOMAIN a.example\n\
         pull-filter ignore \"route \"\npull-filter reject dhcp-option\nroute-nopull\nping-exit 5\nping-restart 7\n\
         inactive 60 1000\nsession-timeout 3600\nreneg-sec 100 50\nreneg-bytes 1000\nreneg-pkts 10\ntun-mtu 1400\nmssfix 1300 fixed\n\
         compress stub-v2\nauth-retry interact\nconnect-retry 2 10\nconnect-retry-max 3\nresolv-retry 5\nremote-cert-ku a0 88\n",
    ));
    assert!(config.network.redirect.def1 && config.route_nopull && config.stub_v2);
    assert_eq!(
        config.pull_filters[0],
        PullFilter {
            action: PullAction::Ignore,
            text: "route ".to_owned()
        }
    );
    assert_eq!(
        (config.timers.ping_exit, config.timers.ping_restart),
        (None, Some(Duration::from_secs(7)))
    );
    assert_eq!(config.timers.inactive.unwrap().bytes, 1000);
    assert_eq!(
        config.renegotiation.after,
        Some((Duration::from_secs(50), Duration::from_secs(100)))
    );
    assert_eq!(config.remotes[0].mssfix, MssFix::InnerPacket(1300));
    assert!(config.remotes[0].tun_mtu_explicit);
    assert_eq!(
        (config.connect_retry_max, config.auth_retry),
        (Some(3), AuthRetry::Interact)
    );
    assert_eq!(config.tls.remote_ku, [0xa0, 0x88]);
}

#[test]
fn compat_mode_appends_the_cipher() {
    let config = client(&with(
        "data-ciphers AES-256-GCM\ncipher aes-192-gcm\ncompat-mode 2.4.0\n",
    ));
    assert_eq!(config.ciphers, [Cipher::Aes256Gcm, Cipher::Aes192Gcm]);
    assert_eq!(config.cipher_name.as_deref(), Some("AES-192-GCM"));
}

#[test]
fn proto_force_leaves_out_the_others() {
    let config = client(&with("remote b 1 tcp\nproto-force tcp\n"));
    assert_eq!(config.remotes.len(), 1);
    assert_eq!(config.remotes[0].host, "b");
}

#[test]
fn a_missing_check_of_the_server_is_noted() {
    let (_, notes) = try_client("client\nremote a\nca ca.crt\nauth-user-pass\n").unwrap();
    assert!(
        notes[0].starts_with("vpn.ovpn: note: `remote-cert-tls` is missing: every certificate"),
        "{notes:?}"
    );
}

/// One bad line behind the five of [`with`], and the words about it.
const BAD_LINES: &[(&str, &str)] = &[
    (
        "hand-window 1m",
        "vpn.ovpn:6: `hand-window` wants whole seconds above 0, got \"1m\"",
    ),
    (
        "remot x",
        "vpn.ovpn:6: `remot` is not a known option; did you mean `remote`?",
    ),
    ("frobnicate", "vpn.ovpn:6: `frobnicate` is not a known option"),
    (
        "cert c:\\key",
        "vpn.ovpn:6: `cert` has a backslash before 'k'; write two for one, or put the parameter in single quotes",
    ),
    (
        "cert x\\",
        "vpn.ovpn:6: `cert` ends in a backslash; write two for one, lines cannot be continued",
    ),
    (
        "cert \"x",
        "vpn.ovpn:6: `cert` has a \" that is not closed on the same line",
    ),
    (
        "<ca>\nx",
        "vpn.ovpn:6: `ca` opens a block that no line `</ca>` closes",
    ),
    (
        "</ca>",
        "vpn.ovpn:6: `/ca` closes a block that is not open; remove the line, or look for the missing `<…>`",
    ),
    (
        "cert a\0",
        "vpn.ovpn:6: `cert` has a NUL character; this is no text file",
    ),
    (
        "<verb>\n3\n</verb>",
        "vpn.ovpn:6: `verb` cannot be written as a block; write `verb …` on one line",
    ),
    (
        "<connection>\nverb 3\n</connection>",
        "vpn.ovpn:7: `verb` cannot stand inside `<connection>`; move it out of the block",
    ),
    (
        "connection",
        "vpn.ovpn:6: `connection` wants a block that starts with `<connection>`, got \"\"",
    ),
    ("cipher", "vpn.ovpn:6: `cipher` wants 1 parameter, has 0"),
    ("client x", "vpn.ovpn:6: `client` wants no parameters, has 1"),
    (
        "remote a 1 udp x",
        "vpn.ovpn:6: `remote` wants 1 to 3 parameters, has 4",
    ),
    (
        "dns server",
        "vpn.ovpn:6: `dns` wants at least 2 parameters, has 1",
    ),
    (
        "duplicate-cn",
        "vpn.ovpn:6: `duplicate-cn` is for servers only; remove it",
    ),
    (
        "plugin x.so",
        "vpn.ovpn:6: `plugin` cannot be used: plug-ins are not loaded; remove it",
    ),
    (
        "remote a 0",
        "vpn.ovpn:6: `remote` wants a port, 1 to 65535, got \"0\"",
    ),
    (
        "remote a/b",
        "vpn.ovpn:6: `remote` wants a name or an address, got \"a/b\"",
    ),
    (
        "remote a 1 tcp-server",
        "vpn.ovpn:6: `remote` wants udp, udp4, udp6, tcp, tcp4 or tcp6 (or tcp-client, tcp4-client, tcp6-client), got \"tcp-server\"",
    ),
    (
        "dev tap0",
        "vpn.ovpn:6: `dev` cannot be used: TAP devices are not supported yet; both sides need `dev tun`",
    ),
    (
        "comp-lzo no",
        "vpn.ovpn:6: `comp-lzo` cannot be used: compression and its framing are not spoken; remove it here and at the other side",
    ),
    (
        "compress lz4",
        "vpn.ovpn:6: `compress` cannot be used: compression and its framing are not spoken, `stub-v2` apart; remove it here and at the other side",
    ),
    (
        "cert gone.crt\nkey client.key",
        "vpn.ovpn:6: `cert` names the file \"gone.crt\", which cannot be read: no such file",
    ),
    (
        "cert ta.key\nkey client.key",
        "vpn.ovpn:6: `cert` has content that cannot be used: it holds no line `-----BEGIN CERTIFICATE-----`; wants PEM",
    ),
    (
        "cert client.crt\nkey encrypted.key",
        "vpn.ovpn:7: `key` has content that cannot be used: the private key is encrypted in a form of old; write it anew: openssl pkcs8 -topk8 -in KEY -out NEW",
    ),
    (
        "cert client.crt",
        "vpn.ovpn: `key` is missing: a certificate is of use only with its private key; name that with `key`",
    ),
    (
        "key client.key",
        "vpn.ovpn: `cert` is missing: a private key is of use only with its certificate; name that with `cert`",
    ),
    (
        "tls-crypt ca.crt",
        "vpn.ovpn:6: `tls-crypt` has content that cannot be used: no line \"-----BEGIN OpenVPN Static key V1-----\"; wants a static key as `tunless genkey` writes it",
    ),
    (
        "tls-crypt binary",
        "vpn.ovpn:6: `tls-crypt` has content that cannot be used: it is not text in UTF-8",
    ),
    (
        "tls-crypt ta.key\ntls-auth ta.key",
        "vpn.ovpn:7: `tls-auth` cannot stand beside `tls-crypt`: keep the one that the other side uses",
    ),
    (
        "tls-auth ta.key 2",
        "vpn.ovpn:6: `tls-auth` wants 0 or 1, got \"2\"",
    ),
    (
        "auth-user-pass empty",
        "vpn.ovpn:6: `auth-user-pass` has content that cannot be used: it wants the user's name on the first line and the password on the second",
    ),
    (
        "data-ciphers BF-CBC",
        "vpn.ovpn:6: `data-ciphers` wants one of AES-256-GCM, AES-192-GCM, AES-128-GCM and CHACHA20-POLY1305 in the list, got \"BF-CBC\"",
    ),
    (
        "data-ciphers ROT13",
        "vpn.ovpn:6: `data-ciphers` wants names of ciphers with colons, `?` before one that may be missing, got \"ROT13\"",
    ),
    (
        "auth ROT13",
        "vpn.ovpn:6: `auth` wants MD5, SHA1, SHA224, SHA256, SHA384 or SHA512, got \"ROT13\"",
    ),
    (
        "auth none\ntls-auth ta.key",
        "vpn.ovpn:6: `auth` cannot stand beside `tls-auth`: name the digest that the other side uses, or SHA1",
    ),
    (
        "proto-force tcp",
        "vpn.ovpn:6: `proto-force` cannot stand beside `remote`: no server has that transport",
    ),
    (
        "<connection>\nport 1\n</connection>",
        "vpn.ovpn: `remote` is missing: name the server as `remote HOST PORT`",
    ),
    (
        "tls-version-max 1.2\ntls-version-min 1.3",
        "vpn.ovpn:6: `tls-version-max` cannot stand beside `tls-version-min`: raise it, or lower the other",
    ),
    (
        "peer-fingerprint ab:cd",
        "vpn.ovpn:6: `peer-fingerprint` wants SHA-256 as 32 hexadecimal bytes with colons, got \"ab:cd\"",
    ),
    (
        "crl-verify crls dir",
        "vpn.ovpn:6: `crl-verify` cannot be used: folders of serial numbers are not read; name a revocation list in PEM",
    ),
    (
        "keepalive 10 15",
        "vpn.ovpn:6: `keepalive` wants ping interval and timeout in seconds, the timeout at least twice the interval and at most 43200, got \"10 15\"",
    ),
    ("ping +5", "vpn.ovpn:6: `ping` wants whole seconds, got \"+5\""),
    (
        "route example.com",
        "vpn.ovpn:6: `route` wants an IPv4 address, vpn_gateway, net_gateway or remote_host (names are not resolved), got \"example.com\"",
    ),
    (
        "mssfix 1400 mut",
        "vpn.ovpn:6: `mssfix` wants `mtu` or `fixed` behind the number, got \"mut\"",
    ),
    (
        "setenv UV_A-B y",
        "vpn.ovpn:6: `setenv` wants a name of letters, digits and _, and a printable value, got \"UV_A-B\"",
    ),
    ("mode p3p", "vpn.ovpn:6: `mode` wants p2p or server, got \"p3p\""),
    (
        "pull-filter drop x",
        "vpn.ovpn:6: `pull-filter` wants accept, ignore or reject, got \"drop\"",
    ),
];

#[test]
fn every_fault_is_told_with_its_place_and_remedy() {
    for (line, words) in BAD_LINES {
        let told = try_client(&with(&format!("{line}\n"))).map(|(_, notes)| notes);
        assert_eq!(told.unwrap_err(), *words, "{line}");
    }
}

#[test]
fn what_is_missing_is_told() {
    let told = try_client("verb 3\n").unwrap_err();
    for (line, begin) in told.lines().zip(["`client`", "`ca`", "`cert`", "`remote`"]) {
        assert!(
            line.starts_with(&format!("vpn.ovpn: {begin} is missing: ")),
            "{line}"
        );
    }
    assert_eq!(told.lines().count(), 4);
    let told = try_client(&with_server("")).unwrap_err();
    assert_eq!(
        told,
        "vpn.ovpn: `client` is missing: this is a server's configuration; run it with `tunless serve`"
    );
}

#[test]
fn all_faults_are_told_at_once_in_order() {
    let told = try_client(&with("plugin x\nremot y\nverb \"\nduplicate-cn\n")).unwrap_err();
    let lines: Vec<&str> = told.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(
        lines,
        ["vpn.ovpn:6:", "vpn.ovpn:7:", "vpn.ovpn:8:", "vpn.ovpn:9:"]
    );
    let many = "nonsense\n".repeat(1000);
    let told = try_client(&many).unwrap_err();
    assert_eq!(told.lines().count(), 101);
    assert!(
        told.ends_with("… and 900 more"),
        "{}",
        told.lines().last().unwrap()
    );
}

#[test]
fn unknown_options_may_be_allowed_by_name() {
    let (_, notes) = try_client(&with(
        "ignore-unknown-option block-the-moon other\nblock-the-moon 1\n",
    ))
    .unwrap();
    assert!(
        notes
            .iter()
            .any(|note| note.contains(":7: note: `block-the-moon` is ignored: it is not known"))
    );
    assert_eq!(Directives::parse("x", "client\n").unwrap().role(), Role::Client);
}

#[test]
fn a_text_beyond_all_size_is_refused() {
    let text = "#".repeat(9 << 20);
    let told = try_client(&text).unwrap_err();
    assert_eq!(
        told,
        "vpn.ovpn: `configuration` is larger than 8388608 bytes; this is no configuration"
    );
}

#[test]
fn a_key_outside_its_block_is_not_shown() {
    let line = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
    let told = try_client(&with(line)).unwrap_err();
    assert_eq!(told, "vpn.ovpn:6: `MIGHAgEAMBMG…` is not a known option");
}
