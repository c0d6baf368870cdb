//! The names in an association's datagrams. All are looked up inside the tunnel.
//!
//! A name stays with its first address while it is in use: a conversation must not change hosts because a resolver
//! gives its answers in turn. Lookups run beside the datagrams of other names; those of the same name wait, in order.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::connect::{ConnectError, Datagrams, HostName, Target};

/// Lookups at once; datagrams to further new names are dropped.
const LOOKUPS: usize = 16;
/// Names that are remembered; the one unused for longest is forgotten.
const NAMES: usize = 64;
/// Datagrams that wait for lookups, and their bytes; the newest is dropped.
const WAITING: usize = 128;
const WAITING_BYTES: usize = 256 * 1024;
/// Longest lookup; longer than the stack's own limit.
const LOOKUP: Duration = Duration::from_secs(30);
/// A name that was not used for so long is asked for again, as is one whose lookup never came back.
const FORGET: Duration = Duration::from_mins(1);

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It can go.
    Known(SocketAddr),
    /// A copy waits for a lookup.
    Waits,
    /// That is no name, or there is no room.
    Refused,
}

/// The end of a lookup.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What waited, and where it goes.
    pub(super) sendable: Vec<(Vec<u8>, SocketAddr)>,
    /// How many waited in vain.
    pub(super) lost: u64,
}

#[derive(Debug)]
enum State {
    /// Payloads and ports, in order.
    Asked(Vec<(Vec<u8>, u16)>),
    Known(IpAddr),
}

#[derive(Debug)]
struct Entry {
    used: Instant,
    state: State,
}

/// A lookup's name, as the client wrote it, and its outcome.
#[derive(Debug)]
struct Answer {
    name: Box<[u8]>,
    address: Result<IpAddr, ConnectError>,
}

/// The names of one association.
#[derive(Debug)]
pub(super) struct Names<D> {
    port: Arc<D>,
    lookups: JoinSet<Answer>,
    entries: HashMap<Box<[u8]>, Entry>,
    waiting: usize,
    waiting_bytes: usize,
}

impl<D: Datagrams> Names<D> {
    /// No names yet; `port` knows how to look them up.
    pub(super) fn new(port: Arc<D>) -> Self {
        Self {
            port,
            lookups: JoinSet::new(),
            entries: HashMap::new(),
            waiting: 0,
            waiting_bytes: 0,
        }
    }

    /// Asks where a datagram to `name` goes.
    pub(super) fn ask(&mut self, name: &[u8], port: u16, payload: &[u8]) -> Asked {
        let now = Instant::now();
        let has_room = self.waiting < WAITING && self.waiting_bytes + payload.len() <= WAITING_BYTES;
        let fresh = self
            .entries
            .get_mut(name)
            .filter(|entry| now.saturating_duration_since(entry.used) < FORGET);
        let Some(entry) = fresh else {
            return match Target::from_bytes(name, port) {
                Ok(Target::Address(address)) => Asked::Known(address),
                Ok(Target::Name(host, _)) => {
                    if has_room && self.look_up(name, host, now) {
                        self.wait(name, port, payload)
                    } else {
                        Asked::Refused
                    }
                }
                Err(_) => Asked::Refused,
            };
        };
        match entry.state {
            State::Known(ip) => {
                entry.used = now;
                Asked::Known(SocketAddr::new(ip, port))
            }
            State::Asked(_) if has_room => self.wait(name, port, payload),
            State::Asked(_) => Asked::Refused,
        }
    }

    fn wait(&mut self, name: &[u8], port: u16, payload: &[u8]) -> Asked {
        match self.entries.get_mut(name).map(|entry| &mut entry.state) {
            Some(State::Asked(waiting)) => {
                self.waiting += 1;
                self.waiting_bytes += payload.len();
                waiting.push((payload.to_vec(), port));
                Asked::Waits
            }
            Some(State::Known(_)) | None => Asked::Refused,
        }
    }

    /// Starts a lookup, if there are not too many.
    fn look_up(&mut self, name: &[u8], host: HostName, now: Instant) -> bool {
        if self.lookups.len() >= LOOKUPS {
            return false;
        }
        self.forget(name);
        if self.entries.len() >= NAMES {
            let known = self
                .entries
                .iter()
                .filter(|(_, entry)| matches!(entry.state, State::Known(_)));
            let oldest = known.min_by_key(|(_, entry)| entry.used).map(|(name, _)| name);
            match oldest.cloned() {
                Some(oldest) => drop(self.forget(&oldest)),
                None => return false,
            }
        }
        let entry = Entry {
            used: now,
            state: State::Asked(Vec::new()),
        };
        self.entries.insert(name.into(), entry);
        let (port, name) = (Arc::clone(&self.port), name.into());
        self.lookups.spawn(async move {
            let answer = timeout(LOOKUP, port.resolve(&host)).await;
            let address = answer.unwrap_or(Err(ConnectError::TimedOut));
            Answer { name, address }
        });
        true
    }

    /// Takes a name out, with what waits for it.
    fn forget(&mut self, name: &[u8]) -> Vec<(Vec<u8>, u16)> {
        match self.entries.remove(name).map(|entry| entry.state) {
            Some(State::Asked(waiting)) => {
                let bytes: usize = waiting.iter().map(|(payload, _)| payload.len()).sum();
                self.waiting -= waiting.len();
                self.waiting_bytes -= bytes;
                waiting
            }
            Some(State::Known(_)) | None => Vec::new(),
        }
    }

    /// Waits for the end of a lookup, for ever if there is none. Cancel-safe.
    pub(super) async fn found(&mut self) -> Found {
        let ended = match self.lookups.join_next().await {
            Some(ended) => ended,
            None => std::future::pending().await,
        };
        let Ok(Answer { name, address }) = ended else {
            // A lookup that panicked; its name is asked for again after a while.
            return Found::default();
        };
        let waiting = self.forget(&name);
        match address {
            Ok(ip) => {
                let entry = Entry {
                    used: Instant::now(),
                    state: State::Known(ip),
                };
                self.entries.insert(name, entry);
                let to = |(payload, port)| (payload, SocketAddr::new(ip, port));
                Found {
                    sendable: waiting.into_iter().map(to).collect(),
                    lost: 0,
                }
            }
            Err(error) => {
                debug!(name = %String::from_utf8_lossy(&name), %error, "datagrams lost");
                Found {
                    sendable: Vec::new(),
                    lost: u64::try_from(waiting.len()).unwrap_or_default(),
                }
            }
        }
    }
}
