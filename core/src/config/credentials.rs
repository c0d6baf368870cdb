//! Keys, certificates and passwords that options name: which files are read and what they must hold.

use super::{
    client::{ChallengeFormat, CredentialSource, StaticChallenge},
    error::ConfigProblem,
    options::{CertProfile, Identity, NameRule, TlsOptions, TlsVersion, Usage, VerifyName, WrapKey},
    raw::Directive,
    read::{BadValue, Scope, Values},
};
use crate::{
    secret::{SecretBytes, SecretString},
    wrap::{Digest, KeyDirection, StaticKey},
};

/// Fingerprints that one configuration may list; ours.
const MAX_FINGERPRINTS: usize = 1024;

/// Reads all that TLS needs.
pub(super) fn tls(values: &mut Values<'_>) -> TlsOptions {
    let remote_usage = values.value("remote-cert-tls", "`server` or `client`", usage);
    let older = values.value("ns-cert-type", "`server` or `client`", usage);
    if let Some(directive) = values.directives.last("ns-cert-type") {
        values.note(directive, "is read as `remote-cert-tls`");
    }
    let version_min = version_min(values);
    let version_max = values
        .value("tls-version-max", "1.2 or 1.3", version)
        .unwrap_or(TlsVersion::V13);
    if let Some(directive) = values
        .directives
        .last("tls-version-max")
        .filter(|_| version_min > version_max)
    {
        values.fail(
            directive,
            ConfigProblem::Conflict {
                with: "tls-version-min",
                remedy: "raise it, or lower the other",
            },
        );
    }
    TlsOptions {
        ca: pem(values, "ca", "CERTIFICATE"),
        identity: identity(values),
        crl: crl(values),
        peer_fingerprints: fingerprints(values),
        remote_usage: remote_usage.or(older),
        remote_ku: key_usages(values),
        remote_eku: values.value("remote-cert-eku", "an OID or a name", non_empty),
        verify_name: verify_name(values),
        version_min,
        version_max,
        profile: values
            .value(
                "tls-cert-profile",
                "legacy, preferred, suiteb or insecure",
                profile,
            )
            .unwrap_or_default(),
        tls12_ciphers: names(values, "tls-cipher"),
        tls13_ciphersuites: names(values, "tls-ciphersuites"),
    }
}

fn usage(text: &str) -> Option<Usage> {
    match text {
        "server" => Some(Usage::Server),
        "client" => Some(Usage::Client),
        _ => None,
    }
}

fn version(text: &str) -> Option<TlsVersion> {
    match text {
        "1.2" => Some(TlsVersion::V12),
        "1.3" => Some(TlsVersion::V13),
        _ => None,
    }
}

fn profile(text: &str) -> Option<CertProfile> {
    match text {
        "insecure" => Some(CertProfile::Insecure),
        "legacy" => Some(CertProfile::Legacy),
        "preferred" => Some(CertProfile::Preferred),
        "suiteb" => Some(CertProfile::Suiteb),
        _ => None,
    }
}

pub(super) fn non_empty(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// Reads the lowest version; older ones are raised, which is only stricter.
fn version_min(values: &mut Values<'_>) -> TlsVersion {
    let Some(directive) = values.directives.last("tls-version-min") else {
        return TlsVersion::V12;
    };
    if matches!(directive.arg(0), Some("1.0" | "1.1")) {
        values.note(directive, "is read as 1.2, the lowest version that is spoken");
        return TlsVersion::V12;
    }
    values
        .arg(directive, 0, "1.2 or 1.3", version)
        .unwrap_or(TlsVersion::V12)
}

fn names(values: &mut Values<'_>, option: &str) -> Vec<String> {
    let list = values
        .directives
        .last(option)
        .and_then(|directive| directive.arg(0));
    list.unwrap_or_default()
        .split(':')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Reads a file that must hold at least one PEM block of that kind.
fn pem(values: &mut Values<'_>, option: &str, kind: &str) -> Option<Vec<u8>> {
    let directive = values.directives.last(option)?;
    let bytes = values.content(directive)?;
    if holds(&bytes, kind) {
        return Some(bytes);
    }
    let why = format!("it holds no line `-----BEGIN {kind}-----`; wants PEM");
    values.fail(directive, ConfigProblem::Content(why));
    None
}

/// Tells whether PEM of that kind begins in these bytes; `kind` may be the end of a longer one.
fn holds(bytes: &[u8], kind: &str) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.lines().any(|line| {
        let label = line
            .trim()
            .strip_prefix("-----BEGIN ")
            .and_then(|rest| rest.strip_suffix("-----"));
        label.is_some_and(|label| label.ends_with(kind))
    })
}

/// Reads certificate and key, which belong together.
fn identity(values: &mut Values<'_>) -> Option<Identity> {
    let (cert, key) = (values.directives.has("cert"), values.directives.has("key"));
    if cert && !key {
        values.missing(
            "key",
            "a certificate is of use only with its private key; name that with `key`",
        );
    }
    if key && !cert {
        values.missing(
            "cert",
            "a private key is of use only with its certificate; name that with `cert`",
        );
    }
    let mut certs = pem(values, "cert", "CERTIFICATE")?;
    let extra = pem(values, "extra-certs", "CERTIFICATE");
    if let Some(extra) = extra {
        certs.push(b'\n');
        certs.extend(extra);
    }
    let key = SecretBytes::new(pem(values, "key", "PRIVATE KEY")?);
    let is_of_old_form = String::from_utf8_lossy(key.expose()).contains("Proc-Type: 4,ENCRYPTED");
    if is_of_old_form {
        let why = "the private key is encrypted in a form of old; write it anew: openssl pkcs8 -topk8 -in KEY -out NEW";
        let directive = values.directives.last("key")?;
        values.fail(directive, ConfigProblem::Content(why.into()));
        return None;
    }
    let passphrase = passphrase(values);
    Some(Identity {
        certs,
        key,
        passphrase,
    })
}

/// Reads the first line of the file that `askpass` names; without a file, the passphrase is asked for anyway.
fn passphrase(values: &mut Values<'_>) -> Option<SecretString> {
    let directive = values.directives.last("askpass")?;
    directive.arg(0).filter(|name| *name != "stdin")?;
    let text = SecretString::new(values.text(directive)?);
    match text.expose().lines().next() {
        Some(line) if !line.is_empty() => Some(SecretString::new(line)),
        _ => {
            values.fail(
                directive,
                ConfigProblem::Content("it wants the passphrase of `key` on its first line".into()),
            );
            None
        }
    }
}

fn crl(values: &mut Values<'_>) -> Option<Vec<u8>> {
    let directive = values.directives.last("crl-verify")?;
    if directive.arg(1).is_some() {
        values.fail(
            directive,
            ConfigProblem::Refused("folders of serial numbers are not read; name a revocation list in PEM"),
        );
        return None;
    }
    pem(values, "crl-verify", "X509 CRL")
}

/// Reads SHA-256 fingerprints, one a parameter or one a line of a block.
fn fingerprints(values: &mut Values<'_>) -> Vec<[u8; 32]> {
    let mut found = Vec::new();
    let directives = values.directives;
    for directive in directives.all("peer-fingerprint") {
        let block = directive.inline.as_ref().map(SecretString::expose);
        let lines = block.or_else(|| directive.arg(0)).unwrap_or_default().lines();
        for line in lines
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
        {
            match fingerprint(line) {
                Some(print) if found.len() < MAX_FINGERPRINTS => found.push(print),
                _ => values.fail(
                    directive,
                    BadValue::new("SHA-256 as 32 hexadecimal bytes with colons", line),
                ),
            }
        }
    }
    found
}

fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| {
            u8::from_str_radix(byte, 16)
                .ok()
                .filter(|_| byte.len() == 2 && !byte.starts_with('+'))
        })
        .collect();
    bytes?.try_into().ok()
}

/// Reads key usages; without any, the extension has to be there (0).
fn key_usages(values: &mut Values<'_>) -> Vec<u16> {
    let Some(directive) = values.directives.last("remote-cert-ku") else {
        return Vec::new();
    };
    if directive.args.is_empty() {
        return vec![0];
    }
    let read = |text: &str| {
        let hex = text.strip_prefix("0x").unwrap_or(text);
        u16::from_str_radix(hex, 16)
            .ok()
            .filter(|_| !hex.starts_with('+'))
    };
    (0..directive.args.len())
        .filter_map(|index| values.arg(directive, index, "key usage in hexadecimal", read))
        .collect()
}

fn verify_name(values: &mut Values<'_>) -> Option<VerifyName> {
    let directive = values.directives.last("verify-x509-name")?;
    let read = |text: &str| match text {
        "subject" => Some(NameRule::Subject),
        "name" => Some(NameRule::Name),
        "name-prefix" => Some(NameRule::NamePrefix),
        _ => None,
    };
    let rule = match directive.arg(1) {
        None => NameRule::Subject,
        Some(_) => values.arg(directive, 1, "subject, name or name-prefix", read)?,
    };
    let name = values.arg(directive, 0, "a name", non_empty)?;
    Some(VerifyName { rule, name })
}

/// Reads the wrap of control packets for one remote, or for the server.
pub(super) fn wrap(values: &mut Values<'_>, scope: Scope<'_>, digest: Digest) -> Option<WrapKey> {
    let (auth, crypt) = wrap_options(scope);
    if let (Some(auth), Some(_)) = (auth, crypt) {
        values.fail(
            auth,
            ConfigProblem::Conflict {
                with: "tls-crypt",
                remedy: "keep the one that the other side uses",
            },
        );
        return None;
    }
    if let Some(crypt) = crypt {
        return Some(WrapKey::TlsCrypt {
            key: static_key(values, crypt)?,
        });
    }
    let Some(auth) = auth else {
        return Some(WrapKey::None);
    };
    let direction = key_direction(values, scope, auth)?;
    Some(WrapKey::TlsAuth {
        key: static_key(values, auth)?,
        digest,
        direction,
    })
}

/// Finds the two options; what stands in a block replaces both outside it.
fn wrap_options(scope: Scope<'_>) -> (Option<&Directive>, Option<&Directive>) {
    let inside = |directive: &&Directive| {
        scope.connection.is_some_and(|block| {
            block
                .directives
                .iter()
                .any(|other| std::ptr::eq(other, *directive))
        })
    };
    let (auth, crypt) = (scope.anywhere("tls-auth"), scope.anywhere("tls-crypt"));
    match (auth.filter(inside), crypt.filter(inside)) {
        (None, None) => (auth, crypt),
        local => local,
    }
}

fn static_key(values: &mut Values<'_>, directive: &Directive) -> Option<StaticKey> {
    let text = SecretString::new(values.text(directive)?);
    match StaticKey::parse(text.expose()) {
        Ok(key) => Some(key),
        Err(error) => {
            let why = format!("{error}; wants a static key as `tunless genkey` writes it");
            values.fail(directive, ConfigProblem::Content(why));
            None
        }
    }
}

/// The direction stands behind the key's file, behind `[inline]` or on a line of its own.
fn key_direction(values: &mut Values<'_>, scope: Scope<'_>, auth: &Directive) -> Option<KeyDirection> {
    let read = |text: &str| match text {
        "0" => Some(KeyDirection::Normal),
        "1" => Some(KeyDirection::Inverse),
        _ => None,
    };
    let placeholder = scope.directives.global().iter().rfind(|other| {
        other.spec.name == "tls-auth" && other.inline.is_none() && other.arg(0) == Some("[inline]")
    });
    let beside = auth.arg(1).map(|_| (auth, 1));
    let found = beside
        .or_else(|| scope.anywhere("key-direction").map(|own| (own, 0)))
        .or_else(|| {
            placeholder
                .filter(|other| other.arg(1).is_some())
                .map(|other| (other, 1))
        });
    match found {
        None => Some(KeyDirection::Bidirectional),
        Some((directive, index)) => values.arg(directive, index, "0 or 1", read),
    }
}

/// Reads what is asked beside the password.
pub(super) fn static_challenge(values: &mut Values<'_>) -> Option<StaticChallenge> {
    let directive = values.directives.last("static-challenge")?;
    if !values.directives.has("auth-user-pass") {
        values.fail(
            directive,
            ConfigProblem::Content("its answer goes into the password; add `auth-user-pass`".into()),
        );
        return None;
    }
    let text = values.arg(directive, 0, "a question", non_empty)?;
    let echo = values.arg(directive, 1, "0 or 1", |text| match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    })?;
    let read = |text: &str| match text {
        "scrv1" => Some(ChallengeFormat::Scrv1),
        "concat" => Some(ChallengeFormat::Concat),
        _ => None,
    };
    let format = match directive.arg(2) {
        None => ChallengeFormat::default(),
        Some(_) => values.arg(directive, 2, "scrv1 or concat", read)?,
    };
    Some(StaticChallenge { text, echo, format })
}

/// Reads where user name and password come from.
pub(super) fn user(values: &mut Values<'_>) -> Option<CredentialSource> {
    let directive = values.directives.last("auth-user-pass")?;
    if directive.arg(1).is_some() || directive.arg(0) == Some("username-only") {
        values.fail(
            directive,
            ConfigProblem::Refused("a user name without a password is not sent yet; remove `username-only`"),
        );
        return None;
    }
    if directive.inline.is_none() && matches!(directive.arg(0), None | Some("stdin")) {
        return Some(CredentialSource::Prompt);
    }
    let text = SecretString::new(values.text(directive)?);
    let mut lines = text.expose().lines().map(|line| line.trim_end_matches('\r'));
    match (lines.next().unwrap_or_default(), lines.next().unwrap_or_default()) {
        ("", _) => {
            values.fail(
                directive,
                ConfigProblem::Content(
                    "it wants the user's name on the first line and the password on the second".into(),
                ),
            );
            None
        }
        (name, "") => Some(CredentialSource::PromptPassword {
            username: name.to_owned(),
        }),
        (name, password) => Some(CredentialSource::Given {
            username: name.to_owned(),
            password: password.into(),
        }),
    }
}
