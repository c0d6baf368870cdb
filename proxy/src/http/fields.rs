//! Heads as they are passed on: which fields end here, which are made anew (RFC 9110 §7.6).
//!
//! A field that `Connection` names ends here, but nothing it names can change where a message goes or how long it is:
//! `Host`, `Content-Length` and `Transfer-Encoding` are always made anew from what this proxy understood.

use std::io::Write as _;

use super::body::{Length, content_length};
use super::head::{Fields, RequestHead, ResponseHead, Version, put_field, token};
use super::request::Forward;

/// What this proxy calls itself in `Via` (RFC 9110 §7.6.3).
const NAME: &str = "tunless";

/// Fields that are about one connection, or about this proxy, or that are made anew.
const NOT_PASSED: [&str; 12] = [
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that say how a message is framed, routed, understood or allowed, which nobody expects behind its body
/// (RFC 9110 §6.5.1).
const NOT_IN_TRAILERS: [&str; 36] = [
    "age",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "referer",
    "retry-after",
    "set-cookie",
    "strict-transport-security",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "content-security-policy",
    "clear-site-data",
    "alt-svc",
];

/// Takes out of trailer fields what has no place there.
pub(super) fn keep_allowed_trailers(trailers: &mut Fields) {
    trailers.retain(|field| {
        let name = field.name.to_ascii_lowercase();
        !NOT_PASSED.contains(&name.as_str()) && !NOT_IN_TRAILERS.contains(&name.as_str())
    });
}

/// Whether the sender of these fields ends its connection after this message (RFC 9112 §9.3).
pub(super) fn persists(fields: &Fields, version: Version) -> bool {
    let options = fields.list("Connection");
    let says = |option: &str| options.iter().any(|said| said == option);
    match version {
        Version::Http11 => !says("close"),
        Version::Http10 => says("keep-alive") && !says("close"),
    }
}

/// The protocols that a request wants to change to and that can be carried: not HTTP/2, which is not to be asked for
/// in this way (RFC 9113 §3.1). None where the request has a body, which would stand before the new protocol's bytes.
pub(super) fn upgrade(head: &RequestHead, length: Length) -> Option<String> {
    let is_asked = head.version == Version::Http11
        && length.is_empty()
        && head
            .fields
            .list("Connection")
            .iter()
            .any(|option| option == "upgrade");
    if !is_asked {
        return None;
    }
    let protocols: Vec<_> = head
        .fields
        .values("Upgrade")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .filter_map(|protocol| protocol_name(protocol.trim_ascii()))
        .filter(|protocol| !protocol.eq_ignore_ascii_case("h2c"))
        .collect();
    (!protocols.is_empty()).then(|| protocols.join(", "))
}

/// A protocol's name and possibly its version (RFC 9110 §7.8).
fn protocol_name(text: &[u8]) -> Option<&str> {
    let mut parts = text.splitn(2, |byte| *byte == b'/');
    token(parts.next()?)?;
    if let Some(version) = parts.next() {
        token(version)?;
    }
    std::str::from_utf8(text).ok()
}

/// The head that goes to the far end.
pub(super) fn request(
    head: &RequestHead,
    forward: &Forward,
    length: Length,
    upgrade: Option<&str>,
) -> Vec<u8> {
    let mut out = format!(
        "{} {} HTTP/1.1\r\nHost: {}\r\n",
        head.method, forward.path, forward.host
    )
    .into_bytes();
    let mut ends_here = head.fields.list("Connection");
    ends_here.push("host".to_owned());
    if forward.max_forwards.is_some() {
        ends_here.push("max-forwards".to_owned());
    }
    if head.version == Version::Http10 {
        // RFC 9110 §10.1.1: the expectation of such a client is ignored.
        ends_here.push("expect".to_owned());
    }
    pass(&head.fields, &ends_here, length == Length::Chunked, &mut out);
    put_length(length, &mut out);
    if let Some(count) = forward.max_forwards {
        put_field(&mut out, "Max-Forwards", count.to_string().as_bytes());
    }
    let takes_trailers = head.fields.list("TE").iter().any(|coding| coding == "trailers");
    let options: Vec<_> = [
        takes_trailers.then_some("TE"),
        upgrade.is_some().then_some("Upgrade"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if takes_trailers {
        put_field(&mut out, "TE", b"trailers");
    }
    if let Some(protocols) = upgrade {
        put_field(&mut out, "Upgrade", protocols.as_bytes());
    }
    if !options.is_empty() {
        put_field(&mut out, "Connection", options.join(", ").as_bytes());
    }
    put_via(head.version, &mut out);
    out.extend_from_slice(b"\r\n");
    out
}

/// How a response goes on to the client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Onward {
    /// The framing of its body.
    pub(super) length: Length,
    /// Whether the client's connection ends behind it.
    pub(super) closes: bool,
    /// Whether it has a length that is told although there is no body (HEAD, 304).
    pub(super) tells_length: bool,
}

/// The head that goes to the client.
pub(super) fn response(head: &ResponseHead, onward: Onward) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {} ", head.status).into_bytes();
    out.extend_from_slice(&head.reason);
    out.extend_from_slice(b"\r\n");
    let ends_here = head.fields.list("Connection");
    pass(
        &head.fields,
        &ends_here,
        onward.length == Length::Chunked,
        &mut out,
    );
    put_length(onward.length, &mut out);
    if onward.tells_length
        && let Ok(Some(length)) = content_length(&head.fields)
    {
        put_length(Length::Exact(length), &mut out);
    }
    // RFC 9110 §15.2.2 and §15.5.22: these two say what the connection changes to, or has to.
    let mut options = Vec::new();
    if matches!(head.status, 101 | 426) {
        for protocols in head.fields.values("Upgrade") {
            put_field(&mut out, "Upgrade", protocols);
            options = vec!["Upgrade"];
        }
    }
    if onward.closes {
        options.push("close");
    }
    if !options.is_empty() {
        put_field(&mut out, "Connection", options.join(", ").as_bytes());
    }
    put_via(head.version, &mut out);
    out.extend_from_slice(b"\r\n");
    out
}

/// Appends the fields that are passed on as they are.
fn pass(fields: &Fields, ends_here: &[String], in_chunks: bool, out: &mut Vec<u8>) {
    for field in fields.iter() {
        let name = field.name.to_ascii_lowercase();
        let announces_trailers = name == "trailer" && in_chunks;
        if announces_trailers || !(NOT_PASSED.contains(&name.as_str()) || ends_here.contains(&name)) {
            put_field(out, &field.name, &field.value);
        }
    }
}

fn put_length(length: Length, out: &mut Vec<u8>) {
    match length {
        Length::None | Length::UntilClose => {}
        Length::Exact(bytes) => put_field(out, "Content-Length", bytes.to_string().as_bytes()),
        Length::Chunked => put_field(out, "Transfer-Encoding", b"chunked"),
    }
}

fn put_via(received: Version, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    write!(out, "Via: {} {NAME}\r\n", received.number()).unwrap_or_default();
}
