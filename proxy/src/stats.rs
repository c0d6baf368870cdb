//! What a listener counts.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Live counts of one or more listeners; read them with [`Stats::snapshot`].
        #[derive(Debug, Default)]
        pub struct Stats {
            $(pub(crate) $name: Counter,)*
        }

        /// The counts at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct StatsSnapshot {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Stats {
            /// Reads all counts.
            pub fn snapshot(&self) -> StatsSnapshot {
                StatsSnapshot { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Connections taken from the listener, those above the limit included.
    accepted,
    /// Connections closed at once because the limit was reached.
    over_limit,
    /// Failed calls of `accept`.
    accept_errors,
    /// Connections open now.
    active,
    /// Requests by SOCKS5.
    socks5,
    /// Requests by HTTP CONNECT.
    http_connect,
    /// Connections that ended before they asked for anything valid.
    bad_requests,
    /// Wrong or missing passwords.
    auth_failures,
    /// Requests that took too long to arrive.
    head_timeouts,
    /// Flows that were opened.
    opened,
    /// Flows that could not be opened.
    failed,
    /// Bytes from clients into the tunnel, of ended connections.
    up_bytes,
    /// Bytes out of the tunnel to clients, of ended connections.
    down_bytes,
}

/// One count.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }
}

/// Counts one open connection for as long as it lives.
#[derive(Debug)]
pub(crate) struct Active<'a>(&'a Counter);

impl<'a> Active<'a> {
    pub(crate) fn new(count: &'a Counter) -> Self {
        count.one();
        Self(count)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
