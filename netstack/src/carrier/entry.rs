//! What is known about one flow, and when it is given up.

use std::time::{Duration, Instant};

use crate::error::{EndReason, FlowError};
use crate::flow::{FlowState, TcpFlow};
use crate::packet::Tuple;
use crate::relay::Relay;
use crate::slab::Id;

/// Longest time that an open flow waits for its local socket.
const UNATTACHED_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for the handshake of a flow that the far end opens.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for the last exchange of a flow whose relay has ended.
const LINGER_TIMEOUT: Duration = Duration::from_mins(1);
/// smoltcp forgets a flow, and what nobody has read from it, ten seconds after its end: it is not asked then.
const TIME_WAIT_GUARD: Duration = Duration::from_secs(8);

/// Whom a flow belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// An attempt of a connection that is being opened.
    Connect(Id),
    /// A question to a name server, by lookup and number.
    Query(Id, usize),
    /// Whoever listens on that port.
    Listener(u16),
    /// A relay, or a caller who will attach one.
    Relay,
}

/// What the owner must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The flow is open.
    Opened,
    /// Something may be read, or has been acknowledged.
    Moved,
    /// The flow has gone before it was open, or without a relay.
    Lost(FlowError),
}

/// Time-outs of flows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) connect: Duration,
    pub(crate) idle: Duration,
    pub(crate) stall: Duration,
}

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "marks for the turn of the loop, independent of each other"
)]
pub(super) struct Entry {
    pub(super) tuple: Tuple,
    pub(super) flow: TcpFlow,
    pub(super) owner: Owner,
    pub(super) relay: Option<Relay>,
    pub(super) is_open: bool,
    pub(super) wants_settling: bool,
    pub(super) wants_egress: bool,
    /// Counted among the flows that wait for acknowledgements.
    pub(super) is_sending: bool,
    /// What opening took: the path's round trip.
    pub(super) round_trip: Duration,
    /// The timer that counts.
    pub(super) pending: Option<Instant>,
    pub(super) heard_at: Instant,
    pub(super) moved_at: Instant,
    pub(super) time_wait_since: Option<Instant>,
    /// The tunnel is back: what waits for a timer is to be sent at once.
    pub(super) is_to_hasten: bool,
    /// Acknowledgements that are still to be repeated to a far end that may wait for its own timer.
    pub(super) reminders: u8,
    /// Times that the far end is still to be told that the path, not its load, lost its segments.
    pub(super) notices: u8,
}

impl Entry {
    /// When the flow is given up if nothing happens, and what that means. While the tunnel is down nobody can
    /// acknowledge anything.
    pub(super) fn deadline(&self, timeouts: &Timeouts, is_up: bool) -> (Instant, EndReason) {
        let latest = self.heard_at.max(self.moved_at);
        if let Owner::Listener(_) = self.owner {
            return (self.moved_at + HANDSHAKE_TIMEOUT, EndReason::TimedOut);
        }
        if !self.is_open {
            return (self.moved_at + timeouts.connect, EndReason::TimedOut);
        }
        if self.relay.is_none() {
            let limit = if self.owner == Owner::Relay {
                UNATTACHED_TIMEOUT
            } else {
                LINGER_TIMEOUT
            };
            return (self.moved_at + limit, EndReason::TimedOut);
        }
        let idle = self.moved_at + timeouts.idle;
        if is_up && self.flow.unacknowledged_bytes() > 0 {
            (idle.min(latest + timeouts.stall), EndReason::TimedOut)
        } else {
            (idle, EndReason::IdleTimeout)
        }
    }

    /// Whether the far end is still to be told that the tunnel is back.
    pub(super) fn owes_reminders(&self) -> bool {
        self.reminders > 0 || self.notices > 0
    }

    /// Whether asking the engine would throw away bytes that the host has not taken yet.
    pub(super) fn is_to_be_kept_quiet(&mut self, now: Instant) -> bool {
        if self.flow.state() != FlowState::TimeWait {
            return false;
        }
        let since = *self.time_wait_since.get_or_insert(now);
        self.flow.readable_bytes() > 0 && now >= since + TIME_WAIT_GUARD
    }
}
