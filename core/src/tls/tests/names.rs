//! `verify-x509-name` and the text of subjects.

use super::{super::*, Joined};
use crate::testing::certs::TestPki;

fn outcome(rule: NameRule, wanted: &str) -> Result<(), TlsError> {
    let pki = TestPki::new();
    let mut client = pki.client_settings();
    client.verify_name = Some((rule, wanted.to_owned()));
    Joined::run(&client, &pki.server_settings()).client_outcome
}

#[test]
fn a_name_is_compared_in_the_three_forms() {
    let subject = "C=KG, ST=NA, O=Tunless Test, CN=server";
    assert_eq!(outcome(NameRule::Subject, subject), Ok(()));
    assert_eq!(outcome(NameRule::Name, "server"), Ok(()));
    assert_eq!(outcome(NameRule::NamePrefix, "ser"), Ok(()));
    for (rule, wanted) in [
        (NameRule::Subject, "CN=server"),
        (NameRule::Name, "serve"),
        (NameRule::Name, "Server"),
        (NameRule::NamePrefix, "erver"),
    ] {
        let (wanted, subject) = (wanted.to_owned(), subject.to_owned());
        assert_eq!(
            outcome(rule, &wanted),
            Err(TlsError::WrongName { wanted, subject })
        );
    }
}

#[test]
fn subjects_are_written_as_openssl_does() {
    // C=KG, OU=a,b (BMPString) + UID=x in one part, 1.2.3.4=\<LF>, CN=first, CN=last (T61String with ü)
    let name: &[u8] = &[
        0x30, 0x5c, 0x31, 0x0b, 0x30, 0x09, 0x06, 0x03, 0x55, 0x04, 0x06, 0x13, 0x02, b'K', b'G', 0x31, 0x22,
        0x30, 0x0d, 0x06, 0x03, 0x55, 0x04, 0x0b, 0x1e, 0x06, 0, b'a', 0, b',', 0, b'b', 0x30, 0x11, 0x06,
        0x0a, 0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01, 0x0c, 0x03, b'x', b'y', b'z', 0x31,
        0x0b, 0x30, 0x09, 0x06, 0x03, 0x2a, 0x03, 0x04, 0x0c, 0x02, b'\\', b'\n', 0x31, 0x0e, 0x30, 0x0c,
        0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x05, b'f', b'i', b'r', b's', b't', 0x31, 0x0c, 0x30, 0x0a, 0x06,
        0x03, 0x55, 0x04, 0x03, 0x14, 0x03, b'f', 0xfc, b'r',
    ];
    let (rest, name) =
        <x509_parser::x509::X509Name<'_> as x509_parser::prelude::FromDer<'_, _>>::from_der(name).unwrap();
    assert_eq!(rest, b"");
    assert_eq!(
        identity::name_text(&name),
        "C=KG, OU=a,b + UID=xyz, 1.2.3.4=\\\\\\0A, CN=first, CN=für"
    );
}
