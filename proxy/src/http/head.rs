//! A request's head: what it asks for, or the answer that says why not. No I/O.

use httparse::{Header, Status};

use super::answer::Answer;
use super::{auth, connect};
use crate::connect::InvalidTarget;
use crate::credentials::Credentials;
use crate::detect::{Asked, Protocol, Request};
use crate::error::{Rejected, RequestError};

/// Most header fields in a request.
const HEADERS: usize = 64;

/// What a browser shows that was pointed at the port itself.
const PAGE: &str = "\
This port is a proxy into a VPN, served by tunless. Set it as a proxy in the program that should use the VPN,
with this address and port:

  SOCKS5, names resolved inside the VPN:  socks5h://ADDRESS:PORT
  HTTP proxy (CONNECT):                   http://ADDRESS:PORT

  curl --proxy socks5h://ADDRESS:PORT https://example.com/

Everything that a program sends through it goes through the VPN, and nothing goes round it.";

/// Why a head is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("malformed request head ({0})")]
    Malformed(httparse::Error),
    #[error("HTTP version not served, use HTTP/1.1")]
    Version,
    #[error("request head larger than {} bytes", super::HEAD_BYTES)]
    TooLarge {
        /// The request line alone fills it.
        line: bool,
    },
    #[error("more than {HEADERS} header fields")]
    TooManyHeaders,
    #[error("more than one Host field")]
    Hosts,
    #[error(
        "CONNECT with a body, what follows its head belongs to the tunnel: leave out Transfer-Encoding and Content-Length"
    )]
    Body,
    #[error("CONNECT wants HOST:PORT")]
    Authority(#[source] InvalidTarget),
    #[error(
        "plain HTTP requests are not carried by this proxy: use CONNECT (curl --proxytunnel), https:// or SOCKS5 (socks5h://)"
    )]
    AbsoluteForm,
    #[error("the request's target is neither HOST:PORT nor a URL nor a path")]
    Form,
    #[error("method not served here: GET and HEAD show what this port is, CONNECT opens a connection")]
    Method,
    #[error("nothing here: this port is a proxy, its root says how to use it")]
    NotFound,
}

impl HeadError {
    /// The rejection with its answer.
    pub(super) fn into_rejected(self) -> Rejected {
        let status = match self {
            Self::Malformed(_) | Self::Hosts | Self::Body | Self::Authority(_) | Self::Form => 400,
            Self::NotFound => 404,
            Self::Method => 405,
            Self::TooLarge { line: true } => 414,
            Self::TooLarge { line: false } | Self::TooManyHeaders => 431,
            Self::AbsoluteForm => 501,
            Self::Version => 505,
        };
        let text = match self {
            Self::Authority(invalid) => format!("tunless: {self}: {invalid}"),
            Self::Malformed(_)
            | Self::Hosts
            | Self::Body
            | Self::Form
            | Self::NotFound
            | Self::Method
            | Self::TooLarge { .. }
            | Self::TooManyHeaders
            | Self::AbsoluteForm
            | Self::Version => format!("tunless: {self}"),
        };
        let mut answer = Answer::new(status, text);
        if self == Self::Method {
            answer = answer.field("Allow", "GET, HEAD, CONNECT");
        }
        Rejected {
            answer: answer.to_bytes(),
            why: self.into(),
        }
    }
}

/// Reads the head at the start of `bytes`: what it asks for and how long it is, or `None` while it is incomplete.
pub(crate) fn decode(
    bytes: &[u8],
    credentials: Option<&Credentials>,
) -> Result<Option<(Asked, usize)>, Rejected> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let length = match head.parse(bytes) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyHeaders.into_rejected()),
        Err(httparse::Error::Version) => return Err(HeadError::Version.into_rejected()),
        Err(error) => return Err(HeadError::Malformed(error).into_rejected()),
    };
    // A complete head has both.
    let (method, target) = (head.method.unwrap_or_default(), head.path.unwrap_or_default());
    let asked = if method != "CONNECT" && target.starts_with('/') {
        page(method, target).map_err(HeadError::into_rejected)?
    } else {
        authorize(head.headers, credentials)?;
        ask_proxy(method, target, head.headers).map_err(HeadError::into_rejected)?
    };
    Ok(Some((asked, length)))
}

/// A request to the port itself (origin form, RFC 9112 §3.2.1). It needs no password: it says nothing that its sender
/// does not know.
fn page(method: &str, path: &str) -> Result<Asked, HeadError> {
    match (method, path) {
        ("GET" | "HEAD", "/") => Ok(Asked::Page(
            Answer::new(200, PAGE).head_only(method == "HEAD").to_bytes(),
        )),
        ("GET" | "HEAD", _) => Err(HeadError::NotFound),
        (_, _) => Err(HeadError::Method),
    }
}

fn authorize(headers: &[Header<'_>], credentials: Option<&Credentials>) -> Result<(), Rejected> {
    let Some(credentials) = credentials else {
        return Ok(());
    };
    let mut given = values(headers, "Proxy-Authorization");
    match (given.next(), given.next()) {
        (Some(value), None) if auth::is_right(value, credentials) => Ok(()),
        (_, _) => {
            let text =
                "tunless: this proxy wants a user name and a password, give the ones it was started with";
            let answer = Answer::new(407, text)
                .field("Proxy-Authenticate", auth::CHALLENGE)
                .to_bytes();
            Err(Rejected {
                why: RequestError::Credentials,
                answer,
            })
        }
    }
}

fn ask_proxy(method: &str, target: &str, headers: &[Header<'_>]) -> Result<Asked, HeadError> {
    // RFC 9112 §3.2. A missing Host is let pass: CONNECT names its target elsewhere, and old clients leave it out.
    if values(headers, "Host").nth(1).is_some() {
        return Err(HeadError::Hosts);
    }
    if method != "CONNECT" {
        return Err(if target.contains("://") {
            HeadError::AbsoluteForm
        } else {
            HeadError::Form
        });
    }
    if has_body(headers) {
        return Err(HeadError::Body);
    }
    let target = connect::target(target).map_err(HeadError::Authority)?;
    Ok(Asked::Connect(Request {
        protocol: Protocol::HttpConnect,
        target,
    }))
}

/// A CONNECT has no content (RFC 9110 §9.3.6). A client that announces some disagrees with us about where the tunnel's
/// bytes begin, so only the harmless `Content-Length: 0` passes.
fn has_body(headers: &[Header<'_>]) -> bool {
    let mut lengths = values(headers, "Content-Length");
    values(headers, "Transfer-Encoding").next().is_some()
        || lengths.next().is_some_and(|length| length != b"0")
        || lengths.next().is_some()
}

fn values<'a>(headers: &'a [Header<'_>], name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value)
}
