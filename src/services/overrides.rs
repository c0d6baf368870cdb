//! Makes of a stored profile, and of what was set beside it, a configuration that can be run.
//!
//! What is set takes the place of options before they are resolved, so that core's answer decides about it. A value
//! that nobody knows has no effect, as ever, and a note says so. No file is opened here: whoever stored the profile may
//! not be allowed to read what it names.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use tunless_core::{
    config::{ClientConfig, ConfigErrors, Directives, Transport},
    secret::SecretString,
};
use tunless_dbus::{
    configuration::{OverrideValue, Overrides},
    names::printable,
};

/// Google's resolvers, for `dns-fallback-google`.
const GOOGLE: [Ipv4Addr; 2] = [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(8, 8, 4, 4)];
/// Highest log level of the services.
const MAX_LOG_LEVEL: u8 = 6;
const NOT_INLINE: &str =
    "a stored profile holds everything inline; put the content into a block and import it again";

/// A stored profile that can be run.
#[derive(Debug)]
pub struct Prepared {
    /// The configuration.
    pub config: ClientConfig,
    /// What has no effect, and why, for people: of what was set first, then of the profile.
    pub notes: Vec<String>,
    /// Resolvers to ask through the tunnel when the server names none.
    pub dns_fallback: Vec<SocketAddr>,
    /// Log level of the services, 0 to 6 (`log-level`, or the profile's `verb`).
    pub log_level: Option<u8>,
}

/// Why a stored profile cannot be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrepareError {
    /// What it says.
    Profile(ConfigErrors),
    /// What was set beside it.
    Override {
        /// Key of what was set.
        key: &'static str,
        /// What is wrong with it.
        errors: ConfigErrors,
    },
    /// Something is missing beside what was set.
    Incomplete {
        /// Key of what was set.
        key: &'static str,
        /// Key of what is missing.
        missing: &'static str,
    },
}

impl fmt::Display for PrepareError {
    /// On one line: it becomes an error on the bus and a line of a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |errors: &ConfigErrors| errors.to_string().replace('\n', "; ");
        match self {
            Self::Profile(errors) => f.write_str(&line(errors)),
            Self::Override { key, errors } => {
                write!(f, "the override {key} cannot be used: {}", line(errors))
            }
            Self::Incomplete { key, missing } => {
                write!(f, "the override {key} is of no use without {missing}")
            }
        }
    }
}

impl std::error::Error for PrepareError {}

/// Reads the profile called `name` with what was set beside it.
///
/// # Errors
/// Everything that keeps it from being run.
pub fn prepare(name: &str, text: &str, overrides: &Overrides) -> Result<Prepared, PrepareError> {
    let name = printable(name);
    let mut directives = Directives::parse(&name, text).map_err(PrepareError::Profile)?;
    let mut adjusting = Adjusting {
        directives: &mut directives,
        overrides,
        notes: Vec::new(),
    };
    adjusting.remotes()?;
    adjusting.proxy()?;
    adjusting.options()?;
    let dns_fallback = adjusting.dns();
    adjusting.without_effect();
    let mut notes = adjusting.notes;
    let has_level = directives.has("verb");
    let mut no_files = |_path: &str| Err(NOT_INLINE.to_owned());
    let (config, of_profile) =
        ClientConfig::resolve(&directives, &mut no_files).map_err(PrepareError::Profile)?;
    notes.extend(of_profile.iter().map(ToString::to_string));
    Ok(Prepared {
        log_level: has_level.then(|| config.verbosity.min(MAX_LOG_LEVEL)),
        config,
        notes,
        dns_fallback,
    })
}

/// A profile while what was set takes effect.
struct Adjusting<'a> {
    directives: &'a mut Directives,
    overrides: &'a Overrides,
    notes: Vec<String>,
}

impl Adjusting<'_> {
    /// The text that was set for a key; empty is not set.
    fn text(&self, key: &str) -> Option<&str> {
        match self.overrides.get(key)? {
            OverrideValue::Text(text) => Some(text.as_str()).filter(|text| !text.is_empty()),
            OverrideValue::Flag(_) => None,
        }
    }

    fn is_on(&self, key: &str) -> bool {
        self.overrides.get(key) == Some(&OverrideValue::Flag(true))
    }

    fn note(&mut self, key: &str, text: &str) {
        self.notes
            .push(format!("the override {key} has no effect: {text}"));
    }

    /// Reads the text of a key; a note tells of one that means nothing.
    fn value<T>(&mut self, key: &str, wants: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = read(self.text(key)?);
        if value.is_none() {
            self.note(key, &format!("wants {wants}"));
        }
        value
    }

    fn set(&mut self, key: &'static str, option: &str, args: &[&str]) -> Result<(), PrepareError> {
        let failed = |errors| PrepareError::Override { key, errors };
        self.directives.set(option, args).map_err(failed)
    }

    /// Host, port and transport of every remote.
    fn remotes(&mut self) -> Result<(), PrepareError> {
        let port = self.value("port-override", "a port, 1 to 65535", |text| {
            text.parse().ok().filter(|port| *port > 0)
        });
        let transport = self.value("proto-override", "tcp or udp", |text| match text {
            "tcp" => Some(Transport::Tcp),
            "udp" => Some(Transport::Udp),
            _ => None,
        });
        let host = self.text("server-override").map(str::to_owned);
        let key = "proto-override";
        self.directives
            .set_remotes(host.as_deref(), port, transport)
            .map_err(|errors| PrepareError::Override { key, errors })
    }

    /// The HTTP proxy on the way to the server. It takes the place of whatever proxy the profile names.
    fn proxy(&mut self) -> Result<(), PrepareError> {
        let keys = ["proxy-host", "proxy-port", "proxy-username", "proxy-password"];
        let [host, port, username, password] = keys.map(|key| self.text(key).map(str::to_owned));
        let (host, port) = match (host, port) {
            (Some(host), Some(port)) => (host, port),
            (Some(_), None) => {
                return Err(PrepareError::Incomplete {
                    key: "proxy-host",
                    missing: "proxy-port",
                });
            }
            (None, _) => {
                // Without a host nothing is said of any proxy.
                for key in keys {
                    if self.text(key).is_some() {
                        self.note(key, "proxy-host is not set");
                    }
                }
                return Ok(());
            }
        };
        // Basic shows the password to whoever listens between here and the proxy.
        let in_clear = self.is_on("proxy-auth-cleartext");
        let login = if in_clear { "auto" } else { "auto-nct" };
        if username.is_some() && !in_clear {
            let text = "it would be sent in cleartext; set proxy-auth-cleartext if that is fine";
            self.note("proxy-username", text);
        }
        self.set("proxy-host", "http-proxy", &[&host, &port, login])?;
        self.directives.remove("socks-proxy");
        self.directives.remove("http-proxy-user-pass");
        if let (Some(username), true) = (username, in_clear) {
            let lines = format!("{username}\n{}\n", password.unwrap_or_default());
            let set = self
                .directives
                .set_block("http-proxy-user-pass", SecretString::new(lines));
            set.map_err(|errors| PrepareError::Override {
                key: "proxy-username",
                errors,
            })?;
        }
        Ok(())
    }

    /// What has an option of its own.
    fn options(&mut self) -> Result<(), PrepareError> {
        let ipv6 = self.value("ipv6", "yes, no or default", |text| {
            ["yes", "no", "default"].contains(&text).then_some(text == "no")
        });
        if ipv6 == Some(true) {
            self.set("ipv6", "block-ipv6", &[])?;
        }
        let version = self.value(
            "tls-version-min",
            "tls_1_0, tls_1_1, tls_1_2 or tls_1_3",
            |text| match text {
                "tls_1_0" => Some("1.0"),
                "tls_1_1" => Some("1.1"),
                "tls_1_2" => Some("1.2"),
                "tls_1_3" => Some("1.3"),
                _ => None,
            },
        );
        if let Some(version) = version {
            self.set("tls-version-min", "tls-version-min", &[version])?;
        }
        let profile = self.value("tls-cert-profile", "legacy, preferred or suiteb", |text| {
            ["legacy", "preferred", "suiteb"]
                .into_iter()
                .find(|known| *known == text)
        });
        if let Some(profile) = profile {
            self.set("tls-cert-profile", "tls-cert-profile", &[profile])?;
        }
        let level = self.value("log-level", "a level, 1 to 6", |text| {
            let level = text.parse::<u8>().ok();
            level.filter(|level| (1..=MAX_LOG_LEVEL).contains(level))
        });
        if let Some(level) = level {
            self.set("log-level", "verb", &[&level.to_string()])?;
        }
        if self.is_on("auth-fail-retry") {
            self.set("auth-fail-retry", "auth-retry", &["nointeract"])?;
        }
        match self.text("allow-compression") {
            Some("no") => self.set("allow-compression", "allow-compression", &["no"]),
            Some(_) => {
                self.note("allow-compression", "compression is not offered");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Resolvers for when the server names none.
    fn dns(&mut self) -> Vec<SocketAddr> {
        if self.is_on("dns-fallback-google") {
            GOOGLE
                .map(|address| SocketAddr::new(IpAddr::V4(address), 53))
                .to_vec()
        } else {
            Vec::new()
        }
    }

    /// What changes nothing here.
    fn without_effect(&mut self) {
        let flags = [
            ("dns-setup-disabled", "this host's resolver is never touched"),
            ("dns-sync-lookup", "names are asked for side by side"),
            ("enable-legacy-algorithms", "they are not built in"),
            (
                "persist-tun",
                "the device stays while the tunnel is up again anyway",
            ),
        ];
        for (key, why) in flags {
            if self.is_on(key) {
                self.note(key, why);
            }
        }
        if self.text("dns-scope") == Some("tunnel") {
            self.note(
                "dns-scope",
                "names of proxied connections are always asked for in the tunnel",
            );
        }
        if self.text("enterprise-profile").is_some() {
            self.note("enterprise-profile", "there is no device posture check");
        }
    }
}

#[cfg(test)]
mod tests {
    use tunless_core::{
        client::Setup,
        config::{AuthRetry, HttpLogin, ProxyKind, TlsVersion, UpstreamProxy},
    };

    use super::*;

    const BLOCKS: &str = "<ca>\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n</ca>\n";

    fn text(lines: &str) -> String {
        format!("client\ndev tun\nauth-user-pass\nremote-cert-tls server\n{lines}\n{BLOCKS}")
    }

    fn with(lines: &str, overrides: &[(&str, &str)]) -> Result<Prepared, PrepareError> {
        let value = |text: &str| match text {
            "true" => OverrideValue::Flag(true),
            "false" => OverrideValue::Flag(false),
            text => OverrideValue::Text(text.to_owned()),
        };
        let overrides = overrides
            .iter()
            .map(|(key, text)| ((*key).to_owned(), value(text)));
        prepare("home", &text(lines), &overrides.collect())
    }

    fn prepared(overrides: &[(&str, &str)]) -> Prepared {
        with("remote vpn.example 1194\nverb 3", overrides).unwrap()
    }

    #[test]
    fn a_profile_alone_is_run_as_it_is() {
        let plain = prepared(&[]);
        assert_eq!(plain.notes, [""; 0]);
        assert!(plain.dns_fallback.is_empty());
        assert_eq!(plain.log_level, Some(3));
        assert_eq!(with("remote h\nverb 9", &[]).unwrap().log_level, Some(6));
        let empty = prepared(&[("server-override", ""), ("proxy-host", "")]);
        assert_eq!(empty.config.remotes[0].host, "vpn.example");
    }

    #[test]
    fn remotes_are_replaced() {
        let all = [
            ("server-override", "other.example"),
            ("port-override", "443"),
            ("proto-override", "tcp"),
        ];
        let remote = prepared(&all).config.remotes.remove(0);
        assert_eq!((remote.host.as_str(), remote.port), ("other.example", 443));
        assert_eq!(remote.proto.transport, Transport::Tcp);
        let odd = prepared(&[("port-override", "0"), ("proto-override", "sctp")]);
        assert_eq!(odd.config.remotes[0].port, 1194);
        assert_eq!(odd.notes.len(), 2, "{:?}", odd.notes);
        let error = with("remote h", &[("server-override", "a b")]).unwrap_err();
        assert!(error.to_string().contains("a name or an address"), "{error}");
    }

    #[test]
    fn what_has_an_option_takes_its_place() {
        let config = prepared(&[
            ("ipv6", "no"),
            ("tls-version-min", "tls_1_3"),
            ("tls-cert-profile", "suiteb"),
            ("log-level", "5"),
            ("auth-fail-retry", "true"),
            ("allow-compression", "no"),
        ])
        .config;
        assert!(config.network.block_ipv6);
        assert_eq!(config.tls.version_min, TlsVersion::V13);
        assert_eq!(config.tls.profile, tunless_core::config::CertProfile::Suiteb);
        assert_eq!(config.verbosity, 5);
        assert_eq!(config.auth_retry, AuthRetry::NoInteract);
        for value in ["yes", "default"] {
            assert!(!prepared(&[("ipv6", value)]).config.network.block_ipv6);
        }
        let off = with("remote h\nauth-retry interact", &[("auth-fail-retry", "false")]).unwrap();
        assert_eq!(off.config.auth_retry, AuthRetry::Interact);
    }

    #[test]
    fn what_has_no_effect_is_told() {
        for (key, value) in [
            ("ipv6", "maybe"),
            ("tls-version-min", "ssl_3"),
            ("tls-cert-profile", "none"),
            ("log-level", "7"),
            ("allow-compression", "asym"),
            ("dns-setup-disabled", "true"),
            ("dns-sync-lookup", "true"),
            ("dns-scope", "tunnel"),
            ("enable-legacy-algorithms", "true"),
            ("enterprise-profile", "x"),
            ("persist-tun", "true"),
            ("proxy-port", "3128"),
            ("proxy-password", "hunter2"),
        ] {
            let notes = prepared(&[(key, value)]).notes;
            assert_eq!(notes.len(), 1, "{key}: {notes:?}");
            assert!(
                notes[0].starts_with(&format!("the override {key} has no effect: ")),
                "{notes:?}"
            );
            assert!(!notes[0].contains("hunter2"));
        }
        for (key, value) in [
            ("dns-scope", "global"),
            ("persist-tun", "false"),
            ("automatic-restart", "on-failure"),
        ] {
            assert!(prepared(&[(key, value)]).notes.is_empty(), "{key}");
        }
    }

    #[test]
    fn the_fallback_resolvers_are_given() {
        let given = prepared(&[("dns-fallback-google", "true")]).dns_fallback;
        assert_eq!(
            given,
            ["8.8.8.8:53", "8.8.4.4:53"].map(|text| text.parse::<SocketAddr>().unwrap())
        );
    }

    #[test]
    fn a_proxy_needs_its_port() {
        let error = with("remote h", &[("proxy-host", "p")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the override proxy-host is of no use without proxy-port"
        );
    }

    const PROXY: [(&str, &str); 4] = [
        ("proxy-host", "p.example"),
        ("proxy-port", "3128"),
        ("proxy-username", "me"),
        ("proxy-password", "hunter2"),
    ];

    fn proxy(lines: &str, more: &[(&str, &str)]) -> UpstreamProxy {
        let overrides = [&PROXY, more].concat();
        let mut prepared = with(lines, &overrides).unwrap();
        assert!(!prepared.notes.join("\n").contains("hunter2"));
        prepared.config.remotes.remove(0).proxy.unwrap()
    }

    #[test]
    fn a_proxy_takes_the_place_of_the_profile_s_and_logs_in_where_that_is_allowed() {
        let lines = "remote h 1 tcp\nsocks-proxy s 1080\n<http-proxy-user-pass>\nother\nother\n</http-proxy-user-pass>";
        let given = proxy(lines, &[("proxy-auth-cleartext", "true")]);
        assert_eq!(given.place(), "p.example:3128");
        let credentials = given.credentials.unwrap();
        assert_eq!(
            (credentials.username.as_str(), credentials.password.expose()),
            ("me", "hunter2")
        );
        // Without leave, neither name nor password goes anywhere.
        let silent = proxy(lines, &[]);
        assert_eq!(silent.credentials, None);
        let ProxyKind::Http(http) = silent.kind else {
            panic!("{silent}");
        };
        assert_eq!(http.login, HttpLogin::NotInClear);
    }

    #[test]
    fn a_proxy_is_for_core_to_judge() {
        let error = with("remote h", &PROXY).unwrap_err().to_string();
        assert!(
            error.contains("http-proxy") && error.contains("TCP") && !error.contains("hunter2"),
            "{error}"
        );
    }

    #[test]
    fn no_file_is_opened() {
        let error = with("remote h\ncrl-verify /etc/passwd", &[])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/etc/passwd") && error.contains("everything inline"),
            "{error}"
        );
    }

    #[test]
    fn all_that_is_wrong_is_told_on_one_line() {
        let error = with("remote h\nplugin x\nfrobnicate", &[])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("home:6: `plugin`") && error.contains("; home:7: `frobnicate`"),
            "{error}"
        );
        assert!(!error.contains('\n'));
    }

    #[test]
    fn the_configuration_can_be_set_up() {
        let pki = tunless_core::testing::certs::TestPki::new();
        let blocks = format!(
            "<ca>\n{}</ca>\n<cert>\n{}</cert>\n<key>\n{}</key>\n",
            pki.ca, pki.client.cert, pki.client.key
        );
        let text = format!("client\ndev tun\nremote h\nremote-cert-tls server\n{blocks}");
        let overrides = Overrides::from([("ipv6".to_owned(), OverrideValue::Text("no".to_owned()))]);
        Setup::new(prepare("home", &text, &overrides).unwrap().config).unwrap();
    }
}
