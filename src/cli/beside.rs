//! What runs beside a tunnel: its control socket, the service manager's messages, the status line.

use std::sync::Arc;

use tokio::{sync::broadcast::Receiver, task::JoinHandle};

use super::{output::Output, status_line::StatusLine};
use crate::{
    control::{Journal, Server, Subject},
    driver::{Event, chain, client::Running},
    front::{Front, listen::Place},
    notify::{self, Notifier},
};

/// All of it, until it is stopped.
#[derive(Debug)]
pub(super) struct Beside {
    control: Option<Server>,
    notifier: Option<Arc<Notifier>>,
    following: Option<JoinHandle<()>>,
    line: Option<StatusLine>,
}

/// Subscriptions from before the tunnel's first event.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) journal: Receiver<Event>,
    pub(super) notify: Receiver<Event>,
}

impl Beside {
    /// Starts all that this host allows; a tunnel runs without, too.
    pub(super) fn start(
        running: &Running,
        front: &Front,
        listening: &[Place],
        early: Early,
        output: Output,
    ) -> Self {
        let notifier = Notifier::from_environment().map(Arc::new);
        let following = notifier.as_ref().map(|notifier| {
            let (handle, stack) = (running.handle.clone(), running.stack.clone());
            notify::follow(Arc::clone(notifier), handle, stack, early.notify)
        });
        let subject = Subject {
            handle: running.handle.clone(),
            journal: Journal::follow(running.handle.clone(), early.journal),
            device: running.device.clone(),
            proxies: listening.iter().map(ToString::to_string).collect(),
            connections: Arc::clone(&front.connections),
            stats: Arc::clone(&front.stats),
            notifier: notifier.clone(),
        };
        let line = StatusLine::start(subject.clone(), output);
        let control = match Server::start(subject) {
            Ok(server) => Some(server),
            Err(error) => {
                tracing::info!(
                    error = chain(&error),
                    "no control socket: `tunless ctl` cannot reach this tunnel"
                );
                None
            }
        };
        Self {
            control,
            notifier,
            following,
            line,
        }
    }

    /// The tunnel is about to end.
    pub(super) fn leaving(&mut self) {
        self.line = None;
        if let Some(notifier) = &self.notifier {
            notifier.stopping();
        }
    }

    /// The tunnel has ended.
    pub(super) async fn stop(self) {
        if let Some(control) = self.control {
            control.stop().await;
        }
        if let Some(following) = self.following {
            following.abort();
        }
    }
}
