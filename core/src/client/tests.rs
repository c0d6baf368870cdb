//! A client and a server in virtual time: handshake, data, renegotiation, refusals, over good and bad links.

use std::time::Duration;

use crate::{
    client::{Action, Advance, CloseReason, Credentials, ExitKind},
    data::Cipher,
    secret::SecretString,
    session::SessionError,
    testing::{
        Link, Pair, Scenario,
        certs::{Identity, Leaf, LeafUsage, TestPki, Validity},
    },
    tls::TlsError,
    tunnel::Sent,
    wire::{Acks, Body, Header, KeyId, Opcode, PacketId, PeerId},
};

type Issue<'a> = &'a dyn Fn(&TestPki) -> Identity;

const MINUTE: Duration = Duration::from_mins(1);

/// An inner IPv4 packet of `len` bytes with a number in its payload.
fn packet(source: [u8; 4], destination: [u8; 4], number: u32, len: u16) -> Vec<u8> {
    let mut packet = vec![0; usize::from(len)];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet[8] = 64;
    packet[9] = 17;
    packet[12..16].copy_from_slice(&source);
    packet[16..20].copy_from_slice(&destination);
    packet[20..24].copy_from_slice(&number.to_be_bytes());
    packet
}

fn number(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[20..24].try_into().unwrap())
}

const CLIENT: [u8; 4] = [10, 8, 0, 2];
const BEHIND: [u8; 4] = [192, 168, 7, 7];

fn established(pair: &mut Pair) {
    let took = pair.run_until(MINUTE, Pair::both_established);
    took.unwrap_or_else(|stuck| panic!("{stuck}"));
}

#[test]
fn a_client_connects_and_packets_go_both_ways() {
    let mut pair = Scenario::default().pair(1);
    established(&mut pair);
    let connected = pair.connected.as_ref().unwrap();
    assert_eq!(connected.cipher, Cipher::Aes256Gcm);
    assert!(connected.exporter);
    assert_eq!(
        connected.pushed.ifconfig.unwrap().addr,
        std::net::Ipv4Addr::from(CLIENT)
    );
    assert_eq!(connected.mss, Some(1400));
    for n in 0..100 {
        assert_eq!(pair.send_up(&mut packet(CLIENT, BEHIND, n, 1400)), Sent::Sealed);
        assert_eq!(pair.send_down(&mut packet(BEHIND, CLIENT, n, 900)), Sent::Sealed);
    }
    pair.run_for(Duration::from_secs(1));
    assert!(pair.server_received.iter().map(|p| number(p)).eq(0..100));
    assert!(pair.client_received.iter().map(|p| number(p)).eq(0..100));
}

#[test]
fn handshake_completes_when_a_third_of_the_packets_are_lost() {
    for seed in 0..64 {
        let scenario = Scenario {
            up: Link::bad(seed),
            down: Link::bad(seed + 1000),
            ..Scenario::default()
        };
        let mut pair = scenario.pair(seed);
        let took = pair
            .run_until(MINUTE, Pair::both_established)
            .unwrap_or_else(|stuck| panic!("seed {seed}: {stuck}"));
        assert!(took < MINUTE, "seed {seed} took {took:?}");
        assert_eq!(pair.client.stats().session.keys_derived, 1, "seed {seed}");
    }
}

#[test]
fn wraps_ciphers_and_versions_all_connect() {
    let key = "<tls-crypt>\nKEY</tls-crypt>\n";
    let auth = "key-direction DIR\n<tls-auth>\nKEY</tls-auth>\n";
    for wrap in ["", key, auth] {
        for cipher in Cipher::ALL {
            for version in ["1.2", "1.3"] {
                let both = format!("data-ciphers {cipher}\ntls-version-max {version}\n{wrap}");
                let scenario = Scenario {
                    both,
                    ..Scenario::default()
                };
                let mut pair = scenario.pair(3);
                established(&mut pair);
                let connected = pair.connected.take().unwrap();
                assert_eq!(connected.cipher, cipher);
                assert!(
                    connected.tls.unwrap().starts_with(
                        &format!("TLSv{version}")
                            .replace("1.2", "1_2")
                            .replace("1.3", "1_3")
                            .replace('_', ".")
                    )
                );
            }
        }
    }
}

#[test]
fn a_client_of_2_5_gets_keys_from_the_prf() {
    let scenario = Scenario {
        client: "compat-mode 2.5.0\n".to_owned(),
        ..Scenario::default()
    };
    let mut pair = scenario.pair(4);
    established(&mut pair);
    assert!(!pair.connected.as_ref().unwrap().exporter);
    pair.send_up(&mut packet(CLIENT, BEHIND, 1, 100));
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.server_received.len(), 1);
}

#[test]
fn renegotiations_lose_no_packet_whoever_starts_them() {
    for (client, server) in [
        ("reneg-sec 20\n", "reneg-sec 0\n"),
        ("reneg-sec 0\n", "reneg-sec 20\n"),
        ("reneg-sec 20\n", "reneg-sec 20 20\n"),
    ] {
        let scenario = Scenario {
            client: client.to_owned(),
            server: server.to_owned(),
            ..Scenario::default()
        };
        let mut pair = scenario.pair(5);
        established(&mut pair);
        for n in 0..3000 {
            assert_eq!(
                pair.send_up(&mut packet(CLIENT, BEHIND, n, 200)),
                Sent::Sealed,
                "{client}{server}{n}"
            );
            assert_eq!(
                pair.send_down(&mut packet(BEHIND, CLIENT, n, 200)),
                Sent::Sealed,
                "{client}{server}{n}"
            );
            pair.run_for(Duration::from_millis(100));
        }
        pair.run_for(Duration::from_secs(1));
        assert!(
            pair.renewals >= 10,
            "{client}{server}: {} renewals",
            pair.renewals
        );
        assert!(
            pair.server_received.iter().map(|p| number(p)).eq(0..3000),
            "{client}{server}"
        );
        assert!(
            pair.client_received.iter().map(|p| number(p)).eq(0..3000),
            "{client}{server}"
        );
        assert_eq!(pair.client.stats().session.data_dropped, 0);
    }
}

#[test]
fn renegotiations_survive_bad_links() {
    for seed in 0..64 {
        let both = "reneg-sec 60\nping 5\n".to_owned();
        let scenario = Scenario {
            both,
            up: Link::bad(seed),
            down: Link::bad(seed + 500),
            ..Scenario::default()
        };
        let mut pair = scenario.pair(seed);
        established(&mut pair);
        let received = |pair: &Pair| pair.client.stats().session.opened_packets;
        for _minute in 0..10 {
            let before = received(&pair);
            for n in 0..60 {
                pair.send_down(&mut packet(BEHIND, CLIENT, n, 100));
                pair.run_for(Duration::from_secs(1));
            }
            assert!(
                received(&pair) > before + 10,
                "seed {seed}: data stopped, {:?} {:?}",
                pair.closed,
                pair.gone
            );
        }
        assert!(pair.closed.is_none(), "seed {seed}: {:?}", pair.closed);
        assert!(pair.renewals >= 5, "seed {seed}: {} renewals", pair.renewals);
    }
}

#[test]
fn keepalive_holds_an_idle_session_and_silence_ends_it() {
    let scenario = Scenario {
        server: "keepalive 10 60\n".to_owned(),
        ..Scenario::default()
    };
    let mut pair = scenario.pair(6);
    established(&mut pair);
    pair.run_for(30 * MINUTE);
    assert!(
        pair.closed.is_none() && pair.gone.is_empty(),
        "{:?} {:?}",
        pair.closed,
        pair.gone
    );
    pair.up.loss = 1000;
    pair.down.loss = 1000;
    pair.run_for(3 * MINUTE);
    assert!(matches!(pair.closed, Some(CloseReason::PingRestart)));
    assert_eq!(pair.gone, ["fell silent"]);
}

#[test]
fn leaving_is_announced_and_both_sides_forget() {
    let mut pair = Scenario::default().pair(7);
    established(&mut pair);
    pair.client.close(pair.now);
    let took = pair.run_until(MINUTE, |pair| pair.closed.is_some()).unwrap();
    assert!(took < Duration::from_secs(1));
    assert_eq!(
        pair.closed.as_ref().unwrap().action(),
        Action::Exit(ExitKind::Done)
    );
    pair.run_for(Duration::from_secs(6));
    assert_eq!(pair.gone, ["left"]);
    assert!(pair.server.is_empty());
}

#[test]
fn a_server_that_ends_asks_its_clients_to_connect_anew() {
    let mut pair = Scenario::default().pair(8);
    established(&mut pair);
    pair.server.close(pair.now);
    pair.run_until(MINUTE, |pair| pair.closed.is_some()).unwrap();
    assert!(
        matches!(pair.closed, Some(CloseReason::Restart(_))),
        "{:?}",
        pair.closed
    );
}

#[test]
fn a_challenge_is_put_to_the_client_whatever_auth_retry_says() {
    let scenario = Scenario {
        credentials: Some(("alice", "first")),
        ..Scenario::default()
    };
    let mut pair = scenario.pair(9);
    pair.deny = Some("CRV1:R:session:YWxpY2U=:Code on your phone?".to_owned());
    pair.run_until(MINUTE, |pair| pair.closed.is_some()).unwrap();
    let closed = pair.closed.as_ref().unwrap();
    assert_eq!(
        closed.to_string(),
        "the server asks for more: Code on your phone?"
    );
    assert!(
        matches!(
            closed.action(),
            Action::Retry {
                advance: Advance::Stay,
                ..
            }
        ),
        "{closed:?}"
    );
    let CloseReason::AuthFailed {
        challenge: Some(challenge),
        ..
    } = closed
    else {
        panic!("{closed:?}")
    };
    assert!(challenge.response_required && !challenge.echo && challenge.username == "alice");
}

#[test]
fn refusals_tell_the_client_why() {
    let scenario = Scenario {
        credentials: Some(("alice", "wrong")),
        ..Scenario::default()
    };
    let mut pair = scenario.pair(9);
    pair.deny = Some("no such user".to_owned());
    pair.run_until(MINUTE, |pair| pair.closed.is_some()).unwrap();
    let closed = pair.closed.as_ref().unwrap();
    assert_eq!(closed.to_string(), "authentication failed: no such user");
    assert_eq!(closed.action(), Action::Exit(ExitKind::AuthFailed));
    pair.run_for(Duration::from_secs(6));
    assert!(pair.server.is_empty());
}

#[test]
fn a_pushed_token_takes_the_place_of_the_password() {
    let mut scenario = Scenario {
        credentials: Some(("alice", "secret")),
        ..Scenario::default()
    };
    scenario.server = "push \"auth-token SESS_ID_AT_abc\"\n".to_owned();
    let mut pair = scenario.pair(10);
    established(&mut pair);
    let token = pair.token.clone().unwrap();
    let wanted = Credentials {
        username: "alice".to_owned(),
        password: SecretString::from("SESS_ID_AT_abc"),
        is_token: true,
    };
    assert_eq!(token, wanted);
}

#[test]
fn certificates_that_do_not_fit_end_the_attempt_with_their_own_reason() {
    let other = TestPki::with_ca("Other CA", Validity::Current);
    let expired = Leaf::new("server", LeafUsage::Server).with_validity(Validity::Past);
    let cases: [(&str, Issue<'_>, &str); 3] = [
        ("another CA", &|_| other.server.clone(), "UnknownIssuer"),
        ("expired", &|pki| pki.issue(&expired), "Expired"),
        (
            "a client's",
            &|pki| pki.issue(&Leaf::new("server", LeafUsage::Client)),
            "WrongUsage",
        ),
    ];
    for (what, server, wanted) in cases {
        let pki = TestPki::new();
        let scenario = Scenario {
            client: "remote-cert-tls server\n".to_owned(),
            server_identity: Some(server(&pki)),
            pki: Some(pki),
            ..Scenario::default()
        };
        let mut pair = scenario.pair(11);
        pair.run_until(MINUTE, |pair| pair.closed.is_some()).unwrap();
        let Some(CloseReason::Session(SessionError::Tls(error))) = &pair.closed else {
            panic!("{what}: {:?}", pair.closed);
        };
        assert!(format!("{error:?}").starts_with(wanted), "{what}: {error:?}");
        assert_eq!(
            pair.closed.as_ref().unwrap().action(),
            Action::Exit(ExitKind::Failed)
        );
        assert!(!matches!(error, TlsError::Closed));
    }
}

#[test]
fn a_wrong_wrap_key_is_a_server_that_does_not_answer() {
    let scenario = Scenario {
        client: "connect-timeout 20\n<tls-crypt>\nOTHER</tls-crypt>\n".to_owned(),
        server: "<tls-crypt>\nKEY</tls-crypt>\n".to_owned(),
        ..Scenario::default()
    };
    let mut pair = scenario.pair(12);
    pair.run_until(MINUTE, |pair| pair.closed.is_some()).unwrap();
    let closed = pair.closed.as_ref().unwrap();
    assert!(closed.to_string().contains("tls-crypt key"), "{closed}");
    let retry = Action::Retry {
        advance: Advance::Address,
        wait: None,
        forget_token: false,
    };
    assert_eq!(closed.action(), retry);
    assert!(pair.server.is_empty(), "the server keeps nothing for it");
}

#[test]
fn a_client_that_moves_keeps_its_session() {
    let mut pair = Scenario::default().pair(13);
    established(&mut pair);
    pair.roam("198.51.100.7:5555".parse().unwrap());
    pair.send_up(&mut packet(CLIENT, BEHIND, 1, 100));
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.server_received.len(), 1);
    pair.send_down(&mut packet(BEHIND, CLIENT, 2, 100));
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.client_received.len(), 1);
}

/// Without a wrap whoever sees the packets can forge control packets. A forged soft reset and a forged fatal alert
/// once ended the session on either side, and the client's process with it.
#[test]
fn a_probe_is_answered_at_once_on_an_idle_connection_also_from_a_new_address() {
    for wrap in ["", "<tls-crypt>\nKEY</tls-crypt>\n"] {
        let scenario = Scenario {
            both: wrap.to_owned(),
            ..Scenario::default()
        };
        let mut pair = scenario.pair(21);
        established(&mut pair);
        pair.run_for(Duration::from_secs(3));
        for to in ["192.0.2.9:4000", "192.0.2.10:4001"] {
            assert!(pair.client.can_float());
            pair.roam(to.parse().unwrap());
            let asked = pair.now;
            pair.client.probe(asked);
            pair.run_for(Duration::from_secs(1));
            assert!(pair.client.heard_at() > asked, "no answer to a probe from {to}");
        }
        assert_eq!(pair.client.stats().session.keys_derived, 1);
        assert_eq!(pair.send_up(&mut packet(CLIENT, BEHIND, 1, 100)), Sent::Sealed);
        pair.run_for(Duration::from_secs(1));
        assert_eq!(pair.server_received.len(), 1);
    }
}

#[test]
fn a_forged_renegotiation_ends_nothing() {
    let scenario = Scenario {
        client: "compat-mode 2.5.0\n".to_owned(),
        ..Scenario::default()
    };
    let mut pair = scenario.pair(15);
    established(&mut pair);
    let forged = |opcode: Opcode, id, session, payload: &[u8]| {
        let key_id = KeyId::FIRST.next();
        let mut packet = Header {
            opcode,
            key_id,
            session,
        }
        .to_bytes()
        .to_vec();
        let body = Body {
            acks: Acks::new(),
            remote: None,
            id: Some(PacketId(id)),
            payload,
        };
        body.encode(&mut packet);
        packet
    };
    let (to_server, to_client) = pair.session_ids();
    let alert = [0x15, 3, 3, 0, 2, 2, 42];
    for (opcode, id, payload) in [(Opcode::SoftReset, 0, &[][..]), (Opcode::Control, 1, &alert[..])] {
        let now = pair.now;
        pair.up.send(now, &forged(opcode, id, to_server, payload));
        pair.down.send(now, &forged(opcode, id, to_client, payload));
    }
    pair.run_for(Duration::from_mins(3));
    assert!(
        pair.closed.is_none() && pair.gone.is_empty(),
        "{:?} {:?}",
        pair.closed,
        pair.gone
    );
    pair.send_up(&mut packet(CLIENT, BEHIND, 1, 100));
    pair.send_down(&mut packet(BEHIND, CLIENT, 2, 100));
    pair.run_for(Duration::from_secs(1));
    assert_eq!((pair.server_received.len(), pair.client_received.len()), (1, 1));
}

#[test]
fn a_packet_from_an_address_that_was_not_leased_is_dropped() {
    let mut pair = Scenario::default().pair(14);
    established(&mut pair);
    pair.send_up(&mut packet([10, 8, 0, 99], BEHIND, 1, 100));
    pair.send_up(&mut packet([127, 0, 0, 1], BEHIND, 1, 100));
    pair.run_for(Duration::from_secs(1));
    assert!(pair.server_received.is_empty());
    assert_eq!(
        pair.server
            .peer_stats(PeerId::new(0).unwrap())
            .unwrap()
            .dropped_packets,
        2
    );
}
