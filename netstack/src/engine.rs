//! Owns smoltcp and runs it for one flow at a time.
//!
//! smoltcp's sequence arithmetic may panic on hostile input: each call is caught, and only that flow is lost.
//! Checksums of what comes in are verified (60 to 130 ns a packet): the tunnel authenticates its peer, not the hosts
//! behind it, and a relay has no other check.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface};
use smoltcp::wire::{HardwareAddress, IpEndpoint, IpListenEndpoint};

use crate::clock::Clock;
use crate::config::{MAX_MTU_BYTES, MIN_MTU_BYTES};
use crate::flow::{FlowState, TcpFlow};
use crate::phy::{OnePacket, Slot};
use crate::pool::Pool;
use crate::rng::Rng;
use crate::sink::Outbox;

/// Wait for a flow that says it is ready and then has nothing to say.
const SPIN_GUARD: Duration = Duration::from_millis(5);

/// The TCP engine failed on this flow; its state cannot be trusted.
#[derive(Debug)]
pub(crate) struct Fault;

/// What one call to send came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Egress {
    /// A packet left.
    Sent,
    /// There is nothing to send.
    Idle,
    /// The tunnel takes no more; the packet is kept.
    Refused,
}

/// The engine.
pub(crate) struct Engine {
    interface: Interface,
    clock: Clock,
    mtu_bytes: usize,
    outgoing: Slot,
    reply: Slot,
    pub(crate) pool: Pool,
    rng: Rng,
    /// When it was last asked to send.
    latest: Instant,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("mtu_bytes", &self.mtu_bytes)
            .finish_non_exhaustive()
    }
}

impl Engine {
    pub(crate) fn new(now: Instant, mtu_bytes: usize, pool: Pool, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let clock = Clock::new(now);
        let mut outgoing = Slot::new(MAX_MTU_BYTES);
        let mtu_bytes = mtu_bytes.clamp(MIN_MTU_BYTES, MAX_MTU_BYTES);
        let interface = interface(&clock, now, mtu_bytes, &mut outgoing, &mut rng);
        Self {
            interface,
            clock,
            mtu_bytes,
            outgoing,
            reply: Slot::new(MAX_MTU_BYTES),
            pool,
            rng,
            latest: now,
        }
    }

    pub(crate) fn mtu_bytes(&self) -> usize {
        self.mtu_bytes
    }

    /// Takes a new MTU; open flows keep what they agreed on, bounded by it.
    pub(crate) fn set_mtu(&mut self, now: Instant, mtu_bytes: usize) {
        let mtu_bytes = mtu_bytes.clamp(MIN_MTU_BYTES, MAX_MTU_BYTES);
        if mtu_bytes != self.mtu_bytes {
            self.mtu_bytes = mtu_bytes;
            self.outgoing.clear();
            self.interface = interface(&self.clock, now, mtu_bytes, &mut self.outgoing, &mut self.rng);
        }
    }

    /// A flow that is about to send its SYN; nothing if no buffers are left or the target is impossible.
    pub(crate) fn connect(&mut self, local: SocketAddr, remote: SocketAddr) -> Option<TcpFlow> {
        let mut flow = self.pool.take()?;
        let context = self.interface.context();
        let is_begun =
            flow.socket_mut()
                .connect(context, IpEndpoint::from(remote), IpListenEndpoint::from(local));
        if is_begun.is_ok() {
            return Some(flow);
        }
        self.pool.give(flow);
        None
    }

    /// A flow that waits for a SYN to `local`; the caller feeds it at once.
    pub(crate) fn listen(&mut self, local: SocketAddr) -> Option<TcpFlow> {
        let mut flow = self.pool.take()?;
        // A spare flow may still owe a reset of its former life, and only opening forgets it.
        if flow.socket_mut().listen(IpListenEndpoint::from(local)).is_ok() {
            return Some(flow);
        }
        self.pool.give(flow);
        None
    }

    /// Feeds one packet to its flow; an immediate answer goes to `outbox`.
    pub(crate) fn ingress(
        &mut self,
        now: Instant,
        flow: &mut TcpFlow,
        packet: &[u8],
        outbox: &mut Outbox,
    ) -> Result<(), Fault> {
        let at = self.clock.engine(now + flow.ahead);
        let Self {
            interface,
            reply,
            mtu_bytes,
            ..
        } = self;
        reply.clear();
        let mut device = OnePacket {
            incoming: Some(packet),
            outgoing: reply,
            mtu_bytes: *mtu_bytes,
        };
        catch_unwind(AssertUnwindSafe(|| {
            interface.poll_ingress_single(at, &mut device, &mut flow.sockets);
        }))
        .map_err(|_| Fault)?;
        if let Some(answer) = reply.packet() {
            flow.sent_end.pass(answer);
            outbox.push(|buf| {
                buf.extend_from_slice(answer);
                true
            });
        }
        Ok(())
    }

    /// Offers a packet that the tunnel refused before. False if it was refused again.
    pub(crate) fn flush(&mut self, emit: &mut dyn FnMut(&mut [u8]) -> bool) -> bool {
        let Some(packet) = self.outgoing.packet() else {
            return true;
        };
        let is_taken = emit(packet);
        if is_taken {
            self.outgoing.clear();
        }
        is_taken
    }

    /// Lets a flow send one packet. The caller has flushed.
    pub(crate) fn egress(
        &mut self,
        now: Instant,
        flow: &mut TcpFlow,
        emit: &mut dyn FnMut(&mut [u8]) -> bool,
    ) -> Result<Egress, Fault> {
        let at = self.clock.engine(now + flow.ahead);
        self.latest = now;
        let Self {
            interface,
            outgoing,
            mtu_bytes,
            ..
        } = self;
        let mut device = OnePacket {
            incoming: None,
            outgoing,
            mtu_bytes: *mtu_bytes,
        };
        let polled = catch_unwind(AssertUnwindSafe(|| {
            interface.poll_egress(at, &mut device, &mut flow.sockets);
        }));
        if polled.is_err() {
            outgoing.clear();
            return Err(Fault);
        }
        let Some(packet) = outgoing.packet() else {
            return Ok(Egress::Idle);
        };
        flow.sent_end.pass(packet);
        Ok(if self.flush(emit) {
            Egress::Sent
        } else {
            Egress::Refused
        })
    }

    /// Lets a flow's clock jump to its next timer: what it would send then, it sends when it is asked next.
    pub(crate) fn hasten(&mut self, now: Instant, flow: &mut TcpFlow) -> Result<(), Fault> {
        if matches!(flow.state(), FlowState::Opening | FlowState::Open)
            && let Some(next) = self.poll_at(now, flow, false)?
        {
            flow.ahead += next.saturating_duration_since(now);
        }
        Ok(())
    }

    /// The reset of a flow that was aborted, as a packet.
    pub(crate) fn last_word(&mut self, flow: &mut TcpFlow) -> Result<Option<Vec<u8>>, Fault> {
        let mut packet = None;
        self.outgoing.clear();
        self.egress(self.latest, flow, &mut |bytes| {
            packet = Some(bytes.to_vec());
            true
        })?;
        Ok(packet)
    }

    /// When the flow wants to send next. `has_sent_all` says that it was just asked and had nothing.
    pub(crate) fn poll_at(
        &mut self,
        now: Instant,
        flow: &TcpFlow,
        has_sent_all: bool,
    ) -> Result<Option<Instant>, Fault> {
        let at = self.clock.engine(now + flow.ahead);
        let interface = &mut self.interface;
        let next =
            catch_unwind(AssertUnwindSafe(|| interface.poll_at(at, &flow.sockets))).map_err(|_| Fault)?;
        Ok(next.map(|next| {
            let next = self.clock.caller(next).checked_sub(flow.ahead);
            let next = next.map_or(now, |next| next.max(now));
            if has_sent_all {
                next.max(now + SPIN_GUARD)
            } else {
                next
            }
        }))
    }

    /// Whether a packet waits that the tunnel refused.
    pub(crate) fn is_blocked(&mut self) -> bool {
        self.outgoing.packet().is_some()
    }

    /// Forgets a packet that the tunnel refused.
    pub(crate) fn forget_blocked(&mut self) {
        self.outgoing.clear();
    }
}

/// An interface without addresses: the flows were looked up before it sees a packet.
fn interface(clock: &Clock, now: Instant, mtu_bytes: usize, slot: &mut Slot, rng: &mut Rng) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = rng.next_u64();
    let mut device = OnePacket {
        incoming: None,
        outgoing: slot,
        mtu_bytes,
    };
    let mut interface = Interface::new(config, &mut device, clock.engine(now));
    interface.set_any_ip(true);
    interface
}
