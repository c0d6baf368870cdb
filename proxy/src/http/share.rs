//! The client's socket for both directions of an exchange at once. Owns nothing but the socket; no I/O of its own.
//!
//! Both directions belong to one task. Whoever asks whether the client has gone borrows the socket for that time, which
//! is short, and whoever wants to write meanwhile is woken afterwards.

use std::io;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::incoming::Local;

/// A socket that is read and written through shared references.
#[derive(Debug)]
pub(super) struct Shared<S>(Mutex<Slot<S>>);

#[derive(Debug)]
struct Slot<S> {
    /// `None` while it is lent.
    stream: Option<S>,
    /// The task that found it lent.
    waiting: Option<Waker>,
}

impl<S> Shared<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(Mutex::new(Slot {
            stream: Some(stream),
            waiting: None,
        }))
    }

    /// The socket; `None` where it was never given back, which [`Lent`] rules out.
    pub(super) fn into_inner(self) -> Option<S> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).stream
    }

    fn lock(&self) -> MutexGuard<'_, Slot<S>> {
        // Nothing that is done under this lock can leave half of it done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_with<T>(
        &self,
        cx: &mut Context<'_>,
        work: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T>
    where
        S: Unpin,
    {
        let mut slot = self.lock();
        if let Some(stream) = &mut slot.stream {
            return work(Pin::new(stream), cx);
        }
        slot.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<S: Local> Shared<S> {
    /// Tells whether the client has closed both directions. Cancel-safe.
    pub(super) async fn is_closed(&self) -> bool {
        let stream = self.lock().stream.take();
        let lent = Lent { owner: self, stream };
        match &lent.stream {
            Some(stream) => stream.is_closed().await,
            // Somebody else is asking.
            None => false,
        }
    }
}

/// A socket that goes back to its owner, however its use ends.
struct Lent<'a, S> {
    owner: &'a Shared<S>,
    stream: Option<S>,
}

impl<S> Drop for Lent<'_, S> {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        let mut slot = self.owner.lock();
        slot.stream = Some(stream);
        if let Some(waiting) = slot.waiting.take() {
            waiting.wake();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for &Shared<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_with(cx, |stream, cx| stream.poll_read(cx, out))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for &Shared<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_with(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_with(cx, S::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_with(cx, S::poll_shutdown)
    }
}
