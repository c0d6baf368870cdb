//! UDP sockets of the stack: a bounded inbox for each, filled by the stack and emptied by the control plane.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Datagrams that wait in one inbox.
const MAX_WAITING_DATAGRAMS: usize = 1024;
/// Bytes that wait in one inbox.
const MAX_WAITING_BYTES: usize = 2 * 1024 * 1024;
/// Bytes that wait in all inboxes of a stack.
const MAX_BYTES_OF_ALL: usize = 64 * 1024 * 1024;
/// What a datagram takes besides its payload, about.
const OVERHEAD_BYTES: usize = 64;

/// Bytes that wait in all inboxes of a stack.
#[derive(Clone, Debug, Default)]
pub(crate) struct InboxBytes(Arc<AtomicUsize>);

impl InboxBytes {
    fn take(&self, bytes: usize) -> bool {
        let taken = self.0.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if taken > MAX_BYTES_OF_ALL {
            self.give(bytes);
        }
        taken <= MAX_BYTES_OF_ALL
    }

    fn give(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Waiting {
    datagrams: VecDeque<(Vec<u8>, SocketAddr)>,
    bytes: usize,
    closed: bool,
    waker: Option<Waker>,
}

/// Datagrams for one socket; a full inbox drops the newest.
#[derive(Debug)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    all: InboxBytes,
}

impl Inbox {
    /// An inbox that shares its limit with those that have the same `all`.
    pub(crate) fn new(all: InboxBytes) -> Self {
        Self {
            waiting: Mutex::default(),
            all,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a datagram; false if there was no room.
    pub(crate) fn put(&self, payload: &[u8], from: SocketAddr) -> bool {
        let bytes = payload.len() + OVERHEAD_BYTES;
        let mut waiting = self.lock();
        if waiting.datagrams.len() >= MAX_WAITING_DATAGRAMS
            || waiting.bytes + bytes > MAX_WAITING_BYTES
            || !self.all.take(bytes)
        {
            return false;
        }
        waiting.bytes += bytes;
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
            let bytes = datagram.0.len() + OVERHEAD_BYTES;
            waiting.bytes -= bytes;
            self.all.give(bytes);
            return Poll::Ready(Some(datagram));
        }
        if waiting.closed {
            return Poll::Ready(None);
        }
        waiting.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let left = self.lock().bytes;
        self.all.give(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inboxes_are_bounded_each_and_together_and_give_their_room_back() {
        let all = InboxBytes::default();
        let from = "10.8.0.1:1".parse().unwrap();
        let full = || {
            let inbox = Inbox::new(all.clone());
            while inbox.put(&[0; 8000], from) {}
            inbox
        };
        let one = full();
        let held = one.lock().bytes;
        assert!(held <= MAX_WAITING_BYTES && held > MAX_WAITING_BYTES - 9000);
        let many: Vec<_> = (0..40).map(|_| full()).collect();
        let held = all.0.load(Ordering::Relaxed);
        assert!(
            held <= MAX_BYTES_OF_ALL && held > MAX_BYTES_OF_ALL - 9000,
            "{held}"
        );
        let mut context = Context::from_waker(Waker::noop());
        while one.poll_take(&mut context).is_ready() {}
        assert!(one.put(b"again", from));
        drop((one, many));
        assert_eq!(all.0.load(Ordering::Relaxed), 0);
    }
}
