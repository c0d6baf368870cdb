//! A client's flow: opened while the client waits, given up when it hangs up, then joined to its socket.

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::connect::{ConnectError, Connector, Flow, Target};
use crate::connections::Tracked;
use crate::incoming::{Incoming, Local};
use crate::stats::Stats;

/// What came of opening a flow.
#[derive(Debug)]
pub(crate) enum Opened<F> {
    /// It is open.
    Flow(F),
    /// It cannot be opened, which the client is to be told.
    Failed(ConnectError),
    /// Nobody waits for it any more.
    Gone,
}

/// Opens a flow to `target` for the client behind `incoming`; what the client sends meanwhile is kept.
pub(crate) async fn open<C: Connector, S: Local>(
    connector: &C,
    target: &Target,
    incoming: &mut Incoming<S>,
    tracked: &Tracked,
    stats: &Stats,
    shutdown: &CancellationToken,
) -> Opened<C::Flow> {
    let attempt = timeout(connector.connect_timeout(), connector.connect(target.clone()));
    let opened = tokio::select! {
        biased;
        () = shutdown.cancelled() => Err(ConnectError::TunnelDown),
        () = tracked.closed() => return Opened::Gone,
        opened = attempt => opened.unwrap_or(Err(ConnectError::TimedOut)),
        () = incoming.hung_up() => {
            stats.abandoned.one();
            debug!(%target, "the client hung up before it was connected");
            return Opened::Gone;
        }
    };
    match opened {
        Ok(flow) => {
            stats.opened.one();
            tracked.on_open(flow.meter());
            Opened::Flow(flow)
        }
        Err(error) => {
            stats.failed.one();
            debug!(%target, %error, "not connected");
            Opened::Failed(error)
        }
    }
}

/// Joins the client's socket to its flow and waits for the end.
pub(crate) async fn carry<S: Local>(
    flow: impl Flow,
    incoming: Incoming<S>,
    target: &Target,
    tracked: &Tracked,
    stats: &Stats,
) {
    let (stream, early) = incoming.into_parts();
    match stream.hand_over() {
        Ok(local) => {
            let end = tokio::select! {
                () = tracked.closed() => return,
                end = flow.relay(local, early) => end,
            };
            stats.up_bytes.add(end.up_bytes);
            stats.down_bytes.add(end.down_bytes);
            debug!(%target, up = end.up_bytes, down = end.down_bytes, reason = %end.reason, "ended");
        }
        Err(error) => warn!(%error, "cannot hand the client's socket over"),
    }
}
