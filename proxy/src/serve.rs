//! The accept loop: limits, deadlines, counts, drain.
//!
//! Each connection is one task in one set, which is joined before [`serve`] returns. A task reads the request, has the
//! connector open a flow, answers, and hands the socket over; it never touches the bytes that follow.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, debug_span, warn};

use crate::connect::{ConnectError, Connector, Flow as _};
use crate::credentials::Credentials;
use crate::detect::{self, Asked, Request};
use crate::incoming::{Incoming, Local};
use crate::stats::{Active, Stats};

/// First and longest pause after a failed `accept` (out of descriptors or memory): long enough not to spin, short
/// enough that nobody notices when it is over.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How a listener is to behave.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What clients must know; `None` lets everybody in.
    pub credentials: Option<Credentials>,
    /// Numbers and times.
    pub limits: Limits,
    /// Where to count; several listeners may share one.
    pub stats: Arc<Stats>,
}

/// Numbers and times that bound what clients can use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once on this listener, 1024 by default; the next one is closed as soon as it is accepted.
    pub connections: usize,
    /// Longest time from accept to the end of the request, sign-in included, 10 s by default.
    pub head: Duration,
    /// Longest time that open connections may go on after shutdown was asked for, 300 ms by default.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            head: Duration::from_secs(10),
            drain: Duration::from_millis(300),
        }
    }
}

/// What became of the connections that were open at shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Ended by themselves in time.
    pub finished: usize,
    /// Cut off.
    pub cut: usize,
}

/// Serves `listener` until `shutdown` is cancelled, then lets open connections end for [`Limits::drain`] and cuts off
/// the rest. All tasks have been joined when it returns; dropping the future cuts off everything.
pub async fn serve<C: Connector>(
    listener: TcpListener,
    connector: C,
    settings: Settings,
    shutdown: CancellationToken,
) -> Drained {
    let limits = settings.limits;
    let server = Server {
        connector,
        settings: Arc::new(settings),
        shutdown,
    };
    let tasks = server.accept_until_shutdown(listener).await;
    drain(tasks, limits.drain).await
}

/// What connections come from.
trait Accept: Send {
    /// A connection.
    type Stream: Local;

    /// Waits for the next one. Dropping the future loses none.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.accept().await?;
        // Fails when the client is gone already, which reading will show.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "cannot turn off delays");
        }
        Ok((stream, peer))
    }
}

/// Tells failures of the connection at hand from failures of this process, which need a pause (`accept(2)`, Errors).
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

async fn drain(mut tasks: JoinSet<()>, longest: Duration) -> Drained {
    let mut finished = 0;
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            note_panic(ended);
            finished += 1;
        }
    };
    // A time-out only means that some are left, which the count below shows.
    timeout(longest, all).await.unwrap_or_default();
    let cut = tasks.len();
    tasks.shutdown().await;
    Drained { finished, cut }
}

fn note_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

/// What every connection's task knows.
#[derive(Clone)]
struct Server<C> {
    connector: C,
    settings: Arc<Settings>,
    shutdown: CancellationToken,
}

impl<C: Connector> Server<C> {
    /// Starts a task for each connection, and closes the listener in the end. Returns the tasks that still run.
    async fn accept_until_shutdown<A: Accept>(&self, listener: A) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let mut pause = ACCEPT_PAUSE;
        let mut next_id: u64 = 0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return tasks,
                Some(ended) = tasks.join_next() => {
                    note_panic(ended);
                    continue;
                }
                accepted = listener.next() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = ACCEPT_PAUSE;
                    next_id = next_id.wrapping_add(1);
                    self.start(&mut tasks, stream, peer, next_id);
                }
                Err(error) => {
                    self.settings.stats.accept_errors.one();
                    if is_about_one_connection(&error) {
                        continue;
                    }
                    if pause == ACCEPT_PAUSE {
                        warn!(%error, "cannot accept connections");
                    }
                    tokio::select! {
                        () = self.shutdown.cancelled() => return tasks,
                        () = sleep(pause) => {}
                    }
                    pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                }
            }
        }
    }

    /// Starts one connection's task, or closes the connection where there are too many.
    fn start<S: Local>(&self, tasks: &mut JoinSet<()>, stream: S, peer: SocketAddr, id: u64) {
        let limit = self.settings.limits.connections;
        self.settings.stats.accepted.one();
        if tasks.len() >= limit {
            self.settings.stats.over_limit.one();
            debug!(%peer, limit, "too many connections, closed");
            return;
        }
        let span = debug_span!("connection", id, %peer);
        let server = self.clone();
        tasks.spawn(async move { server.converse(stream).await }.instrument(span));
    }

    async fn converse<S: Local>(self, stream: S) {
        let stats = &self.settings.stats;
        let _active = Active::new(&stats.active);
        let mut incoming = Incoming::new(stream);
        let head = timeout(
            self.settings.limits.head,
            detect::read_request(&mut incoming, &self.settings),
        );
        let asked = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return,
            asked = head => asked.unwrap_or_else(|_| Err(detect::too_slow(incoming.waiting()))),
        };
        match asked {
            Ok(Asked::Connect(request)) => self.connect(incoming, request).await,
            Ok(Asked::Page(page)) => incoming.answer_and_close(&page).await,
            Err(rejected) => {
                rejected.why.count(stats).one();
                debug!(error = %rejected.why, "request refused");
                incoming.answer_and_close(&rejected.answer).await;
            }
        }
    }

    async fn connect<S: Local>(&self, mut incoming: Incoming<S>, request: Request) {
        let stats = &self.settings.stats;
        request.protocol.count(stats).one();
        let attempt = timeout(
            self.connector.connect_timeout(),
            self.connector.connect(request.target.clone()),
        );
        let opened = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Err(ConnectError::TunnelDown),
            opened = attempt => opened.unwrap_or(Err(ConnectError::TimedOut)),
        };
        let flow = match opened {
            Ok(flow) => flow,
            Err(error) => {
                stats.failed.one();
                debug!(target = %request.target, %error, "not connected");
                return incoming
                    .answer_and_close(&request.protocol.failure(&request.target, error))
                    .await;
            }
        };
        stats.opened.one();
        if let Err(error) = incoming.write_all(&request.protocol.success(flow.bound())).await {
            debug!(%error, "client gone before its answer");
            return;
        }
        let (stream, early) = incoming.into_parts();
        match stream.hand_over() {
            Ok(local) => {
                let end = flow.relay(local, early).await;
                stats.up_bytes.add(end.up_bytes);
                stats.down_bytes.add(end.down_bytes);
                debug!(target = %request.target, up = end.up_bytes, down = end.down_bytes, reason = %end.reason, "ended");
            }
            Err(error) => warn!(%error, "cannot hand the client's socket over"),
        }
    }
}

#[cfg(test)]
mod tests;
