//! Why a TLS session could not be made or had to end, each cause a person can act on as its own variant.

use std::{fmt, time::Duration};

/// Why a TLS session could not be set up, or ended.
///
/// Sorted by fault: the peer's certificate, the peer's behaviour, what the two have in common, our own settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// No certificate in `ca` issued the peer's certificate.
    #[error(
        "certificate {subject:?} of the peer was issued by {issuer:?}, which no certificate in `ca` vouches for"
    )]
    UnknownIssuer {
        /// Subject of the peer's certificate.
        subject: String,
        /// Issuer that the last certificate of the peer's chain names.
        issuer: String,
    },
    /// A certificate of the chain is no longer valid.
    #[error("certificate {subject:?} expired on {}; check the clock or renew it", Date(*not_after))]
    Expired {
        /// Subject of the certificate that expired: the peer's, or one that vouches for it.
        subject: String,
        /// End of its validity, since 1970-01-01T00:00:00Z.
        not_after: Duration,
    },
    /// A certificate of the chain is not valid yet.
    #[error("certificate {subject:?} is not valid before {}; check the clock", Date(*not_before))]
    NotYetValid {
        /// Subject of the certificate.
        subject: String,
        /// Begin of its validity, since 1970-01-01T00:00:00Z.
        not_before: Duration,
    },
    /// The revocation list names a certificate of the chain.
    #[error("certificate {subject:?} (serial {serial}) was revoked")]
    Revoked {
        /// Subject of the peer's certificate.
        subject: String,
        /// Its serial number, in hexadecimal.
        serial: String,
    },
    /// The revocation list itself is too old.
    #[error("revocation list `crl-verify` was due for renewal on {}", Date(*next_update))]
    CrlExpired {
        /// When its issuer promised the next one, since 1970-01-01T00:00:00Z.
        next_update: Duration,
    },
    /// The certificate is not meant for the peer's role.
    #[error("certificate {subject:?} of the peer is not meant for this use: {wanted}")]
    WrongUsage {
        /// Subject of the peer's certificate.
        subject: String,
        /// What was asked for and what the certificate has.
        wanted: String,
    },
    /// The certificate does not bear the name that `verify-x509-name` asks for.
    #[error("`verify-x509-name` wants {wanted:?}, the certificate of the peer says {subject:?}")]
    WrongName {
        /// Name (subject, common name or its begin) asked for.
        wanted: String,
        /// Subject of the peer's certificate.
        subject: String,
    },
    /// No `peer-fingerprint` fits.
    #[error(
        "fingerprint {} of certificate {subject:?} is not among `peer-fingerprint`",
        super::identity::hex_colons(fingerprint)
    )]
    WrongFingerprint {
        /// Subject of the peer's certificate.
        subject: String,
        /// SHA-256 of its DER form.
        fingerprint: [u8; 32],
    },
    /// A signature of a certificate or of the handshake does not verify.
    #[error(
        "signature does not verify: another authority of the same name than the one in `ca` issued the peer's certificate, or the peer does not own it"
    )]
    BadSignature,
    /// The peer's certificate cannot be read or is of a kind that is refused.
    #[error("certificate {subject:?} of the peer is refused: {problem}")]
    PeerCertificate {
        /// Its subject; empty when it cannot be read.
        subject: String,
        /// What is wrong with it, and what helps.
        problem: String,
    },
    /// The peer sent no certificate although one is required.
    #[error("the peer sent no certificate")]
    NoCertificate,
    /// The peer ended the session with a fatal alert.
    #[error("the peer refused the session: {0}")]
    PeerAlert(Alert),
    /// The two ends share no version, cipher suite, group or signature algorithm.
    #[error(
        "nothing in common with the peer: {0}; this end speaks TLS 1.3, and TLS 1.2 with ECDHE and AES-GCM or \
         ChaCha20-Poly1305 only: upgrade the peer or lift its `tls-cipher` and `tls-version` limits"
    )]
    Incompatible(String),
    /// The peer's bytes are not TLS, or break its rules.
    #[error("the peer broke the rules of TLS: {0}")]
    Protocol(String),
    /// The peer has ended the session in order.
    #[error("the peer closed the TLS session")]
    Closed,
    /// Too many bytes wait in one direction.
    #[error("more than {limit} bytes wait in the TLS session")]
    BufferFull {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The handshake is not finished.
    #[error("the TLS handshake is not finished")]
    NotReady,
    /// Keying material could not be exported.
    #[error("keying material cannot be exported: {0}")]
    Export(String),
    /// Our own private key cannot be used.
    #[error("`key` cannot be used: {problem}")]
    BadKey {
        /// Why, and what helps.
        problem: String,
    },
    /// Our own private key is encrypted, and its passphrase is not known.
    #[error("`key` is encrypted: its passphrase is needed")]
    NeedsPassphrase,
    /// The passphrase is not that of our own private key.
    #[error("`key` does not open with this passphrase")]
    WrongPassphrase,
    /// A certificate file or revocation list of our own cannot be used.
    #[error("`{file}` cannot be used: {problem}")]
    BadCertificate {
        /// Which one.
        file: OwnFile,
        /// Why, and what helps.
        problem: String,
    },
    /// There is nothing to check the peer's certificate against.
    #[error("neither `ca` nor `peer-fingerprint` is given: the peer could be anybody")]
    NoTrust,
    /// No cipher suite of the settings is known.
    #[error("no cipher suite in `{option}` is supported: {list:?}")]
    NoCipher {
        /// `tls-cipher` or `tls-ciphersuites`.
        option: &'static str,
        /// What was asked for.
        list: String,
    },
    /// Other settings that cannot be used together.
    #[error("TLS settings cannot be used: {0}")]
    Settings(String),
}

/// Which of our own files is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnFile {
    /// `ca`
    Ca,
    /// `cert`
    Cert,
    /// `extra-certs`
    ExtraCerts,
    /// `crl-verify`
    Crl,
}

impl fmt::Display for OwnFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ca => "ca",
            Self::Cert => "cert",
            Self::ExtraCerts => "extra-certs",
            Self::Crl => "crl-verify",
        })
    }
}

/// A fatal alert that the peer sent (RFC 8446 §6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alert(pub u8);

impl Alert {
    /// Name of the alert in the RFC, or `unknown`.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "close_notify",
            10 => "unexpected_message",
            20 => "bad_record_mac",
            22 => "record_overflow",
            40 => "handshake_failure",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            86 => "inappropriate_fallback",
            90 => "user_canceled",
            109 => "missing_extension",
            110 => "unsupported_extension",
            112 => "unrecognized_name",
            113 => "bad_certificate_status_response",
            115 => "unknown_psk_identity",
            116 => "certificate_required",
            120 => "no_application_protocol",
            _ => "unknown",
        }
    }

    /// Tells whether the alert is about our certificate.
    pub const fn is_about_certificate(self) -> bool {
        matches!(self.0, 42..=46 | 48 | 49 | 116)
    }

    /// What it means for whoever runs this end.
    const fn hint(self) -> &'static str {
        match self.0 {
            42 | 43 | 46 | 49 => "it does not accept our certificate; its log says why",
            44 => "it says that our certificate was revoked",
            45 => "it says that our certificate expired or is not valid yet",
            48 => "no certificate authority that it knows issued our certificate",
            116 => "it wants a certificate (`cert` and `key`)",
            40 | 71 => {
                "it shares no cipher suite with us (TLS 1.3, and TLS 1.2 with ECDHE and AES-GCM or \
                 ChaCha20-Poly1305), or it wants a certificate"
            }
            70 => "it speaks neither TLS 1.2 nor TLS 1.3, or our settings exclude its version",
            _ => "its log says why",
        }
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (alert {}): {}", self.name(), self.0, self.hint())
    }
}

/// A time since 1970 as a calendar date and time in UTC.
struct Date(Duration);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        // Days to civil date by the Gregorian rules; eras of 400 years begin on March 1st.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (hour, minute) = (rest / 3600, rest % 3600 / 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds| Date(Duration::from_secs(seconds)).to_string();
        assert_eq!(at(0), "1970-01-01 00:00 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(at(1_709_251_199), "2024-02-29 23:59 UTC");
        assert_eq!(at(4_107_542_400), "2100-03-01 00:00 UTC");
    }

    #[test]
    fn alerts_say_what_to_do() {
        assert_eq!(
            TlsError::PeerAlert(Alert(48)).to_string(),
            "the peer refused the session: unknown_ca (alert 48): no certificate authority that it knows issued our certificate"
        );
    }
}
