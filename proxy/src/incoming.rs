//! One local connection while its request is read.
//!
//! Reads are buffered, so that a request costs few system calls however its parser asks for bytes; what a parser did
//! not take stays here and goes to the flow. Nothing is read for its own sake behind a request's end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::connect::LocalSocket;

/// Bytes asked of the socket at a time: more than any SOCKS message and most HTTP heads.
const CHUNK_BYTES: usize = 2048;
/// Time for a last answer to be taken, and then for the client to close.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes thrown away while waiting for the client to close.
const LINGER_BYTES: usize = 64 * 1024;

/// A client's socket that can be handed over to a flow.
pub(crate) trait Local: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Takes the socket out of this runtime; it stays in non-blocking mode.
    fn hand_over(self) -> io::Result<LocalSocket>;
}

impl Local for TcpStream {
    fn hand_over(self) -> io::Result<LocalSocket> {
        self.into_std().map(LocalSocket::Tcp)
    }
}

impl Local for UnixStream {
    fn hand_over(self) -> io::Result<LocalSocket> {
        self.into_std().map(LocalSocket::Unix)
    }
}

/// A stream and the bytes that were read from it but not yet taken.
#[derive(Debug)]
pub(crate) struct Incoming<S> {
    stream: S,
    buf: Vec<u8>,
    taken: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Incoming<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            buf: Vec::new(),
            taken: 0,
        }
    }

    /// What was read and not taken yet.
    pub(crate) fn waiting(&self) -> &[u8] {
        self.buf.get(self.taken..).unwrap_or_default()
    }

    /// Takes `count` of the waiting bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        self.taken = self.taken.saturating_add(count).min(self.buf.len());
    }

    /// Reads at most `limit` more bytes behind the waiting ones; 0 means that the client has ended its direction.
    pub(crate) async fn fill(&mut self, limit: usize) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx, limit)).await
    }

    /// The first byte, which stays waiting; `None` when the client closed without a word.
    pub(crate) async fn first(&mut self) -> io::Result<Option<u8>> {
        if self.waiting().is_empty() {
            self.fill(CHUNK_BYTES).await?;
        }
        Ok(self.waiting().first().copied())
    }

    /// Writes a last answer and closes so that the answer arrives: a socket closed with unread bytes would be reset,
    /// and the reset may overtake the answer.
    pub(crate) async fn answer_and_close(mut self, answer: &[u8]) {
        let farewell = async {
            self.stream.write_all(answer).await?;
            self.stream.shutdown().await?;
            let mut left = LINGER_BYTES;
            while left > 0 {
                let read = self.fill(left).await?;
                if read == 0 {
                    break;
                }
                self.consume(self.waiting().len());
                left = left.saturating_sub(read);
            }
            io::Result::Ok(())
        };
        if let Ok(Err(error)) = timeout(LINGER, farewell).await {
            tracing::trace!(%error, "client gone before its answer");
        }
    }

    /// The stream, and the bytes behind the request.
    pub(crate) fn into_parts(mut self) -> (S, Vec<u8>) {
        self.buf.drain(..self.taken);
        (self.stream, self.buf)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        let mut chunk = [0; CHUNK_BYTES];
        let mut space = ReadBuf::new(chunk.get_mut(..limit.min(CHUNK_BYTES)).unwrap_or_default());
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space))?;
        self.buf.drain(..self.taken);
        self.taken = 0;
        self.buf.extend_from_slice(space.filled());
        Poll::Ready(Ok(space.filled().len()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Incoming<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.waiting().is_empty() {
            ready!(self.poll_fill(cx, CHUNK_BYTES))?;
        }
        let count = self.waiting().len().min(out.remaining());
        out.put_slice(self.waiting().get(..count).unwrap_or_default());
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Incoming<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
