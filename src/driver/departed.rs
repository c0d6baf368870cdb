//! Clients of a server that have gone and may come back to the same address: their flows wait for a while.

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Time for a client to come back.
const GRACE: Duration = Duration::from_mins(1);
/// Addresses that wait at once.
const MAX_WAITING: usize = 4096;

/// Inner addresses whose client has gone, in the order in which they are forgotten.
#[derive(Debug, Default)]
pub(super) struct Departed {
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    until: Instant,
    inner: IpAddr,
    name: String,
}

impl Departed {
    /// Keeps the flows of an address for its client. Gives an address whose flows are to be forgotten at once: this
    /// one if its client has no name or it waited for another already, the oldest if too many wait.
    pub(super) fn keep(&mut self, now: Instant, inner: IpAddr, name: Option<&str>) -> Option<IpAddr> {
        let Some(name) = name else { return Some(inner) };
        if self.return_to(inner, name) {
            return Some(inner);
        }
        self.waiting.push_back(Waiting {
            until: now + GRACE,
            inner,
            name: name.to_owned(),
        });
        if self.waiting.len() <= MAX_WAITING {
            return None;
        }
        self.waiting.pop_front().map(|oldest| oldest.inner)
    }

    /// An address was leased. Tells whether it waited for another client, whose flows are to be forgotten.
    pub(super) fn return_to(&mut self, inner: IpAddr, name: &str) -> bool {
        let found = self.waiting.iter().position(|waiting| waiting.inner == inner);
        let waiting = found.and_then(|at| self.waiting.remove(at));
        waiting.is_some_and(|waiting| waiting.name != name)
    }

    /// The next address whose client did not come back.
    pub(super) fn poll_expired(&mut self, now: Instant) -> Option<IpAddr> {
        if self.poll_timeout()? > now {
            return None;
        }
        self.waiting.pop_front().map(|waiting| waiting.inner)
    }

    /// When the next address is forgotten.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.front().map(|waiting| waiting.until)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 8, 0, 2));
    const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 8, 0, 3));

    #[test]
    fn a_client_that_comes_back_in_time_keeps_its_flows() {
        let (mut departed, now) = (Departed::default(), Instant::now());
        assert_eq!(departed.keep(now, FIRST, Some("a")), None);
        assert!(!departed.return_to(FIRST, "a"));
        assert_eq!(departed.poll_expired(now + GRACE), None);
        assert_eq!(departed.poll_timeout(), None);
    }

    #[test]
    fn flows_are_forgotten_after_the_grace_and_when_another_gets_the_address() {
        let (mut departed, now) = (Departed::default(), Instant::now());
        departed.keep(now, FIRST, Some("a"));
        departed.keep(now, SECOND, Some("b"));
        assert!(departed.return_to(FIRST, "b"));
        assert_eq!(departed.poll_timeout(), Some(now + GRACE));
        assert_eq!(departed.poll_expired(now), None);
        assert_eq!(departed.poll_expired(now + GRACE), Some(SECOND));
        assert_eq!(departed.poll_expired(now + GRACE), None);
        assert_eq!(departed.keep(now, FIRST, None), Some(FIRST));
        assert_eq!(departed.keep(now, FIRST, Some("a")), None);
        assert_eq!(departed.keep(now, FIRST, Some("b")), Some(FIRST));
        assert_eq!(departed.poll_timeout(), None);
    }

    #[test]
    fn the_oldest_gives_way_when_too_many_wait() {
        let (mut departed, now) = (Departed::default(), Instant::now());
        let inner = |number: usize| IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap()));
        for number in 0..MAX_WAITING {
            assert_eq!(departed.keep(now, inner(number), Some("a")), None);
        }
        assert_eq!(departed.keep(now, inner(MAX_WAITING), Some("a")), Some(inner(0)));
    }
}
