//! What a certificate is meant for (`remote-cert-tls`, `remote-cert-eku`, `remote-cert-ku`).

use x509_parser::certificate::X509Certificate;

use super::{KEY_USAGE_PRESENT, TlsError, TlsSettings, Usage, identity};
use crate::wire::Role;

const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
const CLIENT_AUTH: &str = "1.3.6.1.5.5.7.3.2";
const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";
const EMAIL_PROTECTION: &str = "1.3.6.1.5.5.7.3.4";
const TIME_STAMPING: &str = "1.3.6.1.5.5.7.3.8";
const OCSP_SIGNING: &str = "1.3.6.1.5.5.7.3.9";
const ANY: &str = "2.5.29.37.0";

/// Names by which `remote-cert-eku` may call an extended key usage: OpenSSL's long and short ones.
const NAMES: &[(&str, &str, &str)] = &[
    (SERVER_AUTH, "TLS Web Server Authentication", "serverAuth"),
    (CLIENT_AUTH, "TLS Web Client Authentication", "clientAuth"),
    (CODE_SIGNING, "Code Signing", "codeSigning"),
    (EMAIL_PROTECTION, "E-mail Protection", "emailProtection"),
    (TIME_STAMPING, "Time Stamping", "timeStamping"),
    (OCSP_SIGNING, "OCSP Signing", "OCSPSigning"),
    (ANY, "Any Extended Key Usage", "anyExtendedKeyUsage"),
];

/// What is asked of the peer's certificate.
#[derive(Debug)]
pub(super) struct UsageRules {
    /// Object identifiers that the extended key usage must list.
    required: Vec<String>,
    /// Listed as well, if there is an extended key usage at all.
    required_if_present: Option<&'static str>,
    /// Masks, one of which the key usage must contain.
    key_usage: Vec<u16>,
}

impl UsageRules {
    /// Collects what the settings ask for.
    pub(super) fn new(settings: &TlsSettings) -> Self {
        let mut required = Vec::new();
        let mut key_usage = settings.remote_ku.clone();
        if let Some(usage) = settings.remote_usage {
            required.push(purpose(usage).to_owned());
            if key_usage.is_empty() {
                key_usage.push(KEY_USAGE_PRESENT);
            }
        }
        if let Some(asked) = &settings.remote_eku {
            let known = NAMES
                .iter()
                .find(|(_, long, short)| asked == long || asked == short);
            required.push(known.map_or_else(|| asked.clone(), |(oid, ..)| (*oid).to_owned()));
        }
        let peer = match settings.role.peer() {
            Role::Client => Usage::Client,
            Role::Server => Usage::Server,
        };
        Self {
            required,
            required_if_present: settings.strict_purpose.then(|| purpose(peer)),
            key_usage,
        }
    }

    /// Judges the peer's own certificate.
    pub(super) fn check(&self, certificate: &X509Certificate<'_>) -> Result<(), TlsError> {
        self.check_extended(certificate)
            .and_then(|()| self.check_key_usage(certificate))
            .map_err(|wanted| TlsError::WrongUsage {
                subject: identity::name_text(certificate.subject()),
                wanted,
            })
    }

    fn check_extended(&self, certificate: &X509Certificate<'_>) -> Result<(), String> {
        if self.required.is_empty() && self.required_if_present.is_none() {
            return Ok(());
        }
        let listed = listed(certificate)?;
        let lacks = |oid: &str| {
            listed
                .as_ref()
                .is_none_or(|all| !all.iter().any(|one| one == oid))
        };
        let if_present = self.required_if_present.filter(|_| listed.is_some());
        let wanted = self.required.iter().map(String::as_str).chain(if_present);
        match wanted.into_iter().find(|oid| lacks(oid)) {
            None => Ok(()),
            Some(oid) => {
                let has: Vec<&str> = listed.iter().flatten().map(|oid| name(oid)).collect();
                Err(format!(
                    "extended key usage {:?} is wanted, it has {}",
                    name(oid),
                    if has.is_empty() {
                        "none".to_owned()
                    } else {
                        format!("{has:?}")
                    }
                ))
            }
        }
    }

    fn check_key_usage(&self, certificate: &X509Certificate<'_>) -> Result<(), String> {
        if self.key_usage.is_empty() {
            return Ok(());
        }
        let usage = certificate
            .key_usage()
            .map_err(|error| format!("key usage: {error}"))?;
        let Some(usage) = usage else {
            return Err("a key usage is wanted, it has none".to_owned());
        };
        // OpenVPN counts the bits from the other end: 80 is digitalSignature.
        let [low, _] = usage.value.flags.to_le_bytes();
        let has = u16::from(low.reverse_bits());
        let fits = |mask: &u16| *mask == KEY_USAGE_PRESENT || has & mask == *mask;
        if self.key_usage.iter().any(fits) {
            Ok(())
        } else {
            Err(format!(
                "key usage {has:02x} contains none of {:02x?}",
                self.key_usage
            ))
        }
    }
}

/// Object identifiers of the extended key usage, if there is one.
fn listed(certificate: &X509Certificate<'_>) -> Result<Option<Vec<String>>, String> {
    let usage = certificate
        .extended_key_usage()
        .map_err(|error| format!("extended key usage: {error}"))?;
    Ok(usage.map(|usage| {
        let usage = usage.value;
        let known = [
            (usage.any, ANY),
            (usage.server_auth, SERVER_AUTH),
            (usage.client_auth, CLIENT_AUTH),
            (usage.code_signing, CODE_SIGNING),
            (usage.email_protection, EMAIL_PROTECTION),
            (usage.time_stamping, TIME_STAMPING),
            (usage.ocsp_signing, OCSP_SIGNING),
        ];
        let known = known
            .into_iter()
            .filter(|(has, _)| *has)
            .map(|(_, oid)| oid.to_owned());
        known
            .chain(usage.other.iter().map(x509_parser::asn1_rs::Oid::to_id_string))
            .collect()
    }))
}

const fn purpose(usage: Usage) -> &'static str {
    match usage {
        Usage::Client => CLIENT_AUTH,
        Usage::Server => SERVER_AUTH,
    }
}

fn name(oid: &str) -> &str {
    NAMES
        .iter()
        .find(|(known, ..)| *known == oid)
        .map_or(oid, |(_, long, _)| long)
}
