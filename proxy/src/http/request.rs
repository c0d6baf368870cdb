//! What a request's head asks for: a tunnel, something from elsewhere, or something of this port. No I/O.

use std::net::{Ipv6Addr, SocketAddr};

use super::answer::Answer;
use super::body::FramingError;
use super::chunked::ChunkError;
use super::connect;
use super::head::{RequestHead, Syntax, Version};
use crate::connect::{InvalidTarget, Target};
use crate::error::Rejected;

/// The port of `http` (RFC 9110 §4.2.1).
const HTTP_PORT: u16 = 80;

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("malformed request head: {0}")]
    Malformed(Syntax),
    #[error("request head larger than {} bytes", super::REQUEST_BYTES)]
    TooLarge {
        /// The request line alone fills it.
        line: bool,
    },
    #[error("more than one Host field")]
    Hosts,
    #[error("a Host field is missing")]
    NoHost,
    #[error("the Host field is not HOST or HOST:PORT")]
    Host,
    #[error("ambiguous body: {0}")]
    Framing(FramingError),
    #[error("malformed body: {0}")]
    Chunk(ChunkError),
    #[error(
        "CONNECT with a body, what follows its head belongs to the tunnel: leave out Transfer-Encoding and Content-Length"
    )]
    Body,
    #[error("CONNECT wants HOST:PORT")]
    Authority(#[source] InvalidTarget),
    #[error("the URL's host or port cannot be used")]
    Url(#[source] InvalidTarget),
    #[error("the URL has a user name or password in it, send them in an Authorization field")]
    UserInfo,
    #[error("the target has a fragment (`#`), which never leaves the client")]
    Fragment,
    #[error(
        "only http:// URLs are asked of a proxy: for https:// and others use CONNECT, as clients do by themselves when this is their https proxy (https_proxy=http://ADDRESS:PORT), or SOCKS5 (socks5h://)"
    )]
    Scheme,
    #[error("the request's target is neither HOST:PORT nor a URL nor a path")]
    Form,
    #[error("Max-Forwards is not one decimal number")]
    MaxForwards,
    #[error("TRACE with a body")]
    TraceBody,
}

impl HeadError {
    fn status(self) -> u16 {
        match self {
            Self::TooLarge { line: true } => 414,
            Self::TooLarge { line: false } | Self::Malformed(Syntax::TooManyFields { .. }) => 431,
            Self::Scheme => 501,
            Self::Malformed(Syntax::Version) => 505,
            Self::Malformed(_)
            | Self::Hosts
            | Self::NoHost
            | Self::Host
            | Self::Framing(_)
            | Self::Chunk(_)
            | Self::Body
            | Self::Authority(_)
            | Self::Url(_)
            | Self::UserInfo
            | Self::Fragment
            | Self::Form
            | Self::MaxForwards
            | Self::TraceBody => 400,
        }
    }

    /// The rejection with its answer, which ends the connection.
    pub(super) fn into_rejected(self) -> Rejected {
        let text = if let Self::Authority(invalid) | Self::Url(invalid) = self {
            format!("tunless: {self}: {invalid}")
        } else {
            format!("tunless: {self}")
        };
        Rejected {
            answer: Answer::new(self.status(), text).to_bytes(),
            why: self.into(),
        }
    }
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// A tunnel (RFC 9110 §9.3.6).
    Connect(Target),
    /// Something from elsewhere (absolute form, RFC 9112 §3.2.2).
    Forward(Forward),
    /// Something that must not go any further than here (RFC 9110 §7.6.2).
    LastHop,
}

/// Where a request goes on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forward {
    pub(super) target: Target,
    /// The `Host` field for it.
    pub(super) host: String,
    /// The target in origin form, or `*`.
    pub(super) path: String,
    /// What is left of `Max-Forwards` where it counts.
    pub(super) max_forwards: Option<u64>,
}

/// Whether a request is for this port itself (origin form, RFC 9112 §3.2.1).
pub(super) fn is_own(head: &RequestHead) -> bool {
    head.method != "CONNECT" && head.target.starts_with('/')
}

/// Reads what a request that is not for this port itself asks for.
pub(super) fn ask(head: &RequestHead) -> Result<Ask, HeadError> {
    let mut hosts = head.fields.values("Host");
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(HeadError::Hosts);
    }
    if head.method == "CONNECT" {
        // A missing Host is let pass: CONNECT names its target elsewhere, and old clients leave it out.
        if has_body(head) {
            return Err(HeadError::Body);
        }
        let target = connect::target(&head.target).map_err(HeadError::Authority)?;
        return Ok(Ask::Connect(target));
    }
    let (scheme, rest) = head.target.split_once("://").ok_or(HeadError::Form)?;
    // RFC 9112 §3.2: the field must be there and valid although the URL overrides it.
    match host {
        None if head.version == Version::Http11 => return Err(HeadError::NoHost),
        Some(host) if !is_host(host) => return Err(HeadError::Host),
        None | Some(_) => {}
    }
    if head.target.contains('#') {
        return Err(HeadError::Fragment);
    }
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(HeadError::Scheme);
    }
    let authority_bytes = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_bytes);
    if authority.contains('@') {
        return Err(HeadError::UserInfo);
    }
    let target = authority_target(authority).map_err(HeadError::Url)?;
    let path = match path {
        // RFC 9112 §3.2.4.
        "" if head.method == "OPTIONS" => "*".to_owned(),
        "" => "/".to_owned(),
        query if query.starts_with('?') => format!("/{query}"),
        path => path.to_owned(),
    };
    let max_forwards = max_forwards(head)?;
    if max_forwards == Some(0) {
        return Ok(Ask::LastHop);
    }
    Ok(Ask::Forward(Forward {
        host: host_field(&target),
        target,
        path,
        max_forwards: max_forwards.map(|count| count - 1),
    }))
}

/// `host`, `host:` or `host:port`, in which the default port may be left out.
fn authority_target(authority: &str) -> Result<Target, InvalidTarget> {
    let behind_literal = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let colon = authority
        .get(behind_literal..)
        .and_then(|rest| rest.find(':'))
        .map(|colon| behind_literal + colon);
    match colon {
        None => Target::parse(authority, HTTP_PORT),
        Some(colon) if colon + 1 == authority.len() => {
            Target::parse(authority.get(..colon).unwrap_or_default(), HTTP_PORT)
        }
        Some(_) => connect::target(authority),
    }
}

/// Whether a `Host` field is one; what it says does not count. `curl` leaves out the brackets of a literal address.
fn is_host(value: &[u8]) -> bool {
    std::str::from_utf8(value)
        .is_ok_and(|text| authority_target(text).is_ok() || text.parse::<Ipv6Addr>().is_ok())
}

/// The `Host` field for a target: without the port where it is the scheme's own (RFC 9110 §7.2).
fn host_field(target: &Target) -> String {
    match target {
        Target::Name(name, HTTP_PORT) => name.to_string(),
        Target::Address(SocketAddr::V4(address)) if address.port() == HTTP_PORT => address.ip().to_string(),
        Target::Address(SocketAddr::V6(address)) if address.port() == HTTP_PORT => {
            format!("[{}]", address.ip())
        }
        Target::Name(..) | Target::Address(_) => target.to_string(),
    }
}

/// `Max-Forwards`, which counts for two methods only (RFC 9110 §7.6.2).
fn max_forwards(head: &RequestHead) -> Result<Option<u64>, HeadError> {
    if !matches!(head.method.as_str(), "OPTIONS" | "TRACE") {
        return Ok(None);
    }
    let mut values = head.fields.values("Max-Forwards");
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse().ok())
                .map(Some)
                .ok_or(HeadError::MaxForwards)
        }
        (Some(_), _) => Err(HeadError::MaxForwards),
    }
}

/// A CONNECT has no content (RFC 9110 §9.3.6). A client that announces some disagrees with us about where the tunnel's
/// bytes begin, so only the harmless `Content-Length: 0` passes.
fn has_body(head: &RequestHead) -> bool {
    let mut lengths = head.fields.values("Content-Length");
    head.fields.has("Transfer-Encoding")
        || lengths.next().is_some_and(|length| length != b"0")
        || lengths.next().is_some()
}
