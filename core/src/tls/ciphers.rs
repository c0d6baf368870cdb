//! Cipher suites by the names that `tls-cipher` and `tls-ciphersuites` use.

use rustls::{SupportedCipherSuite, SupportedProtocolVersion, crypto::aws_lc_rs::cipher_suite as suite};

use super::{TlsError, TlsSettings, TlsVersion};

/// TLS 1.2 suites: OpenSSL's name and the IANA name, in the spelling with dashes that OpenVPN prints.
const TLS12: &[(&str, &str, SupportedCipherSuite)] = &[
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384",
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS-ECDHE-RSA-WITH-AES-256-GCM-SHA384",
        suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS-ECDHE-ECDSA-WITH-CHACHA20-POLY1305-SHA256",
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS-ECDHE-RSA-WITH-CHACHA20-POLY1305-SHA256",
        suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256",
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS-ECDHE-RSA-WITH-AES-128-GCM-SHA256",
        suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
];

/// TLS 1.3 suites, which have one name.
const TLS13: &[(&str, &str, SupportedCipherSuite)] = &[
    ("TLS-AES-256-GCM-SHA384", "", suite::TLS13_AES_256_GCM_SHA384),
    (
        "TLS-CHACHA20-POLY1305-SHA256",
        "",
        suite::TLS13_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS-AES-128-GCM-SHA256", "", suite::TLS13_AES_128_GCM_SHA256),
];

/// OpenSSL keywords that stand for everything this end speaks.
const EVERYTHING: &[&str] = &["DEFAULT", "ALL", "HIGH", "ECDHE", "EECDH"];

/// What a session may negotiate.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
    pub(super) suites: Vec<SupportedCipherSuite>,
}

impl Offer {
    /// Picks versions and suites, best first.
    ///
    /// A version none of whose suites is left is not offered; it is an error when no version is left.
    pub(super) fn new(settings: &TlsSettings) -> Result<Self, TlsError> {
        let (min, max) = (settings.version_min, settings.version_max);
        let mut offer = Self {
            versions: Vec::new(),
            suites: Vec::new(),
        };
        let enabled = |version| min <= version && version <= max;
        let mut refused = None;
        let candidates = [
            (
                TlsVersion::V13,
                &rustls::version::TLS13,
                "tls-ciphersuites",
                &settings.tls13_ciphersuites,
                TLS13,
            ),
            (
                TlsVersion::V12,
                &rustls::version::TLS12,
                "tls-cipher",
                &settings.tls12_ciphers,
                TLS12,
            ),
        ];
        for (version, protocol, option, list, known) in candidates {
            if !enabled(version) {
                continue;
            }
            let suites = pick(list, known);
            if suites.is_empty() {
                refused = Some(TlsError::NoCipher {
                    option,
                    list: list.join(":"),
                });
                continue;
            }
            offer.versions.push(protocol);
            offer.suites.extend(suites);
        }
        if offer.versions.is_empty() {
            let order = "`tls-version-min` is above `tls-version-max`".to_owned();
            return Err(refused.unwrap_or(TlsError::Settings(order)));
        }
        Ok(offer)
    }
}

/// Known suites in the order of `list`; all of them when it is empty.
fn pick(list: &[String], known: &[(&str, &str, SupportedCipherSuite)]) -> Vec<SupportedCipherSuite> {
    let mut wanted = Vec::new();
    let mut banned = Vec::new();
    let names = list.iter().flat_map(|entry| entry.split([':', ',', ' ']));
    for name in names.map(|name| name.trim().to_ascii_uppercase().replace('_', "-")) {
        let (target, name) = match name.strip_prefix('!') {
            Some(rest) => (&mut banned, rest),
            None => (&mut wanted, name.as_str()),
        };
        let all = EVERYTHING.contains(&name);
        for (openssl, iana, suite) in known {
            let fits = all || name == *openssl || (name == *iana && !iana.is_empty());
            if fits && !target.contains(suite) {
                target.push(*suite);
            }
        }
    }
    let only_bans = list.is_empty() || list.iter().all(|entry| entry.starts_with('!'));
    if only_bans {
        wanted = known.iter().map(|(.., suite)| *suite).collect();
    }
    wanted.retain(|suite| !banned.contains(suite));
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Role;

    fn offer(tls12: &[&str], tls13: &[&str]) -> Result<Offer, TlsError> {
        let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        let mut settings = TlsSettings::new(Role::Client);
        settings.tls12_ciphers = owned(tls12);
        settings.tls13_ciphersuites = owned(tls13);
        Offer::new(&settings)
    }

    #[test]
    fn both_spellings_of_a_suite_are_known_and_unknown_ones_are_skipped() {
        for name in [
            "ECDHE-RSA-AES128-GCM-SHA256",
            "TLS-ECDHE-RSA-WITH-AES-128-GCM-SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        ] {
            let offer = offer(&["DHE-RSA-AES256-SHA", name], &["TLS_AES_128_GCM_SHA256"]).unwrap();
            assert_eq!(
                offer.suites,
                [
                    suite::TLS13_AES_128_GCM_SHA256,
                    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
                ]
            );
        }
    }

    #[test]
    fn keywords_and_bans_of_openssl_are_understood() {
        assert_eq!(offer(&["DEFAULT:!EXP:!PSK"], &[]).unwrap().suites.len(), 9);
        assert_eq!(
            offer(&["!ECDHE-RSA-AES128-GCM-SHA256"], &[])
                .unwrap()
                .suites
                .len(),
            8
        );
    }

    #[test]
    fn a_list_without_a_known_suite_leaves_the_other_version() {
        let offer = offer(&["DHE-RSA-AES256-SHA"], &[]).unwrap();
        assert_eq!(offer.versions, [&rustls::version::TLS13]);
    }

    #[test]
    fn no_suite_at_all_is_an_error_that_names_the_list() {
        let error = offer(&["DHE-RSA-AES256-SHA"], &["TLS_NULL"]).unwrap_err();
        assert_eq!(
            error,
            TlsError::NoCipher {
                option: "tls-cipher",
                list: "DHE-RSA-AES256-SHA".to_owned()
            }
        );
    }
}
