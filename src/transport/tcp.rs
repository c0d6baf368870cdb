//! TCP: packets behind a two-byte length, parsed in place and written a batch at a time.
//!
//! A stream whose length cannot be right is out of step for good: it ends (reference section 1.1).

use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
};

use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tunless_core::tunnel::WireSink;

use super::{Counters, Flushed, Received, TransportError};

/// Bytes of the length before each packet.
const PREFIX: usize = 2;
/// Longest packet that the length can announce.
const LONGEST: usize = u16::MAX as usize;
/// Room for reads; more than the longest packet, so that one always fits.
const IN_BYTES: usize = 128 << 10;
/// Room for packets that wait to be written; the driver stops sealing when it is used up.
const OUT_BYTES: usize = 256 << 10;

/// A connected stream with its two buffers.
#[derive(Debug)]
pub struct TcpTransport {
    stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    limit: usize,
    input: Window,
    output: Window,
    /// Length of the slot that was handed out and not yet committed.
    slot: usize,
    packets_out: u64,
    counters: Counters,
}

/// A buffer whose used part is `start..end`.
#[derive(Debug)]
struct Window {
    buf: Box<[u8]>,
    start: usize,
    end: usize,
}

impl TcpTransport {
    /// Starts connecting to `peer`, from `local` or any port; it is connected when the socket becomes
    /// writable and [`Self::connected`] says so. Packets above `limit` bytes end the stream.
    ///
    /// # Errors
    /// The system refuses the socket or the port.
    pub fn connect(
        peer: SocketAddr,
        local: Option<SocketAddr>,
        limit: usize,
    ) -> Result<Self, TransportError> {
        let open = || -> io::Result<TcpStream> {
            let socket = Socket::new(Domain::for_address(peer), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            if let Some(local) = local {
                socket.set_reuse_address(true)?;
                socket.bind(&local.into())?;
            }
            match socket.connect(&peer.into()) {
                Err(error) if !in_progress(&error) => Err(error),
                _ => Ok(TcpStream::from_std(socket.into())),
            }
        };
        let stream = open().map_err(|source| TransportError::Open {
            carrier: "TCP",
            address: peer,
            source,
        })?;
        Ok(Self::new(stream, peer, limit))
    }

    /// Takes over an accepted stream. Packets above `limit` bytes end it.
    pub fn accepted(stream: TcpStream, peer: SocketAddr, limit: usize) -> Self {
        Self::new(stream, peer, limit)
    }

    fn new(stream: TcpStream, peer: SocketAddr, limit: usize) -> Self {
        let options = SockRef::from(&stream);
        // Both only tune; a socket without them works.
        let _untuned = options.set_tcp_nodelay(true);
        let _untuned = options.set_tcp_keepalive(&TcpKeepalive::new());
        let local = stream.local_addr().unwrap_or_else(|_| super::unspecified(peer));
        Self {
            stream,
            peer,
            local,
            limit: limit.min(LONGEST),
            input: Window::new(IN_BYTES),
            output: Window::new(OUT_BYTES),
            slot: 0,
            packets_out: 0,
            counters: Counters::default(),
        }
    }

    /// Tells whether the connection stands; `Ok(false)`: not yet.
    ///
    /// # Errors
    /// It was refused, or failed otherwise.
    pub fn connected(&mut self) -> Result<bool, TransportError> {
        let failed = |source| TransportError::Stream {
            peer: self.peer,
            source,
        };
        if let Some(error) = self.stream.take_error().map_err(failed)? {
            return Err(failed(error));
        }
        match self.stream.peer_addr() {
            Ok(_) => {
                self.local = self.stream.local_addr().unwrap_or(self.local);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// The other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Our own end.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The socket, for the event loop.
    pub fn source(&mut self) -> &mut dyn mio::event::Source {
        &mut self.stream
    }

    /// Reads until the stream is empty or at least `budget` packets were handed to `each`.
    ///
    /// # Errors
    /// The stream ended, failed, or is out of step. Whole packets before that have been handed over.
    pub fn recv(
        &mut self,
        budget: usize,
        each: &mut dyn FnMut(SocketAddr, &mut [u8]),
    ) -> Result<Received, TransportError> {
        let mut taken = self.parse(budget, each)?;
        while taken < budget {
            self.input.compact();
            match self.stream.read(self.input.free()) {
                Ok(0) => return Err(TransportError::Closed { peer: self.peer }),
                Ok(count) => {
                    self.input.end += count;
                    taken += self.parse(budget - taken, each)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Received::Drained),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(self.failed(source)),
            }
        }
        Ok(Received::More)
    }

    /// Hands over up to `budget` packets that are whole.
    fn parse(
        &mut self,
        budget: usize,
        each: &mut dyn FnMut(SocketAddr, &mut [u8]),
    ) -> Result<usize, TransportError> {
        let mut taken = 0;
        while taken < budget {
            let Some(&[high, low]) = self.input.used().first_chunk::<PREFIX>() else {
                break;
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length == 0 || length > self.limit {
                return Err(TransportError::BadLength {
                    peer: self.peer,
                    length,
                    limit: self.limit,
                });
            }
            let Some(packet) = self.input.used().get_mut(PREFIX..PREFIX + length) else {
                break;
            };
            self.counters.count_received(length);
            each(self.peer, packet);
            self.input.start += PREFIX + length;
            taken += 1;
        }
        Ok(taken)
    }

    /// Writes what is queued; what the socket does not take now is kept in order.
    ///
    /// # Errors
    /// The stream failed.
    pub fn flush(&mut self) -> Result<Flushed, TransportError> {
        while !self.output.used().is_empty() {
            match self.stream.write(self.output.used()) {
                Ok(0) => return Err(TransportError::Closed { peer: self.peer }),
                Ok(count) => {
                    self.output.start += count;
                    self.counters.sent_bytes += count as u64;
                }
                Err(error) if not_now(&error) => return Ok(Flushed::Blocked),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(self.failed(source)),
            }
        }
        self.counters.sent = self.packets_out;
        self.output.compact();
        Ok(Flushed::Clear)
    }

    /// Tells whether a packet of `len` bytes can be queued.
    pub fn has_room(&self, len: usize) -> bool {
        len <= LONGEST && self.output.buf.len() - (self.output.end - self.output.start) >= PREFIX + len
    }

    /// The bare stream, for what is said before the first packet.
    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Puts bytes in front of those that are still to be read, before the first packet is.
    pub(super) fn take_back(&mut self, bytes: &[u8]) {
        if let Some(room) = self.input.free().get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
            self.input.end += bytes.len();
        }
    }

    pub(super) fn failed(&self, source: io::Error) -> TransportError {
        TransportError::Stream {
            peer: self.peer,
            source,
        }
    }
}

impl WireSink for TcpTransport {
    fn reserve(&mut self, _to: SocketAddr, len: usize) -> Option<&mut [u8]> {
        if len > LONGEST {
            return None;
        }
        if self.output.free().len() < PREFIX + len {
            self.output.compact();
        }
        let slot = self.output.free().get_mut(PREFIX..PREFIX + len)?;
        self.slot = len;
        Some(slot)
    }

    fn commit(&mut self, len: usize) {
        let len = len.min(self.slot);
        self.slot = 0;
        let Ok(prefix) = u16::try_from(len) else { return };
        if len == 0 {
            return;
        }
        if let Some(room) = self.output.free().first_chunk_mut::<PREFIX>() {
            *room = prefix.to_be_bytes();
            self.output.end += PREFIX + len;
            self.packets_out += 1;
        }
    }
}

impl Window {
    fn new(bytes: usize) -> Self {
        Self {
            buf: vec![0; bytes].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }

    fn used(&mut self) -> &mut [u8] {
        self.buf.get_mut(self.start..self.end).unwrap_or_default()
    }

    fn free(&mut self) -> &mut [u8] {
        self.buf.get_mut(self.end..).unwrap_or_default()
    }

    /// Moves what is used to the front.
    fn compact(&mut self) {
        if self.start > 0 {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }
}

fn in_progress(error: &io::Error) -> bool {
    /// `EINPROGRESS`: std has no kind for it.
    const IN_PROGRESS: i32 = 115;
    error.raw_os_error() == Some(IN_PROGRESS) || error.kind() == ErrorKind::WouldBlock
}

/// A stream that is still connecting answers `ENOTCONN` or `EAGAIN`.
fn not_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}

#[cfg(test)]
mod tests {
    use std::{net, thread};

    use super::*;

    fn pair(limit: usize) -> (TcpTransport, net::TcpStream) {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let other = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, peer) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        other.set_nodelay(true).unwrap();
        let stream = TcpStream::from_std(stream);
        (TcpTransport::accepted(stream, peer, limit), other)
    }

    fn poll_until(at: &mut TcpTransport, mut done: impl FnMut(&mut TcpTransport) -> bool) {
        let mut poll = mio::Poll::new().unwrap();
        let both = mio::Interest::READABLE | mio::Interest::WRITABLE;
        poll.registry()
            .register(at.source(), mio::Token(0), both)
            .unwrap();
        let mut events = mio::Events::with_capacity(4);
        while !done(at) {
            let wait = Some(std::time::Duration::from_secs(5));
            poll.poll(&mut events, wait).unwrap();
            assert!(!events.is_empty(), "nothing came for five seconds");
        }
        poll.registry().deregister(at.source()).unwrap();
    }

    #[test]
    fn packets_split_anywhere_arrive_whole_and_in_order() {
        let (mut at, mut other) = pair(1000);
        let mut wire = Vec::new();
        for number in 0..50_u8 {
            let len = 1 + usize::from(number) * 17;
            wire.extend(u16::try_from(len).unwrap().to_be_bytes());
            wire.resize(wire.len() + len, number);
        }
        let sender = thread::spawn(move || {
            for piece in wire.chunks(37) {
                other.write_all(piece).unwrap();
            }
            other
        });
        let mut got = Vec::new();
        poll_until(&mut at, |at| {
            at.recv(7, &mut |_, bytes| got.push((bytes.len(), bytes[0])))
                .unwrap();
            // A budget may end between packets that are already here.
            while at
                .recv(7, &mut |_, bytes| got.push((bytes.len(), bytes[0])))
                .unwrap()
                == Received::More
            {}
            got.len() == 50
        });
        sender.join().unwrap();
        let wanted: Vec<_> = (0..50_u8).map(|n| (1 + usize::from(n) * 17, n)).collect();
        assert_eq!(got, wanted);
    }

    #[test]
    fn a_length_of_zero_or_above_the_limit_ends_the_stream() {
        for (length, expected) in [(0_u16, 0), (1001, 1001)] {
            let (mut at, mut other) = pair(1000);
            other.write_all(&[0, 1, 9]).unwrap();
            other.write_all(&length.to_be_bytes()).unwrap();
            let mut got = 0;
            let mut fault = None;
            poll_until(&mut at, |at| {
                fault = at.recv(64, &mut |_, _| got += 1).err();
                fault.is_some()
            });
            assert_eq!(got, 1, "the packet before it arrives");
            assert!(matches!(fault, Some(TransportError::BadLength { length, .. }) if length == expected));
        }
    }

    #[test]
    fn the_end_of_the_stream_is_told() {
        let (mut at, other) = pair(1000);
        drop(other);
        let mut fault = None;
        poll_until(&mut at, |at| {
            fault = at.recv(64, &mut |_, _| {}).err();
            fault.is_some()
        });
        assert!(matches!(fault, Some(TransportError::Closed { .. })));
    }

    #[test]
    fn a_full_socket_pushes_back_and_loses_nothing() {
        const PACKETS: u32 = 10_000;
        let (mut at, mut other) = pair(2000);
        let peer = at.peer();
        let mut queued = 0;
        // Until the socket is full, or all is written: readiness only comes after fullness.
        let mut offer = |at: &mut TcpTransport| loop {
            while queued < PACKETS {
                let Some(slot) = at.reserve(peer, 1400) else { break };
                slot.fill(0);
                slot[..4].copy_from_slice(&queued.to_be_bytes());
                at.commit(1400);
                queued += 1;
            }
            let flushed = at.flush().unwrap();
            if flushed == Flushed::Blocked || queued == PACKETS {
                return flushed;
            }
        };
        assert_eq!(
            offer(&mut at),
            Flushed::Blocked,
            "nobody reads, so the socket fills up"
        );
        let reader = thread::spawn(move || {
            let mut packet = [0; 1402];
            for number in 0..PACKETS {
                other.read_exact(&mut packet).unwrap();
                assert_eq!(packet[..2], 1400_u16.to_be_bytes());
                assert_eq!(packet[2..6], number.to_be_bytes());
            }
        });
        poll_until(&mut at, |at| offer(at) == Flushed::Clear);
        reader.join().unwrap();
        assert_eq!(at.counters().sent, u64::from(PACKETS));
    }

    #[test]
    fn a_refused_connection_is_told() {
        let gone = net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mut at = match TcpTransport::connect(gone, None, 1000) {
            Ok(at) => at,
            Err(error) => panic!("loopback refuses later: {error}"),
        };
        let mut fault = None;
        poll_until(&mut at, |at| {
            fault = at.connected().err();
            fault.is_some()
        });
        assert!(matches!(fault, Some(TransportError::Stream { .. })));
    }
}
