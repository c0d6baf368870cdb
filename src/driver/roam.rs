//! What follows when the network under a tunnel changes or the machine slept: go on from another address, look
//! whether the server still answers, or connect anew at once. Attempts are not wasted while there is no way at all.

use std::{
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use tunless_core::client::{Attempt, CloseReason};

use super::{
    attempt::{Phase, again, local_address},
    client::{Driver, Leaving},
    handle::Event,
    route,
};
use crate::transport::Transport;

/// While there is no way to the server: how often that is looked at besides announced changes.
const NO_ROUTE_PAUSE: Duration = Duration::from_secs(30);

impl Driver {
    /// Links, addresses or routes of this host have changed; most such changes have nothing to do with us.
    pub(super) fn on_link_change(&mut self, now: Instant) {
        let target = match &self.phase {
            Phase::Linked(link) => Some(link.client.address()),
            Phase::Opening { tcp, .. } => Some(tcp.peer()),
            Phase::Pausing { attempt, .. } => attempt.address,
            Phase::Idle | Phase::Paused { .. } | Phase::Asking { .. } | Phase::Resolving { .. } => None,
        };
        let outlook = route::outlook(target);
        if self.outlook.replace(outlook) != Some(outlook) {
            tracing::debug!("the network has changed");
            self.on_path_change(now);
        }
    }

    fn on_path_change(&mut self, now: Instant) {
        if self.leaving != Leaving::No {
            return;
        }
        match &mut self.phase {
            Phase::Idle | Phase::Paused { .. } | Phase::Asking { .. } => {}
            Phase::Pausing {
                until, not_before, ..
            } => *until = (*until).min(now.max(*not_before)),
            Phase::Resolving { .. } => self.ask_resolver_again(now),
            Phase::Opening { .. } => self.start_over(now),
            Phase::Linked(link) => {
                let remote = self.setup.remote(link.remote).ok();
                let is_fixed = remote.is_some_and(|remote| remote.local.is_some());
                // Without a way the connection is kept as it is: the next change may bring it back.
                match route::source(link.client.address()) {
                    Ok(_) if link.client.is_connected() => self.follow(),
                    // It leaves by its own wish.
                    Ok(_) if !link.client.is_connecting() => {}
                    Ok(source) if has_moved(link.transport.local().ip(), Ok(source), is_fixed) => {
                        self.start_over(now);
                    }
                    Ok(_) => link.client.probe(now),
                    Err(error) => {
                        tracing::debug!(%error, "no way to the server");
                        link.stop_probing();
                    }
                }
            }
        }
    }

    /// The machine slept, or this process was stopped.
    pub(super) fn on_gap(&mut self, now: Instant, gap: Duration) {
        tracing::info!(seconds = gap.as_secs(), "back after a sleep");
        let Phase::Linked(link) = &self.phase else {
            self.on_path_change(now);
            return;
        };
        if gap >= link.client.patience() && link.client.is_connected() && self.leaving == Leaving::No {
            self.lose_path(format!(
                "this side slept for {} s, the server no longer waits",
                gap.as_secs()
            ));
        } else {
            self.on_path_change(now);
        }
    }

    /// An established connection after a change: over another address, or with a look at whether it still works.
    fn follow(&mut self) {
        let Phase::Linked(link) = &mut self.phase else {
            return;
        };
        let address = link.client.address();
        let ours = link.transport.local().ip();
        let remote = self.setup.remote(link.remote).ok();
        let is_fixed = remote.is_some_and(|remote| remote.local.is_some());
        let moved = has_moved(ours, route::source(address), is_fixed);
        match &link.transport {
            Transport::Tcp(_) if !route::is_ours(ours) => {
                self.lose_path("the address that it came from is gone".into());
            }
            Transport::Udp(_) if moved => {
                let fixed = remote.and_then(|remote| local_address(remote, address));
                if fixed.is_some() || !link.client.can_float() {
                    self.lose_path("the address that it came from has changed".into());
                } else if let Err(error) = link.roam(self.poll.registry()) {
                    self.lose_path(super::chain(&error));
                } else {
                    tracing::info!("going on from another address");
                    tracing::debug!(local = %link.transport.local(), "roamed");
                }
            }
            Transport::Tcp(_) | Transport::Udp(_) => link.probe(),
        }
    }

    /// Looks after errors that the network reported, and after a look at the server that was not answered in time.
    pub(super) fn check_path(&mut self, now: Instant) {
        let Phase::Linked(link) = &mut self.phase else {
            return;
        };
        if link.take_trouble() {
            self.follow();
            return;
        }
        let Some(waited) = link.unanswered(now) else {
            return;
        };
        link.stop_probing();
        if let Err(error) = route::source(link.client.address()) {
            tracing::debug!(%error, "no way to the server");
            return;
        }
        self.lose_path(format!("no answer within {} s", waited.as_secs()));
    }

    /// Whether to stay in a pause because there is no way to the address that comes next. Only once there has been
    /// a connection: before that a person waits for the error.
    pub(super) fn waits_for_network(&mut self, now: Instant, attempt: Attempt) -> bool {
        let Some(address) = attempt.address else {
            return false;
        };
        if !self.watch.is_on() || !self.remotes.ever_connected() {
            return false;
        }
        // With a way to anywhere, another address or remote may be worth an attempt.
        if route::outlook(Some(address)).iter().any(Option::is_some) {
            return false;
        }
        let reason = format!("there is no way to {address}: waiting for the network");
        if self.last_reason.as_ref() != Some(&reason) {
            self.last_reason = Some(reason.clone());
            self.shared.emit(Event::Retry {
                reason,
                wait: NO_ROUTE_PAUSE,
                next: self.destination(&attempt),
            });
        }
        self.phase = Phase::Pausing {
            until: now + NO_ROUTE_PAUSE,
            not_before: now,
            attempt,
        };
        true
    }

    /// The connection cannot go on; the next turn connects anew without a pause.
    fn lose_path(&mut self, why: String) {
        if let Phase::Linked(link) = &mut self.phase {
            link.client.on_transport_lost(CloseReason::PathLost(why));
            link.turn_again();
        }
    }

    /// An attempt that has not come to anything starts again over the network as it is now.
    fn start_over(&mut self, now: Instant) {
        let target = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Opening { index, tcp, .. } => Some((index, tcp.peer())),
            Phase::Linked(link) => {
                let target = (link.remote, link.client.address());
                self.let_go(now, link);
                Some(target)
            }
            other @ (Phase::Idle
            | Phase::Paused { .. }
            | Phase::Asking { .. }
            | Phase::Pausing { .. }
            | Phase::Resolving { .. }) => {
                self.phase = other;
                None
            }
        };
        if let Some((index, address)) = target {
            // What was asked belongs to what has just been given up, and so does an answer that is good for one attempt.
            let _void = self.stop_asking(now);
            self.attempt(now, again(index, address));
        }
    }
}

/// Whether packets to the server no longer come from the address that the socket has. An address that the profile
/// fixes (`local`) need not be the one that the kernel would choose: it only has to be there.
fn has_moved(ours: IpAddr, source: io::Result<IpAddr>, is_fixed: bool) -> bool {
    if is_fixed {
        !route::is_ours(ours)
    } else {
        source.is_ok_and(|source| source != ours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_the_profile_fixes_need_not_be_the_kernel_s_choice() {
        let (ours, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([192, 0, 2, 1]));
        assert!(has_moved(ours, Ok(other), false));
        assert!(!has_moved(ours, Ok(other), true));
        assert!(!has_moved(ours, Ok(ours), false));
        assert!(
            has_moved(other, Ok(ours), true),
            "192.0.2.1 is not an address of this host"
        );
    }
}
