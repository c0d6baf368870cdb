//! Turns rustls' errors into ours.

use rustls::{CertificateError, Error};

use super::{Alert, TlsError};

/// Why rustls refused a configuration.
pub(super) fn settings(error: &Error) -> TlsError {
    TlsError::Settings(error.to_string())
}

/// Why rustls ended a session; refusals by our own rules are known before it is asked.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum of the library is open-ended"
)]
pub(super) fn session(error: &Error) -> TlsError {
    match error {
        Error::AlertReceived(alert) => TlsError::PeerAlert(Alert(u8::from(*alert))),
        Error::NoCertificatesPresented => TlsError::NoCertificate,
        Error::InvalidCertificate(CertificateError::BadSignature) => TlsError::BadSignature,
        Error::PeerIncompatible(why) => TlsError::Incompatible(spaced(&format!("{why:?}"))),
        Error::PeerMisbehaved(why) => TlsError::Protocol(spaced(&format!("{why:?}"))),
        other => TlsError::Protocol(other.to_string()),
    }
}

/// Makes words of a camel-case name: `NoCipherSuitesInCommon` becomes `no cipher suites in common`.
fn spaced(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 8);
    for character in name.chars() {
        if character.is_ascii_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.push(character.to_ascii_lowercase());
    }
    text
}
