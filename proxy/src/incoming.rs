//! One local connection while its request is read.
//!
//! Reads are buffered, so that a request costs few system calls however its parser asks for bytes; what a parser did
//! not take stays here and goes to the flow. Nothing is read for its own sake behind a request's end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

use crate::connect::LocalSocket;
use crate::owner;

/// Bytes asked of the socket at a time: more than any SOCKS message and most HTTP heads.
const CHUNK_BYTES: usize = 2048;
/// Time for a last answer to be taken, and then for the client to close.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes thrown away while waiting for the client to close.
const LINGER_BYTES: usize = 64 * 1024;
/// Bytes kept of a client that does not wait until it is connected; the rest waits in its socket.
const EARLY_BYTES: usize = 64 * 1024;
/// First and longest pause between two looks at a client that says nothing more while its connection is opened.
const GLANCE: Duration = Duration::from_millis(200);
const GLANCE_MAX: Duration = Duration::from_secs(3);

/// A client's socket that can be handed over to a flow.
pub(crate) trait Local: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static {
    /// Takes the socket out of this runtime; it stays in non-blocking mode.
    fn hand_over(self) -> io::Result<LocalSocket>;

    /// Tells whether both ends still belong to each other: not after a reset.
    fn is_connected(&self) -> bool;

    /// Tells whether the client has closed both directions. A client that ended only its own is still there.
    fn is_closed(&self) -> impl Future<Output = bool> + Send;

    /// Closes so that the client sees a failure, where the socket knows one, and no orderly end.
    fn reset(self);
    /// The address that the client has reached, if it came by one.
    fn own_address(&self) -> Option<SocketAddr>;

    /// The address that the client has, if it came by one.
    fn peer_address(&self) -> Option<SocketAddr>;
}

impl Local for TcpStream {
    fn hand_over(self) -> io::Result<LocalSocket> {
        self.into_std().map(LocalSocket::Tcp)
    }

    fn is_connected(&self) -> bool {
        self.peer_addr().is_ok()
    }

    /// A closed socket and one that ended its direction send the same; what the kernel knows of the client's own
    /// socket tells them apart, if it is on this host.
    async fn is_closed(&self) -> bool {
        let (Ok(client), Ok(ours)) = (self.peer_addr(), self.local_addr()) else {
            return true;
        };
        client.ip().to_canonical().is_loopback() && owner::is_closed(client, ours).await
    }

    fn reset(self) {
        if let Err(error) = self.set_zero_linger() {
            tracing::trace!(%error, "client gone before it could be reset");
        }
    }

    fn own_address(&self) -> Option<SocketAddr> {
        self.local_addr().ok()
    }

    fn peer_address(&self) -> Option<SocketAddr> {
        self.peer_addr().ok()
    }
}

impl Local for UnixStream {
    fn hand_over(self) -> io::Result<LocalSocket> {
        self.into_std().map(LocalSocket::Unix)
    }

    fn is_connected(&self) -> bool {
        true
    }

    async fn is_closed(&self) -> bool {
        // What is known of the socket, without waiting: it is nearly always ready for one of both.
        let ready = self.ready(Interest::READABLE | Interest::WRITABLE).await;
        ready.is_ok_and(Ready::is_write_closed)
    }

    fn reset(self) {}

    fn own_address(&self) -> Option<SocketAddr> {
        None
    }

    fn peer_address(&self) -> Option<SocketAddr> {
        None
    }
}

/// A stream and the bytes that were read from it but not yet taken.
#[derive(Debug)]
pub(crate) struct Incoming<S> {
    stream: S,
    buf: Vec<u8>,
    taken: usize,
    /// The client has ended its direction.
    is_at_end: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Incoming<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self::with_waiting(stream, Vec::new())
    }

    /// A stream from which `waiting` was read already.
    pub(crate) fn with_waiting(stream: S, waiting: Vec<u8>) -> Self {
        Self {
            stream,
            buf: waiting,
            taken: 0,
            is_at_end: false,
        }
    }

    /// The connection itself.
    pub(crate) fn stream(&self) -> &S {
        &self.stream
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

    /// Waits until the client has gone for good; what it sends meanwhile is kept up to a limit. Cancel-safe.
    pub(crate) async fn hung_up(&mut self)
    where
        S: Local,
    {
        let mut pause = GLANCE;
        loop {
            let room = EARLY_BYTES.saturating_sub(self.waiting().len());
            if self.is_at_end || room == 0 {
                if self.stream.is_closed().await {
                    return;
                }
                sleep(pause).await;
                pause = (pause * 2).min(GLANCE_MAX);
            } else if let Err(error) = self.fill(room).await {
                tracing::trace!(%error, "client gone");
                return;
            }
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
        self.is_at_end |= space.filled().is_empty();
        Poll::Ready(Ok(space.filled().len()))
    }
}

impl<S: Local> Incoming<S> {
    /// Closes it without a word, so that the client can tell it from an end.
    pub(crate) fn reset(self) {
        self.stream.reset();
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
