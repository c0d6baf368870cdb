//! Carriers: how packets reach the peer. A carrier moves bytes and knows nothing of what they mean.
//!
//! The driver reads with a callback that gets each packet in the carrier's own buffer, writes through
//! [`WireSink`], and flushes once a turn. A carrier whose socket is full says so and keeps what it holds.

pub mod streams;
pub mod tcp;
pub mod train;
pub mod udp;
pub mod upstream;

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tunless_core::tunnel::{Transmit, WireSink};

pub use self::{
    streams::{StreamLimits, Streams},
    tcp::TcpTransport,
    train::Train,
    udp::UdpTransport,
    upstream::{Upstream, UpstreamFault},
};

/// Why a carrier cannot go on; anything that a later packet may cure is counted instead.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The socket could not be opened.
    #[error("cannot open a {carrier} socket for {address}")]
    Open {
        /// `UDP` or `TCP`.
        carrier: &'static str,
        /// Where it was to be bound or connected.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The peer closed the stream.
    #[error("{peer} closed the connection")]
    Closed {
        /// The peer.
        peer: SocketAddr,
    },
    /// The length before a packet cannot be right: the stream is out of step.
    #[error("{peer} announced a packet of {length} bytes, wants 1 to {limit}")]
    BadLength {
        /// The peer.
        peer: SocketAddr,
        /// What was announced.
        length: usize,
        /// The longest packet that is taken.
        limit: usize,
    },
    /// The stream failed.
    #[error("the connection to {peer} failed")]
    Stream {
        /// The peer.
        peer: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The socket itself is broken.
    #[error("the UDP socket {local} failed")]
    Socket {
        /// Our end.
        local: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Why reading stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// The socket is empty.
    Drained,
    /// The budget is used up; there may be more.
    More,
}

/// What a flush achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing is held back.
    Clear,
    /// The socket is full; the rest is kept until it is writable.
    Blocked,
}

/// What a carrier has counted; all are packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets received.
    pub received: u64,
    /// Bytes of these packets.
    pub received_bytes: u64,
    /// Packets sent.
    pub sent: u64,
    /// Bytes of these packets.
    pub sent_bytes: u64,
    /// Packets that the system refused to send for good (too long, no route).
    pub send_errors: u64,
    /// ICMP errors that arrived (connected UDP sockets only).
    pub refused: u64,
}

impl Counters {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            received_bytes: self.received_bytes + other.received_bytes,
            sent: self.sent + other.sent,
            sent_bytes: self.sent_bytes + other.sent_bytes,
            send_errors: self.send_errors + other.send_errors,
            refused: self.refused + other.refused,
        }
    }

    pub(crate) fn count_received(&mut self, len: usize) {
        self.received += 1;
        self.received_bytes += len as u64;
    }
}

/// A carrier of one tunnel.
#[derive(Debug)]
pub enum Transport {
    /// Datagrams.
    Udp(Box<UdpTransport>),
    /// A framed stream.
    Tcp(Box<TcpTransport>),
}

impl Transport {
    /// Reads up to `budget` packets (a coalesced read counts each of its datagrams) and hands each to `each`.
    ///
    /// # Errors
    /// The stream ended or is out of step; a UDP socket only fails when it is broken itself.
    pub fn recv(
        &mut self,
        budget: usize,
        each: &mut dyn FnMut(SocketAddr, &mut [u8]),
    ) -> Result<Received, TransportError> {
        match self {
            Self::Udp(udp) => udp.recv(budget, each),
            Self::Tcp(tcp) => tcp.recv(budget, each),
        }
    }

    /// Where sealed packets go.
    pub fn wire(&mut self) -> &mut dyn WireSink {
        match self {
            Self::Udp(udp) => udp.as_mut(),
            Self::Tcp(tcp) => tcp.as_mut(),
        }
    }

    /// Queues one control packet; `false` when it did not fit and has to be offered again after a flush.
    pub fn send(&mut self, transmit: &Transmit) -> bool {
        send_copy(self.wire(), transmit)
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// The stream failed; UDP never does.
    pub fn flush(&mut self) -> Result<Flushed, TransportError> {
        match self {
            Self::Udp(udp) => Ok(udp.flush()),
            Self::Tcp(tcp) => tcp.flush(),
        }
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        match self {
            Self::Udp(udp) => udp.counters(),
            Self::Tcp(tcp) => tcp.counters(),
        }
    }

    /// Our own end.
    pub fn local(&self) -> SocketAddr {
        match self {
            Self::Udp(udp) => udp.local(),
            Self::Tcp(tcp) => tcp.local(),
        }
    }

    /// The socket, for the event loop.
    pub fn source(&mut self) -> &mut dyn mio::event::Source {
        match self {
            Self::Udp(udp) => udp.source(),
            Self::Tcp(tcp) => tcp.source(),
        }
    }
}

/// Any port of any address of `peer`'s family.
pub(crate) fn unspecified(peer: SocketAddr) -> SocketAddr {
    match peer {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    }
}

/// Copies a control packet into `wire`; `false` when there was no room.
pub(crate) fn send_copy(wire: &mut dyn WireSink, transmit: &Transmit) -> bool {
    let Some(slot) = wire.reserve(transmit.to, transmit.bytes.len()) else {
        return false;
    };
    slot.copy_from_slice(&transmit.bytes);
    wire.commit(transmit.bytes.len());
    true
}
