//! One listener from its start to its end: limits, deadlines, counts, drain.
//!
//! `accept` starts a task for each connection, in one set that is joined before [`serve`] returns; `conversation` is
//! what the proxy does with one; `carry` opens its flow and hands the socket over, which forwards do, too.

mod accept;
mod carry;
mod conversation;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub(crate) use self::accept::{Converse, accept_and_drain, drain, note_panic};
pub(crate) use self::carry::{Opened, carry, open};
use self::conversation::Proxy;
use crate::connect::Connector;
use crate::connections::Connections;
use crate::credentials::Credentials;
use crate::listener::Listener;
use crate::owner::Users;
use crate::site::Site;
use crate::stats::Stats;

/// How a listener is to behave.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What clients must know; `None` lets everybody in.
    pub credentials: Option<Credentials>,
    /// Whose programs are served; of TCP clients, only those on this host can be told apart.
    pub users: Users,
    /// Numbers and times.
    pub limits: Limits,
    /// Where to count; several listeners may share one.
    pub stats: Arc<Stats>,
    /// Where open connections are listed; several listeners may share one.
    pub connections: Arc<Connections>,
    /// What the port itself shows; without it a short text.
    pub site: Option<Arc<dyn Site>>,
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
    /// Longest time that an association for datagrams may go on without one, 5 min by default.
    pub datagrams_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            head: Duration::from_secs(10),
            drain: Duration::from_millis(300),
            datagrams_idle: Duration::from_mins(5),
        }
    }
}

/// What became of the connections that were open at shutdown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Ended by themselves in time.
    pub finished: usize,
    /// Cut off.
    pub cut: usize,
}

/// Serves `listener` until `shutdown` is cancelled, closes it, then lets open connections end for [`Limits::drain`]
/// and cuts off the rest. All tasks have been joined when it returns; dropping the future cuts off everything.
pub async fn serve<C: Connector>(
    listener: impl Into<Listener>,
    connector: C,
    settings: Settings,
    shutdown: CancellationToken,
) -> Drained {
    let settings = Arc::new(settings);
    let proxy = Proxy {
        connector,
        settings: Arc::clone(&settings),
        shutdown: shutdown.clone(),
    };
    accept_and_drain(listener.into(), proxy, &settings, &shutdown).await
}

#[cfg(test)]
mod tests;
