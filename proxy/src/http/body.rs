//! How long a body is (RFC 9112 §6), and the bytes of one on their way from one framing into another. No I/O.
//!
//! A length that two readers could understand differently is an error here: that is what request smuggling is made of.

use std::io::Write as _;

use super::chunked::{ChunkError, Decoder, Step};
use super::fields::keep_allowed_trailers;
use super::head::{Fields, RequestHead, ResponseHead, Version};

/// Most digits of a length: as many as 2⁶⁴ has.
const LENGTH_DIGITS: usize = 20;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// There is no body, and nothing says how long it is.
    None,
    /// As many bytes as `Content-Length` says.
    Exact(u64),
    /// Chunks, the last of which is empty.
    Chunked,
    /// Everything up to the end of the connection; responses only.
    UntilClose,
}

impl Length {
    /// Whether no byte of a body follows the head.
    pub(super) fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Exact(0))
    }
}

/// Why a body's length is not clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FramingError {
    #[error("both Content-Length and Transfer-Encoding, send one of them")]
    Both,
    #[error("Content-Length is not one plain decimal number")]
    ContentLength,
    #[error("Transfer-Encoding is not exactly `chunked`")]
    TransferEncoding,
    #[error("Transfer-Encoding in HTTP/1.0, which has none")]
    Version,
}

/// The length of a request's body (RFC 9112 §6.3).
pub(super) fn request_length(head: &RequestHead) -> Result<Length, FramingError> {
    Ok(declared(&head.fields, head.version)?.unwrap_or(Length::None))
}

/// The length of the body of the response to a request with `method` (RFC 9112 §6.3).
pub(super) fn response_length(head: &ResponseHead, method: &str) -> Result<Length, FramingError> {
    let declared = declared(&head.fields, head.version)?;
    let is_bare = method == "HEAD" || matches!(head.status, 100..=199 | 204 | 304);
    Ok(match declared {
        _ if is_bare => Length::None,
        Some(length) => length,
        None => Length::UntilClose,
    })
}

/// What `Content-Length` says, if it says something clear.
pub(super) fn content_length(fields: &Fields) -> Result<Option<u64>, FramingError> {
    let mut values = fields.values("Content-Length");
    let Some(first) = values.next() else {
        return Ok(None);
    };
    // Identical lines say the same to everybody; one of them is passed on.
    if values.any(|other| other != first) || first.len() > LENGTH_DIGITS {
        return Err(FramingError::ContentLength);
    }
    let number = std::str::from_utf8(first)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok());
    number.map(Some).ok_or(FramingError::ContentLength)
}

fn declared(fields: &Fields, version: Version) -> Result<Option<Length>, FramingError> {
    let length = content_length(fields)?;
    let mut codings = fields.values("Transfer-Encoding");
    let Some(coding) = codings.next() else {
        return Ok(length.map(Length::Exact));
    };
    if length.is_some() {
        return Err(FramingError::Both);
    }
    if version == Version::Http10 {
        return Err(FramingError::Version);
    }
    if codings.next().is_some() || !coding.eq_ignore_ascii_case(b"chunked") {
        return Err(FramingError::TransferEncoding);
    }
    Ok(Some(Length::Chunked))
}

/// A body on its way.
#[derive(Debug)]
pub(crate) struct Body {
    source: Source,
    /// Whether it goes out in chunks.
    as_chunks: bool,
}

#[derive(Debug)]
enum Source {
    Exact { left: u64 },
    Chunked(Box<Decoder>),
    UntilClose,
    Ended,
}

impl Body {
    /// A body that arrives with `length` and goes out in chunks or as it is.
    pub(crate) fn new(length: Length, as_chunks: bool) -> Self {
        let source = match length {
            Length::None | Length::Exact(0) => Source::Ended,
            Length::Exact(left) => Source::Exact { left },
            Length::Chunked => Source::Chunked(Box::default()),
            Length::UntilClose => Source::UntilClose,
        };
        Self { source, as_chunks }
    }

    /// Whether all of it has been taken.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.source, Source::Ended)
    }

    /// Whether the end of the connection is its proper end.
    pub(super) fn ends_with_connection(&self) -> bool {
        matches!(self.source, Source::Ended | Source::UntilClose)
    }

    /// Takes what it can from `input`, appends what goes out to `out`, and says how much it took. What it leaves is
    /// either behind the body or an incomplete line.
    pub(crate) fn advance(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, ChunkError> {
        match &mut self.source {
            Source::Ended => Ok(0),
            Source::UntilClose => {
                put_data(out, input, self.as_chunks);
                Ok(input.len())
            }
            Source::Exact { left } => {
                let count = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                put_data(out, input.get(..count).unwrap_or_default(), self.as_chunks);
                *left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
                if *left == 0 {
                    self.source = Source::Ended;
                }
                Ok(count)
            }
            Source::Chunked(decoder) => {
                let mut taken = 0;
                loop {
                    let rest = input.get(taken..).unwrap_or_default();
                    let (skip, step) = decoder.decode(rest)?;
                    taken += skip;
                    match step {
                        Step::More => return Ok(taken),
                        Step::Data(count) => {
                            let data = input.get(taken..taken + count).unwrap_or_default();
                            put_data(out, data, self.as_chunks);
                            taken += count;
                        }
                        Step::End(mut trailers) => {
                            keep_allowed_trailers(&mut trailers);
                            put_end(out, &trailers, self.as_chunks);
                            self.source = Source::Ended;
                            return Ok(taken);
                        }
                    }
                }
            }
        }
    }
}

/// The last chunk, without trailers.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

fn put_end(out: &mut Vec<u8>, trailers: &Fields, as_chunks: bool) {
    if as_chunks {
        out.extend_from_slice(b"0\r\n");
        trailers.encode(out);
        out.extend_from_slice(b"\r\n");
    }
}

fn put_data(out: &mut Vec<u8>, data: &[u8], as_chunks: bool) {
    if data.is_empty() {
        // An empty chunk would be the last one.
        return;
    }
    if as_chunks {
        // Writing to a vector cannot fail.
        write!(out, "{:x}\r\n", data.len()).unwrap_or_default();
    }
    out.extend_from_slice(data);
    if as_chunks {
        out.extend_from_slice(b"\r\n");
    }
}
