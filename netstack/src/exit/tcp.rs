//! Dials: a client's SYN is answered only once the host's socket to the destination is connected.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::counts::Counts;
use crate::emit::Unreachable;
use crate::packet::Tuple;
use crate::relay::HostSocket;
use crate::rng::FlowHash;
use crate::slab::{Id, Slab};
use crate::timers::Timers;

/// What a dial came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Connected: accept the flow of this SYN.
    Connected {
        tuple: Tuple,
        syn: Vec<u8>,
        socket: HostSocket,
    },
    /// The destination refused.
    Refused { syn: Vec<u8> },
    /// The destination cannot be reached.
    Unreachable { syn: Vec<u8>, why: Unreachable },
}

#[derive(Debug)]
struct Dial {
    tuple: Tuple,
    syn: Vec<u8>,
    socket: TcpStream,
    deadline: Instant,
    pending: Option<Instant>,
}

/// Dials under way.
#[derive(Debug)]
pub(super) struct Dials {
    entries: Slab<Dial>,
    by_tuple: HashMap<Tuple, Id, FlowHash>,
    by_client: Counts,
    timers: Timers,
}

impl Dials {
    pub(super) fn new(limit: usize, hash: FlowHash) -> Self {
        Self {
            entries: Slab::new(limit),
            by_tuple: HashMap::with_hasher(hash),
            by_client: Counts::default(),
            timers: Timers::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_known(&self, tuple: &Tuple) -> bool {
        self.by_tuple.contains_key(tuple)
    }

    /// Dials of one client.
    pub(super) fn of_client(&self, client: std::net::IpAddr) -> usize {
        self.by_client.of(client)
    }

    /// Starts a dial. `token` makes the token of an entry.
    pub(super) fn start(
        &mut self,
        (tuple, syn): (Tuple, &[u8]),
        to: SocketAddr,
        deadline: Instant,
        registry: &Registry,
        token: impl Fn(Id) -> Token,
    ) -> Result<(), Outcome> {
        let failed = |error: &io::Error| outcome_of(error, syn.to_vec());
        if self.entries.is_full() {
            return Err(Outcome::Unreachable {
                syn: syn.to_vec(),
                why: Unreachable::Host,
            });
        }
        let socket = TcpStream::connect(to).map_err(|error| failed(&error))?;
        let dial = Dial {
            tuple,
            syn: syn.to_vec(),
            socket,
            deadline,
            pending: None,
        };
        let Ok(id) = self.entries.insert(dial) else {
            return Ok(());
        };
        self.by_tuple.insert(tuple, id);
        self.by_client.add(tuple.remote.ip());
        if let Some(dial) = self.entries.get_mut(id) {
            self.timers.schedule(id, deadline, &mut dial.pending);
            if let Err(error) = registry.register(&mut dial.socket, token(id), Interest::WRITABLE) {
                self.remove(id);
                return Err(failed(&error));
            }
        }
        Ok(())
    }

    fn remove(&mut self, id: Id) -> Option<Dial> {
        let dial = self.entries.remove(id)?;
        self.by_tuple.remove(&dial.tuple);
        self.by_client.remove(dial.tuple.remote.ip());
        Some(dial)
    }

    /// Takes readiness of the dial at that position.
    pub(super) fn handle_ready(&mut self, index: usize, registry: &Registry) -> Option<Outcome> {
        let id = self.entries.at(index)?;
        let socket = &self.entries.get(id)?.socket;
        let failure = match socket.take_error() {
            Ok(error) => error,
            Err(error) => Some(error),
        };
        if failure.is_none() && socket.peer_addr().is_err() {
            return None;
        }
        let mut dial = self.remove(id)?;
        if let Some(error) = failure {
            return Some(outcome_of(&error, dial.syn));
        }
        let prepared = registry
            .deregister(&mut dial.socket)
            .and_then(|()| dial.socket.set_nodelay(true));
        Some(match prepared {
            Ok(()) => Outcome::Connected {
                tuple: dial.tuple,
                syn: dial.syn,
                socket: HostSocket::Tcp(dial.socket),
            },
            Err(error) => outcome_of(&error, dial.syn),
        })
    }

    /// Ends the dials of a client.
    pub(super) fn forget_client(&mut self, client: std::net::IpAddr) {
        for id in self.entries.ids() {
            if self
                .entries
                .get(id)
                .is_some_and(|dial| dial.tuple.remote.ip() == client)
            {
                self.remove(id);
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.earliest()
    }

    /// A dial that took too long.
    pub(super) fn poll_expired(&mut self, now: Instant) -> Option<Outcome> {
        while let Some((at, id)) = self.timers.pop_due(now) {
            let Some(dial) = self.entries.get_mut(id) else {
                continue;
            };
            if dial.pending != Some(at) {
                continue;
            }
            debug_assert!(dial.deadline <= now, "a dial has one deadline only");
            let dial = self.remove(id)?;
            return Some(Outcome::Unreachable {
                syn: dial.syn,
                why: Unreachable::Host,
            });
        }
        None
    }
}

fn outcome_of(error: &io::Error, syn: Vec<u8>) -> Outcome {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        return Outcome::Refused { syn };
    }
    Outcome::Unreachable {
        syn,
        why: super::why_not(error),
    }
}
