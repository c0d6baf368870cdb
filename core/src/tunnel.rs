//! The seam between a protocol and its driver: what devices, statistics and the event loop know of a tunnel.
//!
//! The contract: one mutation (`handle_*`), then drain `poll_transmit` and `poll_event`, then wait for input
//! or for `poll_timeout`. Inner packets and outer datagrams pass through sinks, so that they are opened and
//! sealed in the caller's buffers.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Takes inner packets that were opened, one call a packet, in order of arrival.
pub trait PacketSink {
    /// Receives one inner IP packet (or Ethernet frame); it may be changed in place and is gone afterwards.
    fn deliver(&mut self, packet: &mut [u8]);
}

/// Takes sealed datagrams: a slot is reserved, filled and committed; a slot that is not committed sends nothing.
pub trait WireSink {
    /// Hands out a slot of `len` bytes that will go to `to`, or `None` while the batch is full.
    fn reserve(&mut self, to: SocketAddr, len: usize) -> Option<&mut [u8]>;

    /// Sends the first `len` bytes of the slot that was reserved last.
    fn commit(&mut self, len: usize);
}

/// A datagram of the control channel (or a ping) that waits to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Outer address of the peer.
    pub to: SocketAddr,
    /// The whole packet, without the length prefix of TCP.
    pub bytes: Vec<u8>,
}

/// What became of an inner packet that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It was sealed into the sink.
    Sealed,
    /// The sink is full: offer the same packet again after a flush.
    Full,
    /// There is no key, no route or no right to send it; it was counted and dropped.
    Dropped,
}

/// Why a tunnel wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// A control packet has to be sent again, or sent at all.
    Retransmit,
    /// The handshake (or the first answer of the server) has taken too long.
    Handshake,
    /// `PUSH_REQUEST` is due.
    PushRequest,
    /// A ping is due.
    Ping,
    /// The peer has been silent too long.
    PingRestart,
    /// A key is due for renewal, for a switch or for its end.
    Rekey,
    /// A session that is closing has finished its grace period.
    Close,
    /// The server looks after its tables.
    Housekeeping,
}

/// What a driver needs from a tunnel, whichever protocol and role it has.
pub trait Tunnel {
    /// What the tunnel reports; events come in order and never block it.
    type Event;

    /// Takes one datagram (for TCP: one framed packet) that arrived from `from`; opened inner packets go to `sink`.
    ///
    /// A bad datagram is dropped and counted; it never ends a session.
    fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        sink: &mut dyn PacketSink,
    );

    /// Seals one inner packet into `wire`. The packet may be changed in place (MSS).
    fn handle_packet(&mut self, now: Instant, packet: &mut [u8], wire: &mut dyn WireSink) -> Sent;

    /// Does what is due at `now`.
    fn handle_timeout(&mut self, now: Instant);

    /// Takes the next control datagram to send.
    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit>;

    /// Takes the next event.
    fn poll_event(&mut self) -> Option<Self::Event>;

    /// Earliest instant at which `handle_timeout` has work to do, and for whom.
    fn poll_timeout(&self) -> Option<(Instant, Timer)>;
}

/// Ties the monotonic clock to the calendar: what wall time it was at one instant.
///
/// Control-channel wraps and certificates need wall time; core computes it from the instants it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallClock {
    instant: Instant,
    unix: Duration,
}

impl WallClock {
    /// At `instant` it was `unix` since 1970-01-01T00:00:00Z.
    pub fn new(instant: Instant, unix: Duration) -> Self {
        Self { instant, unix }
    }

    /// Wall time at `now`, since 1970-01-01T00:00:00Z.
    pub fn unix_at(&self, now: Instant) -> Duration {
        match now.checked_duration_since(self.instant) {
            Some(later) => self.unix + later,
            None => self
                .unix
                .saturating_sub(self.instant.saturating_duration_since(now)),
        }
    }
}
