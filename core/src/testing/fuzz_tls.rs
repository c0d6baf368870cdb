//! Fuzz bodies: arbitrary bytes as certificates, PEM files and TLS records must not panic.

use std::sync::OnceLock;

use super::certs::{NOW, TestPki};
use crate::{
    secret::SecretBytes,
    tls::{self, ClientTls, PumpFactory, ServerTls, TlsSettings},
    wire::Role,
};

/// Reads `data` as a peer's certificate in DER, as its chain, and as each of our own files in PEM.
pub fn certificate(data: &[u8]) {
    tls::judge(&pki().client_settings(), &[data], NOW).err();
    let (first, second) = data.split_at(data.len() / 2);
    tls::judge(&pki().server_settings(), &[first, second], NOW).err();
    let mut settings = TlsSettings::new(Role::Client);
    settings.ca = Some(data.to_vec());
    settings.crl = Some(data.to_vec());
    ClientTls::new(&settings).err();
    let mut settings = pki().server_settings();
    settings.extra_certs = Some(data.to_vec());
    ServerTls::new(&settings).err();
    settings.key = Some(SecretBytes::new(data.to_vec()));
    ServerTls::new(&settings).err();
}

/// Feeds `data` to a session that has not begun, of either role.
pub fn session(data: &[u8]) {
    let client = ClientTls::new(&pki().client_settings()).map(|tls| tls.pump(NOW));
    let server = ServerTls::new(&pki().server_settings()).map(|tls| tls.pump(NOW));
    for pump in [client, server].into_iter().flatten() {
        let mut pump = pump.expect("sound settings make a pump");
        let outcome = pump.read_tls(data);
        let mut out = Vec::new();
        pump.write_tls(&mut out);
        pump.read_plain(&mut out).err();
        // A refusal is final.
        if outcome.is_err() {
            assert_eq!(pump.read_tls(b"x"), outcome, "an error that does not last");
        }
    }
}

fn pki() -> &'static TestPki {
    static PKI: OnceLock<TestPki> = OnceLock::new();
    PKI.get_or_init(TestPki::new)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn certificates_with_a_flipped_byte_do_not_panic() {
        let good = pki().client.der.clone();
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 0x41;
            certificate(&bad);
            certificate(&good[..position]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn arbitrary_bytes_do_not_panic(data in proptest::collection::vec(any::<u8>(), 0..600)) {
            certificate(&data);
            session(&data);
        }

        #[test]
        fn arbitrary_records_do_not_panic(
            kind in 20_u8..25,
            data in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let len = u16::try_from(data.len()).unwrap().to_be_bytes();
            let mut record = vec![kind, 3, 3, len[0], len[1]];
            record.extend_from_slice(&data);
            session(&record);
        }
    }
}
