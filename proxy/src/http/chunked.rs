//! The chunked coding (RFC 9112 §7.1) as a state machine over bytes. No I/O, no buffers of its own.
//!
//! Extensions are dropped; nothing but a plain hexadecimal size is taken.

use super::head::{Fields, Syntax, decode_fields};

/// Longest line with a size, extensions included.
const LINE_BYTES: usize = 256;
/// Most digits of a size: as many as 2⁶⁴ has.
const SIZE_DIGITS: usize = 16;
/// Longest block of trailer fields.
const TRAILER_BYTES: usize = 8 * 1024;
/// Most trailer fields.
const TRAILER_FIELDS: usize = 32;

/// Why bytes are no chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkError {
    #[error("a chunk's size is not a plain hexadecimal number with CR LF behind it")]
    Size,
    #[error("a chunk's first line has more than {LINE_BYTES} bytes")]
    LineTooLong,
    #[error("a chunk is longer than its size says")]
    End,
    #[error("malformed trailer fields ({0})")]
    Trailers(Syntax),
    #[error("the trailer fields have more than {TRAILER_BYTES} bytes")]
    TrailersTooLong,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing without more bytes.
    More,
    /// This many bytes of data, of which at least one; they count as taken.
    Data(usize),
    /// The end of the body, and the fields behind it.
    End(Fields),
}

/// Where in the coding the next byte stands.
#[derive(Debug, Default)]
pub(super) enum Decoder {
    /// In a line with a size.
    #[default]
    Size,
    /// In data.
    Data { left: u64 },
    /// In the line end behind data.
    DataEnd,
    /// In the trailer fields.
    Trailers,
}

impl Decoder {
    /// Looks at what follows the bytes taken so far. Says how many bytes of framing to skip, and what stands behind
    /// them.
    pub(super) fn decode(&mut self, input: &[u8]) -> Result<(usize, Step), ChunkError> {
        let mut taken = 0;
        loop {
            let rest = input.get(taken..).unwrap_or_default();
            match self {
                Self::Size => {
                    let Some((size, bytes)) = size_line(rest)? else {
                        return Ok((taken, Step::More));
                    };
                    taken += bytes;
                    *self = match size {
                        0 => Self::Trailers,
                        left => Self::Data { left },
                    };
                }
                Self::Data { .. } if rest.is_empty() => return Ok((taken, Step::More)),
                Self::Data { left } => {
                    let count = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    return Ok((taken, Step::Data(count)));
                }
                Self::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        taken += 2;
                        *self = Self::Size;
                    }
                    [] | [b'\r'] => return Ok((taken, Step::More)),
                    [..] => return Err(ChunkError::End),
                },
                Self::Trailers => return trailers(rest, taken),
            }
        }
    }
}

/// Reads the size and the length of its line; `None` while the line is incomplete.
fn size_line(input: &[u8]) -> Result<Option<(u64, usize)>, ChunkError> {
    let line_feed = input.iter().take(LINE_BYTES).position(|byte| *byte == b'\n');
    let Some(end) = line_feed else {
        return match input.len() {
            0..LINE_BYTES => Ok(None),
            _ => Err(ChunkError::LineTooLong),
        };
    };
    let line = input
        .get(..end)
        .and_then(|line| line.strip_suffix(b"\r"))
        .ok_or(ChunkError::Size)?;
    let digits = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
    let (size, extension) = line.split_at(digits);
    if extension
        .iter()
        .any(|byte| byte.is_ascii_control() && *byte != b'\t')
    {
        return Err(ChunkError::Size);
    }
    let is_size = !size.is_empty() && size.len() <= SIZE_DIGITS && size.iter().all(u8::is_ascii_hexdigit);
    let size = std::str::from_utf8(size)
        .ok()
        .filter(|_| is_size)
        .and_then(|size| u64::from_str_radix(size, 16).ok())
        .ok_or(ChunkError::Size)?;
    Ok(Some((size, end + 1)))
}

fn trailers(input: &[u8], taken: usize) -> Result<(usize, Step), ChunkError> {
    let limited = input.get(..TRAILER_BYTES).unwrap_or(input);
    match decode_fields(limited, TRAILER_FIELDS).map_err(ChunkError::Trailers)? {
        Some((fields, bytes)) => Ok((taken + bytes, Step::End(fields))),
        None if input.len() >= TRAILER_BYTES => Err(ChunkError::TrailersTooLong),
        None => Ok((taken, Step::More)),
    }
}
