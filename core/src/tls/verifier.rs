//! Lets rustls ask our rules, and keeps the reason of a refusal, which rustls has no room for.

use std::sync::{Arc, OnceLock};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use super::{ClientCertificate, TlsError, rules::Rules};

/// Where the verifier of a session leaves the reason of a refusal.
pub(super) type Verdict = Arc<OnceLock<TlsError>>;

/// The verifier of one session.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) rules: Arc<Rules>,
    pub(super) verdict: Verdict,
    /// What a server asks its clients for.
    pub(super) request: ClientCertificate,
}

impl Verifier {
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        self.rules.check(leaf, intermediates, now).map_err(|error| {
            let public = alert(&error);
            self.verdict.get_or_init(|| error);
            public.into()
        })
    }

    /// Keeps the reason why a signature of the handshake was refused, where it is not simply wrong.
    fn note(&self, error: Error) -> Error {
        if let Error::InvalidCertificate(why) = &error
            && !matches!(why, CertificateError::BadSignature)
        {
            let problem = format!("its key does not fit the handshake: {why}");
            self.verdict.get_or_init(|| TlsError::PeerCertificate {
                subject: String::new(),
                problem,
            });
        }
        error
    }
}

/// What rustls is told, from which it chooses the alert for the peer.
fn alert(error: &TlsError) -> CertificateError {
    match error {
        TlsError::UnknownIssuer { .. } | TlsError::NoTrust => CertificateError::UnknownIssuer,
        TlsError::Expired { .. } => CertificateError::Expired,
        TlsError::NotYetValid { .. } => CertificateError::NotValidYet,
        TlsError::Revoked { .. } => CertificateError::Revoked,
        TlsError::CrlExpired { .. } => CertificateError::ExpiredRevocationList,
        TlsError::WrongUsage { .. } => CertificateError::InvalidPurpose,
        TlsError::BadSignature => CertificateError::BadSignature,
        TlsError::PeerCertificate { .. } => CertificateError::BadEncoding,
        TlsError::WrongName { .. }
        | TlsError::WrongFingerprint { .. }
        | TlsError::NoCertificate
        | TlsError::PeerAlert(_)
        | TlsError::Incompatible(_)
        | TlsError::Protocol(_)
        | TlsError::Closed
        | TlsError::BufferFull { .. }
        | TlsError::NotReady
        | TlsError::Export(_)
        | TlsError::BadKey { .. }
        | TlsError::NeedsPassphrase
        | TlsError::WrongPassphrase
        | TlsError::BadCertificate { .. }
        | TlsError::NoCipher { .. }
        | TlsError::Settings(_) => CertificateError::ApplicationVerificationFailure,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates, now)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.rules.algorithms).map_err(|error| self.note(error))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.rules.algorithms).map_err(|error| self.note(error))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.rules.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.request != ClientCertificate::None
    }

    fn client_auth_mandatory(&self) -> bool {
        self.request == ClientCertificate::Require
    }

    /// None: clients have one certificate and send it unasked for an issuer.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates, now)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.rules.algorithms.supported_schemes()
    }
}
