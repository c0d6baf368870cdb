//! UDP: trains out by segmentation offload, coalesced reads in, both by quinn-udp.
//!
//! A datagram that cannot be sent is counted, never an error: the protocol above repeats what matters.

use std::{
    array, io,
    io::{ErrorKind, IoSliceMut},
    net::SocketAddr,
};

use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::{debug, trace};
use tunless_core::tunnel::WireSink;

use super::{
    Counters, Flushed, Received, TransportError,
    train::{Load, Train},
};

/// Asked of the kernel for each direction; it may give less.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Reads in one system call. A batch gains nothing over single calls, while each buffer costs cache.
const BUFFERS: usize = 4;
/// Room for the longest coalesced read.
const BUFFER_BYTES: usize = 1 << 16;

/// Errors in a row after which it is not the network that is broken.
const MAX_FAULTS: u32 = 16;

// What a kernel or a device answers that cannot segment (quinn-udp and wireguard-go met all three).
const EIO: i32 = 5;
const EINVAL: i32 = 22;
const EMSGSIZE: i32 = 90;
/// Length that every link of today carries with its headers: a socket that cannot send a train of such datagrams
/// cannot segment at all (RFC 8200 §5 has 1280 for the whole packet).
const SURE_BYTES: usize = 1200;

/// A UDP socket with its train.
#[derive(Debug)]
pub struct UdpTransport {
    socket: mio::net::UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    train: Train,
    blocked: bool,
    buf: Box<[u8]>,
    counters: Counters,
}

impl UdpTransport {
    /// Opens a socket that only talks to `peer`, bound to `local` or to any port.
    ///
    /// # Errors
    /// The system refuses the socket, the port or the route.
    pub fn connect(peer: SocketAddr, local: Option<SocketAddr>) -> Result<Self, TransportError> {
        let local = local.unwrap_or_else(|| super::unspecified(peer));
        Self::open(local, Some(peer)).map_err(|source| TransportError::Open {
            carrier: "UDP",
            address: peer,
            source,
        })
    }

    /// Opens a socket that takes datagrams from anybody at `local`.
    ///
    /// # Errors
    /// The system refuses the socket or the address.
    pub fn bind(local: SocketAddr) -> Result<Self, TransportError> {
        Self::open(local, None).map_err(|source| TransportError::Open {
            carrier: "UDP",
            address: local,
            source,
        })
    }

    fn open(local: SocketAddr, peer: Option<SocketAddr>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        // The kernel clamps what it does not allow: fewer bytes are no reason to fail.
        let _clamped = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _clamped = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        socket.bind(&local.into())?;
        if let Some(peer) = peer {
            socket.connect(&peer.into())?;
        }
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        allow_fragments(&socket, local);
        let socket = mio::net::UdpSocket::from_std(socket.into());
        Ok(Self {
            local: socket.local_addr()?,
            train: Train::new(state.max_gso_segments()),
            socket,
            state,
            blocked: false,
            buf: vec![0; BUFFERS * BUFFER_BYTES].into_boxed_slice(),
            counters: Counters::default(),
        })
    }

    /// Takes over what `before`, which this socket replaces, has counted.
    pub fn count_from(&mut self, before: Counters) {
        self.counters = before;
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
        &mut self.socket
    }

    /// Sends one datagram a system call from now on, as on a device that cannot segment.
    pub fn stop_segmenting(&mut self) {
        self.train.stop_segmenting();
    }

    /// Reads until the socket is empty or at least `budget` datagrams were handed to `each`.
    ///
    /// # Errors
    /// Only what says that the socket itself is broken.
    pub fn recv(
        &mut self,
        budget: usize,
        each: &mut dyn FnMut(SocketAddr, &mut [u8]),
    ) -> Result<Received, TransportError> {
        let mut taken = 0;
        let mut faults = 0;
        while taken < budget {
            let mut metas = [RecvMeta::default(); BUFFERS];
            let mut rest = self.buf.chunks_exact_mut(BUFFER_BYTES);
            let mut slices: [IoSliceMut<'_>; BUFFERS] =
                array::from_fn(|_| IoSliceMut::new(rest.next().unwrap_or_default()));
            let count = match self
                .state
                .recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas)
            {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Received::Drained),
                Err(source) if faults == MAX_FAULTS => {
                    return Err(TransportError::Socket {
                        local: self.local,
                        source,
                    });
                }
                Err(error) => {
                    // An ICMP error in one of its many codes; reporting it consumes it.
                    debug!(%error, "the network reports an error");
                    self.counters.refused += 1;
                    faults += 1;
                    continue;
                }
            };
            faults = 0;
            let filled = metas.iter().zip(self.buf.chunks_exact_mut(BUFFER_BYTES));
            for (meta, buffer) in filled.take(count) {
                let bytes = buffer.get_mut(..meta.len).unwrap_or_default();
                for datagram in bytes.chunks_mut(meta.stride.max(1)) {
                    self.counters.count_received(datagram.len());
                    taken += 1;
                    each(meta.addr, datagram);
                }
            }
        }
        Ok(Received::More)
    }

    /// Sends the train; what the socket does not take now is kept in order.
    pub fn flush(&mut self) -> Flushed {
        self.blocked = false;
        while let Some(load) = self.train.load() {
            let (bytes, segments) = (load.bytes.len(), load.segments);
            match send(&self.state, &self.socket, &load) {
                Ok(()) => {
                    self.counters.sent += segments as u64;
                    self.counters.sent_bytes += bytes as u64;
                    self.train.clear();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.block(),
                Err(error) if segments > 1 && cannot_segment(&error) => {
                    if load.segment > SURE_BYTES {
                        // Too long for the link: IP cuts them up, one at a time; shorter ones still go together.
                        debug!(%error, bytes = load.segment, "datagrams of this length go one by one");
                        self.train.limit_segment(load.segment - 1);
                    } else {
                        debug!(%error, "segmentation offload is off for this socket");
                        self.train.stop_segmenting();
                    }
                    return self.flush_singly();
                }
                Err(error) if is_icmp(&error) => {
                    // The error belongs to an earlier datagram and is consumed by reporting it.
                    self.counters.refused += 1;
                    return self.flush_singly();
                }
                Err(error) => {
                    trace!(%error, to = %load.to, bytes, "datagrams dropped");
                    self.counters.send_errors += segments as u64;
                    self.train.clear();
                }
            }
        }
        Flushed::Clear
    }

    /// Sends the datagrams of the train one by one, in order.
    fn flush_singly(&mut self) -> Flushed {
        while let Some(load) = self.train.load() {
            let first = load.bytes.chunks(load.segment).next().unwrap_or_default();
            let single = Load {
                bytes: first,
                segments: 1,
                ..load
            };
            // A second try where the first only reported an earlier ICMP error.
            let result = send(&self.state, &self.socket, &single).or_else(|error| {
                if is_icmp(&error) {
                    self.counters.refused += 1;
                    send(&self.state, &self.socket, &single)
                } else {
                    Err(error)
                }
            });
            match result {
                Ok(()) => {
                    self.counters.sent += 1;
                    self.counters.sent_bytes += first.len() as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.block(),
                Err(error) => {
                    trace!(%error, to = %load.to, bytes = first.len(), "datagram dropped");
                    self.counters.send_errors += 1;
                }
            }
            self.train.drop_front(1);
        }
        Flushed::Clear
    }

    fn block(&mut self) -> Flushed {
        self.blocked = true;
        Flushed::Blocked
    }
}

impl WireSink for UdpTransport {
    fn reserve(&mut self, to: SocketAddr, len: usize) -> Option<&mut [u8]> {
        if !self.train.takes(to, len) {
            if self.blocked || self.flush() == Flushed::Blocked {
                return None;
            }
            if !self.train.takes(to, len) {
                // Longer than any datagram may be.
                self.counters.send_errors += 1;
                return None;
            }
        }
        self.train.reserve(to, len)
    }

    fn commit(&mut self, len: usize) {
        self.train.commit(len);
    }
}

fn send(state: &UdpSocketState, socket: &mio::net::UdpSocket, load: &Load<'_>) -> io::Result<()> {
    let transmit = quinn_udp::Transmit {
        destination: load.to,
        ecn: None,
        contents: load.bytes,
        segment_size: (load.segments > 1).then_some(load.segment),
        src_ip: None,
    };
    state.try_send(UdpSockRef::from(socket), &transmit)
}

/// Lets IP cut up what is longer than the path carries, as the stock client does: an inner datagram of full size would
/// be lost otherwise. The kernel still learns path MTUs (`IP_PMTUDISC_WANT`).
fn allow_fragments(socket: &Socket, local: SocketAddr) {
    let outcome = match local {
        SocketAddr::V4(_) => sockopt::set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::WANT),
        SocketAddr::V6(_) => sockopt::set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::WANT),
    };
    if let Err(error) = outcome {
        debug!(%error, "datagrams longer than the path carries will be lost");
    }
}

fn is_icmp(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::ConnectionReset
            | ErrorKind::PermissionDenied
    )
}

fn cannot_segment(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EIO | EINVAL | EMSGSIZE))
}

#[cfg(test)]
mod tests;
