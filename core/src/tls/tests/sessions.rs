//! Sessions that come about: versions, keys, exporter, data.

use super::{super::*, Joined, plain};
use crate::testing::certs::{Identity, KeyKind, Leaf, LeafUsage, NOW, TestPki, Validity};
use crate::wire::Role;

fn only(version: TlsVersion, settings: &mut TlsSettings) {
    settings.version_min = version;
    settings.version_max = version;
}

#[test]
fn both_versions_carry_data_and_export_the_same_keys() {
    for (version, name) in [
        (TlsVersion::V12, "TLSv1.2, TLS_"),
        (TlsVersion::V13, "TLSv1.3, TLS_"),
    ] {
        let pki = TestPki::new();
        let mut settings = pki.client_settings();
        only(version, &mut settings);
        let mut pair = Joined::established(&settings, &pki.server_settings());
        let described = pair.client.describe().unwrap();
        assert!(described.starts_with(name), "{described}");
        assert_eq!(pair.server.describe().unwrap(), described);

        pair.client.write_plain(b"from the client").unwrap();
        pair.server.write_plain(b"from the server").unwrap();
        pair.exchange(7);
        assert_eq!(plain(pair.server.as_mut()), b"from the client");
        assert_eq!(plain(pair.client.as_mut()), b"from the server");

        let (mut ours, mut theirs) = ([0; 256], [0; 256]);
        pair.client.export(EXPORTER_LABEL, &mut ours).unwrap();
        pair.server.export(EXPORTER_LABEL, &mut theirs).unwrap();
        assert_eq!(ours, theirs);
        assert_ne!(ours, [0; 256]);
    }
}

#[test]
fn every_kind_of_key_works_in_both_versions() {
    let pki = TestPki::new();
    let kinds = [
        KeyKind::P256,
        KeyKind::P384,
        KeyKind::P521,
        KeyKind::Ed25519,
        KeyKind::Rsa2048,
    ];
    for kind in kinds {
        let server = pki.issue(&Leaf::new("server", LeafUsage::Server).with_key(kind));
        let client = pki.issue(&Leaf::new("client", LeafUsage::Client).with_key(kind));
        for version in [TlsVersion::V12, TlsVersion::V13] {
            let mut settings = pki.settings(Role::Client, &client);
            only(version, &mut settings);
            Joined::established(&settings, &pki.settings(Role::Server, &server));
        }
    }
}

#[test]
fn each_end_knows_who_the_other_is() {
    let pki = TestPki::new();
    let pair = Joined::established(&pki.client_settings(), &pki.server_settings());
    let client = pair.server.peer().unwrap();
    assert_eq!(client.common_name.as_deref(), Some("client"));
    assert_eq!(client.subject, "C=KG, ST=NA, O=Tunless Test, CN=client");
    assert_eq!(client.issuer, "C=KG, ST=NA, O=Tunless Test, CN=Test CA");
    assert_eq!(client.fingerprint, pki.client.fingerprint());
    assert_eq!(client.chain, std::slice::from_ref(&pki.client.der));
    assert!(client.not_before < NOW && NOW < client.not_after);
    assert_eq!(pair.client.peer().unwrap().common_name.as_deref(), Some("server"));

    let again = Joined::established(&pki.client_settings(), &pki.server_settings());
    assert_eq!(again.server.peer().unwrap().chain_digest, client.chain_digest);
    assert_ne!(again.client.peer().unwrap().chain_digest, client.chain_digest);
}

#[test]
fn nothing_is_known_and_nothing_can_be_sent_before_the_handshake_is_finished() {
    let pki = TestPki::new();
    let mut pair = Joined::new(&pki.client_settings(), &pki.server_settings());
    assert!(pair.client.is_handshaking());
    assert_eq!(pair.client.write_plain(b"early"), Err(TlsError::NotReady));
    assert_eq!((pair.client.peer(), pair.client.describe()), (None, None));
    let early = pair.client.export(EXPORTER_LABEL, &mut [0; 32]);
    assert!(matches!(early, Err(TlsError::Export(_))), "{early:?}");
}

#[test]
fn a_handshake_may_come_byte_by_byte() {
    let pki = TestPki::new();
    let mut pair = Joined::new(&pki.client_settings(), &pki.server_settings());
    pair.exchange(1);
    assert!(!pair.client.is_handshaking() && !pair.server.is_handshaking());
    assert_eq!(pair.server_outcome, Ok(()));
}

#[test]
fn data_right_behind_the_clients_finished_arrives() {
    for version in [TlsVersion::V12, TlsVersion::V13] {
        let pki = TestPki::new();
        let mut settings = pki.client_settings();
        only(version, &mut settings);
        let mut pair = Joined::new(&settings, &pki.server_settings());
        let mut sent = false;
        for _ in 0..8 {
            let mut bytes = Vec::new();
            pair.client.write_tls(&mut bytes);
            pair.server.read_tls(&bytes).unwrap();
            let mut bytes = Vec::new();
            pair.server.write_tls(&mut bytes);
            pair.client.read_tls(&bytes).unwrap();
            if !sent && !pair.client.is_handshaking() {
                pair.client.write_plain(b"key method 2").unwrap();
                sent = true;
            }
        }
        assert_eq!(plain(pair.server.as_mut()), b"key method 2");
    }
}

#[test]
fn one_write_is_one_record() {
    let pki = TestPki::new();
    let mut pair = Joined::established(&pki.client_settings(), &pki.server_settings());
    pair.client.write_plain(&[7; 5000]).unwrap();
    let mut bytes = Vec::new();
    pair.client.write_tls(&mut bytes);
    assert_eq!(bytes[0], 23, "application data");
    assert_eq!(
        usize::from(u16::from_be_bytes([bytes[3], bytes[4]])) + 5,
        bytes.len()
    );
}

#[test]
fn a_server_sends_no_tickets() {
    let pki = TestPki::new();
    let mut pair = Joined::new(&pki.client_settings(), &pki.server_settings());
    for _ in 0..4 {
        let mut bytes = Vec::new();
        pair.client.write_tls(&mut bytes);
        pair.server.read_tls(&bytes).unwrap();
        if !pair.server.is_handshaking() {
            let mut bytes = Vec::new();
            pair.server.write_tls(&mut bytes);
            assert_eq!(bytes, b"", "something follows the server's side of the handshake");
            return;
        }
        let mut bytes = Vec::new();
        pair.server.write_tls(&mut bytes);
        pair.client.read_tls(&bytes).unwrap();
    }
    panic!("no handshake");
}

#[test]
fn no_server_name_is_sent() {
    let pki = TestPki::new();
    let mut pump = ClientTls::new(&pki.client_settings()).unwrap().pump(NOW).unwrap();
    let mut hello = Vec::new();
    pump.write_tls(&mut hello);
    assert!(!hello.windows(7).any(|part| part == b"openvpn"));
}

#[test]
fn a_client_without_certificate_is_let_in_where_none_is_required() {
    let pki = TestPki::new();
    let mut client = pki.client_settings();
    (client.cert, client.key) = (None, None);
    for request in [ClientCertificate::Optional, ClientCertificate::None] {
        for version in [TlsVersion::V12, TlsVersion::V13] {
            only(version, &mut client);
            let mut server = pki.server_settings();
            server.client_certificate = request;
            let pair = Joined::established(&client, &server);
            assert_eq!(pair.server.peer(), None);
        }
    }
}

#[test]
fn a_server_that_asks_for_no_certificate_needs_no_ca() {
    let pki = TestPki::new();
    let mut server = pki.server_settings();
    server.client_certificate = ClientCertificate::None;
    server.ca = None;
    let pair = Joined::established(&pki.client_settings(), &server);
    assert_eq!(pair.server.peer(), None);
}

#[test]
fn an_optional_certificate_that_is_sent_is_seen() {
    let pki = TestPki::new();
    let mut server = pki.server_settings();
    server.client_certificate = ClientCertificate::Optional;
    let pair = Joined::established(&pki.client_settings(), &server);
    assert_eq!(pair.server.peer().unwrap().common_name.as_deref(), Some("client"));
}

#[test]
fn a_fingerprint_stands_in_for_a_ca() {
    for usage in [LeafUsage::Unstated, LeafUsage::Server] {
        let server_id = Identity::self_signed(&Leaf::new("server", usage));
        // Its dates do not matter either: the fingerprint vouches for it.
        let client_id = Identity::self_signed(&Leaf::new("client", usage).with_validity(Validity::Past));
        let mut client = TlsSettings::new(Role::Client);
        client_id.install(&mut client);
        client.peer_fingerprints = vec![[1; 32], server_id.fingerprint()];
        let mut server = TlsSettings::new(Role::Server);
        server_id.install(&mut server);
        server.peer_fingerprints = vec![client_id.fingerprint()];
        let pair = Joined::established(&client, &server);
        assert_eq!(pair.server.peer().unwrap().fingerprint, client_id.fingerprint());
    }
}

#[test]
fn a_self_signed_certificate_that_is_in_ca_is_trusted() {
    let server_id = Identity::self_signed(&Leaf::new("server", LeafUsage::Server));
    let pki = TestPki::new();
    let mut client = pki.client_settings();
    client.ca = Some([pki.ca.as_bytes(), server_id.cert.as_bytes()].concat());
    Joined::established(&client, &pki.settings(Role::Server, &server_id));
}

#[test]
fn certificates_in_between_come_from_cert_or_extra_certs() {
    let root = TestPki::new();
    let below = root.intermediate("Issuing CA");
    let client = root.client_settings();
    let mut server = root.server_settings();
    below.server.install(&mut server);
    server.extra_certs = Some(below.ca.clone().into_bytes());
    let pair = Joined::established(&client, &server);
    assert_eq!(pair.client.peer().unwrap().chain.len(), 2);

    server.extra_certs = None;
    server.cert = Some(format!("{}{}", below.server.cert, below.ca).into_bytes());
    Joined::established(&client, &server);
}

#[test]
fn the_certificate_in_between_may_be_in_ca_alone() {
    let root = TestPki::new();
    let below = root.intermediate("Issuing CA");
    let mut client = root.client_settings();
    client.ca = Some(format!("{}{}", root.ca, below.ca).into_bytes());
    let mut server = root.server_settings();
    below.server.install(&mut server);
    Joined::established(&client, &server);
}

#[test]
fn what_waits_is_bounded() {
    let pki = TestPki::new();
    let mut pair = Joined::established(&pki.client_settings(), &pki.server_settings());
    let full = Err(TlsError::BufferFull {
        limit: BUFFER_LIMIT_BYTES,
    });
    assert_eq!(pair.client.write_plain(&vec![0; BUFFER_LIMIT_BYTES + 1]), full);
    // Nothing of that was sent, and the session goes on.
    let mut outcome = Ok(());
    for _ in 0..10 {
        pair.client.write_plain(&[7; 8192]).unwrap();
        let mut bytes = Vec::new();
        pair.client.write_tls(&mut bytes);
        outcome = outcome.and_then(|()| pair.server.read_tls(&bytes));
    }
    assert_eq!(outcome, full);
    // What arrived before is still there.
    assert_eq!(plain(pair.server.as_mut()), vec![7; BUFFER_LIMIT_BYTES]);
}

#[test]
fn secrets_do_not_print() {
    let pki = TestPki::new();
    let mut pair = Joined::established(&pki.client_settings(), &pki.server_settings());
    pair.client.write_plain(b"hunter2").unwrap();
    pair.exchange(usize::MAX);
    let text = format!("{:?}", pair.server);
    let bytes = format!("{:?}", b"hunter2").trim_matches(['[', ']']).to_owned();
    assert!(!text.contains("hunter2") && !text.contains(&bytes), "{text}");

    let mut settings = pki.client_settings();
    (settings.ca, settings.cert) = (None, None);
    let text = format!("{settings:?}");
    assert!(
        text.contains("[secret, ") && !text.contains("45, 45, 45"),
        "{text}"
    );
}
