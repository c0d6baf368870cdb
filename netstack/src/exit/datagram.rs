//! Host sockets that carry datagrams of one inner flow each: UDP, and echo over unprivileged ping sockets.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::counts::Counts;
use crate::emit;
use crate::fragments;
use crate::packet::Tuple;
use crate::rng::{FlowHash, Rng};
use crate::sink::Outbox;
use crate::slab::{Id, Slab};
use crate::timers::Timers;

/// Datagrams that are read from one socket before others have their turn.
const READS_PER_TURN: usize = 32;
/// More than any datagram has.
const MAX_DATAGRAM_BYTES: usize = 64 * 1024;

/// What the datagrams are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Udp,
    /// Echo; the identifier takes the place of the client's port, the other port is 0.
    Echo,
}

#[derive(Debug)]
struct Entry {
    kind: Kind,
    tuple: Tuple,
    socket: Socket,
    idle: Duration,
    used_at: Instant,
    pending: Option<Instant>,
    is_readable: bool,
}

/// Sockets by inner flow.
#[derive(Debug)]
pub(super) struct Datagrams {
    entries: Slab<Entry>,
    by_flow: HashMap<(Kind, Tuple), Id, FlowHash>,
    by_client: Counts,
    to_read: VecDeque<Id>,
    timers: Timers,
    /// Takes what of a datagram does not fit the MTU.
    spill: Box<[u8]>,
}

impl Datagrams {
    pub(super) fn new(limit: usize, hash: FlowHash) -> Self {
        Self {
            entries: Slab::new(limit),
            by_flow: HashMap::with_hasher(hash),
            by_client: Counts::default(),
            to_read: VecDeque::new(),
            timers: Timers::default(),
            spill: vec![0; MAX_DATAGRAM_BYTES].into_boxed_slice(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn of_client(&self, client: IpAddr) -> usize {
        self.by_client.of(client)
    }

    pub(super) fn find(&self, kind: Kind, tuple: &Tuple) -> Option<Id> {
        self.by_flow.get(&(kind, *tuple)).copied()
    }

    /// Opens a socket for a new flow.
    pub(super) fn open(
        &mut self,
        now: Instant,
        (kind, tuple): (Kind, Tuple),
        to: SocketAddr,
        idle: Duration,
        (registry, token): (&Registry, &dyn Fn(Id) -> Token),
    ) -> io::Result<Id> {
        if self.entries.is_full() {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let socket = connected(kind, to)?;
        let entry = Entry {
            kind,
            tuple,
            socket,
            idle,
            used_at: now,
            pending: None,
            is_readable: false,
        };
        let Ok(id) = self.entries.insert(entry) else {
            return Err(io::ErrorKind::QuotaExceeded.into());
        };
        self.by_flow.insert((kind, tuple), id);
        self.by_client.add(tuple.remote.ip());
        if let Some(entry) = self.entries.get_mut(id) {
            self.timers.schedule(id, now + idle, &mut entry.pending);
            let registered = registry.register(
                &mut SourceFd(&entry.socket.as_raw_fd()),
                token(id),
                Interest::READABLE,
            );
            if let Err(error) = registered {
                self.remove(id);
                return Err(error);
            }
        }
        Ok(id)
    }

    fn remove(&mut self, id: Id) {
        let Some(entry) = self.entries.remove(id) else {
            return;
        };
        self.by_flow.remove(&(entry.kind, entry.tuple));
        self.by_client.remove(entry.tuple.remote.ip());
        // Closing the only descriptor also ends its registration.
    }

    /// Ends the flows of a client.
    pub(super) fn forget_client(&mut self, client: IpAddr) {
        for id in self.entries.ids() {
            if self
                .entries
                .get(id)
                .is_some_and(|entry| entry.tuple.remote.ip() == client)
            {
                self.remove(id);
            }
        }
    }

    /// Sends a datagram of the client on. A full socket drops it, as any router would.
    pub(super) fn send(&mut self, now: Instant, id: Id, payload: &[u8]) -> io::Result<()> {
        let Some(entry) = self.entries.get_mut(id) else {
            return Ok(());
        };
        entry.used_at = now;
        match entry.socket.send(payload) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes readiness of the socket at that position.
    pub(super) fn handle_ready(&mut self, index: usize) {
        let Some(id) = self.entries.at(index) else { return };
        if let Some(entry) = self.entries.get_mut(id)
            && !entry.is_readable
        {
            entry.is_readable = true;
            self.to_read.push_back(id);
        }
    }

    pub(super) fn has_work(&self) -> bool {
        !self.to_read.is_empty()
    }

    /// Reads what came for the clients into the outbox. Each refusal by a far end is given to `on_refused`.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        (mtu_bytes, rng): (usize, &mut Rng),
        outbox: &mut Outbox,
        mut on_refused: impl FnMut(&mut Outbox, Kind, &Tuple),
    ) {
        for _ in 0..self.to_read.len() {
            let Some(id) = self.to_read.pop_front() else {
                return;
            };
            let Some(entry) = self.entries.get_mut(id) else {
                continue;
            };
            let mut reads = 0;
            while entry.is_readable && reads < READS_PER_TURN && outbox.has_room() {
                reads += 1;
                match receive(entry, mtu_bytes, &mut self.spill, outbox) {
                    Ok(None) => entry.used_at = now,
                    Ok(Some(long)) => {
                        entry.used_at = now;
                        fragments::push(outbox, &long, mtu_bytes, rng);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => entry.is_readable = false,
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                        on_refused(outbox, entry.kind, &entry.tuple);
                    }
                    Err(error) => tracing::debug!(%error, "host socket failed to receive"),
                }
            }
            if entry.is_readable {
                self.to_read.push_back(id);
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.earliest()
    }

    /// Forgets flows that were not used for their idle time.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, id)) = self.timers.pop_due(now) {
            let Some(entry) = self.entries.get_mut(id) else {
                continue;
            };
            if entry.pending != Some(at) {
                continue;
            }
            entry.pending = None;
            let expires = entry.used_at + entry.idle;
            if expires <= now {
                self.remove(id);
            } else {
                self.timers.schedule(id, expires, &mut entry.pending);
            }
        }
    }
}

fn connected(kind: Kind, to: SocketAddr) -> io::Result<Socket> {
    let (domain, any): (_, IpAddr) = match to {
        SocketAddr::V4(_) => (Domain::IPV4, Ipv4Addr::UNSPECIFIED.into()),
        SocketAddr::V6(_) => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let protocol = match (kind, to) {
        (Kind::Udp, _) => Protocol::UDP,
        (Kind::Echo, SocketAddr::V4(_)) => Protocol::ICMPV4,
        (Kind::Echo, SocketAddr::V6(_)) => Protocol::ICMPV6,
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::new(any, 0).into())?;
    socket.connect(&to.into())?;
    Ok(socket)
}

/// Reads one datagram straight behind the headers that it gets. One that does not fit the MTU comes back as a packet
/// of its own.
fn receive(
    entry: &Entry,
    mtu_bytes: usize,
    spill: &mut [u8],
    outbox: &mut Outbox,
) -> io::Result<Option<Vec<u8>>> {
    let Entry {
        kind, tuple, socket, ..
    } = entry;
    let to = tuple.remote.ip();
    let overhead = match kind {
        Kind::Udp => emit::udp_overhead_bytes(to),
        Kind::Echo => emit::ip_header_bytes(to),
    };
    let finish = |buf: &mut [u8]| match kind {
        Kind::Udp => emit::finish_udp(buf, tuple.local, tuple.remote),
        Kind::Echo => emit::finish_echo(buf, tuple.local.ip(), to, tuple.remote.port()),
    };
    let mut outcome = Ok(None);
    outbox.push(|buf| {
        buf.resize(mtu_bytes, 0);
        let Some(room) = buf.get_mut(overhead..) else {
            return false;
        };
        let fits = room.len();
        let mut parts = [IoSliceMut::new(room), IoSliceMut::new(spill)];
        let read = match io::Read::read_vectored(&mut &*socket, &mut parts) {
            Ok(read) => read,
            Err(error) => {
                outcome = Err(error);
                return false;
            }
        };
        if let Some(rest) = spill.get(..read.saturating_sub(fits))
            && !rest.is_empty()
        {
            let mut long = [&buf[..], rest].concat();
            outcome = Ok(finish(&mut long).then_some(long));
            return false;
        }
        buf.truncate(overhead + read);
        finish(buf)
    });
    outcome
}
