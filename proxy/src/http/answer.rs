//! The answers this port gives itself: a status, a few fields, a short text. Each ends its connection.

use std::fmt::Write as _;

/// An answer under construction.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    fields: String,
    text: String,
    with_body: bool,
}

impl Answer {
    /// An answer with this status, which says `text`.
    pub(super) fn new(status: u16, text: impl Into<String>) -> Self {
        Self {
            status,
            fields: String::new(),
            text: text.into(),
            with_body: true,
        }
    }

    /// Adds a field. Neither part may hold a line end; both come from this crate.
    pub(super) fn field(mut self, name: &str, value: &str) -> Self {
        // Writing to a string cannot fail.
        write!(self.fields, "{name}: {value}\r\n").unwrap_or_default();
        self
    }

    /// Leaves the text out, as for HEAD; its length is still told.
    pub(super) fn head_only(mut self, head_only: bool) -> Self {
        self.with_body = !head_only;
        self
    }

    /// The bytes on the wire.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Self {
            status,
            fields,
            text,
            with_body,
        } = self;
        let body = format!("{text}\n");
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} {phrase}\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\n\
             Cache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\n\
             {fields}\
             Connection: close\r\n\r\n",
            phrase = phrase(*status)
        );
        let mut bytes = head.into_bytes();
        if *with_body {
            bytes.extend_from_slice(body.as_bytes());
        }
        bytes
    }
}

/// The reason phrases of the statuses in use (RFC 9110 §15).
fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}
