//! Control wraps by the vectors, and every altered byte refused.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::wire::{
    KeyId, Opcode, SessionId,
    fixtures::{hex, start},
};

const KEY: &str = "
37268ea8f95d7f71f9fb8fc03770c460daf714a483d815c013ce0a537efc18f28f4f172669d9e6a413bac6741d8ea05400f49b7fd6326470f23798c606bf53d4
de63ebc64ec59d57ce5d04d5b62e68b53ca6e5354351097fa370446c4d269f187bb6ae54af2dc70ff7317fe2f8754b8282aad4202f9fa42c8640245d883e2c54
a0c1c489a036cf3a8964d8d289c1583b9447c262b1da5fd167a5d27bd5ac514317bc2343a31a2efc38dd920d910375f51c2e27f3afd36c49269da079f7ce466e
bb0f9ad13e9bbb4665974e6bc24b513c5700393bf4a3e7f967e2f384069ac8a8e78b18b15604993fd16515cce9c0f3e42b4126b999005ade802797b0eeb8b9e6";

const TLS_AUTH_RESET: &str =
    "38 de694c5c7bfba274 93537c1ded4e781529ae7cfe4b8c6d6b2b51f05a 00000001 61d3bf6c 00 00000000";
const TLS_CRYPT_RESET: &str = "38 f419cb12d1f9e48f 00000001 61d3f8e1
    330206f56802be44fbed905064e3db43416bec5e526719462b7eb90c96defc9b 05c44879f7";
const RESET_BODY: [u8; 5] = [0; 5];

fn key() -> StaticKey {
    StaticKey::from_bytes(hex(KEY).first_chunk().unwrap())
}

fn tls_auth(direction: KeyDirection) -> WrapKey {
    WrapKey::TlsAuth {
        key: key(),
        digest: Digest::Sha1,
        direction,
    }
}

fn tls_crypt() -> WrapKey {
    WrapKey::TlsCrypt { key: key() }
}

fn header(session: u64) -> Header {
    Header {
        opcode: Opcode::HardResetClientV2,
        key_id: KeyId::FIRST,
        session: SessionId(session.to_be_bytes()),
    }
}

/// The wraps of a client and of a server that understand each other, one pair for each kind.
fn pairs() -> Vec<(Wrap, Wrap)> {
    let mut pairs = vec![
        (
            WrapKey::None.context(Role::Client),
            WrapKey::None.context(Role::Server),
        ),
        (
            tls_crypt().context(Role::Client),
            tls_crypt().context(Role::Server),
        ),
        (
            Wrap::from_dynamic(&[7; 256], Some(&key()), Role::Client),
            Wrap::from_dynamic(&[7; 256], Some(&key()), Role::Server),
        ),
    ];
    for digest in Digest::ALL {
        let with = |direction| WrapKey::TlsAuth {
            key: key(),
            digest,
            direction,
        };
        pairs.push((
            with(KeyDirection::Inverse).context(Role::Client),
            with(KeyDirection::Normal).context(Role::Server),
        ));
        pairs.push((
            with(KeyDirection::Bidirectional).context(Role::Client),
            with(KeyDirection::Bidirectional).context(Role::Server),
        ));
    }
    pairs
}

#[test]
fn reference_packets_come_out() {
    let mut client = tls_auth(KeyDirection::Inverse).context(Role::Client);
    let mut out = Vec::new();
    client
        .seal(0x61d3_bf6c, header(0xde69_4c5c_7bfb_a274), &RESET_BODY, &mut out)
        .unwrap();
    assert_eq!(out, hex(TLS_AUTH_RESET));
    let mut client = tls_crypt().context(Role::Client);
    let mut out = Vec::new();
    client
        .seal(0x61d3_f8e1, header(0xf419_cb12_d1f9_e48f), &RESET_BODY, &mut out)
        .unwrap();
    assert_eq!(out, hex(TLS_CRYPT_RESET));
}

#[test]
fn reference_packets_go_in_once() {
    let servers = [
        (tls_auth(KeyDirection::Normal), TLS_AUTH_RESET, 0x61d3_bf6c),
        (tls_crypt(), TLS_CRYPT_RESET, 0x61d3_f8e1),
    ];
    for (wrap, packet, time) in servers {
        let mut server = wrap.context(Role::Server);
        let (read, body) = {
            let mut packet = hex(packet);
            let (read, body) = server.open(start(), &mut packet).unwrap();
            (read, body.to_vec())
        };
        assert_eq!(
            (read.opcode, body),
            (Opcode::HardResetClientV2, RESET_BODY.to_vec())
        );
        let again = server.open(start(), &mut hex(packet)).unwrap_err();
        assert_eq!(again, WrapError::Replay { id: 1, time });
        server.authenticate(&mut hex(packet)).unwrap();
    }
}

#[test]
fn every_kind_carries_packets_both_ways() {
    for (mut client, mut server) in pairs() {
        for turn in 0..3 {
            let mut packet = Vec::new();
            client
                .seal(1000 - turn, header(1), b"there", &mut packet)
                .unwrap();
            assert_eq!(packet.len(), Header::BYTES + client.overhead_bytes() + 5);
            assert_eq!(
                server.open(start(), &mut packet).unwrap(),
                (header(1), &b"there"[..])
            );
            let mut packet = Vec::new();
            server.seal(1000, header(2), b"back", &mut packet).unwrap();
            assert_eq!(
                client.open(start(), &mut packet).unwrap(),
                (header(2), &b"back"[..])
            );
        }
    }
}

#[test]
fn no_prefix_and_no_altered_bit_authenticates() {
    for (mut client, server) in pairs().into_iter().skip(1) {
        let mut packet = Vec::new();
        client.seal(1000, header(1), b"there", &mut packet).unwrap();
        for len in 0..packet.len() {
            server.authenticate(&mut packet[..len].to_vec()).unwrap_err();
        }
        let short = server.authenticate(&mut packet[..9].to_vec()).unwrap_err();
        assert!(matches!(short, WrapError::TooShort { len: 9, .. }));
        for index in 0..packet.len() {
            let mut altered = packet.clone();
            altered[index] ^= 0x10;
            let error = server.authenticate(&mut altered).unwrap_err();
            assert!(
                matches!(error, WrapError::Mac | WrapError::Header(_)),
                "byte {index}: {error}"
            );
        }
    }
}

#[test]
fn a_packet_that_does_not_authenticate_leaves_the_window_alone() {
    let mut client = tls_auth(KeyDirection::Inverse).context(Role::Client);
    let mut server = tls_auth(KeyDirection::Normal).context(Role::Server);
    let mut packet = Vec::new();
    client.seal(1000, header(1), b"there", &mut packet).unwrap();
    let mut forged = packet.clone();
    forged[9 + 20 + 4] = 0xFF;
    assert_eq!(server.open(start(), &mut forged).unwrap_err(), WrapError::Mac);
    server.open(start(), &mut packet).unwrap();
}

#[test]
fn a_reflected_packet_does_not_authenticate() {
    for wrap in [tls_auth(KeyDirection::Inverse), tls_crypt()] {
        let mut client = wrap.context(Role::Client);
        let mut packet = Vec::new();
        client.seal(1000, header(1), b"there", &mut packet).unwrap();
        assert_eq!(client.open(start(), &mut packet).unwrap_err(), WrapError::Mac);
    }
}

#[test]
fn the_static_key_is_part_of_a_dynamic_one() {
    let mut client = Wrap::from_dynamic(&[7; 256], Some(&key()), Role::Client);
    let server = Wrap::from_dynamic(&[7; 256], None, Role::Server);
    let zeros = Wrap::from_dynamic(&[7; 256], Some(&StaticKey::from_bytes(&[0; 256])), Role::Client);
    let mut packet = Vec::new();
    client.seal(1000, header(1), b"there", &mut packet).unwrap();
    assert_eq!(server.authenticate(&mut packet).unwrap_err(), WrapError::Mac);
    let (mut zeros, mut packet) = (zeros, Vec::new());
    zeros.seal(1000, header(1), b"there", &mut packet).unwrap();
    server.authenticate(&mut packet).unwrap();
}

#[test]
fn a_later_time_starts_a_new_window_and_an_earlier_one_is_refused() {
    let mut server = tls_crypt().context(Role::Server);
    let packet = |time| {
        let mut out = Vec::new();
        let mut client = tls_crypt().context(Role::Client);
        client.seal(time, header(1), b"there", &mut out).unwrap();
        out
    };
    server.open(start(), &mut packet(1000)).unwrap();
    server.open(start(), &mut packet(1001)).unwrap();
    let late = server
        .open(start() + Duration::from_secs(1), &mut packet(1000))
        .unwrap_err();
    assert_eq!(late, WrapError::Replay { id: 1, time: 1000 });
}

#[test]
fn ids_go_on_behind_the_last_one_at_a_later_time() {
    let mut wrap = tls_crypt().context(Role::Client);
    wrap.skip_first_id();
    assert_eq!(wrap.next_stamp(1000), Stamp { id: 2, time: 1000 });
    wrap.next_id = u32::MAX;
    assert_eq!(
        wrap.next_stamp(1001),
        Stamp {
            id: u32::MAX,
            time: 1000
        }
    );
    assert_eq!(wrap.next_stamp(1000), Stamp { id: 1, time: 1001 });
}

#[test]
fn nothing_secret_prints() {
    for (wrap, name) in [
        (tls_auth(KeyDirection::Normal), "TlsAuth"),
        (tls_crypt(), "TlsCrypt"),
    ] {
        let shown = format!("{wrap:?} {:?}", wrap.context(Role::Client));
        assert!(shown.contains(name) && shown.contains("[secret]"), "{shown}");
        assert!(!shown.contains("55") && !shown.contains("cipher:"), "{shown}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        for (_, mut server) in pairs().into_iter().skip(1) {
            prop_assert!(server.open(start(), &mut bytes.clone()).is_err());
        }
    }
}
