//! Says that the host's links, addresses or routes have changed, and nothing of what.
//!
//! It never asks the kernel for anything: a socket of the kernel's own announcements (`NETLINK_ROUTE`, which needs no
//! privilege) is read until it is empty, and what was in it is not looked at. Changes come in bursts, so one is
//! reported when it has become quiet, and a link that flaps is reported once a second at most. Where the socket is
//! refused (a seccomp filter, say), nothing is ever reported and timers have to do.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use mio::{Interest, Registry, unix::SourceFd};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
    },
};

use super::WATCH;

/// Quiet after the last announcement before a change is reported.
const QUIET: Duration = Duration::from_millis(150);
/// A burst that does not end is reported after this.
const LONGEST_BURST: Duration = Duration::from_secs(1);
/// Shortest time between two reports.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// Announcements read in a row: more than the socket's buffer holds.
const MAX_READS: usize = 4096;
/// What is not looked at may be cut off.
const BUFFER_BYTES: usize = 512;

// `RTMGRP_*` of linux/rtnetlink.h.
const LINKS: u32 = 0x1;
const ADDRESSES_V4: u32 = 0x10;
const ROUTES_V4: u32 = 0x40;
const ADDRESSES_V6: u32 = 0x100;
const ROUTES_V6: u32 = 0x400;
const GROUPS: u32 = LINKS | ADDRESSES_V4 | ROUTES_V4 | ADDRESSES_V6 | ROUTES_V6;

/// The kernel's announcements.
#[derive(Debug)]
pub(super) struct LinkWatch {
    socket: Option<OwnedFd>,
    pacing: Pacing,
}

/// When a change is reported.
#[derive(Debug, Default)]
struct Pacing {
    /// First and last announcement that were not reported yet.
    burst: Option<(Instant, Instant)>,
    reported: Option<Instant>,
}

impl LinkWatch {
    /// Opens the socket and registers it.
    pub(super) fn open(registry: &Registry) -> Self {
        let socket = open(registry)
            .inspect_err(|error| tracing::debug!(%error, "changes of the network are not announced here"));
        Self {
            socket: socket.ok(),
            pacing: Pacing::default(),
        }
    }

    /// Whether changes will be reported at all.
    pub(super) fn is_on(&self) -> bool {
        self.socket.is_some()
    }

    /// The socket has news.
    pub(super) fn on_ready(&mut self, now: Instant) {
        let Some(socket) = &self.socket else { return };
        let mut buf = [0; BUFFER_BYTES];
        for _ in 0..MAX_READS {
            match recv(socket.as_raw_fd(), &mut buf, MsgFlags::MSG_DONTWAIT) {
                // Too many to be kept is news, too, and reporting it clears it.
                Ok(_) | Err(Errno::ENOBUFS) => self.pacing.on_news(now),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(error) => {
                    tracing::debug!(%error, "changes of the network are no longer announced");
                    self.socket = None;
                    return;
                }
            }
        }
    }

    /// When [`Self::take_change`] has something to say.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.pacing.due()
    }

    /// Whether something has changed since the last time.
    pub(super) fn take_change(&mut self, now: Instant) -> bool {
        self.pacing.take(now)
    }
}

impl Pacing {
    fn on_news(&mut self, now: Instant) {
        let (first, _) = self.burst.unwrap_or((now, now));
        self.burst = Some((first, now));
    }

    fn due(&self) -> Option<Instant> {
        let (first, last) = self.burst?;
        let settled = (last + QUIET).min(first + LONGEST_BURST);
        let allowed = self.reported.map(|at| at + SHORTEST_INTERVAL);
        Some(allowed.map_or(settled, |allowed| settled.max(allowed)))
    }

    fn take(&mut self, now: Instant) -> bool {
        let due = self.due().is_some_and(|at| at <= now);
        if due {
            self.burst = None;
            self.reported = Some(now);
        }
        due
    }
}

fn open(registry: &Registry) -> io::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    // Port 0: the kernel picks one.
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
    registry.register(&mut SourceFd(&socket.as_raw_fd()), WATCH, Interest::READABLE)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::clock;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_is_reported_once_when_it_has_become_quiet() {
        let start = clock::now();
        let mut pacing = Pacing::default();
        assert_eq!(pacing.due(), None);
        for after in [0, 40, 90] {
            pacing.on_news(start + millis(after));
        }
        assert!(!pacing.take(start + millis(239)));
        assert!(pacing.take(start + millis(240)));
        assert!(!pacing.take(start + millis(5000)));
    }

    #[test]
    fn a_burst_without_end_is_reported_once_a_second() {
        let start = clock::now();
        let mut pacing = Pacing::default();
        let mut reports = Vec::new();
        for after in (0..5000).step_by(10) {
            pacing.on_news(start + millis(after));
            if pacing.take(start + millis(after)) {
                reports.push(after);
            }
        }
        assert_eq!(reports, [1000, 2010, 3020, 4030]);
    }

    #[test]
    fn a_link_that_flaps_is_reported_once_a_second() {
        let start = clock::now();
        let mut pacing = Pacing::default();
        pacing.on_news(start);
        assert!(pacing.take(start + millis(150)));
        pacing.on_news(start + millis(300));
        assert_eq!(pacing.due(), Some(start + millis(1150)));
    }

    #[test]
    fn the_socket_opens_without_privileges_and_is_empty() {
        let poll = mio::Poll::new().unwrap();
        let mut watch = LinkWatch::open(poll.registry());
        watch.on_ready(clock::now());
        assert!(watch.is_on());
    }
}
