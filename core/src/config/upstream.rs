//! Proxies between this host and the server: `http-proxy`, `socks-proxy` and what belongs to them.
//!
//! A proxy that is written down is never left out: where it cannot be used, the profile cannot be used.

use std::fmt;

use super::{
    client::{Remote, remotes::host},
    common,
    error::ConfigProblem,
    options::Transport,
    raw::{Directive, named},
    read::{BadValue, Scope, Values},
};
use crate::secret::SecretString;

/// Header fields of one profile (`MAX_CUSTOM_HTTP_HEADER`).
const MAX_HEADERS: usize = 10;
/// Port of a SOCKS proxy unless told otherwise.
const SOCKS_PORT: u16 = 1080;
const PORT: &str = "a port, 1 to 65535";

/// A proxy that the way to the server leads through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamProxy {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// What it speaks.
    pub kind: ProxyKind,
    /// User name and password, as far as the profile knows them.
    pub credentials: Option<ProxyCredentials>,
}

/// What a proxy speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyKind {
    /// HTTP with `CONNECT` (`http-proxy`).
    Http(HttpProxy),
    /// SOCKS 5 (`socks-proxy`).
    Socks5,
}

/// How an HTTP proxy is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpProxy {
    /// When user name and password are sent.
    pub login: HttpLogin,
    /// Version of the request (`http-proxy-option VERSION`).
    pub version: HttpVersion,
    /// `User-Agent` (`http-proxy-option AGENT`).
    pub agent: Option<String>,
    /// More fields (`http-proxy-option CUSTOM-HEADER`), at most 10.
    pub headers: Vec<HttpHeader>,
}

/// When user name and password are sent to an HTTP proxy; Basic is the only way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpLogin {
    /// When the proxy asks for them (`auto`).
    #[default]
    WhenAsked,
    /// With the first request (`FILE`, `FILE basic`).
    AtOnce,
    /// Not at all, since Basic shows them to whoever listens (`auto-nct`).
    NotInClear,
    /// Not at all (`FILE none`).
    Never,
}

/// Version of an HTTP request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpVersion {
    /// HTTP/1.0.
    #[default]
    V10,
    /// HTTP/1.1.
    V11,
}

/// A header field; its value may be a secret, such as a token for the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpHeader {
    /// Its name, a token.
    pub name: String,
    /// Its value, without control characters.
    pub value: SecretString,
}

/// User name and password for a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyCredentials {
    /// The user's name.
    pub username: String,
    /// The user's password.
    pub password: SecretString,
}

impl ProxyKind {
    /// Says why `credentials` cannot be sent to such a proxy, if so.
    pub fn objection(&self, credentials: &ProxyCredentials) -> Option<&'static str> {
        let ProxyCredentials { username, password } = credentials;
        let fits = |text: &str| (1..=255).contains(&text.len());
        match self {
            Self::Http(_) if username.is_empty() => Some("the user name is empty"),
            Self::Http(_) if username.contains(':') => Some("a user name for Basic has no colon"),
            Self::Http(_)
                if [username, password.expose()]
                    .iter()
                    .any(|text| text.contains(char::is_control)) =>
            {
                Some("user name and password have no control characters")
            }
            Self::Socks5 if !fits(username) || !fits(password.expose()) => {
                Some("user name and password have 1 to 255 bytes each")
            }
            Self::Http(_) | Self::Socks5 => None,
        }
    }
}

impl UpstreamProxy {
    /// Host and port, as in a URL: what tells one proxy from another.
    pub fn place(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for UpstreamProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ProxyKind::Http(_) => "HTTP",
            ProxyKind::Socks5 => "SOCKS",
        };
        write!(f, "{kind} proxy {}", self.place())
    }
}

/// Reads the proxy of one remote. One that stands outside its block counts wherever it stands: whoever adds a line
/// at the end of a profile does not mean that some remotes are reached without it.
pub(super) fn read(values: &mut Values<'_>, scope: Scope<'_>, transport: Transport) -> Option<UpstreamProxy> {
    let (http, socks) = (scope.anywhere("http-proxy"), scope.anywhere("socks-proxy"));
    if let (Some(http), Some(_)) = (http, socks) {
        let remedy = "keep the one that the way to the server leads through";
        values.fail(
            http,
            ConfigProblem::Conflict {
                with: "socks-proxy",
                remedy,
            },
        );
        return None;
    }
    if let Some(directive) = http {
        if transport == Transport::Udp {
            values.fail(directive, ConfigProblem::Refused("HTTP proxies carry TCP only; add `proto tcp-client` if the server listens on TCP, or remove it"));
            return None;
        }
        return http_proxy(values, scope, directive);
    }
    if let Some(block) = scope.connection
        && let Some(option) = named(&block.directives, "http-proxy-option").next()
    {
        values.fail(option, ConfigProblem::Content(NO_PROXY.into()));
    }
    let directive = socks?;
    if transport == Transport::Udp {
        values.fail(directive, ConfigProblem::Refused("UDP through SOCKS proxies is not spoken yet; add `proto tcp-client` if the server listens on TCP, or remove it"));
        return None;
    }
    socks_proxy(values, directive)
}

const NO_PROXY: &str = "it is of use only with a proxy; name that with `http-proxy HOST PORT`";

/// Refuses what belongs to an HTTP proxy when no remote has one: it would be left out without a word.
pub(super) fn refuse_idle(values: &mut Values<'_>, remotes: &[Remote]) {
    let directives = values.directives;
    let is_http =
        |remote: &Remote| matches!(&remote.proxy, Some(proxy) if matches!(proxy.kind, ProxyKind::Http(_)));
    let mut blocks = directives.connections().iter();
    let is_named = directives.has("http-proxy")
        || blocks.any(|block| named(&block.directives, "http-proxy").next().is_some());
    if is_named || remotes.iter().any(is_http) {
        return;
    }
    for name in ["http-proxy-option", "http-proxy-user-pass"] {
        if let Some(directive) = directives.last(name) {
            values.fail(directive, ConfigProblem::Content(NO_PROXY.into()));
        }
    }
}

fn http_proxy(values: &mut Values<'_>, scope: Scope<'_>, directive: &Directive) -> Option<UpstreamProxy> {
    let host = values.arg(directive, 0, "a name or an address", host);
    let port = values.arg(directive, 1, PORT, common::port);
    let login = match (directive.arg(2), directive.arg(3)) {
        (None | Some("auto"), _) => HttpLogin::WhenAsked,
        (Some("auto-nct"), _) => HttpLogin::NotInClear,
        (Some(_), None | Some("basic")) => HttpLogin::AtOnce,
        (Some(_), Some("none")) => HttpLogin::Never,
        (Some(_), Some("ntlm" | "ntlm2" | "digest")) => {
            values.fail(directive, ConfigProblem::Refused("of the ways to log in at a proxy only Basic is spoken; write `basic` if the proxy takes it"));
            return None;
        }
        (Some(_), Some(other)) => {
            values.fail(
                directive,
                BadValue::new("basic or none as the way to log in", other),
            );
            return None;
        }
    };
    let mut http = HttpProxy {
        login,
        ..HttpProxy::default()
    };
    for option in scope.all("http-proxy-option") {
        http_option(values, option, &mut http);
    }
    let kind = ProxyKind::Http(http);
    let credentials = match values.directives.last("http-proxy-user-pass") {
        Some(own) => credentials(values, own, 0, &kind),
        None if matches!(directive.arg(2), Some("auto" | "auto-nct")) => None,
        None => credentials(values, directive, 2, &kind),
    };
    Some(UpstreamProxy {
        host: host?,
        port: port?,
        kind,
        credentials,
    })
}

/// Reads what the request is to carry.
fn http_option(values: &mut Values<'_>, option: &Directive, http: &mut HttpProxy) {
    let printable = |text: &str| Some(text.to_owned()).filter(|text| !text.contains(char::is_control));
    match (option.arg(0).unwrap_or_default(), option.arg(2)) {
        ("VERSION", None) => {
            let read = |text: &str| match text {
                "1.0" => Some(HttpVersion::V10),
                "1.1" => Some(HttpVersion::V11),
                _ => None,
            };
            http.version = values.arg(option, 1, "1.0 or 1.1", read).unwrap_or_default();
        }
        ("AGENT", None) => http.agent = values.arg(option, 1, "a name without control characters", printable),
        ("CUSTOM-HEADER" | "EXT1" | "EXT2", _) if http.headers.len() >= MAX_HEADERS => {
            values.fail(option, BadValue::new("at most 10 fields", "more"));
        }
        ("CUSTOM-HEADER" | "EXT1" | "EXT2", value) => {
            let read = |text: &str| header(text, value);
            http.headers
                .extend(values.arg(option, 1, "NAME VALUE or \"NAME: VALUE\"", read));
        }
        (other, _) => values.fail(
            option,
            BadValue::new(
                "VERSION 1.0 or 1.1, AGENT NAME, or CUSTOM-HEADER NAME VALUE",
                other,
            ),
        ),
    }
}

/// Reads a header field, in one parameter or in two.
fn header(name: &str, value: Option<&str>) -> Option<HttpHeader> {
    let (name, value) = match value {
        Some(value) => (name, value),
        None => name.split_once(':')?,
    };
    let value = value.trim();
    let is_token = !name.is_empty() && name.bytes().all(is_token_byte);
    (is_token && !value.contains(char::is_control)).then(|| HttpHeader {
        name: name.to_owned(),
        value: value.into(),
    })
}

/// Tells whether a name in HTTP may contain the byte (RFC 9110 §5.6.2).
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn socks_proxy(values: &mut Values<'_>, directive: &Directive) -> Option<UpstreamProxy> {
    let host = values.arg(directive, 0, "a name or an address", host);
    let port = match directive.arg(1) {
        Some(_) => values.arg(directive, 1, PORT, common::port),
        None => Some(SOCKS_PORT),
    };
    let kind = ProxyKind::Socks5;
    let credentials = credentials(values, directive, 2, &kind);
    Some(UpstreamProxy {
        host: host?,
        port: port?,
        kind,
        credentials,
    })
}

/// Reads user name and password from a block, or from the file that a parameter names; `stdin` and no file mean
/// that somebody is asked when the proxy wants them.
fn credentials(
    values: &mut Values<'_>,
    directive: &Directive,
    index: usize,
    kind: &ProxyKind,
) -> Option<ProxyCredentials> {
    let text = match (&directive.inline, directive.arg(index)) {
        (Some(block), _) => block.clone(),
        (None, None | Some("stdin")) => return None,
        (None, Some(_)) => SecretString::new(values.text_at(directive, index)?),
    };
    let mut lines = text.expose().lines().map(|line| line.trim_end_matches('\r'));
    let (Some(username), Some(password)) = (lines.next().filter(|name| !name.is_empty()), lines.next())
    else {
        let why = "it wants the user's name at the proxy on the first line and the password on the second";
        values.fail(directive, ConfigProblem::Content(why.into()));
        return None;
    };
    let found = ProxyCredentials {
        username: username.to_owned(),
        password: password.into(),
    };
    if let Some(why) = kind.objection(&found) {
        values.fail(directive, ConfigProblem::Content(why.into()));
        return None;
    }
    Some(found)
}
