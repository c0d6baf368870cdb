//! Which remote is tried next, at which of its addresses, and after which pause (reference section 9.3).

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use crate::{
    client::{Action, Advance, CloseReason},
    config::ClientConfig,
    rng::Rng,
};

/// Addresses kept of one name.
const MAX_ADDRESSES: usize = 32;
/// Rounds through the list before pauses grow.
const PATIENT_ROUNDS: u32 = 4;

/// Where the next attempt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Index into the configuration's remotes.
    pub index: usize,
    /// Pause before it.
    pub wait: Duration,
    /// The part of the pause that the server asked for, or that protects an account: nothing shortens it.
    pub demanded: Duration,
    /// The address, when the name has been resolved already; otherwise resolve it and tell [`Remotes::resolved`].
    pub address: Option<SocketAddr>,
}

/// The order of attempts.
#[derive(Debug)]
pub struct Remotes {
    order: Vec<usize>,
    position: usize,
    addresses: VecDeque<SocketAddr>,
    pending: Option<Pending>,
    advances: u32,
    max_advances: Option<u32>,
    ever_connected: bool,
    /// The connection that is about to end carried packets.
    established: bool,
    retry: Duration,
    retry_max: Duration,
}

/// How the attempt after the first is to be chosen.
#[derive(Debug, Clone, Copy)]
struct Pending {
    advance: Advance,
    wait: Option<Duration>,
    no_pause: bool,
}

impl Remotes {
    /// The order for `config`, shuffled once where `remote-random` says so.
    pub fn new(config: &ClientConfig, rng: &mut dyn Rng) -> Self {
        let mut order: Vec<usize> = (0..config.remotes.len()).collect();
        if config.remote_random {
            for end in (1..order.len()).rev() {
                let pick = rng.below(u32::try_from(end + 1).unwrap_or(u32::MAX));
                order.swap(end, usize::try_from(pick).unwrap_or_default());
            }
        }
        let len = u32::try_from(order.len()).unwrap_or(u32::MAX);
        Self {
            order,
            position: 0,
            addresses: VecDeque::new(),
            pending: None,
            advances: 0,
            max_advances: config.connect_retry_max.map(|rounds| rounds.saturating_mul(len)),
            ever_connected: false,
            established: false,
            retry: config.connect_retry.wait,
            retry_max: config.connect_retry.max,
        }
    }

    /// The next attempt; `None` once `connect-retry-max` is used up.
    pub fn next_attempt(&mut self) -> Option<Attempt> {
        let (mut wait, mut demanded) = (Duration::ZERO, Duration::ZERO);
        if let Some(pending) = self.pending.take() {
            self.advance(pending.advance);
            if self.max_advances.is_some_and(|most| self.advances >= most) {
                return None;
            }
            wait = if pending.no_pause {
                Duration::ZERO
            } else {
                self.pause()
            };
            demanded = pending.wait.unwrap_or_default().min(self.retry_max);
            wait = wait.max(demanded);
        }
        let index = self.order.get(self.position).copied()?;
        Some(Attempt {
            index,
            wait,
            demanded,
            address: self.addresses.front().copied(),
        })
    }

    /// The current remote's name has these addresses, in this order.
    pub fn resolved(&mut self, addresses: impl IntoIterator<Item = SocketAddr>) {
        self.addresses = addresses.into_iter().take(MAX_ADDRESSES).collect();
    }

    /// The address to use now, once the name is resolved.
    pub fn address(&self) -> Option<SocketAddr> {
        self.addresses.front().copied()
    }

    /// The connection is established: later failures start counting anew, and stay here first.
    pub fn on_connected(&mut self) {
        self.advances = 0;
        self.ever_connected = true;
        self.established = true;
    }

    /// Whether there has been a connection.
    pub fn ever_connected(&self) -> bool {
        self.ever_connected
    }

    /// The attempt, or the connection, has ended; returns whether another attempt follows.
    pub fn on_closed(&mut self, reason: &CloseReason) -> Action {
        let mut action = reason.action();
        // A handshake can be spoiled by whoever can inject packets, and one remote of several may be set up wrongly:
        // only a first attempt with nowhere else to go ends for it.
        let elsewhere = self.ever_connected || self.order.len() > 1;
        let may_differ = matches!(reason, CloseReason::Session(_) | CloseReason::Upstream(_));
        if elsewhere && may_differ && matches!(action, Action::Exit(_)) {
            action = Action::Retry {
                advance: Advance::Address,
                wait: None,
                forget_token: false,
            };
        }
        let established = std::mem::take(&mut self.established);
        if let Action::Retry { advance, wait, .. } = &mut action {
            // What worked is tried again first; silence or a farewell before it ever worked is a failed attempt.
            *advance = match (*advance, established) {
                (Advance::Address, true) => Advance::Stay,
                (Advance::Stay, false) if is_silence(reason) => Advance::Address,
                (advance, _) => advance,
            };
            let (advance, wait) = (*advance, *wait);
            // A way that is lost again before it carried anything is no reason to hurry.
            let no_pause = matches!(reason, CloseReason::NoAnswer { .. })
                || (established && matches!(reason, CloseReason::PathLost(_)));
            self.pending = Some(Pending {
                advance,
                wait,
                no_pause,
            });
        }
        action
    }

    fn advance(&mut self, advance: Advance) {
        match advance {
            Advance::Stay => {}
            Advance::Address if self.addresses.len() > 1 => {
                self.addresses.pop_front();
            }
            Advance::Address | Advance::Remote => {
                self.addresses.clear();
                self.position = (self.position + 1) % self.order.len().max(1);
                self.advances = self.advances.saturating_add(1);
            }
        }
    }

    fn pause(&self) -> Duration {
        let len = u32::try_from(self.order.len().max(1)).unwrap_or(u32::MAX);
        let rounds = (self.advances / len).saturating_sub(PATIENT_ROUNDS);
        // 2^16 times a second is beyond any maximum.
        self.retry.saturating_mul(1 << rounds.min(16)).min(self.retry_max)
    }
}

/// The server was not heard of, or left, in a way that keeps an established connection where it is.
fn is_silence(reason: &CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::PingRestart | CloseReason::RemoteExit | CloseReason::PathLost(_)
    )
}

#[cfg(test)]
mod tests;
