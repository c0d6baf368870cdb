//! Our own files, good and bad.

use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::{super::*, Joined};
use crate::{
    secret::SecretBytes,
    testing::certs::{KeyKind, Leaf, LeafUsage, TestPki},
    wire::Role,
};

fn client(change: impl FnOnce(&mut TlsSettings)) -> TlsError {
    let mut settings = TestPki::new().client_settings();
    change(&mut settings);
    ClientTls::new(&settings).unwrap_err()
}

#[test]
fn text_around_the_markers_is_ignored() {
    let pki = TestPki::new();
    let mut settings = pki.client_settings();
    let dressed = |pem: &str| format!("Certificate:\n    Data: -- \u{fffd}\n{pem}# end\n").into_bytes();
    settings.ca = Some(dressed(&pki.ca));
    settings.cert = Some(dressed(&pki.client.cert));
    settings.key = Some(SecretBytes::new(dressed(&pki.client.key)));
    Joined::established(&settings, &pki.server_settings());
}

#[test]
fn files_with_line_ends_of_windows_are_read() {
    let pki = TestPki::new();
    let mut settings = pki.client_settings();
    settings.ca = Some(pki.ca.replace('\n', "\r\n").into_bytes());
    Joined::established(&settings, &pki.server_settings());
}

#[test]
fn each_bad_file_is_named() {
    let bad = |file| move |error: &TlsError| matches!(error, TlsError::BadCertificate { file: which, .. } if *which == file);
    let junk = || Some(b"junk".to_vec());
    assert!(bad(OwnFile::Ca)(&client(|settings| settings.ca = junk())));
    assert!(bad(OwnFile::Cert)(&client(|settings| settings.cert = junk())));
    assert!(bad(OwnFile::ExtraCerts)(&client(|settings| settings
        .extra_certs =
        junk())));
    assert!(bad(OwnFile::Crl)(&client(|settings| settings.crl = junk())));
    assert!(bad(OwnFile::Cert)(&client(|settings| settings.cert = None)));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(bad(OwnFile::Ca)(&client(
        |settings| settings.ca = Some(broken.into())
    )));
}

#[test]
fn a_key_that_cannot_be_used_says_why() {
    let with = |key: &str| client(|settings| settings.key = Some(SecretBytes::new(key.into())));
    let says = |error: TlsError, part: &str| {
        assert!(matches!(error, TlsError::BadKey { .. }), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    };
    says(with("junk"), "no private key");
    says(
        with(&TestPki::new().client.key),
        "does not belong to the certificate",
    );
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n";
    says(with(old), "write it anew");
    says(client(|settings| settings.key = None), "it is missing");
}

#[test]
fn an_encrypted_key_opens_with_its_passphrase_alone() {
    let pki = TestPki::new();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from_pem_slice(pki.client.key.as_bytes()).unwrap();
    let parameters =
        pkcs8::pkcs5::pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(2048, &[7; 16], [9; 16]).unwrap();
    let info = pkcs8::PrivateKeyInfoRef::try_from(key.secret_pkcs8_der()).unwrap();
    let sealed = info.encrypt_with_params(parameters, "open sesame").unwrap();
    let text = |der: &[u8]| {
        let marker = |edge: &str| format!("-----{edge} ENCRYPTED PRIVATE KEY-----");
        let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
        format!("{}\n{body}\n{}\n", marker("BEGIN"), marker("END"))
    };
    let mut settings = pki.client_settings();
    settings.key = Some(SecretBytes::new(text(sealed.as_bytes()).into_bytes()));
    assert_eq!(ClientTls::new(&settings).unwrap_err(), TlsError::NeedsPassphrase);
    settings.passphrase = Some("guess".into());
    assert_eq!(ClientTls::new(&settings).unwrap_err(), TlsError::WrongPassphrase);
    settings.passphrase = Some("open sesame".into());
    Joined::established(&settings, &pki.server_settings());
    settings.key = Some(SecretBytes::new(text(b"\x30\x03\x02\x01\x00").into_bytes()));
    assert!(matches!(
        ClientTls::new(&settings).unwrap_err(),
        TlsError::BadKey { .. }
    ));
}

#[test]
fn settings_that_trust_nothing_are_refused() {
    assert_eq!(client(|settings| settings.ca = None), TlsError::NoTrust);
    let mut server = TestPki::new().server_settings();
    server.ca = None;
    assert_eq!(ServerTls::new(&server).unwrap_err(), TlsError::NoTrust);
}

#[test]
fn settings_of_the_other_role_or_an_empty_range_of_versions_are_refused() {
    let pki = TestPki::new();
    assert!(matches!(
        ClientTls::new(&pki.server_settings()),
        Err(TlsError::Settings(_))
    ));
    assert!(matches!(
        ServerTls::new(&pki.client_settings()),
        Err(TlsError::Settings(_))
    ));
    let reversed = client(|settings| {
        (settings.version_min, settings.version_max) = (TlsVersion::V13, TlsVersion::V12);
    });
    assert!(matches!(reversed, TlsError::Settings(_)), "{reversed}");
}

#[test]
fn a_server_needs_a_certificate() {
    let mut server = TestPki::new().server_settings();
    (server.cert, server.key) = (None, None);
    let error = ServerTls::new(&server).unwrap_err();
    assert!(
        matches!(
            error,
            TlsError::BadCertificate {
                file: OwnFile::Cert,
                ..
            }
        ),
        "{error}"
    );
}

/// An authority with an RSA key of 1024 bits and what it signed with SHA-1, valid from November 2026 to 2100.
const LEGACY_CA: &str = include_str!("legacy-ca.pem");
const LEGACY_LEAF: &str = include_str!("legacy-leaf.pem");
const LEGACY_LEAF_KEY: &str = include_str!("legacy-leaf.key");

#[test]
fn short_rsa_keys_and_sha1_are_admitted_by_the_legacy_profile_alone() {
    let year_2030 = Duration::from_hours(525_960);
    let leaf = CertificateDer::from_pem_slice(LEGACY_LEAF.as_bytes()).unwrap();
    let mut settings = TlsSettings::new(Role::Server);
    settings.ca = Some(LEGACY_CA.into());
    let identity = judge(&settings, &[&leaf], year_2030).unwrap();
    assert_eq!(
        (identity.subject.as_str(), identity.serial_hex().as_str()),
        ("CN=old", "02")
    );
    for profile in [CertProfile::Preferred, CertProfile::Suiteb] {
        settings.profile = profile;
        let error = judge(&settings, &[&leaf], year_2030).unwrap_err();
        assert!(
            error.to_string().contains("`tls-cert-profile` does not admit"),
            "{error}"
        );
    }
}

#[test]
fn keys_in_openssls_older_format_are_read() {
    let mut settings = TestPki::new().client_settings();
    settings.cert = Some(LEGACY_LEAF.into());
    settings.key = Some(SecretBytes::new(LEGACY_LEAF_KEY.into()));
    assert!(ClientTls::new(&settings).is_ok());
}

#[test]
fn suite_b_admits_no_rsa() {
    let pki = TestPki::new();
    let rsa = pki.issue(&Leaf::new("server", LeafUsage::Server).with_key(KeyKind::Rsa2048));
    let mut client = pki.client_settings();
    client.profile = CertProfile::Suiteb;
    Joined::established(&client, &pki.server_settings());
    let joined = Joined::run(&client, &pki.settings(Role::Server, &rsa));
    assert!(joined.client_outcome.is_err() && joined.server_outcome.is_err());
}
