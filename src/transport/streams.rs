//! A server's TCP side: one listener, many framed streams, one sink for all of them.
//!
//! A stream whose peer does not read fills its own buffer and then loses packets; it never holds up the others.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use mio::{
    Interest, Registry, Token,
    net::{TcpListener, TcpStream},
};
use tracing::debug;
use tunless_core::tunnel::WireSink;

use super::{Counters, Flushed, Received, TcpTransport, TransportError};

/// Connections taken in a turn.
const ACCEPTS: usize = 16;
/// Pause after a connection could not be taken: what is missing comes back with time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Streams without a session; one more ends the oldest.
const MAX_YOUNG: usize = 64;
/// The same for one source: an IPv4 address, or the 64 bits of an IPv6 one that name a network.
const MAX_YOUNG_OF_ONE: usize = 8;

/// Numbers and times that bound what strangers can use up.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Streams at once.
    pub streams: usize,
    /// Time from accept to an established session.
    pub handshake: Duration,
    /// Longest packet.
    pub packet_bytes: usize,
}

/// All streams of one listener.
#[derive(Debug)]
pub struct Streams {
    listener: TcpListener,
    local: SocketAddr,
    registry: Registry,
    limits: StreamLimits,
    first_token: usize,
    next_token: usize,
    by_token: BTreeMap<usize, Stream>,
    by_address: BTreeMap<SocketAddr, usize>,
    readable: BTreeSet<usize>,
    dirty: BTreeSet<usize>,
    acceptable: bool,
    /// When connections are taken again after that failed.
    accept_at: Option<Instant>,
    /// Streams without a session, oldest first.
    young: VecDeque<usize>,
    /// Where a packet goes that nobody will get.
    scratch: Box<[u8]>,
    target: Option<usize>,
    dropped: u64,
}

#[derive(Debug)]
struct Stream {
    transport: TcpTransport,
    /// When it is closed unless a session has been established.
    deadline: Option<Instant>,
}

impl Streams {
    /// Listens at `local`. Tokens from `first_token` up to `first_token + 2 * limits.streams` belong to it.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub fn listen(
        local: SocketAddr,
        registry: Registry,
        token: Token,
        first_token: usize,
        limits: StreamLimits,
    ) -> Result<Self, TransportError> {
        let open = || {
            let mut listener = TcpListener::bind(local)?;
            registry.register(&mut listener, token, Interest::READABLE)?;
            let local = listener.local_addr()?;
            Ok((listener, local))
        };
        let opened = open();
        let (listener, local) = opened.map_err(|source| TransportError::Open {
            carrier: "TCP",
            address: local,
            source,
        })?;
        Ok(Self {
            listener,
            local,
            registry,
            limits,
            first_token,
            next_token: first_token,
            by_token: BTreeMap::new(),
            by_address: BTreeMap::new(),
            readable: BTreeSet::new(),
            dirty: BTreeSet::new(),
            acceptable: true,
            accept_at: None,
            young: VecDeque::new(),
            scratch: vec![0; usize::from(u16::MAX)].into_boxed_slice(),
            target: None,
            dropped: 0,
        })
    }

    /// Our own end.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The listener has news.
    pub fn on_acceptable(&mut self) {
        self.acceptable = true;
    }

    /// A stream has news.
    pub fn on_ready(&mut self, event: &mio::event::Event) {
        let token = event.token().0;
        if !self.by_token.contains_key(&token) {
            return;
        }
        if event.is_readable() || event.is_error() || event.is_read_closed() {
            self.readable.insert(token);
        }
        if event.is_writable() {
            self.dirty.insert(token);
        }
    }

    /// Takes new streams and reads from all that have something, `budget` packets from each. Addresses of
    /// streams that have ended go to `ended`.
    pub fn recv(
        &mut self,
        now: Instant,
        budget: usize,
        each: &mut dyn FnMut(SocketAddr, &mut [u8]),
        ended: &mut Vec<SocketAddr>,
    ) {
        self.accept(now, ended);
        let tokens: Vec<usize> = self.readable.iter().copied().collect();
        for token in tokens {
            let Some(stream) = self.by_token.get_mut(&token) else {
                self.readable.remove(&token);
                continue;
            };
            match stream.transport.recv(budget, each) {
                Ok(Received::More) => {}
                Ok(Received::Drained) => {
                    self.readable.remove(&token);
                }
                Err(error) => {
                    debug!(%error, "stream ended");
                    ended.push(stream.transport.peer());
                    self.remove(token);
                }
            }
        }
        let late = |stream: &&Stream| stream.deadline.is_some_and(|deadline| deadline <= now);
        let late: Vec<SocketAddr> = self
            .by_token
            .values()
            .filter(late)
            .map(|s| s.transport.peer())
            .collect();
        for address in late {
            debug!(%address, "no session in time");
            self.close(address);
            ended.push(address);
        }
    }

    /// Sends what is queued everywhere. Addresses of streams that have ended go to `ended`.
    pub fn flush(&mut self, ended: &mut Vec<SocketAddr>) {
        for token in std::mem::take(&mut self.dirty) {
            let Some(stream) = self.by_token.get_mut(&token) else {
                continue;
            };
            match stream.transport.flush() {
                Ok(Flushed::Clear | Flushed::Blocked) => {}
                Err(error) => {
                    debug!(%error, "stream ended");
                    ended.push(stream.transport.peer());
                    self.remove(token);
                }
            }
        }
    }

    /// A session has been established on this stream: it may stay.
    pub fn on_established(&mut self, address: SocketAddr) {
        if let Some(&token) = self.by_address.get(&address)
            && let Some(stream) = self.by_token.get_mut(&token)
        {
            stream.deadline = None;
            self.young.retain(|young| *young != token);
        }
    }

    /// Sends what is queued for it and closes a stream.
    pub fn close(&mut self, address: SocketAddr) {
        if let Some(&token) = self.by_address.get(&address) {
            if let Some(stream) = self.by_token.get_mut(&token)
                && let Err(error) = stream.transport.flush()
            {
                debug!(%error, "last words not sent");
            }
            self.remove(token);
        }
    }

    /// Tells whether another turn should follow without waiting.
    pub fn has_more(&self) -> bool {
        self.acceptable || !self.readable.is_empty()
    }

    /// When the next stream is closed for its silence, or connections are taken again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = self.by_token.values().filter_map(|stream| stream.deadline);
        deadlines.chain(self.accept_at).min()
    }

    /// Counters of the streams that are open, and packets dropped on all.
    pub fn counters(&self) -> Counters {
        let start = Counters {
            send_errors: self.dropped,
            ..Counters::default()
        };
        self.by_token
            .values()
            .map(|stream| stream.transport.counters())
            .fold(start, |sum, one| Counters {
                received: sum.received + one.received,
                received_bytes: sum.received_bytes + one.received_bytes,
                sent: sum.sent + one.sent,
                sent_bytes: sum.sent_bytes + one.sent_bytes,
                send_errors: sum.send_errors + one.send_errors,
                refused: sum.refused + one.refused,
            })
    }

    fn accept(&mut self, now: Instant, ended: &mut Vec<SocketAddr>) {
        if self.accept_at.take_if(|at| *at <= now).is_some() {
            self.acceptable = true;
        }
        for _ in 0..ACCEPTS {
            if !self.acceptable {
                return;
            }
            let outcome = self.listener.accept();
            self.on_accepted(now, outcome, ended);
        }
    }

    fn on_accepted(
        &mut self,
        now: Instant,
        outcome: io::Result<(TcpStream, SocketAddr)>,
        ended: &mut Vec<SocketAddr>,
    ) {
        match outcome {
            Ok((stream, peer)) => self.add(now, stream, peer, ended),
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.acceptable = false,
            // A connection that is gone already says nothing about the next one.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                ) => {}
            Err(error) => {
                // Out of descriptors or memory. Connections that wait already cause no event.
                debug!(%error, "cannot accept");
                self.acceptable = false;
                self.accept_at = Some(now + ACCEPT_PAUSE);
            }
        }
    }

    /// Makes room for a stream of `peer` at the cost of older ones that have no session, first of those of the same
    /// source. False if all streams have one.
    fn make_room(&mut self, peer: SocketAddr, ended: &mut Vec<SocketAddr>) -> bool {
        let source = source_of(peer);
        let of_token = |token: &usize| self.by_token.get(token).map(|stream| stream.transport.peer());
        let is_same = |address: &SocketAddr| source_of(*address) == source;
        let mut same = self.young.iter().filter_map(of_token).filter(is_same);
        let oldest = same.next();
        let count = usize::from(oldest.is_some()) + same.count();
        let is_full = self.young.len() >= MAX_YOUNG || self.by_token.len() >= self.limits.streams;
        let victim = if count >= MAX_YOUNG_OF_ONE {
            oldest
        } else if is_full {
            self.young.iter().find_map(of_token)
        } else {
            None
        };
        if let Some(address) = victim {
            debug!(%address, "too many streams without a session, the oldest is closed");
            self.close(address);
            ended.push(address);
        }
        self.by_token.len() < self.limits.streams
    }

    fn add(&mut self, now: Instant, stream: TcpStream, peer: SocketAddr, ended: &mut Vec<SocketAddr>) {
        if !self.make_room(peer, ended) {
            debug!(%peer, limit = self.limits.streams, "too many streams, closed");
            return;
        }
        let token = self.free_token();
        let mut transport = TcpTransport::accepted(stream, peer, self.limits.packet_bytes);
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.registry.register(transport.source(), Token(token), both) {
            debug!(%error, "cannot watch a stream");
            return;
        }
        let deadline = Some(now + self.limits.handshake);
        self.by_token.insert(token, Stream { transport, deadline });
        self.by_address.insert(peer, token);
        self.young.push_back(token);
        self.readable.insert(token);
    }

    /// A token that no stream has: there are twice as many as streams.
    fn free_token(&mut self) -> usize {
        let last = self.first_token + 2 * self.limits.streams;
        while self.by_token.contains_key(&self.next_token) {
            self.next_token = if self.next_token >= last {
                self.first_token
            } else {
                self.next_token + 1
            };
        }
        let token = self.next_token;
        self.next_token = if token >= last {
            self.first_token
        } else {
            token + 1
        };
        token
    }

    fn remove(&mut self, token: usize) {
        self.readable.remove(&token);
        self.dirty.remove(&token);
        self.young.retain(|young| *young != token);
        if let Some(mut stream) = self.by_token.remove(&token) {
            self.by_address.remove(&stream.transport.peer());
            if let Err(error) = self.registry.deregister(stream.transport.source()) {
                debug!(%error, "stream was not registered");
            }
        }
    }
}

/// What streams without a session are counted by.
fn source_of(peer: SocketAddr) -> IpAddr {
    match peer.ip().to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(network.into())
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl WireSink for Streams {
    fn reserve(&mut self, to: SocketAddr, len: usize) -> Option<&mut [u8]> {
        self.target = None;
        if let Some(&token) = self.by_address.get(&to)
            && let Some(stream) = self.by_token.get_mut(&token)
        {
            // Asked twice, because the borrow of a slot would outlive the choice.
            if stream.transport.has_room(len) {
                self.target = Some(token);
                return stream.transport.reserve(to, len);
            }
        }
        self.scratch.get_mut(..len)
    }

    fn commit(&mut self, len: usize) {
        match self
            .target
            .take()
            .and_then(|token| Some((token, self.by_token.get_mut(&token)?)))
        {
            Some((token, stream)) => {
                stream.transport.commit(len);
                self.dirty.insert(token);
            }
            None => self.dropped += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use mio::Poll;

    use super::*;

    /// No events are read: a turn is all that the listener needs.
    fn streams(poll: &Poll, streams: usize) -> Streams {
        let limits = StreamLimits {
            streams,
            handshake: Duration::from_mins(1),
            packet_bytes: 2048,
        };
        let registry = poll.registry().try_clone().unwrap();
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Streams::listen(local, registry, Token(0), 16, limits).unwrap()
    }

    /// A connection and its address, once it has been taken, and who was closed for it.
    fn connect(streams: &mut Streams, now: Instant) -> (std::net::TcpStream, SocketAddr, Vec<SocketAddr>) {
        let stream = std::net::TcpStream::connect(streams.local()).unwrap();
        let (address, mut ended) = (stream.local_addr().unwrap(), Vec::new());
        streams.on_acceptable();
        streams.recv(now, 1, &mut |_, _| {}, &mut ended);
        (stream, address, ended)
    }

    #[test]
    fn one_source_only_crowds_out_itself_and_only_before_a_session() {
        let (poll, now) = (Poll::new().unwrap(), Instant::now());
        let mut streams = streams(&poll, 100);
        let first = connect(&mut streams, now);
        streams.on_established(first.1);
        let young: Vec<_> = (0..MAX_YOUNG_OF_ONE)
            .map(|_| connect(&mut streams, now))
            .collect();
        assert!(young.iter().all(|(_, _, ended)| ended.is_empty()));
        let (_stream, address, ended) = connect(&mut streams, now);
        assert_eq!(ended, [young[0].1]);
        assert!(streams.by_address.contains_key(&first.1));
        assert!(streams.by_address.contains_key(&address));
        assert_eq!(streams.by_token.len(), 1 + MAX_YOUNG_OF_ONE);
    }

    #[test]
    fn the_oldest_stream_without_a_session_gives_way_when_all_are_taken() {
        let (poll, now) = (Poll::new().unwrap(), Instant::now());
        let mut streams = streams(&poll, 2);
        let (first, second) = (connect(&mut streams, now), connect(&mut streams, now));
        streams.on_established(first.1);
        let third = connect(&mut streams, now);
        assert_eq!(third.2, [second.1]);
        streams.on_established(third.1);
        let (_stream, address, ended) = connect(&mut streams, now);
        assert!(ended.is_empty() && !streams.by_address.contains_key(&address));
    }

    #[test]
    fn a_failed_accept_is_tried_again_after_a_pause() {
        let (poll, now) = (Poll::new().unwrap(), Instant::now());
        let (mut streams, mut ended) = (streams(&poll, 2), Vec::new());
        streams.on_accepted(now, Err(ErrorKind::ConnectionAborted.into()), &mut ended);
        assert!(streams.has_more() && streams.poll_timeout().is_none());
        streams.on_accepted(now, Err(ErrorKind::Other.into()), &mut ended);
        assert!(!streams.has_more());
        let at = streams.poll_timeout().unwrap();
        assert_eq!(at, now + ACCEPT_PAUSE);
        let _waiting = std::net::TcpStream::connect(streams.local()).unwrap();
        streams.recv(now, 1, &mut |_, _| {}, &mut ended);
        assert!(streams.by_token.is_empty());
        streams.recv(at, 1, &mut |_, _| {}, &mut ended);
        assert_eq!(
            (streams.by_token.len(), streams.poll_timeout()),
            (1, Some(at + Duration::from_mins(1)))
        );
    }
}
