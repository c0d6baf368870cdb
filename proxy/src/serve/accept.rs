//! The accept loop: a task for each connection that is within the limit and allowed; the end of all of them.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, debug_span, warn};

use super::{Drained, Settings};
use crate::incoming::{Incoming, Local};
use crate::listener::{Accept, Listener, Peer};
use crate::stats::Active;

/// First and longest pause after a failed `accept` (out of descriptors or memory): long enough not to spin, short
/// enough that nobody notices when it is over.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// What is done with each connection, from its first byte to its end.
pub(crate) trait Converse: Clone + Send + 'static {
    /// Serves one client.
    fn converse<S: Local>(self, incoming: Incoming<S>, peer: Peer) -> impl Future<Output = ()> + Send;
}

/// Serves `listener` until `shutdown`, closes it, and lets what is open end for a while.
pub(crate) async fn accept_and_drain(
    listener: Listener,
    converse: impl Converse,
    settings: &Arc<Settings>,
    shutdown: &CancellationToken,
) -> Drained {
    let tasks = match listener {
        Listener::Tcp(listener) => accept_until_shutdown(listener, converse, settings, shutdown).await,
        Listener::Unix(listener) => accept_until_shutdown(listener, converse, settings, shutdown).await,
    };
    drain(tasks, settings.limits.drain).await
}

/// Waits for the tasks, at most for `longest`, and cuts off the rest.
pub(crate) async fn drain(mut tasks: JoinSet<()>, longest: Duration) -> Drained {
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

/// Logs a task that did not end as it should.
pub(crate) fn note_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

/// Starts a task for each connection, and closes the listener in the end. Returns the tasks that still run.
pub(super) async fn accept_until_shutdown<A: Accept>(
    listener: A,
    converse: impl Converse,
    settings: &Arc<Settings>,
    shutdown: &CancellationToken,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let mut pause = ACCEPT_PAUSE;
    let mut next_id: u64 = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return tasks,
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
                settings.stats.accepted.one();
                let limit = settings.limits.connections;
                if tasks.len() >= limit {
                    settings.stats.over_limit.one();
                    debug!(%peer, limit, "too many connections, closed");
                    continue;
                }
                let span = debug_span!("connection", id = next_id, %peer);
                let task = admit(converse.clone(), stream, peer, Arc::clone(settings));
                tasks.spawn(task.instrument(span));
            }
            Err(error) => {
                settings.stats.accept_errors.one();
                if is_about_one_connection(&error) {
                    continue;
                }
                if pause == ACCEPT_PAUSE {
                    warn!(%error, "cannot accept connections");
                }
                tokio::select! {
                    () = shutdown.cancelled() => return tasks,
                    () = sleep(pause) => {}
                }
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
            }
        }
    }
}

/// Serves one client if it may be served; otherwise it is closed without a word.
pub(super) async fn admit<S: Local>(converse: impl Converse, stream: S, peer: Peer, settings: Arc<Settings>) {
    let _active = Active::new(&settings.stats.active);
    // The two ends belong to each other for as long as they are connected: asked after the owner was found, so that
    // nobody else can have come to have the client's address meanwhile.
    let is_anybody = settings.users.is_everybody();
    let is_allowed = peer.is_allowed(&settings.users).await && (is_anybody || stream.is_connected());
    if !is_allowed {
        settings.stats.other_users.one();
        debug!("of another user, closed");
        return;
    }
    converse.converse(Incoming::new(stream), peer).await;
}

/// Tells failures of the connection at hand from failures of this process, which need a pause (`accept(2)`, Errors).
pub(super) fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
            | io::ErrorKind::Interrupted
    )
}
