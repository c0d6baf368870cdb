//! One connection to a far end that carries requests, one after the other.
//!
//! It is a flow like any other: one end of a pair of Unix sockets goes to the flow's relay, the other is read and
//! written here. The relay is a future that whoever waits for the connection carries along ([`Relay::drive`]), so that
//! no task outlives its client's.

use std::fmt;
use std::future::{poll_fn, ready};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep_until, timeout};

use super::wire::Reader;
use crate::connect::{Flow, LocalSocket, Meter, RelayEnd, RelayReason, Target};
use crate::connections::Tracked;
use crate::stats::Stats;

/// Longest time that a connection waits for another request, shorter than what servers allow theirs: a request that
/// meets a server's end costs a retry.
const IDLE: Duration = Duration::from_secs(15);
/// Longest time to let a connection end by itself that is not needed any more, and to learn how it ended.
const FAREWELL: Duration = Duration::from_millis(500);

/// The flow's relay while it runs, and how it ended.
pub(super) struct Relay {
    running: Pin<Box<dyn Future<Output = RelayEnd> + Send>>,
    end: Option<RelayEnd>,
}

impl Relay {
    /// Runs `work` and the relay beside it. The relay's end does not end the work, which sees the end of its socket.
    pub(super) async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if self.end.is_none()
                && let Poll::Ready(end) = self.running.as_mut().poll(cx)
            {
                self.end = Some(end);
            }
            work.as_mut().poll(cx)
        })
        .await
    }

    /// Waits a little for the end, and says why it came; `None` when it did not.
    pub(super) async fn ended(&mut self) -> Option<RelayReason> {
        if self.end.is_none()
            && let Ok(end) = timeout(FAREWELL, &mut self.running).await
        {
            self.end = Some(end);
        }
        self.end.map(|end| end.reason)
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// An open connection to a far end. Dropping it resets the far end's side.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) target: Target,
    pub(super) reader: Reader<OwnedReadHalf>,
    pub(super) writer: OwnedWriteHalf,
    pub(super) relay: Relay,
    pub(super) tracked: Tracked,
    meter: Arc<dyn Meter>,
    stats: Arc<Stats>,
    idle_until: Instant,
}

impl Upstream {
    /// Joins a flow that was just opened.
    pub(super) fn open<F: Flow>(
        flow: F,
        target: Target,
        tracked: Tracked,
        stats: Arc<Stats>,
    ) -> io::Result<Self> {
        let (near, far) = UnixStream::pair()?;
        let far = far.into_std()?;
        let meter = flow.meter();
        tracked.on_open(Arc::clone(&meter));
        let (reader, writer) = near.into_split();
        Ok(Self {
            target,
            reader: Reader::new(reader, Vec::new()),
            writer,
            relay: Relay {
                running: Box::pin(flow.relay(LocalSocket::Unix(far), Vec::new())),
                end: None,
            },
            tracked,
            meter,
            stats,
            idle_until: Instant::now() + IDLE,
        })
    }

    /// Starts the time that it may wait for another request.
    pub(super) fn rest(&mut self) {
        self.idle_until = Instant::now() + IDLE;
    }

    /// Waits until it is of no more use: the far end has ended it or sent what nobody asked for, somebody wants it
    /// closed, or it has waited for too long. Cancel-safe.
    pub(super) async fn useless(&mut self) {
        let Self {
            reader,
            relay,
            tracked,
            idle_until,
            ..
        } = self;
        relay
            .drive(async {
                tokio::select! {
                    // Bytes without a request are as bad as an end: they would be taken for the next response.
                    _ = reader.fill(1) => {}
                    () = tracked.closed() => {}
                    () = sleep_until(*idle_until) => {}
                }
            })
            .await;
    }

    /// Whether it can be given another request, as far as can be known now.
    pub(super) async fn is_usable(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.useless() => false,
            () = ready(()) => self.relay.end.is_none(),
        }
    }

    /// Ends it politely: it has nothing to say any more.
    pub(super) async fn finish(mut self) {
        if let Err(error) = self.writer.shutdown().await {
            tracing::trace!(%error, "far end gone first");
        }
        self.relay.ended().await;
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let (up, down) = match self.relay.end {
            Some(end) => (end.up_bytes, end.down_bytes),
            None => (self.meter.up_bytes(), self.meter.down_bytes()),
        };
        self.stats.up_bytes.add(up);
        self.stats.down_bytes.add(down);
    }
}
