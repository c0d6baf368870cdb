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
use crate::transport::{Counters, Flushed, Received, Transport, TransportError, UdpTransport};

/// Time in which a server that refuses may still come up, before the attempt counts as failed.
const REFUSED_PATIENCE: Duration = Duration::from_secs(2);

/// Time in which a probe has to be answered.
const PROBE_PATIENCE: Duration = Duration::from_secs(6);
/// The same while the network reports errors besides.
const PROBE_PATIENCE_WITH_ERRORS: Duration = Duration::from_secs(3);
/// Pings of a probe, the first at once; what has to be acknowledged is repeated by the protocol besides.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// Time in which something should come back once packets go out: a server that started anew says nothing to those
/// it does not know, and its silence alone is only noticed after `ping-restart`.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

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
    pub(super) transport: Transport,
    readable: bool,
    blocked: bool,
    /// What the socket is registered for.
    wants_writable: bool,
    /// The stack, or the socket, may have more at once.
    more: bool,
    held: Option<Transmit>,
    started: Instant,
    /// A look at whether the server still answers.
    probe: Option<Probe>,
    /// One is to begin when everything that has arrived is read: what waited in the socket proves nothing.
    probe_wanted: bool,
    /// Errors of the network that have been noticed.
    noticed_errors: u64,
    /// The network has reported an error, and nobody has looked after it yet.
    troubled: bool,
    talk: Talk,
}

/// Whether what goes out is answered by anything at all.
#[derive(Debug)]
struct Talk {
    heard_at: Instant,
    /// Inner packets that had been sent by then.
    sent: u64,
    /// Since when more have been sent.
    unanswered_since: Option<Instant>,
}

impl Talk {
    fn look(&mut self, now: Instant, heard_at: Instant, sent: u64) {
        if heard_at > self.heard_at {
            *self = Self {
                heard_at,
                sent,
                unanswered_since: None,
            };
        } else if sent > self.sent {
            self.unanswered_since.get_or_insert(now);
        }
    }

    fn due(&self) -> Option<Instant> {
        self.unanswered_since.map(|since| since + ANSWER_PATIENCE)
    }

    /// Not again before as much time has passed.
    fn on_probe(&mut self) {
        self.unanswered_since = None;
    }
}

/// A question to the server whether it can still be reached.
#[derive(Debug)]
struct Probe {
    since: Instant,
    next: Instant,
    patience: Duration,
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
            probe: None,
            probe_wanted: false,
            noticed_errors: 0,
            troubled: false,
            talk: Talk {
                heard_at: now,
                sent: 0,
                unanswered_since: None,
            },
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
        self.look_after_path(now);
        self.transmit(now, stack, registry);
    }

    /// Looks whether the server still answers, soon.
    pub(super) fn probe(&mut self) {
        self.probe_wanted = self.client.is_connected();
        self.more = true;
    }

    /// Whatever comes of the probe, it is not waited for any longer.
    pub(super) fn stop_probing(&mut self) {
        self.probe = None;
        self.probe_wanted = false;
    }

    /// How long the server has not answered, once that is too long.
    pub(super) fn unanswered(&self, now: Instant) -> Option<Duration> {
        let probe = self.probe.as_ref()?;
        (probe.since + probe.patience <= now).then_some(probe.patience)
    }

    /// Whether the network has reported an error since the last time. It may be forged: a reason to look, no more.
    pub(super) fn take_trouble(&mut self) -> bool {
        std::mem::take(&mut self.troubled)
    }

    /// Goes on with a new socket to the same server, from whatever address the host's routes choose now.
    ///
    /// # Errors
    /// No such socket; the old one stays.
    pub(super) fn roam(&mut self, registry: &Registry) -> Result<(), TransportError> {
        let Transport::Udp(udp) = &mut self.transport else {
            return Ok(());
        };
        let mut fresh = UdpTransport::connect(self.client.address(), None)?;
        let local = fresh.local();
        registry
            .register(fresh.source(), TRANSPORT, Interest::READABLE)
            .map_err(|source| TransportError::Socket { local, source })?;
        if let Err(error) = registry.deregister(udp.source()) {
            tracing::debug!(%error, "socket was not registered");
        }
        fresh.count_from(udp.counters());
        **udp = fresh;
        self.readable = true;
        self.blocked = false;
        self.wants_writable = false;
        self.stop_probing();
        self.probe_wanted = true;
        Ok(())
    }

    /// Starts a probe that is wanted or due, repeats it, and ends it when the server has answered.
    fn look_after_path(&mut self, now: Instant) {
        let counters = self.transport.counters();
        let errors = counters.refused + counters.send_errors;
        let fresh = errors > std::mem::replace(&mut self.noticed_errors, errors);
        if !self.client.is_connected() {
            self.stop_probing();
            self.talk.on_probe();
            return;
        }
        let sent = self.client.stats().session.sealed_packets;
        self.talk.look(now, self.client.heard_at(), sent);
        let due = self.talk.due().is_some_and(|due| due <= now);
        if let Some(probe) = &mut self.probe {
            if fresh {
                probe.patience = PROBE_PATIENCE_WITH_ERRORS;
            }
            if self.client.heard_at() > probe.since {
                tracing::debug!("the server answers");
                self.probe = None;
            } else if probe.next <= now {
                probe.next = now + PROBE_INTERVAL;
                self.client.probe(now);
            }
        } else if (self.probe_wanted || due) && !self.readable {
            tracing::debug!("does the server still answer?");
            self.probe_wanted = false;
            self.talk.on_probe();
            self.client.probe(now);
            self.probe = Some(Probe {
                since: now,
                next: now + PROBE_INTERVAL,
                patience: PROBE_PATIENCE,
            });
        } else {
            self.troubled |= fresh;
        }
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
        let probe = self.probe.as_ref();
        let probe = probe.map(|probe| probe.next.min(probe.since + probe.patience));
        let probe = probe.or_else(|| self.talk.due());
        [client, self.refused_until(), probe].into_iter().flatten().min()
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

    /// Sends the last words, then lets go of the socket; gives what it counted.
    pub(super) fn close(mut self, now: Instant, registry: &Registry) -> Counters {
        self.queue_control(now);
        if let Err(error) = self.transport.flush() {
            tracing::debug!(%error, "last words not sent");
        }
        if let Err(error) = registry.deregister(self.transport.source()) {
            tracing::debug!(%error, "socket was not registered");
        }
        self.counters()
    }
}
