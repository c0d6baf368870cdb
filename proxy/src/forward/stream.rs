//! A listener all of whose connections go to one target.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::connect::{Connector, Target};
use crate::connections::ConnectionKind;
use crate::incoming::{Incoming, Local};
use crate::listener::{Listener, Peer};
use crate::serve::{Converse, Drained, Opened, Settings, accept_and_drain, carry, open};

/// Serves `listener` until `shutdown` is cancelled, as [`serve`](fn@crate::serve) does; each connection goes to `target`.
/// A connection that cannot be opened is reset. Credentials and pages in `settings` mean nothing here.
pub async fn stream<C: Connector>(
    listener: impl Into<Listener>,
    target: Target,
    connector: C,
    settings: Settings,
    shutdown: CancellationToken,
) -> Drained {
    let settings = Arc::new(settings);
    let forward = Forward {
        target,
        connector,
        settings: Arc::clone(&settings),
        shutdown: shutdown.clone(),
    };
    accept_and_drain(listener.into(), forward, &settings, &shutdown).await
}

/// What every connection's task knows.
#[derive(Clone)]
struct Forward<C> {
    target: Target,
    connector: C,
    settings: Arc<Settings>,
    shutdown: CancellationToken,
}

impl<C: Connector> Converse for Forward<C> {
    async fn converse<S: Local>(self, mut incoming: Incoming<S>, peer: Peer) {
        let (stats, connections) = (&self.settings.stats, &self.settings.connections);
        stats.forwards.one();
        let tracked = connections.add(ConnectionKind::Forward, peer.to_string(), self.target.to_string());
        let opened = open(
            &self.connector,
            &self.target,
            &mut incoming,
            &tracked,
            stats,
            &self.shutdown,
        );
        match opened.await {
            Opened::Flow(flow) => carry(flow, incoming, &self.target, &tracked, stats).await,
            Opened::Failed(_) | Opened::Gone => incoming.reset(),
        }
    }
}
