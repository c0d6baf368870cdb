//! What the proxy does with a connection: reads the request, has a flow opened, answers.
//!
//! It never touches the bytes that follow.

use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Converse, Opened, Settings, carry, open};
use crate::connect::{Connector, Flow as _};
use crate::datagrams;
use crate::detect::{self, Asked, Request};
use crate::error::RequestError;
use crate::http;
use crate::incoming::{Incoming, Local};
use crate::listener::Peer;

/// What every connection's task knows.
#[derive(Clone)]
pub(super) struct Proxy<C> {
    pub(super) connector: C,
    pub(super) settings: Arc<Settings>,
    pub(super) shutdown: CancellationToken,
}

impl<C: Connector> Converse for Proxy<C> {
    async fn converse<S: Local>(self, mut incoming: Incoming<S>, peer: Peer) {
        let deadline = Instant::now() + self.settings.limits.head;
        let head = timeout_at(deadline, detect::read_request(&mut incoming, &self.settings));
        let asked = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return,
            asked = head => asked.unwrap_or_else(|_| Err(RequestError::TooSlow.into())),
        };
        match asked {
            Ok(Asked::Connect(request)) => self.connect(incoming, peer, request).await,
            Ok(Asked::Associate) => {
                // In a box, so that other connections do not carry its state about.
                let association = datagrams::serve(
                    &self.connector,
                    &self.settings,
                    &self.shutdown,
                    incoming,
                    peer.to_string(),
                );
                Box::pin(association).await;
            }
            Ok(Asked::Http) => {
                let port = http::Port {
                    connector: &self.connector,
                    settings: &self.settings,
                    shutdown: &self.shutdown,
                };
                // Boxed, so that other protocols' connections do not pay for its size.
                let conversation = Box::pin(http::converse(incoming, peer.to_string(), port, deadline));
                if let Some((incoming, request)) = conversation.await {
                    self.connect(incoming, peer, request).await;
                }
            }
            Err(rejected) => {
                rejected.why.count(&self.settings.stats).one();
                debug!(error = %rejected.why, "request refused");
                incoming.answer_and_close(&rejected.answer).await;
            }
        }
    }
}

impl<C: Connector> Proxy<C> {
    async fn connect<S: Local>(&self, mut incoming: Incoming<S>, peer: Peer, request: Request) {
        let stats = &self.settings.stats;
        let Request { protocol, target } = request;
        protocol.count(stats).one();
        let tracked = self
            .settings
            .connections
            .add(protocol.kind(), peer.to_string(), target.to_string());
        let opened = open(
            &self.connector,
            &target,
            &mut incoming,
            &tracked,
            stats,
            &self.shutdown,
        );
        let flow = match opened.await {
            Opened::Flow(flow) => flow,
            Opened::Failed(error) => {
                return incoming.answer_and_close(&protocol.failure(&target, error)).await;
            }
            Opened::Gone => return,
        };
        if let Err(error) = incoming.write_all(&protocol.success(flow.bound())).await {
            debug!(%error, "client gone before its answer");
            return;
        }
        carry(flow, incoming, &target, &tracked, stats).await;
    }
}
