//! The answers this port gives itself: a status, a few fields, a short body.

use std::fmt::Write as _;

/// What a browser may do with an answer of this port unless it says something else itself: nothing.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// An answer under construction.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    content_type: &'static str,
    fields: String,
    body: Vec<u8>,
    with_body: bool,
    with_policy: bool,
}

impl Answer {
    /// An answer with this status, which says `text`.
    pub(super) fn new(status: u16, text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.push('\n');
        Self::with_body(status, "text/plain; charset=utf-8", text.into_bytes())
    }

    /// An answer with this status and body.
    pub(super) fn with_body(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type,
            fields: String::new(),
            body,
            with_body: true,
            with_policy: true,
        }
    }

    /// Adds a field. A part with a line end in it is left out as a whole, so that nothing can be put behind it.
    pub(super) fn field(mut self, name: &str, value: &str) -> Self {
        let is_safe = |text: &str| !text.bytes().any(|byte| byte.is_ascii_control());
        if is_safe(name) && is_safe(value) {
            // Writing to a string cannot fail.
            write!(self.fields, "{name}: {value}\r\n").unwrap_or_default();
            self.with_policy &= !name.eq_ignore_ascii_case("Content-Security-Policy");
        }
        self
    }

    /// Leaves the body out, as for HEAD; its length is still told.
    pub(super) fn head_only(mut self, head_only: bool) -> Self {
        self.with_body = !head_only;
        self
    }

    /// The bytes on the wire of the last answer on its connection.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.encode(true)
    }

    /// The bytes on the wire, which say whether the connection ends behind them.
    pub(super) fn encode(&self, closes: bool) -> Vec<u8> {
        let Self {
            status,
            content_type,
            fields,
            body,
            with_body,
            with_policy,
        } = self;
        let mut head = format!(
            "HTTP/1.1 {status} {phrase}\r\n\
             Content-Type: {content_type}\r\n\
             Content-Length: {length}\r\n\
             Cache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\n\
             Referrer-Policy: no-referrer\r\n\
             X-Frame-Options: DENY\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\n\
             {fields}",
            phrase = phrase(*status),
            length = body.len(),
        );
        if *with_policy {
            write!(head, "Content-Security-Policy: {POLICY}\r\n").unwrap_or_default();
        }
        head.push_str(if closes {
            "Connection: close\r\n\r\n"
        } else {
            "\r\n"
        });
        let mut bytes = head.into_bytes();
        if *with_body {
            bytes.extend_from_slice(body);
        }
        bytes
    }
}

/// The reason phrases of the statuses in use (RFC 9110 §15).
fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        414 => "URI Too Long",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Other",
    }
}
