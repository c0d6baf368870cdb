//! The rules by which a peer's certificate is judged: chain, dates, revocation, usage, name, fingerprint.
//!
//! They are those of OpenVPN with OpenSSL, not those of the web: names of hosts play no role, a subject with
//! a common name alone is the norm, roots expire, and a certificate that is itself in `ca` is trusted if it
//! is self-issued. Stricter than OpenSSL, for the path is built by webpki: certificates of version 1 (except
//! in `ca`), of a CA used as the peer's own (except in `ca` or by fingerprint), with unknown critical
//! extensions.

use std::time::Duration;

use rustls::{
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, TrustAnchor, UnixTime},
};
use webpki::{
    CertRevocationList, EndEntityCert, Error, ExpirationPolicy, ExtendedKeyUsageValidator, KeyPurposeIdIter,
    RevocationCheckDepth, RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};
use x509_parser::certificate::X509Certificate;

use super::{
    NameRule, OwnFile, PeerIdentity, TlsError, TlsSettings, algorithms,
    files::{self, Authority},
    identity,
    usage::UsageRules,
};

/// What the settings ask of a peer's certificate.
#[derive(Debug)]
pub(super) struct Rules {
    authorities: Vec<Authority>,
    /// The anchors of `authorities`, in one slice for webpki.
    anchors: Vec<TrustAnchor<'static>>,
    revoked: Vec<CertRevocationList<'static>>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    usage: UsageRules,
    name: Option<(NameRule, String)>,
    fingerprints: Vec<[u8; 32]>,
}

impl Rules {
    /// Reads what `settings` ask for.
    pub(super) fn new(settings: &TlsSettings) -> Result<Self, TlsError> {
        let authorities = settings.ca.as_deref().map(files::authorities).transpose()?;
        let authorities = authorities.unwrap_or_default();
        let revoked = settings.crl.as_deref().map(files::revocation_lists).transpose()?;
        Ok(Self {
            anchors: authorities.iter().map(|one| one.anchor.clone()).collect(),
            authorities,
            revoked: revoked.unwrap_or_default(),
            algorithms: algorithms::admitted(settings.profile),
            usage: UsageRules::new(settings),
            name: settings.verify_name.clone(),
            fingerprints: settings.peer_fingerprints.clone(),
        })
    }

    /// Tells whether there is nothing that a certificate could be checked against.
    pub(super) fn trust_nothing(&self) -> bool {
        self.authorities.is_empty() && self.fingerprints.is_empty()
    }

    /// Judges what the peer sent at `now`.
    ///
    /// Without `ca` the fingerprint alone vouches for the certificate, whatever its dates and issuer.
    pub(super) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), TlsError> {
        let identity = PeerIdentity::read(std::iter::once(leaf.as_ref()))?;
        let certificate = identity::parse(leaf)?;
        if !self.authorities.is_empty() {
            self.check_chain(&identity, leaf, intermediates, now)?;
        }
        self.usage.check(&certificate)?;
        self.check_name(&identity)?;
        let pinned = self.fingerprints.contains(&identity.fingerprint);
        match (pinned, self.fingerprints.is_empty(), self.authorities.is_empty()) {
            (true, ..) | (false, true, false) => Ok(()),
            (false, true, true) => Err(TlsError::NoTrust),
            (false, false, _) => Err(TlsError::WrongFingerprint {
                subject: identity.subject,
                fingerprint: identity.fingerprint,
            }),
        }
    }

    fn check_chain(
        &self,
        identity: &PeerIdentity,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), TlsError> {
        if let Some(trusted) = self
            .authorities
            .iter()
            .find(|one| one.self_issued && one.der == *leaf)
        {
            return check_dates(trusted, now.as_secs());
        }
        let chain = Chain {
            rules: self,
            identity,
            intermediates,
        };
        let end_entity = EndEntityCert::try_from(leaf).map_err(|error| chain.reason(&error))?;
        let lists: Vec<&CertRevocationList<'_>> = self.revoked.iter().collect();
        end_entity
            .verify_for_usage(
                self.algorithms.all,
                &self.anchors,
                intermediates,
                now,
                AnyUsage,
                revocation(&lists),
                Some(&|path| self.check_anchor(path, now)),
            )
            .map(|_| ())
            .map_err(|error| chain.reason(&error))
    }

    /// webpki trusts an anchor for ever; OpenSSL does not.
    fn check_anchor(&self, path: &VerifiedPath<'_>, now: UnixTime) -> Result<(), Error> {
        let mut outcome = Ok(());
        for one in self.authorities.iter().filter(|one| one.anchor == *path.anchor()) {
            let time = UnixTime::since_unix_epoch;
            let (not_before, not_after) = (time(one.not_before), time(one.not_after));
            outcome = if now < not_before {
                Err(Error::CertNotValidYet {
                    time: now,
                    not_before,
                })
            } else if now > not_after {
                Err(Error::CertExpired { time: now, not_after })
            } else {
                return Ok(());
            };
        }
        outcome
    }

    fn check_name(&self, identity: &PeerIdentity) -> Result<(), TlsError> {
        let Some((rule, wanted)) = &self.name else {
            return Ok(());
        };
        let common_name = identity.common_name.as_deref();
        let fits = match rule {
            NameRule::Subject => identity.subject == *wanted,
            NameRule::Name => common_name == Some(wanted),
            NameRule::NamePrefix => common_name.is_some_and(|name| name.starts_with(wanted)),
        };
        if fits {
            return Ok(());
        }
        Err(TlsError::WrongName {
            wanted: wanted.clone(),
            subject: identity.subject.clone(),
        })
    }
}

/// Usage is judged by [`UsageRules`], on the peer's own certificate alone.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        Ok(())
    }
}

/// As `crl-verify` does: the whole chain, an issuer without a list is fine, an old list is not.
fn revocation<'a>(lists: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    let builder = RevocationOptionsBuilder::new(lists).ok()?;
    let builder = builder
        .with_depth(RevocationCheckDepth::Chain)
        .with_status_policy(UnknownStatusPolicy::Allow)
        .with_expiration_policy(ExpirationPolicy::Enforce);
    Some(builder.build())
}

fn check_dates(one: &Authority, now_seconds: u64) -> Result<(), TlsError> {
    let subject = || one.subject.clone();
    if now_seconds < one.not_before.as_secs() {
        return Err(TlsError::NotYetValid {
            subject: subject(),
            not_before: one.not_before,
        });
    }
    if now_seconds > one.not_after.as_secs() {
        return Err(TlsError::Expired {
            subject: subject(),
            not_after: one.not_after,
        });
    }
    Ok(())
}

/// What is needed to say which certificate of a chain was at fault.
struct Chain<'a> {
    rules: &'a Rules,
    identity: &'a PeerIdentity,
    intermediates: &'a [CertificateDer<'a>],
}

impl Chain<'_> {
    /// Puts webpki's verdict into our words.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum of the library is open-ended"
    )]
    fn reason(&self, error: &Error) -> TlsError {
        let subject = self.identity.subject.clone();
        match error {
            Error::CertExpired { not_after, .. } => self.expired(not_after.as_secs()),
            Error::CertNotValidYet { not_before, .. } => self.not_yet(not_before.as_secs()),
            Error::CertRevoked => self.revoked(),
            Error::CrlExpired { next_update, .. } => TlsError::CrlExpired {
                next_update: Duration::from_secs(next_update.as_secs()),
            },
            Error::UnknownIssuer => TlsError::UnknownIssuer {
                subject,
                issuer: self.last_issuer(),
            },
            Error::InvalidSignatureForPublicKey => TlsError::BadSignature,
            Error::IssuerNotCrlSigner | Error::InvalidCrlSignatureForPublicKey => {
                let problem = format!("it does not come from the issuer it names: {error}");
                TlsError::BadCertificate {
                    file: OwnFile::Crl,
                    problem,
                }
            }
            Error::CaUsedAsEndEntity => {
                let problem = "it is the certificate of an authority (`CA:TRUE`); issue one without, \
                               put it into `ca` if it is self-signed, or use `peer-fingerprint` without `ca`";
                TlsError::PeerCertificate {
                    subject,
                    problem: problem.to_owned(),
                }
            }
            Error::UnsupportedCertVersion => {
                let problem = "it is of version 1; issue one of version 3".to_owned();
                TlsError::PeerCertificate { subject, problem }
            }
            other => TlsError::PeerCertificate {
                subject,
                problem: explain(other),
            },
        }
    }

    fn others(&self) -> impl Iterator<Item = X509Certificate<'_>> {
        self.intermediates
            .iter()
            .filter_map(|der| identity::parse(der).ok())
    }

    fn expired(&self, at: u64) -> TlsError {
        let not_after = Duration::from_secs(at);
        let subject = if self.identity.not_after == not_after {
            Some(self.identity.subject.clone())
        } else {
            let sent = self
                .others()
                .find(|one| identity::since_epoch(one.validity().not_after) == not_after)
                .map(|one| identity::name_text(one.subject()));
            sent.or_else(|| self.authority(|one| one.not_after == not_after))
        };
        TlsError::Expired {
            subject: subject.unwrap_or_default(),
            not_after,
        }
    }

    fn not_yet(&self, at: u64) -> TlsError {
        let not_before = Duration::from_secs(at);
        let subject = if self.identity.not_before == not_before {
            Some(self.identity.subject.clone())
        } else {
            let sent = self
                .others()
                .find(|one| identity::since_epoch(one.validity().not_before) == not_before)
                .map(|one| identity::name_text(one.subject()));
            sent.or_else(|| self.authority(|one| one.not_before == not_before))
        };
        TlsError::NotYetValid {
            subject: subject.unwrap_or_default(),
            not_before,
        }
    }

    fn authority(&self, fits: impl Fn(&Authority) -> bool) -> Option<String> {
        self.rules
            .authorities
            .iter()
            .find(|one| fits(one))
            .map(|one| one.subject.clone())
    }

    /// Names the certificate whose serial number is on a list; the peer's own where none is found.
    fn revoked(&self) -> TlsError {
        let on_a_list = |serial: &[u8]| {
            self.rules
                .revoked
                .iter()
                .any(|list| matches!(list.find_serial(serial), Ok(Some(_))))
        };
        let own = (self.identity.subject.clone(), self.identity.serial.clone());
        let (subject, serial) = if on_a_list(&own.1) {
            own
        } else {
            self.others()
                .map(|one| (identity::name_text(one.subject()), identity::serial(&one)))
                .find(|(_, serial)| on_a_list(serial))
                .unwrap_or(own)
        };
        TlsError::Revoked {
            subject,
            serial: identity::hex_colons(&serial),
        }
    }

    /// Issuer at which the chain that the peer sent ends.
    fn last_issuer(&self) -> String {
        let mut issuer = self.identity.issuer.clone();
        let sent: Vec<(String, String)> = self
            .others()
            .map(|one| {
                (
                    identity::name_text(one.subject()),
                    identity::name_text(one.issuer()),
                )
            })
            .collect();
        for _ in 0..sent.len() {
            match sent
                .iter()
                .find(|(subject, above)| *subject == issuer && above != subject)
            {
                Some((_, above)) => issuer.clone_from(above),
                None => break,
            }
        }
        issuer
    }
}

/// Says what is wrong with a certificate in fewer words than webpki's context.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum of the library is open-ended"
)]
fn explain(error: &Error) -> String {
    match error {
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "it is signed with an algorithm or key that `tls-cert-profile` does not admit".to_owned()
        }
        other => other.to_string(),
    }
}
