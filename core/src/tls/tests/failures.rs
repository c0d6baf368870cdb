//! Sessions that must fail, each with its own reason, and what the other end hears of it.

use super::{super::*, Joined, plain};
use crate::testing::certs::{Leaf, LeafUsage, NOW, TestPki, Validity};
use crate::wire::Role;

/// 2010-01-01T00:00:00Z, when [`Validity::Past`] ends.
const YEAR_2010: Duration = Duration::from_hours(350_640);

const UNKNOWN_CA: u8 = 48;
const EXPIRED: u8 = 45;
const REVOKED: u8 = 44;
const UNSUPPORTED_CERTIFICATE: u8 = 43;
const ACCESS_DENIED: u8 = 49;

/// The client's reason, after checking that the server was told `alert`.
fn client_refuses(client: &TlsSettings, server: &TlsSettings, alert: u8) -> TlsError {
    let mut reasons = Vec::new();
    for version in [TlsVersion::V12, TlsVersion::V13] {
        let mut client = client.clone();
        (client.version_min, client.version_max) = (version, version);
        let (ours, theirs) = Joined::run(&client, server).failures();
        assert_eq!(theirs, TlsError::PeerAlert(Alert(alert)), "{ours}");
        reasons.push(ours);
    }
    assert_eq!(reasons[0], reasons[1]);
    reasons.remove(0)
}

/// The server's reason, after checking that the client was told `alert`.
fn server_refuses(client: &TlsSettings, server: &TlsSettings, alert: u8) -> TlsError {
    let mut reasons = Vec::new();
    for version in [TlsVersion::V12, TlsVersion::V13] {
        let mut client = client.clone();
        (client.version_min, client.version_max) = (version, version);
        let (theirs, ours) = Joined::run(&client, server).failures();
        assert_eq!(theirs, TlsError::PeerAlert(Alert(alert)), "{ours}");
        reasons.push(ours);
    }
    assert_eq!(reasons[0], reasons[1]);
    reasons.remove(0)
}

#[test]
fn an_issuer_that_is_not_in_ca_is_named() {
    let (ours, theirs) = (TestPki::new(), TestPki::with_ca("Other CA", Validity::Current));
    let unknown = |name: &str, issuer: &str| TlsError::UnknownIssuer {
        subject: format!("C=KG, ST=NA, O=Tunless Test, CN={name}"),
        issuer: format!("C=KG, ST=NA, O=Tunless Test, CN={issuer}"),
    };
    let reason = client_refuses(&ours.client_settings(), &theirs.server_settings(), UNKNOWN_CA);
    assert_eq!(reason, unknown("server", "Other CA"));

    let mut server = ours.server_settings();
    server.ca = Some(theirs.ca.into_bytes());
    let reason = server_refuses(&ours.client_settings(), &server, UNKNOWN_CA);
    assert_eq!(reason, unknown("client", "Test CA"));
}

#[test]
fn the_issuer_named_is_that_of_the_end_of_the_chain() {
    let (ours, theirs) = (TestPki::new(), TestPki::with_ca("Other CA", Validity::Current));
    let below = theirs.intermediate("Issuing CA");
    let mut server = ours.server_settings();
    below.server.install(&mut server);
    server.extra_certs = Some(below.ca.into_bytes());
    let reason = client_refuses(&ours.client_settings(), &server, UNKNOWN_CA);
    let TlsError::UnknownIssuer { issuer, .. } = &reason else {
        panic!("{reason}")
    };
    assert_eq!(issuer, "C=KG, ST=NA, O=Tunless Test, CN=Other CA");
}

#[test]
fn an_authority_of_the_same_name_with_another_key_vouches_for_nothing() {
    let (ours, theirs) = (TestPki::new(), TestPki::new());
    let joined = Joined::run(&ours.client_settings(), &theirs.server_settings());
    assert_eq!(joined.client_outcome, Err(TlsError::BadSignature));
    assert!(matches!(joined.server_outcome, Err(TlsError::PeerAlert(_))));
}

#[test]
fn expired_certificates_are_refused_with_their_date() {
    let pki = TestPki::new();
    let not_after = YEAR_2010;
    let expired = |name: &str| TlsError::Expired {
        subject: format!("C=KG, ST=NA, O=Tunless Test, CN={name}"),
        not_after,
    };
    let old = pki.issue(&Leaf::new("old", LeafUsage::Server).with_validity(Validity::Past));
    let server = pki.settings(Role::Server, &old);
    let reason = client_refuses(&pki.client_settings(), &server, EXPIRED);
    assert_eq!(reason, expired("old"));
    assert!(
        reason.to_string().contains("expired on 2010-01-01 00:00 UTC"),
        "{reason}"
    );
    let client = pki.settings(Role::Client, &old);
    assert_eq!(
        server_refuses(&client, &pki.server_settings(), EXPIRED),
        expired("old")
    );
}

#[test]
fn an_expired_authority_vouches_for_nothing() {
    let pki = TestPki::with_ca("Old CA", Validity::Past);
    let reason = client_refuses(&pki.client_settings(), &pki.server_settings(), EXPIRED);
    let TlsError::Expired { subject, .. } = &reason else {
        panic!("{reason}")
    };
    assert_eq!(subject, "C=KG, ST=NA, O=Tunless Test, CN=Old CA");
}

#[test]
fn certificates_of_the_future_are_refused() {
    let pki = TestPki::new();
    let young = pki.issue(&Leaf::new("young", LeafUsage::Server).with_validity(Validity::Future));
    let server = pki.settings(Role::Server, &young);
    let reason = client_refuses(&pki.client_settings(), &server, EXPIRED);
    let TlsError::NotYetValid { subject, .. } = &reason else {
        panic!("{reason}")
    };
    assert_eq!(subject, "C=KG, ST=NA, O=Tunless Test, CN=young");
}

#[test]
fn the_time_that_is_passed_in_decides() {
    let pki = TestPki::new();
    let old = pki.issue(&Leaf::new("old", LeafUsage::Server).with_validity(Validity::Past));
    let then = Duration::from_secs(1_000_000_000);
    let mut joined = Joined::new(&pki.client_settings(), &pki.settings(Role::Server, &old));
    joined.client = ClientTls::new(&pki.client_settings())
        .unwrap()
        .pump(then)
        .unwrap();
    joined.exchange(usize::MAX);
    assert_eq!(joined.client_outcome, Ok(()));
}

#[test]
fn revoked_certificates_are_refused() {
    let pki = TestPki::new();
    let mut server = pki.server_settings();
    server.crl = Some(pki.crl(&[&pki.client], Validity::Current).into_bytes());
    let reason = server_refuses(&pki.client_settings(), &server, REVOKED);
    let TlsError::Revoked { subject, .. } = &reason else {
        panic!("{reason}")
    };
    assert_eq!(subject, "C=KG, ST=NA, O=Tunless Test, CN=client");

    let other = pki.issue(&Leaf::new("other", LeafUsage::Client));
    Joined::established(&pki.settings(Role::Client, &other), &server);
}

#[test]
fn a_revoked_authority_in_between_is_named() {
    let root = TestPki::new();
    let below = root.intermediate("Issuing CA");
    let mut server = root.server_settings();
    let between = crate::testing::certs::Identity {
        cert: below.ca.clone(),
        key: String::new(),
        der: rustls::pki_types::pem::PemObject::from_pem_slice(below.ca.as_bytes())
            .map(|der: rustls::pki_types::CertificateDer<'static>| der.to_vec())
            .unwrap(),
    };
    server.crl = Some(root.crl(&[&between], Validity::Current).into_bytes());
    let mut client = root.client_settings();
    below.client.install(&mut client);
    client.extra_certs = Some(below.ca.into_bytes());
    let reason = server_refuses(&client, &server, REVOKED);
    let TlsError::Revoked { subject, .. } = &reason else {
        panic!("{reason}")
    };
    assert_eq!(subject, "C=KG, ST=NA, O=Tunless Test, CN=Issuing CA");
}

#[test]
fn a_revocation_list_of_another_authority_says_nothing_and_an_old_one_stops_everything() {
    let pki = TestPki::new();
    let other = TestPki::with_ca("Other CA", Validity::Current);
    let mut server = pki.server_settings();
    server.crl = Some(other.crl(&[&pki.client], Validity::Current).into_bytes());
    Joined::established(&pki.client_settings(), &server);

    server.crl = Some(pki.crl(&[], Validity::Past).into_bytes());
    let reason = server_refuses(&pki.client_settings(), &server, UNKNOWN_CA);
    assert_eq!(
        reason,
        TlsError::CrlExpired {
            next_update: YEAR_2010
        }
    );
}

#[test]
fn a_client_certificate_cannot_play_the_server_where_remote_cert_tls_is_set() {
    let pki = TestPki::new();
    let mut client = pki.client_settings();
    let impostor = pki.settings(Role::Server, &pki.client);
    Joined::established(&client, &impostor);
    client.remote_usage = Some(Usage::Server);
    let reason = client_refuses(&client, &impostor, UNSUPPORTED_CERTIFICATE);
    assert_eq!(
        reason.to_string(),
        "certificate \"C=KG, ST=NA, O=Tunless Test, CN=client\" of the peer is not meant for this use: extended \
         key usage \"TLS Web Server Authentication\" is wanted, it has [\"TLS Web Client Authentication\"]"
    );
    Joined::established(&client, &pki.server_settings());

    let mut server = pki.server_settings();
    server.remote_usage = Some(Usage::Client);
    let reason = server_refuses(
        &pki.settings(Role::Client, &pki.server),
        &server,
        UNSUPPORTED_CERTIFICATE,
    );
    assert!(matches!(reason, TlsError::WrongUsage { .. }), "{reason}");
}

#[test]
fn a_certificate_for_nothing_in_particular_fails_remote_cert_tls() {
    let pki = TestPki::new();
    let plain = pki.issue(&Leaf::new("plain", LeafUsage::Unstated));
    let mut client = pki.client_settings();
    client.remote_usage = Some(Usage::Server);
    let server = pki.settings(Role::Server, &plain);
    let reason = client_refuses(&client, &server, UNSUPPORTED_CERTIFICATE);
    assert!(reason.to_string().ends_with("it has none"), "{reason}");
    client.remote_usage = None;
    client.strict_purpose = true;
    Joined::established(&client, &server);
}

#[test]
fn strict_purpose_refuses_another_stated_role() {
    let pki = TestPki::new();
    let mut client = pki.client_settings();
    client.strict_purpose = true;
    Joined::established(&client, &pki.server_settings());
    let impostor = pki.settings(Role::Server, &pki.client);
    let reason = client_refuses(&client, &impostor, UNSUPPORTED_CERTIFICATE);
    assert!(matches!(reason, TlsError::WrongUsage { .. }), "{reason}");
}

#[test]
fn usages_can_be_asked_for_by_name_number_and_mask() {
    let pki = TestPki::new();
    let refuses = |change: &dyn Fn(&mut TlsSettings)| {
        let mut client = pki.client_settings();
        change(&mut client);
        Joined::run(&client, &pki.server_settings())
            .client_outcome
            .is_err()
    };
    for good in ["TLS Web Server Authentication", "serverAuth", "1.3.6.1.5.5.7.3.1"] {
        assert!(
            !refuses(&|settings| settings.remote_eku = Some(good.to_owned())),
            "{good}"
        );
    }
    for bad in ["TLS Web Client Authentication", "1.2.3.4", "nonsense"] {
        assert!(
            refuses(&|settings| settings.remote_eku = Some(bad.to_owned())),
            "{bad}"
        );
    }
    // The certificate has digitalSignature (80) and keyAgreement (08).
    for good in [vec![0x80], vec![0xa0, 0x88], vec![0x08], vec![KEY_USAGE_PRESENT]] {
        assert!(
            !refuses(&|settings| settings.remote_ku.clone_from(&good)),
            "{good:x?}"
        );
    }
    for bad in [vec![0xa0], vec![0x04, 0x20]] {
        assert!(
            refuses(&|settings| settings.remote_ku.clone_from(&bad)),
            "{bad:x?}"
        );
    }
}

#[test]
fn a_wrong_fingerprint_is_shown_with_or_without_a_ca() {
    let pki = TestPki::new();
    let mut client = pki.client_settings();
    client.peer_fingerprints = vec![[7; 32]];
    let wrong = TlsError::WrongFingerprint {
        subject: "C=KG, ST=NA, O=Tunless Test, CN=server".to_owned(),
        fingerprint: pki.server.fingerprint(),
    };
    let server = pki.server_settings();
    assert_eq!(client_refuses(&client, &server, ACCESS_DENIED), wrong);
    client.ca = None;
    assert_eq!(client_refuses(&client, &server, ACCESS_DENIED), wrong);
}

#[test]
fn a_right_fingerprint_does_not_excuse_a_wrong_issuer() {
    let (ours, theirs) = (TestPki::new(), TestPki::with_ca("Other CA", Validity::Current));
    let mut client = ours.client_settings();
    client.peer_fingerprints = vec![theirs.server.fingerprint()];
    let reason = client_refuses(&client, &theirs.server_settings(), UNKNOWN_CA);
    assert!(matches!(reason, TlsError::UnknownIssuer { .. }), "{reason}");
}

#[test]
fn a_required_client_certificate_that_is_missing_is_said_so_at_both_ends() {
    let pki = TestPki::new();
    let mut client = pki.client_settings();
    (client.cert, client.key) = (None, None);
    let (theirs, ours) = Joined::run(&client, &pki.server_settings()).failures();
    assert_eq!(ours, TlsError::NoCertificate);
    assert_eq!(theirs, TlsError::PeerAlert(Alert(116)));
    assert!(theirs.to_string().contains("it wants a certificate"), "{theirs}");
}

#[test]
fn an_altered_signature_in_a_certificate_is_refused() {
    let pki = TestPki::new();
    let mut der = pki.server.der.clone();
    // The last bytes are the signature's second number.
    *der.last_mut().unwrap() ^= 1;
    let outcome = judge(&pki.client_settings(), &[&der], NOW);
    assert_eq!(outcome, Err(TlsError::BadSignature));
}

#[test]
fn an_authoritys_certificate_cannot_be_the_peers_own() {
    let pki = TestPki::new();
    let below = pki.intermediate("Issuing CA");
    let der: rustls::pki_types::CertificateDer<'static> =
        rustls::pki_types::pem::PemObject::from_pem_slice(below.ca.as_bytes()).unwrap();
    let outcome = judge(&pki.client_settings(), &[&der], NOW);
    assert!(
        matches!(outcome, Err(TlsError::PeerCertificate { .. })),
        "{outcome:?}"
    );
}

#[test]
fn a_common_name_of_more_than_64_bytes_is_refused() {
    let pki = TestPki::new();
    for (length, fits) in [(64, true), (65, false)] {
        let long = pki.issue(&Leaf::new(&"x".repeat(length), LeafUsage::Client));
        assert_eq!(judge(&pki.server_settings(), &[&long.der], NOW).is_ok(), fits);
    }
}

#[test]
fn ends_without_a_common_version_or_suite_say_what_is_spoken() {
    let pki = TestPki::new();
    let mut client = pki.client_settings();
    client.version_max = TlsVersion::V12;
    let mut server = pki.server_settings();
    server.version_min = TlsVersion::V13;
    let (theirs, ours) = Joined::run(&client, &server).failures();
    assert!(matches!(ours, TlsError::Incompatible(_)), "{ours}");
    assert!(ours.to_string().contains("ECDHE and AES-GCM"), "{ours}");
    assert_eq!(theirs, TlsError::PeerAlert(Alert(70)));

    server.version_min = TlsVersion::V12;
    client.tls12_ciphers = vec!["ECDHE-ECDSA-AES128-GCM-SHA256".to_owned()];
    server.tls12_ciphers = vec!["ECDHE-ECDSA-AES256-GCM-SHA384".to_owned()];
    let (theirs, ours) = Joined::run(&client, &server).failures();
    assert!(matches!(ours, TlsError::Incompatible(_)), "{ours}");
    assert_eq!(theirs, TlsError::PeerAlert(Alert(40)));
}

#[test]
fn bytes_that_are_not_tls_end_the_session_for_good() {
    let pki = TestPki::new();
    let mut joined = Joined::new(&pki.client_settings(), &pki.server_settings());
    let first = joined.server.read_tls(b"GET / HTTP/1.1\r\n\r\n");
    assert!(matches!(first, Err(TlsError::Protocol(_))), "{first:?}");
    assert_eq!(joined.server.read_tls(&[]), first);
    assert_eq!(joined.server.write_plain(b"x"), first);
    assert_eq!(joined.server.read_plain(&mut Vec::new()), first);
    joined.exchange(usize::MAX);
    assert!(joined.client_outcome.is_err(), "the alert arrives");
}

#[test]
fn an_altered_record_ends_the_session_but_what_came_before_stays_readable() {
    let pki = TestPki::new();
    let mut pair = Joined::established(&pki.client_settings(), &pki.server_settings());
    pair.client.write_plain(b"good").unwrap();
    pair.client.write_plain(b"altered").unwrap();
    let mut bytes = Vec::new();
    pair.client.write_tls(&mut bytes);
    *bytes.last_mut().unwrap() ^= 1;
    let outcome = pair.server.read_tls(&bytes);
    assert!(matches!(outcome, Err(TlsError::Protocol(_))), "{outcome:?}");
    assert_eq!(plain(pair.server.as_mut()), b"good");
    assert_eq!(pair.server.read_plain(&mut Vec::new()), outcome);
}
