//! Lines of limited length from a socket, in memory that is wiped: a line may hold a password.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use zeroize::Zeroizing;

use super::LINE_BYTES;

/// Reads lines.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    buf: Zeroizing<Vec<u8>>,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line without its end.
    Text(Zeroizing<Vec<u8>>),
    /// More than a line may have.
    TooLong,
    /// Nothing follows.
    End,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            // Whole from the start: a buffer that grows leaves copies behind.
            buf: Zeroizing::new(Vec::with_capacity(LINE_BYTES)),
        }
    }

    /// The next line; one that has no end yet when the socket ends is none. Cancel-safe.
    ///
    /// # Errors
    /// The socket fails.
    pub(super) async fn next(&mut self) -> io::Result<Line> {
        loop {
            if let Some(end) = self.buf.iter().position(|byte| *byte == b'\n') {
                let mut line = Zeroizing::new(Vec::with_capacity(end));
                line.extend(self.buf.iter().take(end));
                self.buf.drain(..=end);
                return Ok(Line::Text(line));
            }
            let room = LINE_BYTES.saturating_sub(self.buf.len());
            if room == 0 {
                return Ok(Line::TooLong);
            }
            let got = (&mut self.reader)
                .take(room as u64)
                .read_buf(&mut *self.buf)
                .await?;
            if got == 0 {
                return Ok(Line::End);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(input: &[u8]) -> Vec<Line> {
        let mut lines = Lines::new(input);
        let mut found = Vec::new();
        loop {
            match lines.next().await.unwrap() {
                line @ Line::Text(_) => found.push(line),
                last @ (Line::TooLong | Line::End) => {
                    found.push(last);
                    return found;
                }
            }
        }
    }

    fn text(line: &[u8]) -> Line {
        Line::Text(Zeroizing::new(line.to_vec()))
    }

    #[tokio::test]
    async fn lines_end_with_a_line_feed() {
        assert_eq!(
            all(b"one\n\ntwo\nthree").await,
            [text(b"one"), text(b""), text(b"two"), Line::End]
        );
    }

    #[tokio::test]
    async fn a_line_without_end_is_read_up_to_the_limit() {
        assert_eq!(all(&vec![b'x'; 2 * LINE_BYTES]).await, [Line::TooLong]);
        let mut longest = vec![b'x'; LINE_BYTES - 1];
        longest.push(b'\n');
        assert_eq!(all(&longest).await, [text(&longest[..LINE_BYTES - 1]), Line::End]);
    }
}
