//! The client's end of a tunnel: flows, relays, names and UDP sockets over inner packets.

mod listen;
mod news;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::addresses::Addresses;
use crate::carrier::{Carrier, Timeouts};
use crate::config::{Limits, Network, StackConfig, StackStats};
use crate::connect::{Dialer, Path};
use crate::device::{Device, DeviceKind, DeviceName};
use crate::emit::{self, Unreachable};
use crate::engine::Engine;
use crate::error::FlowError;
use crate::fragments::{self, Reassembly};
use crate::handle::{Command, Shared, StackHandle, Target, UdpSocket};
use crate::packet::{
    self, IpPacket, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP, UDP_HEADER_BYTES,
};
use crate::pool::Pool;
use crate::resolve::question::Family;
use crate::resolve::{Owner, Resolver};
use crate::rng::{FlowHash, Rng};
use crate::sink::Outbox;
use crate::slab::{Id, Slab};
use crate::udp::{Inbox, InboxBytes};
use listen::Listening;

#[derive(Debug)]
struct UdpEntry {
    port: u16,
    inbox: Arc<Inbox>,
}

/// The embedded stack of one tunnel.
///
/// Sync and non-blocking: it lives in the tunnel's event loop. After any `handle_*` call the loop calls
/// [`Stack::transmit`] before it waits: that is also where the bytes of relays are moved.
#[derive(Debug)]
pub struct Stack {
    name: DeviceName,
    shared: Arc<Shared>,
    limits: Limits,
    first_token: usize,
    is_up: bool,
    addresses: Addresses,
    carrier: Carrier,
    dialer: Dialer,
    resolver: Resolver,
    rng: Rng,
    outbox: Outbox,
    reassembly: Reassembly,
    udp: Slab<UdpEntry>,
    udp_ports: HashMap<u16, Id>,
    inbox_bytes: InboxBytes,
    listeners: HashMap<u16, Listening>,
    /// Requests that wait for the tunnel, with the end of their patience.
    parked: VecDeque<(Instant, Command)>,
    stats: StackStats,
}

impl Stack {
    /// Makes a stack and its handle. Tokens from `first_token` up belong to it.
    pub fn new(
        now: Instant,
        config: StackConfig,
        registry: mio::Registry,
        waker: Arc<mio::Waker>,
        first_token: usize,
    ) -> (Self, StackHandle) {
        let StackConfig {
            name,
            network,
            limits,
            seed,
        } = config;
        let shared = Shared::new(waker);
        let mut rng = Rng::new(seed);
        let pool = Pool::new(
            limits.receive_buffer_bytes,
            limits.transmit_buffer_bytes,
            limits.buffer_budget_bytes,
        );
        let mtu_bytes = network.as_ref().map_or(0, |network| network.mtu_bytes);
        let engine = Engine::new(now, mtu_bytes, pool, rng.next_u64());
        let timeouts = Timeouts {
            connect: limits.connect_timeout,
            idle: limits.idle_timeout,
            stall: limits.stall_timeout,
        };
        let hash = FlowHash::new(&mut rng);
        let mut stack = Self {
            name,
            shared: Arc::clone(&shared),
            first_token,
            is_up: false,
            addresses: Addresses::default(),
            carrier: Carrier::new(engine, limits.flows, timeouts, hash, (registry, first_token)),
            dialer: Dialer::new(&limits, Arc::clone(&shared)),
            resolver: Resolver::new(&limits),
            rng,
            outbox: Outbox::new(),
            reassembly: Reassembly::default(),
            udp: Slab::new(limits.udp_sockets),
            udp_ports: HashMap::new(),
            inbox_bytes: InboxBytes::default(),
            listeners: HashMap::new(),
            parked: VecDeque::new(),
            stats: StackStats::default(),
            limits,
        };
        if let Some(network) = network {
            stack.bring_up(now, network);
        }
        (stack, StackHandle::new(shared))
    }

    /// Says whether what carries the tunnel is a stream, which loses nothing and slows its sender down by itself.
    pub fn set_lossless(&mut self, is_lossless: bool) {
        self.carrier.is_lossless = is_lossless;
    }

    /// A session is up. Flows of addresses that are still ours go on, the others are reset.
    pub fn bring_up(&mut self, now: Instant, network: Network) {
        self.addresses = Addresses::new(&network.addresses);
        let addresses = &self.addresses;
        let families = [(Family::V4, addresses.has_v4()), (Family::V6, addresses.has_v6())];
        let families = families
            .into_iter()
            .filter(|(_, is_ours)| *is_ours)
            .map(|(family, _)| family)
            .collect();
        let is_usable =
            |server: SocketAddr| server.port() != 0 && addresses.source_for(server.ip()).is_some();
        self.resolver.set_network(
            now,
            (&network.resolvers, is_usable),
            network.search_domains,
            families,
            &mut self.rng,
        );
        self.carrier
            .bring_up(now, network.mtu_bytes, |address| addresses.is_ours(address));
        self.is_up = true;
        for (_, command) in std::mem::take(&mut self.parked) {
            if !command.is_abandoned() {
                self.on_command(now, command);
            }
        }
        self.drive(now);
    }

    /// The session is lost. Flows stay; new ones wait for a bounded time.
    pub fn take_down(&mut self, now: Instant) {
        self.is_up = false;
        self.carrier.take_down();
        self.outbox.clear();
        self.reassembly.clear();
        self.drive(now);
    }

    /// Takes one inner packet that came out of the tunnel.
    pub fn handle_packet(&mut self, now: Instant, packet: &mut [u8]) {
        self.stats.packets_in += 1;
        self.stats.bytes_in += packet.len() as u64;
        if !self.is_up || !self.on_packet(now, packet) {
            self.stats.dropped_in += 1;
        }
    }

    fn on_packet(&mut self, now: Instant, bytes: &[u8]) -> bool {
        let Some(packet) = IpPacket::parse(bytes) else {
            return false;
        };
        if !self.addresses.is_ours(packet.dst) || packet.src.is_unspecified() {
            return false;
        }
        if packet.is_fragment {
            return self.on_fragment(now, &packet);
        }
        match packet.protocol {
            PROTOCOL_TCP => self.on_segment(now, &packet),
            PROTOCOL_UDP => self.on_datagram(now, &packet),
            PROTOCOL_ICMP | PROTOCOL_ICMPV6 => self.on_icmp(now, &packet),
            _ => false,
        }
    }

    fn on_segment(&mut self, now: Instant, packet: &IpPacket<'_>) -> bool {
        let Some(tuple) = packet.tuple() else { return false };
        self.carrier.handle_segment(now, packet, &tuple, &mut self.outbox)
            || self.on_syn(now, packet, tuple)
            || self.on_stray(now, packet)
    }

    /// Takes a piece of a datagram; nothing but UDP is put together.
    fn on_fragment(&mut self, now: Instant, packet: &IpPacket<'_>) -> bool {
        if !packet.header_is_intact() {
            return false;
        }
        let Some(whole) = self.reassembly.handle_fragment(now, packet) else {
            return true;
        };
        IpPacket::parse(&whole)
            .is_some_and(|packet| packet.protocol == PROTOCOL_UDP && self.on_datagram(now, &packet))
    }

    fn on_datagram(&mut self, now: Instant, packet: &IpPacket<'_>) -> bool {
        let (Some(tuple), Some(payload)) = (packet.tuple(), packet.udp_payload()) else {
            return false;
        };
        let port = tuple.local.port();
        if self.resolver.is_waiting_on(port, tuple.remote) {
            self.resolver
                .handle_datagram(now, port, tuple.remote, payload, &mut self.rng);
            return true;
        }
        if let Some(entry) = self.udp_ports.get(&port).and_then(|id| self.udp.get(*id)) {
            return entry.inbox.put(payload, tuple.remote);
        }
        self.outbox
            .answer(now, |buf| emit::unreachable(buf, packet, Unreachable::Port))
    }

    fn on_icmp(&mut self, now: Instant, packet: &IpPacket<'_>) -> bool {
        let is_of_family = (packet.protocol == PROTOCOL_ICMP) == packet.dst.is_ipv4();
        if !is_of_family || !emit::icmp_is_intact(packet) {
            return false;
        }
        if let Some(error) = packet::icmp_error(packet) {
            if error.protocol == PROTOCOL_TCP {
                self.carrier.handle_icmp_error(&error.tuple, error.error);
            }
            return true;
        }
        self.outbox.answer(now, |buf| emit::echo_reply(buf, packet))
    }

    /// Takes readiness of a local socket; events of foreign tokens are ignored.
    pub fn handle_ready(&mut self, now: Instant, event: &mio::event::Event) {
        let _ = now;
        if let Some(offset) = event.token().0.checked_sub(self.first_token) {
            self.carrier.handle_ready(offset, event);
        }
    }

    /// Takes what the handles asked for; call it after an event of the waker.
    pub fn handle_commands(&mut self, now: Instant) {
        for command in self.shared.take() {
            self.on_command(now, command);
        }
        self.drive(now);
    }

    fn on_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Connect { .. } | Command::Resolve { .. } | Command::Query { .. } if !self.is_up => {
                self.park(now, command);
            }
            Command::Connect { target, reply } => {
                let (text, port) = match target {
                    Target::Address(address) => (address.ip().to_string(), address.port()),
                    Target::Name(name, port) => (name, port),
                };
                if let Some(id) = self.dialer.start(now, port, reply) {
                    self.resolver.start(now, &text, Owner::Connect(id), &mut self.rng);
                }
            }
            Command::Resolve { name, reply } => {
                self.resolver
                    .start(now, &name, Owner::Reply(reply), &mut self.rng);
            }
            Command::Query { message, reply } => self.resolver.query(now, &message, reply, &mut self.rng),
            Command::Attach {
                id,
                local,
                early,
                meter,
                done,
            } => self.carrier.attach(now, id, local, early, (meter, done)),
            Command::Abandon(id) => self.carrier.abort(id),
            Command::Listen { port, reply } => {
                // If nobody waits any more, the listener in the answer closes itself as it is dropped.
                drop(reply.send(self.listen(port)));
            }
            Command::Unlisten(port) => drop(self.listeners.remove(&port)),
            Command::BindUdp { reply } => {
                // If nobody waits any more, the socket in the answer closes itself as it is dropped.
                drop(reply.send(self.bind_udp()));
            }
            Command::SendUdp { id, to, payload } => self.send_udp(id, to, &payload),
            Command::CloseUdp(id) => {
                if let Some(entry) = self.udp.remove(id) {
                    self.udp_ports.remove(&entry.port);
                }
            }
        }
    }

    /// Keeps a request until the tunnel is back or its time is over.
    fn park(&mut self, now: Instant, command: Command) {
        if self.parked.len() >= self.limits.flows {
            self.parked.retain(|(_, command)| !command.is_abandoned());
        }
        if self.parked.len() >= self.limits.flows {
            refuse(command, FlowError::TooManyFlows);
        } else {
            self.parked.push_back((now + self.limits.down_wait, command));
        }
    }

    fn bind_udp(&mut self) -> Result<UdpSocket, FlowError> {
        let inbox = Arc::new(Inbox::new(self.inbox_bytes.clone()));
        let ports = &self.udp_ports;
        let port = self
            .rng
            .port(|port| !ports.contains_key(&port))
            .ok_or(FlowError::TooManyFlows)?;
        let entry = UdpEntry {
            port,
            inbox: Arc::clone(&inbox),
        };
        let id = self.udp.insert(entry).map_err(|_| FlowError::TooManyFlows)?;
        self.udp_ports.insert(port, id);
        Ok(UdpSocket::new(port, id, inbox, Arc::clone(&self.shared)))
    }

    fn send_udp(&mut self, id: Id, to: SocketAddr, payload: &[u8]) {
        let Some(entry) = self.udp.get(id) else { return };
        let port = entry.port;
        self.send_datagram(port, to, payload);
    }

    fn send_datagram(&mut self, port: u16, to: SocketAddr, payload: &[u8]) {
        let Some(source) = self.addresses.source_for(to.ip()).filter(|_| self.is_up) else {
            self.stats.dropped_out += 1;
            return;
        };
        let source = SocketAddr::new(source, port);
        let mtu_bytes = self.carrier.mtu_bytes();
        if payload.len() + emit::udp_overhead_bytes(to.ip()) <= mtu_bytes {
            self.outbox.push(|buf| emit::udp(buf, source, to, payload));
            return;
        }
        let mut whole = Vec::new();
        if emit::udp(&mut whole, source, to, payload) {
            fragments::push(&mut self.outbox, &whole, mtu_bytes, &mut self.rng);
        } else {
            self.stats.dropped_out += 1;
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.parked.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, command)) = self.parked.pop_front() {
                refuse(command, FlowError::TunnelDown);
            }
        }
        self.carrier.handle_timeout(now);
        let Self {
            carrier,
            rng,
            addresses,
            dialer,
            resolver,
            ..
        } = self;
        resolver.handle_timeout(now, rng);
        dialer.handle_timeout(
            now,
            &mut Path {
                carrier,
                rng,
                addresses,
            },
        );
        self.drive(now);
    }

    /// Gives up to `budget_packets` inner packets to `emit`. A packet that `emit` refuses is offered again with the
    /// next call. Returns whether more is waiting.
    pub fn transmit(
        &mut self,
        now: Instant,
        budget_packets: usize,
        emit: &mut dyn FnMut(&mut [u8]) -> bool,
    ) -> bool {
        self.carrier.settle(now);
        self.drive(now);
        if !self.is_up {
            return self.carrier.has_work();
        }
        let stats = &mut self.stats;
        let mut counting = |packet: &mut [u8]| {
            let is_taken = emit(packet);
            if is_taken {
                stats.packets_out += 1;
                stats.bytes_out += packet.len() as u64;
            }
            is_taken
        };
        let is_open = self.carrier.flush(&mut counting);
        let Some(sent) = self.outbox.drain(is_open, budget_packets, &mut counting) else {
            return true;
        };
        self.carrier.egress(now, budget_packets - sent, &mut counting);
        !self.outbox.is_empty() || self.carrier.has_work()
    }

    /// Earliest instant at which [`Stack::handle_timeout`] has work.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let parked = self.parked.front().map(|(until, _)| *until);
        let parts = [
            parked,
            self.carrier.poll_timeout(),
            self.dialer.poll_timeout(),
            self.resolver.poll_timeout(),
        ];
        parts.into_iter().flatten().min()
    }

    /// Counters.
    pub fn stats(&self) -> StackStats {
        StackStats {
            flows_open: self.carrier.len(),
            flows_opened: self.carrier.opened,
            flows_failed: self.carrier.failed,
            flows_faulted: self.carrier.faulted,
            buffer_bytes: self.carrier.buffer_bytes(),
            dropped_out: self.stats.dropped_out + self.outbox.dropped,
            ..self.stats
        }
    }

    /// Largest payload of a datagram to that address that leaves in one piece.
    pub fn max_datagram_bytes(&self, to: IpAddr) -> usize {
        self.carrier
            .mtu_bytes()
            .saturating_sub(emit::ip_header_bytes(to) + UDP_HEADER_BYTES)
    }
}

fn refuse(command: Command, error: FlowError) {
    match command {
        Command::Connect { reply, .. } => drop(reply.send(Err(error))),
        Command::Resolve { reply, .. } => drop(reply.send(Err(error))),
        Command::Listen { reply, .. } => drop(reply.send(Err(error))),
        Command::Query { reply, .. } => drop(reply.send(Err(error.into()))),
        Command::BindUdp { reply } => drop(reply.send(Err(error))),
        Command::Attach { .. }
        | Command::Abandon(_)
        | Command::Unlisten(_)
        | Command::SendUdp { .. }
        | Command::CloseUdp(_) => {}
    }
}

impl Device for Stack {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Netstack
    }

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn handle_packet(&mut self, now: Instant, packet: &mut [u8]) {
        Self::handle_packet(self, now, packet);
    }

    fn handle_timeout(&mut self, now: Instant) {
        Self::handle_timeout(self, now);
    }

    fn transmit(
        &mut self,
        now: Instant,
        budget_packets: usize,
        emit: &mut dyn FnMut(&mut [u8]) -> bool,
    ) -> bool {
        Self::transmit(self, now, budget_packets, emit)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Self::poll_timeout(self)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.shared.close();
        self.carrier.close();
        for id in self.udp.ids() {
            if let Some(entry) = self.udp.get(id) {
                entry.inbox.close();
            }
        }
    }
}
