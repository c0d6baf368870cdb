//! Reading and writing with bounds: a direction's bytes that were read and not yet taken, and bodies from one
//! connection to another.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::ready;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{sleep, timeout};

use super::body::Body;
use super::chunked::ChunkError;
use super::share::Shared;
use crate::incoming::Local;

/// Bytes asked of a socket at a time while a head is awaited: nothing is kept for a connection that says nothing.
const HEAD_CHUNK_BYTES: usize = 2048;
/// Bytes asked of a socket at a time while a body passes.
const BODY_CHUNK_BYTES: usize = 16 * 1024;
/// Longest time in which a reader takes not one byte of what waits for it. Far ends are given up by the flow, whose
/// own limit is as long; this is for the side that no flow watches.
const STALL: Duration = Duration::from_hours(2);
/// Pause between two looks at a client that says nothing more: a far end works in vain no longer than this.
const GLANCE: Duration = Duration::from_secs(1);

/// One direction of a connection, and what was read from it but not yet taken.
#[derive(Debug)]
pub(super) struct Reader<R> {
    stream: R,
    buf: Vec<u8>,
    taken: usize,
    /// The other side has ended its direction.
    is_at_end: bool,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(stream: R, buf: Vec<u8>) -> Self {
        Self {
            stream,
            buf,
            taken: 0,
            is_at_end: false,
        }
    }

    /// What was read and not taken yet.
    pub(super) fn waiting(&self) -> &[u8] {
        self.buf.get(self.taken..).unwrap_or_default()
    }

    /// Takes `count` of the waiting bytes.
    pub(super) fn consume(&mut self, count: usize) {
        self.taken = self.taken.saturating_add(count).min(self.buf.len());
        if self.taken == self.buf.len() {
            self.taken = 0;
            // What a body has needed is not kept until the next one.
            self.buf = Vec::new();
        }
    }

    /// Reads at most `limit` more bytes behind the waiting ones; 0 means that the other side has ended its direction.
    /// Cancel-safe.
    pub(super) async fn fill(&mut self, limit: usize) -> io::Result<usize> {
        poll_fn(|cx| {
            let mut chunk = [0; HEAD_CHUNK_BYTES];
            let mut space = ReadBuf::new(chunk.get_mut(..limit.min(HEAD_CHUNK_BYTES)).unwrap_or_default());
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space))?;
            self.buf.extend_from_slice(space.filled());
            self.is_at_end |= space.filled().is_empty();
            Ok(space.filled().len()).into()
        })
        .await
    }

    /// The same for a body.
    async fn fill_body(&mut self) -> io::Result<usize> {
        self.buf.drain(..self.taken);
        self.taken = 0;
        self.buf.reserve(BODY_CHUNK_BYTES);
        let mut limited = (&mut self.stream).take(u64::try_from(BODY_CHUNK_BYTES).unwrap_or(u64::MAX));
        let count = limited.read_buf(&mut self.buf).await?;
        self.is_at_end |= count == 0;
        Ok(count)
    }

    /// Whether nothing more comes and everything that came was taken.
    pub(super) fn has_ended(&self) -> bool {
        self.is_at_end && self.waiting().is_empty()
    }

    /// Reads until the other side has ended its direction, or `limit` bytes wait. Cancel-safe.
    pub(super) async fn read_ahead(&mut self, limit: usize) -> io::Result<()> {
        loop {
            let room = limit.saturating_sub(self.waiting().len());
            if self.is_at_end || room == 0 {
                return Ok(());
            }
            self.fill(room).await?;
        }
    }

    /// The stream, and the bytes that wait.
    pub(super) fn into_parts(mut self) -> (R, Vec<u8>) {
        self.buf.drain(..self.taken);
        (self.stream, self.buf)
    }
}

impl<S: Local> Reader<&Shared<S>> {
    /// Waits until the client has gone for good; what it sends meanwhile waits, up to `limit` bytes. One that has only
    /// ended its own direction is still there (RFC 9112 §9.6). Cancel-safe.
    pub(super) async fn gone(&mut self, limit: usize) {
        if let Err(error) = self.read_ahead(limit).await {
            tracing::trace!(%error, "client gone");
            return;
        }
        while !self.stream.is_closed().await {
            sleep(GLANCE).await;
        }
    }
}

/// Why a body stopped on its way.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyError {
    #[error("its sender failed or ended too early")]
    Source(#[source] io::Error),
    #[error("its chunks are malformed")]
    Malformed(#[source] ChunkError),
    #[error("its reader is gone")]
    Sink(#[source] io::Error),
}

/// Writes `out`, then passes `body` on to its end. Holds no more than one read's bytes, so that the slower side sets
/// the pace.
pub(super) async fn copy<R, W>(
    from: &mut Reader<R>,
    to: &mut W,
    mut body: Body,
    mut out: Vec<u8>,
) -> Result<(), CopyError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        let taken = body.advance(from.waiting(), &mut out);
        // What was good before the error goes out first; the error ends the message either way.
        write(to, &out).await.map_err(CopyError::Sink)?;
        out.clear();
        from.consume(taken.map_err(CopyError::Malformed)?);
        if body.has_ended() {
            return Ok(());
        }
        match from.fill_body().await.map_err(CopyError::Source)? {
            0 if body.ends_with_connection() => return Ok(()),
            0 => return Err(CopyError::Source(io::ErrorKind::UnexpectedEof.into())),
            _ => {}
        }
    }
}

/// Writes all of it, as long as the other side takes any of it.
pub(super) async fn write<W: AsyncWrite + Unpin>(to: &mut W, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = timeout(STALL, to.write(bytes)).await??;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}

/// Passes on whatever comes, and its end.
pub(super) async fn copy_raw<R, W>(from: &mut Reader<R>, to: &mut W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        write(to, from.waiting()).await?;
        from.consume(from.waiting().len());
        if from.fill_body().await? == 0 {
            return to.shutdown().await;
        }
    }
}
