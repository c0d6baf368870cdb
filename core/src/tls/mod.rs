//! The TLS session inside the control channel: bytes in, bytes out, exporter, peer certificates.
//!
//! OpenVPN checks certificates by rules of its own (`remote-cert-tls`, `verify-x509-name`, `peer-fingerprint`,
//! `crl-verify`), not by host name; they live here. Nothing in here reads a clock or a file: time is an
//! argument of [`PumpFactory::pump`], files come as their bytes in [`TlsSettings`].
//! Reference: OpenVPN wire draft, sections 2.1, 2.8 and 10.6.

mod algorithms;
mod ciphers;
mod error;
mod factory;
mod files;
mod identity;
mod pump;
mod reason;
mod rules;
mod settings;
#[cfg(test)]
mod tests;
mod usage;
mod verifier;

pub use error::{Alert, OwnFile, TlsError};
pub use factory::{ClientTls, ServerTls};
pub use files::is_encrypted_key;
pub use identity::PeerIdentity;
pub use settings::{
    CertProfile, ClientCertificate, KEY_USAGE_PRESENT, NameRule, TlsSettings, TlsVersion, Usage,
};

use std::{fmt::Debug, time::Duration};

/// Most bytes that a pump holds in one direction: decrypted and not taken, or encrypted and not taken.
pub const BUFFER_LIMIT_BYTES: usize = 64 * 1024;

/// Label of the exporter from which data keys are derived (`key-derivation tls-ekm`).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-OpenVPN-datakeys";

/// One TLS session as bytes in and bytes out.
///
/// After an error the session is over: every later call that can fail returns the same error, and
/// [`Pump::write_tls`] still yields the alert that tells the peer.
pub trait Pump: Send + Debug {
    /// Takes ciphertext of the peer, in order, cut anywhere.
    ///
    /// # Errors
    /// The typed reason for which the session ended.
    fn read_tls(&mut self, bytes: &[u8]) -> Result<(), TlsError>;

    /// Appends all ciphertext that waits to be sent, alerts included.
    fn write_tls(&mut self, out: &mut Vec<u8>);

    /// Appends all decrypted bytes that wait to be taken.
    ///
    /// # Errors
    /// [`TlsError::Closed`] once everything was taken and the peer has ended the session in order.
    fn read_plain(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError>;

    /// Encrypts `bytes` as one record (as few as possible beyond 16384 bytes).
    ///
    /// # Errors
    /// [`TlsError::NotReady`] before the handshake is finished, [`TlsError::BufferFull`] when too much waits.
    fn write_plain(&mut self, bytes: &[u8]) -> Result<(), TlsError>;

    /// Tells whether the handshake is still going on.
    fn is_handshaking(&self) -> bool;

    /// Fills `out` with keying material (RFC 5705, RFC 8446 §7.5), without a context.
    ///
    /// # Errors
    /// [`TlsError::Export`] before the handshake is finished or for a length TLS cannot give.
    fn export(&self, label: &[u8], out: &mut [u8]) -> Result<(), TlsError>;

    /// Who the peer proved to be; `None` before the handshake is finished, and for a client that has
    /// no certificate and needs none.
    fn peer(&self) -> Option<&PeerIdentity>;

    /// Version and cipher suite, as in `TLSv1.3, TLS_AES_256_GCM_SHA384`, once they are agreed.
    fn describe(&self) -> Option<String>;
}

/// Makes a pump for each TLS session of a peer: the first one and one a renegotiation.
pub trait PumpFactory: Send + Sync + Debug {
    /// Starts a TLS session; certificates are judged at `now_unix`, the time since 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// What the TLS library refuses in the settings.
    fn pump(&self, now_unix: Duration) -> Result<Box<dyn Pump>, TlsError>;
}

/// Judges a chain of certificates in DER as a session with `settings` would: the entry of fuzz targets.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn judge(
    settings: &TlsSettings,
    chain: &[&[u8]],
    now_unix: Duration,
) -> Result<PeerIdentity, TlsError> {
    use rustls::pki_types::{CertificateDer, UnixTime};
    let rules = rules::Rules::new(settings)?;
    let chain: Vec<CertificateDer<'_>> = chain.iter().map(|der| CertificateDer::from(*der)).collect();
    let (leaf, others) = chain.split_first().ok_or(TlsError::NoCertificate)?;
    rules.check(leaf, others, UnixTime::since_unix_epoch(now_unix))?;
    PeerIdentity::read(chain.iter().map(CertificateDer::as_ref))
}
