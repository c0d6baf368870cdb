//! Signals that leave in order and one at a time, without anybody waiting for them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinHandle};

use super::{call::Body, connection::Bus};

/// Signals that wait to be sent.
const CAPACITY: usize = 4096;
/// Of these, kept for what is [`Urgency::State`]: a flood of log lines leaves room for what clients act upon.
const KEPT_FOR_STATE: usize = 1024;
/// Longest wait for what is queued at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// What becomes of a signal when many wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Clients act upon it: it is dropped last.
    State,
    /// It can be done without.
    Line,
}

/// One signal to one connection.
#[derive(Debug)]
pub(crate) struct Posted {
    pub(crate) to: String,
    pub(crate) path: String,
    pub(crate) interface: &'static str,
    pub(crate) name: &'static str,
    pub(crate) body: Body,
}

/// The way to the task that sends.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    queue: mpsc::Sender<Posted>,
    dropped: Arc<AtomicU64>,
}

/// The task that sends; it ends when every [`Outbox`] is gone.
#[derive(Debug)]
pub(crate) struct Sending(JoinHandle<()>);

impl Outbox {
    /// Starts the task.
    pub(crate) fn start(bus: &Bus) -> (Self, Sending) {
        let (queue, mut posted) = mpsc::channel::<Posted>(CAPACITY);
        let bus = bus.clone();
        let task = tokio::spawn(async move {
            while let Some(next) = posted.recv().await {
                bus.signal(Some(&next.to), &next.path, next.interface, next.name, next.body)
                    .await;
            }
        });
        (Self::over(queue), Sending(task))
    }

    fn over(queue: mpsc::Sender<Posted>) -> Self {
        Self {
            queue,
            dropped: Arc::default(),
        }
    }

    /// Queues a signal; drops and counts it where too many wait.
    pub(crate) fn post(&self, urgency: Urgency, signal: Posted) {
        let is_full = urgency == Urgency::Line && self.queue.capacity() <= KEPT_FOR_STATE;
        if is_full || self.queue.try_send(signal).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells whether any was dropped since the last question.
    pub(crate) fn has_dropped(&self) -> bool {
        self.dropped.load(Ordering::Relaxed) > 0
    }

    /// How many were dropped since the last question.
    pub(crate) fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

impl Sending {
    /// Waits until all is sent, but not for a bus that takes nothing.
    pub(crate) async fn finish(mut self) {
        if tokio::time::timeout(FLUSH_TIMEOUT, &mut self.0).await.is_err() {
            self.0.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal() -> Posted {
        Posted {
            to: ":1.1".to_owned(),
            path: "/".to_owned(),
            interface: "a.b",
            name: "Log",
            body: Body::none(),
        }
    }

    #[test]
    fn lines_leave_room_for_state_and_what_does_not_fit_is_counted() {
        let (queue, _posted) = mpsc::channel(CAPACITY);
        let outbox = Outbox::over(queue);
        for _ in 0..CAPACITY {
            outbox.post(Urgency::Line, signal());
        }
        assert_eq!(outbox.take_dropped(), KEPT_FOR_STATE as u64);
        for _ in 0..=KEPT_FOR_STATE {
            outbox.post(Urgency::State, signal());
        }
        assert_eq!(outbox.take_dropped(), 1);
        assert_eq!(outbox.take_dropped(), 0);
    }
}
