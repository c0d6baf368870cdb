//! Seals and opens by the vectors, and refuses what was altered or seen before.

use proptest::prelude::*;

use super::*;
use crate::{
    keys::tests::vector_key,
    wire::{
        fixtures::{hex, start},
        magic::PING,
    },
};

fn keys(cipher: Cipher, role: Role, peer_id: Option<u32>) -> DataKeys {
    let peer_id = peer_id.map(|id| PeerId::new(id).unwrap());
    let replay = ReplayConfig::default();
    DataKeys::new(cipher, &vector_key(), role, KeyId::FIRST, peer_id, replay).unwrap()
}

fn sealed(keys: &mut DataKeys, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0xEE; payload.len() + keys.overhead_bytes() + 3];
    let len = keys.seal_into(payload, &mut out).unwrap();
    assert_eq!(out[len..], [0xEE; 3]);
    out.truncate(len);
    out
}

#[test]
fn the_data_packet_vectors_come_out_and_go_in() {
    let vectors = [
        (
            Cipher::Aes256Gcm,
            Some(5),
            "48000005 00000001 8c993913ecdeba12f7a5f9b0b5d01d8f 66e4fc010a9a100d46abd0b6d249e763",
        ),
        (
            Cipher::Aes128Gcm,
            Some(5),
            "48000005 00000001 b4b259681a6e01df14827a8f39b34f77 2332faad4be151237024883debbcfda1",
        ),
        (
            Cipher::ChaCha20Poly1305,
            Some(5),
            "48000005 00000001 a57e9bf51c0ca0df1a436367c8776c9d a295bb98ce2ddcae0989cf426507d8e0",
        ),
        (
            Cipher::Aes256Gcm,
            None,
            "30 00000001 9c54de66b4c463ef0b3490b717831dcc 66e4fc010a9a100d46abd0b6d249e763",
        ),
    ];
    for (cipher, peer_id, vector) in vectors {
        let mut packet = sealed(&mut keys(cipher, Role::Client, peer_id), &PING);
        assert_eq!(packet, hex(vector), "{cipher}");
        let mut server = keys(cipher, Role::Server, Some(9));
        assert_eq!(server.open(start(), &mut packet).unwrap(), &PING, "{cipher}");
    }
}

#[test]
fn every_cipher_carries_packets_both_ways() {
    for cipher in Cipher::ALL {
        for peer_id in [None, Some(0), Some(0xFF_FFFF)] {
            let mut client = keys(cipher, Role::Client, peer_id);
            let mut server = keys(cipher, Role::Server, peer_id);
            for len in [1, 15, 16, 17, 1400, 9000] {
                let payload = vec![0x45; len];
                let mut packet = sealed(&mut client, &payload);
                assert_eq!(server.open(start(), &mut packet).unwrap(), payload);
                let mut packet = sealed(&mut server, &payload);
                assert_eq!(client.open(start(), &mut packet).unwrap(), payload);
            }
            assert_eq!((client.packets_sent(), client.packets_received()), (6, 6));
            assert_eq!((server.bytes_sent(), server.bytes_received()), (10_449, 10_449));
        }
    }
}

#[test]
fn a_replayed_packet_is_refused_once_it_has_authenticated() {
    let mut client = keys(Cipher::Aes128Gcm, Role::Client, Some(1));
    let mut server = keys(Cipher::Aes128Gcm, Role::Server, Some(1));
    let packet = sealed(&mut client, b"hello");
    let mut forged = packet.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(
        server.open(start(), &mut forged),
        Err(OpenError::Authentication(1))
    );
    assert_eq!(server.open(start(), &mut packet.clone()).unwrap(), b"hello");
    let mut again = packet;
    assert_eq!(
        server.open(start(), &mut again),
        Err(OpenError::Replay(Replayed(1)))
    );
    assert_eq!((server.packets_received(), server.failures), (1, 1));
}

#[test]
fn no_prefix_and_no_altered_bit_opens() {
    for peer_id in [None, Some(5)] {
        let mut client = keys(Cipher::ChaCha20Poly1305, Role::Client, peer_id);
        let mut server = keys(Cipher::ChaCha20Poly1305, Role::Server, peer_id);
        let packet = sealed(&mut client, b"hello");
        for len in 0..packet.len() {
            server.open(start(), &mut packet[..len].to_vec()).unwrap_err();
        }
        // V1 does not authenticate its first byte: only another opcode is noticed.
        for index in usize::from(peer_id.is_none())..packet.len() {
            let mut altered = packet.clone();
            altered[index] ^= 0x20;
            server.open(start(), &mut altered).unwrap_err();
        }
        server.open(start(), &mut packet.clone()).unwrap();
    }
}

#[test]
fn what_cannot_be_sealed_uses_up_no_id() {
    let mut client = keys(Cipher::Aes256Gcm, Role::Client, Some(5));
    let mut small = [0; 28];
    assert_eq!(
        client.seal_into(b"hello", &mut small),
        Err(SealError::NoRoom { wanted: 29, room: 28 })
    );
    assert_eq!(client.seal_into(b"", &mut small), Err(SealError::Empty));
    assert_eq!(client.seal_into(b"hell", &mut small), Ok(28));
    assert_eq!((small[7], client.packets_sent()), (1, 1));
}

#[test]
fn a_key_asks_to_be_renewed_before_it_is_used_up() {
    let mut client = keys(Cipher::Aes256Gcm, Role::Client, Some(5));
    assert!(!client.wants_renewal());
    client.next_id = RENEWAL_ID;
    assert!(client.wants_renewal() && !client.is_exhausted());
    client.next_id = u32::MAX;
    assert!(client.is_exhausted());
    assert_eq!(client.seal_into(b"x", &mut [0; 99]), Err(SealError::Exhausted));
}

#[test]
fn a_key_asks_to_be_renewed_at_seven_eighths_of_its_limit() {
    let limit = 68_719_476_735_u64;
    assert_eq!(aead_limit(Cipher::Aes256Gcm), Some(limit));
    assert_eq!(aead_limit(Cipher::ChaCha20Poly1305), None);
    for (cipher, wants) in [(Cipher::Aes256Gcm, true), (Cipher::ChaCha20Poly1305, false)] {
        let mut client = keys(cipher, Role::Client, Some(5));
        client.rx.usage.packets = limit / 8 * 7 - 1;
        assert!(!client.wants_renewal());
        client.rx.usage.packets += 1;
        assert_eq!(client.wants_renewal(), wants);
    }
}

#[test]
fn forgeries_end_a_key_in_the_long_run() {
    let mut client = keys(Cipher::Aes256Gcm, Role::Client, Some(5));
    let mut packet = sealed(&mut keys(Cipher::Aes256Gcm, Role::Server, Some(5)), b"hello");
    client.failures = RENEWAL_FAILURES + 1;
    assert!(client.wants_renewal());
    client.failures = MAX_FAILURES + 1;
    assert_eq!(client.open(start(), &mut packet), Err(OpenError::Exhausted));
}

#[test]
fn a_key_of_zeros_is_refused() {
    let zeros = Key2::from_exporter(&[0; 256]);
    let made = DataKeys::new(
        Cipher::Aes256Gcm,
        &zeros,
        Role::Client,
        KeyId::FIRST,
        None,
        ReplayConfig::default(),
    );
    assert_eq!(made.unwrap_err(), KeyError::ZeroKey);
}

#[test]
fn headers_are_seen_without_opening() {
    assert_eq!(peer_id(&hex("4a000005")), PeerId::new(5));
    assert_eq!(key_id(&hex("4a000005")), KeyId::new(2));
    assert_eq!(
        (peer_id(&hex("32000005")), key_id(&hex("32"))),
        (None, KeyId::new(2))
    );
    assert_eq!((peer_id(&hex("4a0000")), key_id(&[])), (None, None));
    assert_eq!((peer_id(&hex("20000005")), key_id(&hex("20"))), (None, None));
}

#[test]
fn control_packets_are_no_data() {
    let mut server = keys(Cipher::Aes256Gcm, Role::Server, None);
    let error = server.open(start(), &mut [0x20; 60]).unwrap_err();
    assert_eq!(error, OpenError::Malformed(WireError::NotData(Opcode::Control)));
}

proptest! {
    #[test]
    fn any_bytes_are_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..100), v2 in any::<bool>()) {
        if let Some(first) = bytes.first_mut() {
            *first = if v2 { 0x48 } else { 0x30 };
        }
        let mut server = keys(Cipher::Aes256Gcm, Role::Server, Some(5));
        prop_assert!(server.open(start(), &mut bytes).is_err());
    }
}
