//! Who is connected to what: a list for people, and a way to close one.
//!
//! One lock, held for as long as it takes to copy the list; the path of bytes never touches it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::connect::Meter;

/// How a local program came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionKind {
    /// SOCKS4, or SOCKS4 with names (4a).
    Socks4,
    /// SOCKS5 CONNECT.
    Socks5,
    /// SOCKS5 UDP ASSOCIATE.
    Socks5Udp,
    /// HTTP CONNECT.
    HttpConnect,
    /// A plain HTTP request.
    Http,
    /// A forward that was set up in advance.
    Forward,
}

impl fmt::Display for ConnectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Socks4 => "socks4",
            Self::Socks5 => "socks5",
            Self::Socks5Udp => "socks5-udp",
            Self::HttpConnect => "http-connect",
            Self::Http => "http",
            Self::Forward => "forward",
        })
    }
}

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its number, never used twice in a process.
    pub id: u64,
    /// How it came in.
    pub kind: ConnectionKind,
    /// Where it came from: an address, or a user of a Unix socket.
    pub client: String,
    /// Where it goes, as the client said it.
    pub target: String,
    /// When it was asked for.
    pub since: Instant,
    /// Whether the far end has accepted.
    pub is_open: bool,
    /// Bytes from the client into the tunnel.
    pub up_bytes: u64,
    /// Bytes out of the tunnel to the client.
    pub down_bytes: u64,
}

#[derive(Debug)]
struct Entry {
    kind: ConnectionKind,
    client: String,
    target: String,
    since: Instant,
    meter: Option<Arc<dyn Meter>>,
    close: CancellationToken,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    open: BTreeMap<u64, Entry>,
}

/// The connections of one or more listeners. The listeners' limits bound it.
#[derive(Debug, Default)]
pub struct Connections {
    table: Mutex<Table>,
}

impl Connections {
    /// Notes a connection until the returned value is dropped.
    pub fn add(self: &Arc<Self>, kind: ConnectionKind, client: String, target: String) -> Tracked {
        let close = CancellationToken::new();
        let mut table = self.lock();
        table.last += 1;
        let id = table.last;
        let entry = Entry {
            kind,
            client,
            target,
            since: Instant::now(),
            meter: None,
            close: close.clone(),
        };
        table.open.insert(id, entry);
        drop(table);
        Tracked {
            connections: Arc::clone(self),
            id,
            close,
        }
    }

    /// All connections, the oldest first.
    pub fn list(&self) -> Vec<Connection> {
        let table = self.lock();
        let line = |(id, entry): (&u64, &Entry)| Connection {
            id: *id,
            kind: entry.kind,
            client: entry.client.clone(),
            target: entry.target.clone(),
            since: entry.since,
            is_open: entry.meter.is_some(),
            up_bytes: entry.meter.as_ref().map_or(0, |meter| meter.up_bytes()),
            down_bytes: entry.meter.as_ref().map_or(0, |meter| meter.down_bytes()),
        };
        table.open.iter().map(line).collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().open.len()
    }

    /// Cuts one off; `false` when there is none of that number.
    pub fn close(&self, id: u64) -> bool {
        let table = self.lock();
        let Some(entry) = table.open.get(&id) else {
            return false;
        };
        entry.close.cancel();
        true
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place in the list; dropping it takes the connection off.
#[derive(Debug)]
pub struct Tracked {
    connections: Arc<Connections>,
    id: u64,
    close: CancellationToken,
}

impl Tracked {
    /// The far end has accepted; `meter` counts from now on.
    pub fn on_open(&self, meter: Arc<dyn Meter>) {
        if let Some(entry) = self.connections.lock().open.get_mut(&self.id) {
            entry.meter = Some(meter);
        }
    }

    /// Waits until somebody wants it closed. Cancel-safe.
    pub async fn closed(&self) {
        self.close.cancelled().await;
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_listed_until_it_is_dropped_and_can_be_closed() {
        let all = Arc::new(Connections::default());
        let one = all.add(ConnectionKind::Socks5, "127.0.0.1:5".into(), "a.test:80".into());
        let two = all.add(ConnectionKind::Http, "127.0.0.1:6".into(), "b.test:80".into());
        let listed = all.list();
        assert_eq!(listed.len(), 2);
        assert!(
            !listed[0].is_open && listed[0].target == "a.test:80" && listed[1].kind == ConnectionKind::Http
        );
        assert!(all.close(listed[1].id) && !all.close(99));
        two.closed().await;
        drop(two);
        assert_eq!(all.count(), 1);
        drop(one);
        assert!(all.list().is_empty());
    }
}
