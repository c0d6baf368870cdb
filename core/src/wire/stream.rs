//! Packets on a TCP stream: two bytes of length, then the packet (reference section 1.1).

use super::WireError;

/// Bytes that the length takes.
pub const PREFIX_BYTES: usize = 2;

/// The length prefix of a packet, or an error if it needs more than 16 bits or is empty.
pub fn frame(len: usize) -> Result<[u8; PREFIX_BYTES], WireError> {
    let limit = usize::from(u16::MAX);
    match u16::try_from(len) {
        Ok(len) if len > 0 => Ok(len.to_be_bytes()),
        Ok(_) | Err(_) => Err(WireError::FrameLength { len, limit }),
    }
}

/// Cuts a byte stream into packets, in one buffer of fixed size.
///
/// Read into [`Framer::space`] and tell [`Framer::advance`] how much came (or copy with [`Framer::feed`]), then
/// take packets with [`Framer::next_packet`] until there is none. After an error the stream is out of step for
/// good: every later call fails the same way.
#[derive(Debug)]
pub struct Framer {
    buf: Box<[u8]>,
    start: usize,
    end: usize,
    limit: usize,
}

impl Framer {
    /// Room for many packets a read; less than that gives many small reads.
    const CAPACITY: usize = 32 * 1024;

    /// A framer for packets of at most `limit` bytes, with a buffer of 32 KiB or more.
    pub fn new(limit: usize) -> Self {
        Self::with_capacity(limit, Self::CAPACITY)
    }

    /// A framer for packets of at most `limit` bytes, with a buffer of `capacity` bytes, or of one packet if that is more.
    pub fn with_capacity(limit: usize, capacity: usize) -> Self {
        let limit = limit.clamp(1, usize::from(u16::MAX));
        Self {
            buf: vec![0; capacity.max(limit + PREFIX_BYTES)].into_boxed_slice(),
            start: 0,
            end: 0,
            limit,
        }
    }

    /// Where to read the next bytes of the stream to; empty only while a whole packet waits to be taken.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.buf.get_mut(self.end..).unwrap_or_default()
    }

    /// Takes note that `n` bytes were read to [`Framer::space`].
    pub fn advance(&mut self, n: usize) {
        self.end = self.end.saturating_add(n).min(self.buf.len());
    }

    /// Copies as many of `bytes` as fit and tells how many; take packets before feeding the rest.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        for (to, from) in self.space().iter_mut().zip(bytes) {
            *to = *from;
            taken += 1;
        }
        self.advance(taken);
        taken
    }

    /// Takes the next whole packet, to be opened in place.
    ///
    /// # Errors
    /// A length of 0 or above the limit: close the stream.
    pub fn next_packet(&mut self) -> Result<Option<&mut [u8]>, WireError> {
        let waiting = self.buf.get(self.start..self.end).unwrap_or_default();
        let Some((prefix, body)) = waiting.split_first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes(*prefix));
        if len == 0 || len > self.limit {
            return Err(WireError::FrameLength {
                len,
                limit: self.limit,
            });
        }
        if body.len() < len {
            return Ok(None);
        }
        let from = self.start + PREFIX_BYTES;
        self.start = from + len;
        Ok(self.buf.get_mut(from..from + len))
    }
}

#[cfg(test)]
mod tests;
