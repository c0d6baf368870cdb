//! A server on a thread of its own: the endpoint for all clients, and the exit through which their traffic leaves.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use mio::{Events, Interest, Poll, Registry, Waker};
use tokio::sync::broadcast;
use tunless_core::{
    config::{Family, ServerConfig, Transport as Carrier},
    server::{Endpoint, Established, Event as EndpointEvent, Lease},
    tunnel::{PacketSink, Sent, Transmit, Tunnel, WireSink},
};
use tunless_netstack::{Exit, ExitConfig, ExitLimits, ExitPolicy};

use super::{
    EVENTS, FIRST_DEVICE, FIRST_STREAM, StartError, SystemRng, TRANSPORT, WAKER, budget, clock,
    departed::Departed, shutdown,
};
use crate::{
    server::Decider,
    transport::{Flushed, Received, StreamLimits, Streams, TransportError, UdpTransport, send_copy},
};

/// Events that a slow subscriber may be behind.
const MAX_EVENTS: usize = 1024;
/// Wall time is read this often.
const CLOCK_EVERY: Duration = Duration::from_mins(1);
/// Streams beyond those of clients: handshakes, and reconnections while the old stream still stands.
const SPARE_STREAMS: usize = 64;
/// Longest packet taken over TCP.
const STREAM_PACKET_BYTES: usize = 1 << 14;

/// What a server starts with.
#[derive(Debug)]
pub struct Options {
    /// The configuration.
    pub config: Arc<ServerConfig>,
    /// What clients may reach.
    pub policy: ExitPolicy,
    /// Who may come in.
    pub decider: Box<dyn Decider>,
}

/// What a server reports.
#[derive(Debug, Clone)]
pub enum Event {
    /// A client is in.
    Established {
        /// Its name.
        name: String,
        /// Its outer address.
        address: SocketAddr,
        /// Its inner addresses, as text.
        inner: String,
    },
    /// A client is gone.
    Gone {
        /// Its name, once known.
        name: Option<String>,
        /// Its outer address.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The server has ended; `Some` when it should not have.
    Ended(Option<String>),
}

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub local: SocketAddr,
    /// Its events, from the first on.
    pub events: broadcast::Receiver<Event>,
    stop: Stop,
    thread: JoinHandle<Option<String>>,
}

/// Ends a server from any thread.
#[derive(Debug, Clone)]
pub struct Stop {
    waker: Arc<Waker>,
    asked: Arc<std::sync::atomic::AtomicBool>,
}

impl Stop {
    /// Says good-bye to all clients and ends.
    pub fn stop(&self) {
        self.asked.store(true, std::sync::atomic::Ordering::Release);
        if let Err(error) = self.waker.wake() {
            tracing::debug!(%error, "waking the server failed");
        }
    }
}

impl Running {
    /// What ends it.
    pub fn stopper(&self) -> Stop {
        self.stop.clone()
    }

    /// Waits for its thread; `Some` says why it should not have ended.
    pub fn join(self) -> Option<String> {
        let failed = || Some("the server's thread failed; this is a bug, please report it".into());
        self.thread.join().unwrap_or_else(|_panic| failed())
    }
}

/// Starts a server.
///
/// # Errors
/// The address is taken, certificates cannot be used, no event loop or thread.
pub fn start(options: Options) -> Result<Running, StartError> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let (now, config) = (clock::now(), options.config);
    let carrier = Listener::open(&config, poll.registry())?;
    let rng = Box::new(SystemRng::default());
    let endpoint = Endpoint::new(now, clock::wall(), rng, Arc::clone(&config))?;
    let exit_config = ExitConfig {
        addresses: inner_addresses(&config),
        mtu_bytes: config.tun_mtu.into(),
        policy: options.policy,
        limits: ExitLimits::default(),
        seed: SystemRng::default().next_u64(),
    };
    let mut exit = Exit::new(now, exit_config, poll.registry().try_clone()?, FIRST_DEVICE);
    exit.set_lossless(matches!(carrier, Listener::Tcp(_)));
    let (events, subscriber) = broadcast::channel(MAX_EVENTS);
    let stop = Stop {
        waker,
        asked: Arc::default(),
    };
    let local = carrier.local();
    let decider = options.decider;
    let stopper = stop.clone();
    let driver = Driver {
        poll,
        carrier,
        endpoint,
        exit,
        decider,
        events,
        stop: stopper,
        end_by: None,
        held: None,
        more: false,
        departed: Departed::default(),
        clock_read: now,
    };
    let thread = thread::Builder::new()
        .name("tunless-server".into())
        .spawn(|| driver.run())?;
    Ok(Running {
        local,
        events: subscriber,
        stop,
        thread,
    })
}

#[derive(Debug)]
struct Driver {
    poll: Poll,
    carrier: Listener,
    endpoint: Endpoint,
    exit: Exit,
    decider: Box<dyn Decider>,
    events: broadcast::Sender<Event>,
    stop: Stop,
    end_by: Option<Instant>,
    held: Option<Transmit>,
    more: bool,
    departed: Departed,
    /// When wall time was read last: certificates are judged by it, and it may be set while a server runs.
    clock_read: Instant,
}

/// Hands clients' packets to the exit.
struct Outward<'a> {
    now: Instant,
    exit: &'a mut Exit,
}

impl PacketSink for Outward<'_> {
    fn deliver(&mut self, packet: &mut [u8]) {
        self.exit.handle_packet(self.now, packet);
    }
}

impl Driver {
    fn run(mut self) -> Option<String> {
        let _span = tracing::info_span!("server").entered();
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let wait = self.wait(clock::now());
            if let Err(error) = self.poll.poll(&mut events, wait)
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                return self.ended(Some(format!("waiting for sockets failed: {error}")));
            }
            let now = clock::now();
            for event in &events {
                match event.token() {
                    WAKER => {}
                    token if token == TRANSPORT || token.0 < FIRST_DEVICE => self.carrier.on_ready(event),
                    _ => self.exit.handle_ready(now, event),
                }
            }
            if self.stop.asked.load(std::sync::atomic::Ordering::Acquire) && self.end_by.is_none() {
                self.end_by = Some(now + shutdown::TUNNEL_GRACE);
                self.endpoint.close(now);
            }
            match self.turn(now) {
                Ok(true) => return self.ended(None),
                Ok(false) if self.end_by.is_some_and(|by| by <= now) => return self.ended(None),
                Ok(false) => {}
                Err(error) => return self.ended(Some(super::chain(&error))),
            }
        }
    }

    fn ended(&self, fault: Option<String>) -> Option<String> {
        // Nobody listening is no error.
        let _nobody = self.events.send(Event::Ended(fault.clone()));
        fault
    }

    /// One turn; `true` once the endpoint has said good-bye to everybody.
    fn turn(&mut self, now: Instant) -> Result<bool, TransportError> {
        if now.saturating_duration_since(self.clock_read) >= CLOCK_EVERY {
            self.clock_read = now;
            self.endpoint.set_clock(clock::wall());
        }
        let (endpoint, mut sink) = (
            &mut self.endpoint,
            Outward {
                now,
                exit: &mut self.exit,
            },
        );
        let ended = self.carrier.recv(now, &mut |from, datagram| {
            endpoint.handle_datagram(now, from, datagram, &mut sink);
        })?;
        self.on_ended(&ended);
        if self.endpoint.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.endpoint.handle_timeout(now);
        }
        if self.exit.poll_timeout().is_some_and(|at| at <= now) {
            self.exit.handle_timeout(now);
        }
        while let Some(inner) = self.departed.poll_expired(now) {
            self.exit.forget_client(inner);
        }
        let mut closed = self.drain_events(now);
        self.transmit(now);
        let ended = self.carrier.flush(self.poll.registry())?;
        self.on_ended(&ended);
        closed |= self.drain_events(now);
        Ok(closed)
    }

    fn on_ended(&mut self, ended: &[SocketAddr]) {
        for address in ended {
            self.endpoint.on_stream_closed(*address);
        }
    }

    fn transmit(&mut self, now: Instant) {
        // A budget that is used up means that more may wait.
        self.more = true;
        for _ in 0..budget::CONTROL_PACKETS {
            let Some(transmit) = self.held.take().or_else(|| self.endpoint.poll_transmit(now)) else {
                self.more = false;
                break;
            };
            if !send_copy(self.carrier.wire(), &transmit) {
                self.held = Some(transmit);
                self.more = false;
                break;
            }
        }
        if self.carrier.is_blocked() {
            return;
        }
        let (endpoint, wire) = (&mut self.endpoint, self.carrier.wire());
        self.more |= self
            .exit
            .transmit(
                now,
                budget::PACKETS,
                &mut |packet| match endpoint.handle_packet(now, packet, wire) {
                    Sent::Sealed | Sent::Dropped => true,
                    Sent::Full => false,
                },
            );
    }

    fn drain_events(&mut self, now: Instant) -> bool {
        let mut closed = false;
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                EndpointEvent::Client { cid, kid, request } => {
                    let verdict = self.decider.decide(&request);
                    self.endpoint.decide(now, cid, kid, verdict);
                }
                EndpointEvent::Established(client) => self.on_established(*client),
                EndpointEvent::Floated { cid, to } => tracing::info!(cid = cid.0, %to, "client moved"),
                EndpointEvent::Gone {
                    name,
                    address,
                    lease,
                    reason,
                    ..
                } => {
                    self.on_gone(now, lease, name.as_deref());
                    self.tell(Event::Gone {
                        name,
                        address,
                        reason: reason.to_string(),
                    });
                }
                EndpointEvent::CloseStream(address) => self.carrier.close(address),
                EndpointEvent::Closed => closed = true,
            }
        }
        closed
    }

    fn on_gone(&mut self, now: Instant, lease: Option<Lease>, name: Option<&str>) {
        for inner in lease.iter().flat_map(inner_of) {
            if let Some(oldest) = self.departed.keep(now, inner, name) {
                self.exit.forget_client(oldest);
            }
        }
    }

    fn on_established(&mut self, client: Established) {
        self.carrier.on_established(client.address);
        for inner in inner_of(&client.lease) {
            // What another client left behind this address is not for the one that has it now.
            if self.departed.return_to(inner, &client.name) {
                self.exit.forget_client(inner);
            }
        }
        let v6 = client.lease.v6.map(|v6| format!(", {v6}")).unwrap_or_default();
        let inner = format!("{}{v6}", client.lease.v4);
        self.tell(Event::Established {
            name: client.name,
            address: client.address,
            inner,
        });
    }

    fn tell(&self, event: Event) {
        tracing::debug!(?event, "server");
        // Nobody listening is no error.
        let _nobody = self.events.send(event);
    }

    fn wait(&self, now: Instant) -> Option<Duration> {
        if self.carrier.has_more() || (self.more && !self.carrier.is_blocked()) {
            return Some(Duration::ZERO);
        }
        let endpoint = self.endpoint.poll_timeout().map(|(at, _)| at);
        let all = [
            endpoint,
            self.exit.poll_timeout(),
            self.carrier.poll_timeout(),
            self.end_by,
            self.departed.poll_timeout(),
        ];
        all.into_iter()
            .flatten()
            .min()
            .map(|at| at.saturating_duration_since(now))
    }
}

/// Where clients come in.
#[derive(Debug)]
enum Listener {
    Udp {
        socket: Box<UdpTransport>,
        readable: bool,
        blocked: bool,
        /// What the socket is registered for.
        wants_writable: bool,
    },
    Tcp(Box<Streams>),
}

impl Listener {
    fn open(config: &ServerConfig, registry: &Registry) -> Result<Self, StartError> {
        let any: IpAddr = match config.proto.family {
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
            Family::Any | Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        };
        let local = SocketAddr::new(config.local.unwrap_or(any), config.port);
        match config.proto.transport {
            Carrier::Udp => {
                let mut socket = Box::new(UdpTransport::bind(local)?);
                registry.register(socket.source(), TRANSPORT, Interest::READABLE)?;
                Ok(Self::Udp {
                    socket,
                    readable: true,
                    blocked: false,
                    wants_writable: false,
                })
            }
            Carrier::Tcp => {
                let limits = StreamLimits {
                    streams: usize::try_from(config.max_clients)
                        .unwrap_or(usize::MAX)
                        .min(1 << 20)
                        + SPARE_STREAMS,
                    handshake: config.limits.handshake_window,
                    packet_bytes: STREAM_PACKET_BYTES,
                };
                let registry = registry.try_clone()?;
                Ok(Self::Tcp(Box::new(Streams::listen(
                    local,
                    registry,
                    TRANSPORT,
                    FIRST_STREAM,
                    limits,
                )?)))
            }
        }
    }

    fn local(&self) -> SocketAddr {
        match self {
            Self::Udp { socket, .. } => socket.local(),
            Self::Tcp(streams) => streams.local(),
        }
    }

    fn on_ready(&mut self, event: &mio::event::Event) {
        match self {
            Self::Udp {
                readable, blocked, ..
            } => {
                *readable |= event.is_readable() || event.is_error();
                *blocked &= !event.is_writable();
            }
            Self::Tcp(streams) if event.token() == TRANSPORT => streams.on_acceptable(),
            Self::Tcp(streams) => streams.on_ready(event),
        }
    }

    fn recv(
        &mut self,
        now: Instant,
        each: &mut dyn FnMut(SocketAddr, &mut [u8]),
    ) -> Result<Vec<SocketAddr>, TransportError> {
        let mut ended = Vec::new();
        match self {
            Self::Udp { socket, readable, .. } => {
                if *readable {
                    *readable = socket.recv(budget::DATAGRAMS, each)? == Received::More;
                }
            }
            Self::Tcp(streams) => streams.recv(now, budget::DATAGRAMS, each, &mut ended),
        }
        Ok(ended)
    }

    fn wire(&mut self) -> &mut dyn WireSink {
        match self {
            Self::Udp { socket, .. } => socket.as_mut(),
            Self::Tcp(streams) => streams.as_mut(),
        }
    }

    fn flush(&mut self, registry: &Registry) -> Result<Vec<SocketAddr>, TransportError> {
        let mut ended = Vec::new();
        match self {
            Self::Udp {
                socket,
                blocked,
                wants_writable,
                ..
            } => {
                *blocked = socket.flush() == Flushed::Blocked;
                if *blocked != *wants_writable {
                    *wants_writable = *blocked;
                    let interest = if *blocked {
                        Interest::READABLE | Interest::WRITABLE
                    } else {
                        Interest::READABLE
                    };
                    let local = socket.local();
                    registry
                        .reregister(socket.source(), TRANSPORT, interest)
                        .map_err(|source| TransportError::Socket { local, source })?;
                }
            }
            Self::Tcp(streams) => streams.flush(&mut ended),
        }
        Ok(ended)
    }

    fn is_blocked(&self) -> bool {
        matches!(self, Self::Udp { blocked: true, .. })
    }

    fn has_more(&self) -> bool {
        match self {
            Self::Udp { readable, .. } => *readable,
            Self::Tcp(streams) => streams.has_more(),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Udp { .. } => None,
            Self::Tcp(streams) => streams.poll_timeout(),
        }
    }

    fn on_established(&mut self, address: SocketAddr) {
        if let Self::Tcp(streams) = self {
            streams.on_established(address);
        }
    }

    fn close(&mut self, address: SocketAddr) {
        if let Self::Tcp(streams) = self {
            streams.close(address);
        }
    }
}

/// The inner addresses of a client.
fn inner_of(lease: &Lease) -> impl Iterator<Item = IpAddr> + use<> {
    let v6 = lease.v6.map(IpAddr::from);
    std::iter::once(lease.v4.into()).chain(v6)
}

/// The server's own inner addresses.
fn inner_addresses(config: &ServerConfig) -> Vec<IpNet> {
    let v4 = Ipv4Net::new(config.addr, config.net.prefix_len())
        .ok()
        .map(IpNet::from);
    let v6 = config
        .ipv6
        .and_then(|v6| Ipv6Net::new(v6.addr, v6.net.prefix_len()).ok())
        .map(IpNet::from);
    v4.into_iter().chain(v6).collect()
}
