//! The server's end without a TUN: client flows end here and go on as ordinary sockets of the host.

mod datagram;
mod policy;
mod tcp;

pub use policy::{ExitPolicy, Redirect, Rule, Verdict};

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use mio::Token;

use crate::addresses::Addresses;
use crate::carrier::{Carrier, Owner, TOKEN_STRIDE, Timeouts};
use crate::config::StackStats;
use crate::emit::{self, Unreachable};
use crate::engine::Engine;
use crate::fragments::Reassembly;
use crate::packet::{
    IpPacket, MAX_SYN_BYTES, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP, TCP_ACK, TCP_RST,
    TCP_SYN, Tuple, be16, transport_sum,
};
use crate::pool::Pool;
use crate::rng::{FlowHash, Rng};
use crate::sink::Outbox;
use crate::slab::Id;
use datagram::{Datagrams, Kind};
use tcp::{Dials, Outcome};

/// Everything that an exit starts with.
#[derive(Clone, Debug)]
pub struct ExitConfig {
    /// Inner addresses of the server itself; echo requests to them are answered.
    pub addresses: Vec<IpNet>,
    /// Largest inner packet, 256 to 16384 bytes; values outside are clamped.
    pub mtu_bytes: usize,
    /// What clients may reach.
    pub policy: ExitPolicy,
    /// Limits and time-outs.
    pub limits: ExitLimits,
    /// Source of sequence numbers; must be unpredictable.
    pub seed: u64,
}

/// Limits and time-outs of an exit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitLimits {
    /// TCP flows of all clients, dials included.
    pub flows: usize,
    /// TCP and UDP flows of one inner address.
    pub flows_per_client: usize,
    /// UDP and echo flows of all clients.
    pub udp_flows: usize,
    /// Receive buffer of a flow.
    pub receive_buffer_bytes: usize,
    /// Send buffer of a flow.
    pub transmit_buffer_bytes: usize,
    /// All flow buffers together; new flows get smaller ones as it fills.
    pub buffer_budget_bytes: usize,
    /// Longest time for a dial.
    pub connect_timeout: Duration,
    /// Time without a byte after which a TCP flow is ended.
    pub idle_timeout: Duration,
    /// Time without an acknowledgement of sent data after which a TCP flow is given up.
    pub stall_timeout: Duration,
    /// Time without a datagram after which a UDP flow is forgotten.
    pub udp_idle_timeout: Duration,
    /// The same for port 53.
    pub dns_idle_timeout: Duration,
}

impl Default for ExitLimits {
    fn default() -> Self {
        Self {
            flows: 8192,
            flows_per_client: 2048,
            udp_flows: 4096,
            receive_buffer_bytes: 512 * 1024,
            transmit_buffer_bytes: 512 * 1024,
            buffer_budget_bytes: 256 * 1024 * 1024,
            connect_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_hours(2),
            stall_timeout: Duration::from_mins(2),
            udp_idle_timeout: Duration::from_mins(1),
            dns_idle_timeout: Duration::from_secs(10),
        }
    }
}

/// Ends the flows of any number of clients. Same loop contract as [`crate::Stack`].
#[derive(Debug)]
pub struct Exit {
    nets: Vec<IpNet>,
    addresses: Addresses,
    policy: ExitPolicy,
    limits: ExitLimits,
    first_token: usize,
    carrier: Carrier,
    dials: Dials,
    datagrams: Datagrams,
    reassembly: Reassembly,
    rng: Rng,
    outbox: Outbox,
    stats: StackStats,
}

/// Tokens of dials, counted from a flow's.
const DIAL_TOKEN: usize = 1;
/// Tokens of datagram sockets, counted from a flow's.
const DATAGRAM_TOKEN: usize = 2;

impl Exit {
    /// Makes an exit. Tokens from `first_token` up belong to it.
    pub fn new(now: Instant, config: ExitConfig, registry: mio::Registry, first_token: usize) -> Self {
        let ExitConfig {
            addresses,
            mtu_bytes,
            policy,
            limits,
            seed,
        } = config;
        let mut rng = Rng::new(seed);
        let pool = Pool::new(
            limits.receive_buffer_bytes,
            limits.transmit_buffer_bytes,
            limits.buffer_budget_bytes,
        );
        let engine = Engine::new(now, mtu_bytes, pool, rng.next_u64());
        let timeouts = Timeouts {
            connect: limits.connect_timeout,
            idle: limits.idle_timeout,
            stall: limits.stall_timeout,
        };
        let hash = FlowHash::new(&mut rng);
        Self {
            addresses: Addresses::new(&addresses),
            nets: addresses,
            policy,
            first_token,
            carrier: Carrier::new(engine, limits.flows, timeouts, hash, (registry, first_token)),
            dials: Dials::new(limits.flows, hash),
            datagrams: Datagrams::new(limits.udp_flows, hash),
            reassembly: Reassembly::default(),
            rng,
            outbox: Outbox::new(),
            stats: StackStats::default(),
            limits,
        }
    }

    /// Takes one inner packet of a client.
    pub fn handle_packet(&mut self, now: Instant, packet: &mut [u8]) {
        self.stats.packets_in += 1;
        self.stats.bytes_in += packet.len() as u64;
        if !self.on_packet(now, packet) {
            self.stats.dropped_in += 1;
        }
    }

    fn on_packet(&mut self, now: Instant, bytes: &[u8]) -> bool {
        let Some(packet) = IpPacket::parse(bytes) else {
            return false;
        };
        if packet.src.is_unspecified() || packet.src.is_multicast() {
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

    /// Where a destination leads: the policy, and nothing within our own inner networks but redirects.
    fn route(&self, destination: SocketAddr) -> Result<SocketAddr, Unreachable> {
        let destination = policy::canonical(destination);
        let is_redirected = self
            .policy
            .redirects
            .iter()
            .any(|redirect| policy::canonical(redirect.inner) == destination);
        if !is_redirected {
            let forms = || policy::forms(destination.ip());
            if forms().any(|form| self.addresses.is_ours(form)) {
                return Err(Unreachable::Port);
            }
            let is_inner = |form| {
                self.nets
                    .iter()
                    .any(|net| net.prefix_len() > 0 && net.contains(&form))
            };
            if forms().any(is_inner) {
                return Err(Unreachable::Host);
            }
        }
        match self.policy.judge(destination) {
            Verdict::Dial(to) => Ok(to),
            Verdict::Prohibited => Err(Unreachable::Prohibited),
        }
    }

    fn has_client_room(&self, client: IpAddr) -> bool {
        let in_use =
            self.carrier.flows_of(client) + self.dials.of_client(client) + self.datagrams.of_client(client);
        in_use < self.limits.flows_per_client
    }

    fn on_segment(&mut self, now: Instant, packet: &IpPacket<'_>) -> bool {
        let Some(tuple) = packet.tuple() else { return false };
        if self.carrier.handle_segment(now, packet, &tuple, &mut self.outbox) {
            return true;
        }
        let is_syn = packet
            .tcp_flags()
            .is_some_and(|flags| flags & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN);
        if !is_syn {
            return packet.header_is_intact() && self.outbox.answer(now, |buf| emit::reset(buf, packet));
        }
        if self.dials.is_known(&tuple) {
            return true;
        }
        self.on_syn(now, packet, tuple)
    }

    fn on_syn(&mut self, now: Instant, packet: &IpPacket<'_>, tuple: Tuple) -> bool {
        let is_intact = packet.header_is_intact()
            && transport_sum(packet.src, packet.dst, PROTOCOL_TCP, packet.payload) == 0xffff;
        let is_full = self.carrier.len() + self.dials.len() >= self.limits.flows;
        if !is_intact || packet.whole.len() > MAX_SYN_BYTES || tuple.remote.port() == 0 {
            return false;
        }
        if is_full || !self.has_client_room(tuple.remote.ip()) {
            return false;
        }
        let to = match self.route(tuple.local) {
            Ok(to) => to,
            Err(Unreachable::Port) => return self.outbox.answer(now, |buf| emit::reset(buf, packet)),
            Err(why) => return self.outbox.answer(now, |buf| emit::unreachable(buf, packet, why)),
        };
        let first_token = self.first_token;
        let token = |id: Id| Token(first_token + id.index() * TOKEN_STRIDE + DIAL_TOKEN);
        let deadline = now + self.limits.connect_timeout;
        let syn = (tuple, packet.whole);
        if let Err(outcome) = self
            .dials
            .start(syn, to, deadline, self.carrier.registry(), token)
        {
            self.on_dialled(now, outcome);
        }
        true
    }

    fn on_dialled(&mut self, now: Instant, outcome: Outcome) {
        match outcome {
            Outcome::Connected { tuple, syn, socket } => {
                let accepted = {
                    let flow = (tuple, Owner::Relay);
                    self.carrier
                        .accept(now, flow, &syn, Some(socket), &mut self.outbox)
                };
                if accepted.is_none() {
                    self.stats.dropped_in += 1;
                }
            }
            Outcome::Refused { syn } => {
                if let Some(packet) = IpPacket::parse(&syn) {
                    self.outbox.answer(now, |buf| emit::reset(buf, &packet));
                }
            }
            Outcome::Unreachable { syn, why } => {
                if let Some(packet) = IpPacket::parse(&syn) {
                    self.outbox
                        .answer(now, |buf| emit::unreachable(buf, &packet, why));
                }
            }
        }
    }

    /// Takes a piece of a client's datagram; nothing but UDP is put together.
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
        if !packet.header_is_intact() {
            return false;
        }
        let known = self.datagrams.find(Kind::Udp, &tuple);
        let idle = match tuple.local.port() {
            53 => self.limits.dns_idle_timeout,
            _ => self.limits.udp_idle_timeout,
        };
        let id = match known {
            Some(id) => id,
            None => match self.open_datagrams(now, (Kind::Udp, tuple), idle) {
                Ok(id) => id,
                Err(why) => return self.outbox.answer(now, |buf| emit::unreachable(buf, packet, why)),
            },
        };
        match self.datagrams.send(now, id, payload) {
            Ok(()) => true,
            Err(error) => self
                .outbox
                .answer(now, |buf| emit::unreachable(buf, packet, why_not(&error))),
        }
    }

    fn open_datagrams(
        &mut self,
        now: Instant,
        flow: (Kind, Tuple),
        idle: Duration,
    ) -> Result<Id, Unreachable> {
        let (kind, tuple) = flow;
        if !self.has_client_room(tuple.remote.ip()) {
            return Err(Unreachable::Prohibited);
        }
        let to = match kind {
            Kind::Udp => self.route(tuple.local)?,
            Kind::Echo => {
                // Echo has no port; the policy reads one, the socket does not.
                self.route(SocketAddr::new(tuple.local.ip(), 1))?;
                tuple.local
            }
        };
        let first_token = self.first_token;
        let token = |id: Id| Token(first_token + id.index() * TOKEN_STRIDE + DATAGRAM_TOKEN);
        let opened = self
            .datagrams
            .open(now, flow, to, idle, (self.carrier.registry(), &token));
        opened.map_err(|error| match kind {
            Kind::Udp => why_not(&error),
            // The kernel has no ping sockets for us.
            Kind::Echo => Unreachable::Prohibited,
        })
    }

    fn on_icmp(&mut self, now: Instant, packet: &IpPacket<'_>) -> bool {
        let is_of_family = (packet.protocol == PROTOCOL_ICMP) == packet.dst.is_ipv4();
        let request = if packet.dst.is_ipv4() { 8 } else { 128 };
        let is_echo = packet.payload.starts_with(&[request, 0]);
        let identifier = be16(packet.payload, 4);
        let (true, true, Some(identifier)) =
            (is_of_family && is_echo, emit::icmp_is_intact(packet), identifier)
        else {
            return false;
        };
        if self.addresses.is_ours(packet.dst) {
            return self.outbox.answer(now, |buf| emit::echo_reply(buf, packet));
        }
        let tuple = Tuple {
            local: SocketAddr::new(packet.dst, 0),
            remote: SocketAddr::new(packet.src, identifier),
        };
        let known = self.datagrams.find(Kind::Echo, &tuple);
        let id = match known {
            Some(id) => id,
            None => match self.open_datagrams(now, (Kind::Echo, tuple), self.limits.dns_idle_timeout) {
                Ok(id) => id,
                Err(why) => return self.outbox.answer(now, |buf| emit::unreachable(buf, packet, why)),
            },
        };
        match self.datagrams.send(now, id, packet.payload) {
            Ok(()) => true,
            Err(error) => self
                .outbox
                .answer(now, |buf| emit::unreachable(buf, packet, why_not(&error))),
        }
    }

    /// Takes readiness of a host socket; events of foreign tokens are ignored.
    pub fn handle_ready(&mut self, now: Instant, event: &mio::event::Event) {
        let Some(offset) = event.token().0.checked_sub(self.first_token) else {
            return;
        };
        let index = offset / TOKEN_STRIDE;
        match offset % TOKEN_STRIDE {
            DIAL_TOKEN => {
                if let Some(outcome) = self.dials.handle_ready(index, self.carrier.registry()) {
                    self.on_dialled(now, outcome);
                }
            }
            DATAGRAM_TOKEN => self.datagrams.handle_ready(index),
            _ => self.carrier.handle_ready(offset, event),
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(outcome) = self.dials.poll_expired(now) {
            self.on_dialled(now, outcome);
        }
        self.datagrams.handle_timeout(now);
        self.carrier.handle_timeout(now);
    }

    /// Gives up to `budget_packets` inner packets to `emit`; their destination says which client they are for. A
    /// packet that `emit` refuses is offered again with the next call. Returns whether more is waiting.
    pub fn transmit(
        &mut self,
        now: Instant,
        budget_packets: usize,
        emit: &mut dyn FnMut(&mut [u8]) -> bool,
    ) -> bool {
        self.carrier.settle(now);
        while self.carrier.poll_change().is_some() {}
        let mtu_bytes = self.carrier.mtu_bytes();
        self.datagrams.settle(
            now,
            (mtu_bytes, &mut self.rng),
            &mut self.outbox,
            |outbox, kind, tuple| {
                if kind == Kind::Udp {
                    outbox.answer(now, |buf| emit::port_unreachable(buf, tuple.remote, tuple.local));
                }
            },
        );
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
        !self.outbox.is_empty() || self.datagrams.has_work() || self.carrier.has_work()
    }

    /// Earliest instant at which [`Exit::handle_timeout`] has work.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let parts = [
            self.carrier.poll_timeout(),
            self.dials.poll_timeout(),
            self.datagrams.poll_timeout(),
        ];
        parts.into_iter().flatten().min()
    }

    /// Says whether what carries the tunnel is a stream, which loses nothing and slows its sender down by itself.
    pub fn set_lossless(&mut self, is_lossless: bool) {
        self.carrier.is_lossless = is_lossless;
    }

    /// Ends all flows of a client whose session is over.
    pub fn forget_client(&mut self, inner: IpAddr) {
        self.carrier.forget_remote(inner);
        self.dials.forget_client(inner);
        self.datagrams.forget_client(inner);
        self.reassembly.forget_host(inner);
    }

    /// Counters.
    pub fn stats(&self) -> StackStats {
        StackStats {
            flows_open: self.carrier.len() + self.dials.len() + self.datagrams.len(),
            flows_opened: self.carrier.opened,
            flows_failed: self.carrier.failed,
            flows_faulted: self.carrier.faulted,
            buffer_bytes: self.carrier.buffer_bytes(),
            dropped_out: self.stats.dropped_out + self.outbox.dropped,
            ..self.stats
        }
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        self.carrier.close();
    }
}

/// What the client is told about a socket call that failed.
fn why_not(error: &io::Error) -> Unreachable {
    tracing::debug!(%error, "host socket failed");
    let kind = error.kind();
    let no_network = [
        io::ErrorKind::NetworkUnreachable,
        io::ErrorKind::NetworkDown,
        io::ErrorKind::AddrNotAvailable,
    ];
    if kind == io::ErrorKind::ConnectionRefused {
        Unreachable::Port
    } else if kind == io::ErrorKind::PermissionDenied {
        Unreachable::Prohibited
    } else if no_network.contains(&kind) {
        Unreachable::Network
    } else {
        Unreachable::Host
    }
}
