//! What a person may set about TLS, as bytes of files and parsed options; nothing is checked here yet.

use crate::{
    secret::{SecretBytes, SecretString},
    wire::Role,
};

/// Value in [`TlsSettings::remote_ku`] that asks for a key usage extension, whatever it allows.
pub const KEY_USAGE_PRESENT: u16 = 0xffff;

/// The settings from which [`ClientTls`](super::ClientTls) and [`ServerTls`](super::ServerTls) are built.
///
/// Files come as their bytes, in PEM; text outside the markers is ignored.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// The TLS role of this end.
    pub role: Role,
    /// `ca`: one or many certificates that vouch for the peer.
    pub ca: Option<Vec<u8>>,
    /// `cert`: our certificate, perhaps followed by those between it and the authority.
    pub cert: Option<Vec<u8>>,
    /// `key`: the private key of `cert`.
    pub key: Option<SecretBytes>,
    /// What `key` is opened with, if it is encrypted (`askpass`).
    pub passphrase: Option<SecretString>,
    /// `extra-certs`: more certificates to send after `cert`.
    pub extra_certs: Option<Vec<u8>>,
    /// `crl-verify`: one or many revocation lists.
    pub crl: Option<Vec<u8>>,
    /// `peer-fingerprint`: SHA-256 of the certificates that are accepted; empty means any.
    pub peer_fingerprints: Vec<[u8; 32]>,
    /// `remote-cert-tls`: the role that the peer's certificate must be meant for.
    pub remote_usage: Option<Usage>,
    /// `remote-cert-eku`: an object identifier or its name that the extended key usage must list.
    pub remote_eku: Option<String>,
    /// `remote-cert-ku`: masks, one of which the key usage must contain; [`KEY_USAGE_PRESENT`] for any.
    pub remote_ku: Vec<u16>,
    /// Refuses a certificate that has an extended key usage without the peer's role in it even when
    /// `remote-cert-tls` is absent, as OpenVPN with OpenSSL always does; otherwise only what is asked for counts.
    pub strict_purpose: bool,
    /// `verify-x509-name`: what the subject or common name must be.
    pub verify_name: Option<(NameRule, String)>,
    /// `verify-client-cert`, for a server.
    pub client_certificate: ClientCertificate,
    /// `tls-version-min`
    pub version_min: TlsVersion,
    /// `tls-version-max`
    pub version_max: TlsVersion,
    /// `tls-cert-profile`
    pub profile: CertProfile,
    /// `tls-cipher`, OpenSSL or IANA names, best first; unknown ones are skipped; empty means all.
    pub tls12_ciphers: Vec<String>,
    /// `tls-ciphersuites`, likewise for TLS 1.3.
    pub tls13_ciphersuites: Vec<String>,
}

impl TlsSettings {
    /// OpenVPN's defaults for `role`: no files, TLS 1.2 and newer, a server requires client certificates.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            ca: None,
            cert: None,
            key: None,
            passphrase: None,
            extra_certs: None,
            crl: None,
            peer_fingerprints: Vec::new(),
            remote_usage: None,
            remote_eku: None,
            remote_ku: Vec::new(),
            strict_purpose: false,
            verify_name: None,
            client_certificate: ClientCertificate::default(),
            version_min: TlsVersion::V12,
            version_max: TlsVersion::V13,
            profile: CertProfile::default(),
            tls12_ciphers: Vec::new(),
            tls13_ciphersuites: Vec::new(),
        }
    }
}

/// A role that a certificate is meant for (`remote-cert-tls`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// The peer must be a TLS client.
    Client,
    /// The peer must be a TLS server.
    Server,
}

/// How `verify-x509-name` compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// The whole subject, as in `C=KG, ST=NA, O=OpenVPN-TEST, CN=client`.
    Subject,
    /// The common name.
    Name,
    /// The begin of the common name.
    NamePrefix,
}

/// Whether a server asks its clients for a certificate (`verify-client-cert`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertificate {
    /// Every client must have one.
    #[default]
    Require,
    /// One that is sent is checked; none is fine.
    Optional,
    /// None is asked for.
    None,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2
    V12,
    /// TLS 1.3
    V13,
}

/// Which signatures and keys are accepted in certificates (`tls-cert-profile`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CertProfile {
    /// RSA from 1024 bits, SHA-1 and newer.
    #[default]
    Legacy,
    /// RSA from 2048 bits, SHA-2 and newer.
    Preferred,
    /// ECDSA on P-256 and P-384 with SHA-256 and SHA-384 only.
    Suiteb,
    /// The same as `Legacy`: what is older can no longer be checked (MD5, RSA below 1024 bits).
    Insecure,
}
