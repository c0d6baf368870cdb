//! How much each host has in use.

use std::collections::HashMap;
use std::net::IpAddr;

/// Entries by host; hosts without any take no room.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    by_host: HashMap<IpAddr, usize>,
}

impl Counts {
    pub(crate) fn of(&self, host: IpAddr) -> usize {
        self.by_host.get(&host).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, host: IpAddr) {
        *self.by_host.entry(host).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, host: IpAddr) {
        if let Some(count) = self.by_host.get_mut(&host) {
            *count -= 1;
            if *count == 0 {
                self.by_host.remove(&host);
            }
        }
    }
}
