//! One connection: a transport and the protocol on it, a turn at a time.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{Interest, Registry};
use tunless_core::{
    client::{Client, CloseReason, Event},
    tunnel::{PacketSink, Sent, Transmit, Tunnel},
};
use tunless_netstack::Stack;

use super::{TRANSPORT, budget, chain};
use crate::transport::{Counters, Flushed, Received, Transport, TransportError};

/// Time in which a server that refuses may still come up, before the attempt counts as failed.
const REFUSED_PATIENCE: Duration = Duration::from_secs(2);

/// A connection to one server address.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "readiness of the socket, independent of each other"
)]
pub(super) struct Link {
    pub(super) client: Client,
    /// Index of the remote.
    pub(super) remote: usize,
    transport: Transport,
    readable: bool,
    blocked: bool,
    /// What the socket is registered for.
    wants_writable: bool,
    /// The stack, or the socket, may have more at once.
    more: bool,
    held: Option<Transmit>,
    started: Instant,
}

/// Hands inner packets to the stack.
struct Inward<'a> {
    now: Instant,
    stack: &'a mut Stack,
}

impl PacketSink for Inward<'_> {
    fn deliver(&mut self, packet: &mut [u8]) {
        self.stack.handle_packet(self.now, packet);
    }
}

impl Link {
    /// Joins a client and its transport, which has to be registered for reading.
    pub(super) fn new(now: Instant, client: Client, remote: usize, transport: Transport) -> Self {
        Self {
            client,
            remote,
            transport,
            readable: true,
            blocked: false,
            wants_writable: false,
            more: false,
            held: None,
            started: now,
        }
    }

    /// The socket has news.
    pub(super) fn on_ready(&mut self, event: &mio::event::Event) {
        if event.is_readable() || event.is_error() || event.is_read_closed() {
            self.readable = true;
        }
        if event.is_writable() || event.is_error() {
            self.blocked = false;
        }
    }

    /// Everything that can be done now, within the budget.
    pub(super) fn turn(&mut self, now: Instant, stack: &mut Stack, registry: &Registry) {
        self.receive(now, stack);
        if self.refused_until().is_some_and(|until| until <= now) {
            let address = self.client.address();
            let why =
                format!("{address} refused: nothing listens on that UDP port, or a firewall rejects it");
            self.client.on_transport_lost(CloseReason::ConnectFailed(why));
        }
        if self.client.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.client.handle_timeout(now);
        }
        self.transmit(now, stack, registry);
    }

    fn receive(&mut self, now: Instant, stack: &mut Stack) {
        if !self.readable {
            return;
        }
        let (client, mut sink) = (&mut self.client, Inward { now, stack });
        let received = self
            .transport
            .recv(budget::DATAGRAMS, &mut |from: SocketAddr, datagram| {
                client.handle_datagram(now, from, datagram, &mut sink);
            });
        match received {
            Ok(Received::Drained) => self.readable = false,
            Ok(Received::More) => {}
            Err(error) => self.on_lost(&error),
        }
    }

    /// Seals what waits into the transport and flushes it; the stack is only asked while the socket takes more.
    fn transmit(&mut self, now: Instant, stack: &mut Stack, registry: &Registry) {
        self.more = false;
        self.queue_control(now);
        if !self.blocked && self.client.is_connected() {
            let (client, wire) = (&mut self.client, self.transport.wire());
            self.more |= stack.transmit(now, budget::PACKETS, &mut |packet| match client
                .handle_packet(now, packet, wire)
            {
                Sent::Sealed | Sent::Dropped => true,
                Sent::Full => false,
            });
        }
        self.flush(registry);
    }

    fn queue_control(&mut self, now: Instant) {
        for _ in 0..budget::CONTROL_PACKETS {
            let Some(transmit) = self.held.take().or_else(|| self.client.poll_transmit(now)) else {
                return;
            };
            if !self.transport.send(&transmit) {
                self.held = Some(transmit);
                return;
            }
        }
        self.more = true;
    }

    fn flush(&mut self, registry: &Registry) {
        match self.transport.flush() {
            Ok(flushed) => self.blocked = flushed == Flushed::Blocked,
            Err(error) => self.on_lost(&error),
        }
        // Writability is only asked for while it is missing: each datagram that leaves would wake the loop.
        if self.blocked != self.wants_writable {
            self.wants_writable = self.blocked;
            let interest = if self.blocked {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::READABLE
            };
            if let Err(error) = registry.reregister(self.transport.source(), TRANSPORT, interest) {
                self.on_lost(&TransportError::Socket {
                    local: self.transport.local(),
                    source: error,
                });
            }
        }
    }

    fn on_lost(&mut self, error: &TransportError) {
        self.readable = false;
        self.client
            .on_transport_lost(CloseReason::ConnectionReset(chain(error)));
    }

    /// Another turn follows at once.
    pub(super) fn turn_again(&mut self) {
        self.more = true;
    }

    /// The next thing the protocol reports.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.client.poll_event()
    }

    /// Tells whether another turn should follow without waiting.
    pub(super) fn has_more(&self) -> bool {
        self.readable || (self.more && !self.blocked)
    }

    /// When the protocol wants to be woken.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let client = self.client.poll_timeout().map(|(at, _)| at);
        client.into_iter().chain(self.refused_until()).min()
    }

    /// When a server that only ever answered with ICMP errors is given up. They can be forged, so they end
    /// nothing once a packet of the server has come.
    fn refused_until(&self) -> Option<Instant> {
        let counters = self.transport.counters();
        (counters.refused > 0 && counters.received == 0).then(|| self.started + REFUSED_PATIENCE)
    }

    /// Counters of the transport.
    pub(super) fn counters(&self) -> Counters {
        self.transport.counters()
    }

    /// Sends the last words, then lets go of the socket.
    pub(super) fn close(mut self, now: Instant, registry: &Registry) {
        self.queue_control(now);
        if let Err(error) = self.transport.flush() {
            tracing::debug!(%error, "last words not sent");
        }
        if let Err(error) = registry.deregister(self.transport.source()) {
            tracing::debug!(%error, "socket was not registered");
        }
    }
}
