//! Our own files: certificates, revocation lists and the private key, out of PEM.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    Error, InconsistentKeys,
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer, TrustAnchor,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};
use webpki::{CertRevocationList, OwnedCertRevocationList};

use super::{OwnFile, TlsError, TlsSettings, identity};
use crate::secret::SecretString;

/// How an encrypted private key begins.
const ENCRYPTED_BEGIN: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// One certificate of `ca`.
#[derive(Debug)]
pub(super) struct Authority {
    pub(super) der: CertificateDer<'static>,
    pub(super) anchor: TrustAnchor<'static>,
    pub(super) subject: String,
    /// Whether it names itself as issuer.
    pub(super) self_issued: bool,
    pub(super) not_before: Duration,
    pub(super) not_after: Duration,
}

/// Reads `ca`.
pub(super) fn authorities(pem: &[u8]) -> Result<Vec<Authority>, TlsError> {
    certificates(OwnFile::Ca, pem)?.iter().map(authority).collect()
}

fn authority(der: &CertificateDer<'static>) -> Result<Authority, TlsError> {
    let bad = |problem: String| TlsError::BadCertificate {
        file: OwnFile::Ca,
        problem,
    };
    let anchor = webpki::anchor_from_trusted_cert(der)
        .map_err(|error| bad(format!("a certificate in it cannot be read: {error}")))?
        .to_owned();
    let certificate = identity::parse(der).map_err(|error| bad(error.to_string()))?;
    Ok(Authority {
        anchor,
        subject: identity::name_text(certificate.subject()),
        self_issued: certificate.subject().as_raw() == certificate.issuer().as_raw(),
        not_before: identity::since_epoch(certificate.validity().not_before),
        not_after: identity::since_epoch(certificate.validity().not_after),
        der: der.clone(),
    })
}

/// Reads `crl-verify`.
pub(super) fn revocation_lists(pem: &[u8]) -> Result<Vec<CertRevocationList<'static>>, TlsError> {
    let bad = |problem: String| TlsError::BadCertificate {
        file: OwnFile::Crl,
        problem,
    };
    let lists = CertificateRevocationListDer::pem_slice_iter(pem)
        .map(|list| {
            let der = list.map_err(|error| bad(error.to_string()))?;
            OwnedCertRevocationList::from_der(&der)
                .map(CertRevocationList::from)
                .map_err(|error| bad(format!("a list in it cannot be read: {error}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    if lists.is_empty() {
        return Err(bad(
            "there is no revocation list (`BEGIN X509 CRL`) in it".to_owned()
        ));
    }
    Ok(lists)
}

/// Reads `cert`, `extra-certs` and `key`; `None` when there is neither certificate nor key.
pub(super) fn own_key(
    settings: &TlsSettings,
    provider: &CryptoProvider,
) -> Result<Option<Arc<CertifiedKey>>, TlsError> {
    let bad_key = |problem: String| TlsError::BadKey { problem };
    let (cert, key) = match (&settings.cert, &settings.key) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(bad_key("it is missing, although `cert` is given".to_owned())),
        (None, Some(_)) => {
            let problem = "it is missing, although `key` is given".to_owned();
            return Err(TlsError::BadCertificate {
                file: OwnFile::Cert,
                problem,
            });
        }
        (Some(cert), Some(key)) => (cert, key),
    };
    let mut chain = certificates(OwnFile::Cert, cert)?;
    if let Some(extra) = &settings.extra_certs {
        chain.extend(certificates(OwnFile::ExtraCerts, extra)?);
    }
    let key = private_key(key.expose(), settings.passphrase.as_ref())?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|_| bad_key("it is no RSA key of 2048 bits or more, nor an EC or Ed25519 key".to_owned()))?;
    let own = CertifiedKey::new(chain, key);
    match own.keys_match() {
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(bad_key(
            "it does not belong to the certificate in `cert`".to_owned(),
        )),
        // A certificate of version 1 cannot be compared; the peer will tell.
        Ok(()) | Err(_) => Ok(Some(Arc::new(own))),
    }
}

fn certificates(file: OwnFile, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |problem: String| TlsError::BadCertificate { file, problem };
    let chain = CertificateDer::pem_slice_iter(pem)
        .map(|one| {
            let der = one.map_err(|error| bad(error.to_string()))?;
            match identity::parse(&der) {
                Ok(_) => Ok(der),
                Err(error) => Err(bad(error.to_string())),
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    if chain.is_empty() {
        return Err(bad(
            "there is no certificate (`BEGIN CERTIFICATE`) in it".to_owned()
        ));
    }
    Ok(chain)
}

/// Tells whether a private key in PEM is encrypted (RFC 5958 §3).
pub fn is_encrypted_key(pem: &[u8]) -> bool {
    contains(pem, ENCRYPTED_BEGIN)
}

fn private_key(text: &[u8], passphrase: Option<&SecretString>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bad = |problem: String| TlsError::BadKey { problem };
    if is_encrypted_key(text) {
        return opened_key(text, passphrase.ok_or(TlsError::NeedsPassphrase)?);
    }
    if contains(text, b"Proc-Type: 4,ENCRYPTED") {
        let problem = "it is encrypted in a form of old; write it anew with `openssl pkcs8 -topk8 -in KEY -out NEW-KEY`";
        return Err(bad(problem.to_owned()));
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        let nothing = matches!(error, pem::Error::NoItemsFound);
        let missing = || "there is no private key (`BEGIN PRIVATE KEY`) in it".to_owned();
        bad(if nothing { missing() } else { error.to_string() })
    })
}

/// Decrypts a private key (PKCS #8 with PBES2, RFC 8018 §6.2).
fn opened_key(text: &[u8], passphrase: &SecretString) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bad = |problem: &str| TlsError::BadKey {
        problem: problem.to_owned(),
    };
    let text = std::str::from_utf8(text).map_err(|_| bad("its PEM has bytes that are not ASCII"))?;
    let lines = text.lines().map(str::trim);
    let body: String = lines
        .skip_while(|line| !line.starts_with("-----BEGIN ENCRYPTED"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .collect();
    let der = STANDARD.decode(body).map_err(|_| bad("its PEM is no base64"))?;
    let sealed = pkcs8::EncryptedPrivateKeyInfoRef::try_from(der.as_slice()).map_err(|_| {
        bad("its encryption is not PBES2; write it anew with `openssl pkcs8 -topk8 -in KEY -out NEW-KEY`")
    })?;
    // A wrong passphrase shows as wrong padding or as something that is no key.
    let opened = sealed
        .decrypt(passphrase.expose())
        .map_err(|_| TlsError::WrongPassphrase)?;
    Ok(PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec()).into())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
