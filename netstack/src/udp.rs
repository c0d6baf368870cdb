//! UDP sockets of the stack: a bounded inbox for each, filled by the stack and emptied by the control plane.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Datagrams that wait in one inbox.
const MAX_WAITING_DATAGRAMS: usize = 256;
/// Bytes that wait in one inbox.
const MAX_WAITING_BYTES: usize = 256 * 1024;

#[derive(Debug, Default)]
struct Waiting {
    datagrams: VecDeque<(Vec<u8>, SocketAddr)>,
    bytes: usize,
    closed: bool,
    waker: Option<Waker>,
}

/// Datagrams for one socket; a full inbox drops the newest.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a datagram; false if there was no room.
    pub(crate) fn put(&self, payload: &[u8], from: SocketAddr) -> bool {
        let mut waiting = self.lock();
        if waiting.datagrams.len() >= MAX_WAITING_DATAGRAMS
            || waiting.bytes + payload.len() > MAX_WAITING_BYTES
        {
            return false;
        }
        waiting.bytes += payload.len();
        waiting.datagrams.push_back((payload.to_vec(), from));
        let waker = waiting.waker.take();
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Says that nothing comes any more.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let waker = waiting.waker.take();
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn poll_take(&self, context: &mut Context<'_>) -> Poll<Option<(Vec<u8>, SocketAddr)>> {
        let mut waiting = self.lock();
        if let Some(datagram) = waiting.datagrams.pop_front() {
            waiting.bytes -= datagram.0.len();
            return Poll::Ready(Some(datagram));
        }
        if waiting.closed {
            return Poll::Ready(None);
        }
        waiting.waker = Some(context.waker().clone());
        Poll::Pending
    }
}
