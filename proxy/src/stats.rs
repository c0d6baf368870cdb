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

        impl StatsSnapshot {
            /// All counts by their names, in a fixed order.
            pub fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
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
    /// Connections and datagram sources refused because another user of this host is behind them.
    other_users,
    /// Failed calls of `accept`.
    accept_errors,
    /// Connections open now.
    active,
    /// Connections by SOCKS4 and 4a.
    socks4,
    /// Connections by SOCKS5.
    socks5,
    /// Associations for datagrams by SOCKS5.
    socks5_udp,
    /// Requests by HTTP CONNECT.
    http_connect,
    /// Connections and datagram sources of forwards.
    forwards,
    /// Plain HTTP requests that were passed on.
    http_plain,
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
    /// Clients that hung up before their flow was open.
    abandoned,
    /// Bytes from clients into the tunnel, of ended connections.
    up_bytes,
    /// Bytes out of the tunnel to clients, of ended connections.
    down_bytes,
    /// Datagrams of clients that went nowhere: malformed, in fragments, from elsewhere, to unknown names, or too
    /// many.
    datagrams_dropped,
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
