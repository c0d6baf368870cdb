//! What the client process tells: statuses, questions and log lines, to session manager and log service, in order.
//!
//! One task sends, so that the order is kept. Log lines are dropped when too many wait, statuses and questions are not:
//! there are few of them.

use tokio::sync::{mpsc, oneshot};

use super::life::Notice;
use crate::{
    bus::{Body, Bus},
    constants::{AttentionType, LogCategory, LogGroup},
    names::{interface, path, service},
};

/// Notices that may wait.
const MAX_WAITING: usize = 1024;
/// Places that log lines leave to the rest.
const KEPT_FREE: usize = 256;

enum Told {
    Notice(Notice),
    Mark(oneshot::Sender<()>),
}

/// Puts notices on their way.
#[derive(Debug, Clone)]
pub(super) struct Teller {
    queue: mpsc::Sender<Told>,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Told")
    }
}

impl Teller {
    /// Starts the task that sends.
    pub(super) fn start(bus: &Bus, token: String) -> Self {
        let (queue, mut waiting) = mpsc::channel(MAX_WAITING);
        let bus = bus.clone();
        tokio::spawn(async move {
            while let Some(told) = waiting.recv().await {
                match told {
                    Told::Notice(notice) => send(&bus, &token, notice).await,
                    // Whoever waited may have gone.
                    Told::Mark(done) => drop(done.send(())),
                }
            }
        });
        Self { queue }
    }

    /// Queues notices; must be called in the order in which they came to be.
    pub(super) fn tell(&self, notices: Vec<Notice>) {
        for notice in notices {
            if matches!(notice, Notice::Log(..)) && self.queue.capacity() < KEPT_FREE {
                continue;
            }
            if self.queue.try_send(Told::Notice(notice)).is_err() {
                tracing::warn!("the bus takes nothing: a status is lost");
            }
        }
    }

    /// Waits until everything so far has been sent.
    pub(super) async fn flush(&self) {
        let (done, sent) = oneshot::channel();
        if self.queue.send(Told::Mark(done)).await.is_ok() {
            // The task has ended with the bus: nothing can be sent any more.
            let _gone = sent.await;
        }
    }
}

async fn send(bus: &Bus, token: &str, notice: Notice) {
    for to in [service::SESSIONS, service::LOG] {
        let (member, body) = match &notice {
            Notice::Status(status) => ("StatusChange", Body::of(status.parts())),
            Notice::Attention(group, text) => {
                let (attention, group) = (AttentionType::Credentials as u32, *group as u32);
                ("AttentionRequired", Body::of((attention, group, text.clone())))
            }
            Notice::Log(category, text) => {
                let (group, category) = (LogGroup::Client as u32, *category as u32);
                ("Log", Body::of((group, category, token.to_owned(), text.clone())))
            }
        };
        bus.signal(Some(to), path::CLIENT, interface::BACKENDS, member, body)
            .await;
    }
    if let Notice::Log(category, text) = notice {
        trace(category, &text);
    }
}

fn trace(category: LogCategory, text: &str) {
    match category {
        LogCategory::Debug => tracing::trace!("{text}"),
        LogCategory::Verb1 | LogCategory::Verb2 => tracing::debug!("{text}"),
        LogCategory::Info => tracing::info!("{text}"),
        LogCategory::Warn => tracing::warn!("{text}"),
        LogCategory::Error | LogCategory::Crit | LogCategory::Fatal => tracing::error!("{text}"),
    }
}
