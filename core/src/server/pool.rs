//! Address leases: which inner addresses a client gets (reference section 10.2).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
};

use crate::config::ServerConfig;

/// Names whose last address is remembered.
const MAX_REMEMBERED: usize = 65_536;

/// Inner addresses of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// IPv4.
    pub v4: Ipv4Addr,
    /// IPv6, where the server has it.
    pub v6: Option<Ipv6Addr>,
    index: u32,
}

/// Addresses that can be leased; the same name gets the same address again while it is free.
#[derive(Debug)]
pub(super) struct Pool {
    first: u32,
    v6_first: Option<u128>,
    size: u32,
    /// Never leased so far: everything from here on.
    fresh: u32,
    /// Released, oldest first.
    released: BTreeMap<u64, u32>,
    released_at: BTreeMap<u32, u64>,
    clock: u64,
    remembered: BTreeMap<String, u32>,
    used: BTreeSet<u32>,
}

impl Pool {
    pub(super) fn new(config: &ServerConfig) -> Self {
        let first = u32::from(config.pool_first);
        let last = u32::from(config.pool_last);
        Self {
            first,
            v6_first: config.ipv6.map(|v6| u128::from(v6.pool_first)),
            size: last.saturating_sub(first).saturating_add(1),
            fresh: 0,
            released: BTreeMap::new(),
            released_at: BTreeMap::new(),
            clock: 0,
            remembered: BTreeMap::new(),
            used: BTreeSet::new(),
        }
    }

    /// Leases an address to `name`; `None` when all are taken.
    pub(super) fn lease(&mut self, name: &str) -> Option<Lease> {
        let known = self
            .remembered
            .get(name)
            .copied()
            .filter(|index| !self.used.contains(index));
        let index = match known {
            Some(index) => index,
            None if self.fresh < self.size => {
                self.fresh += 1;
                self.fresh - 1
            }
            None => *self.released.first_key_value()?.1,
        };
        if let Some(at) = self.released_at.remove(&index) {
            self.released.remove(&at);
        }
        self.used.insert(index);
        if self.remembered.len() < MAX_REMEMBERED || self.remembered.contains_key(name) {
            self.remembered.insert(name.to_owned(), index);
        }
        let v6 = self
            .v6_first
            .map(|first| Ipv6Addr::from(first + u128::from(index)));
        Some(Lease {
            v4: Ipv4Addr::from(self.first + index),
            v6,
            index,
        })
    }

    /// Takes an address back.
    pub(super) fn release(&mut self, lease: Lease) {
        if self.used.remove(&lease.index) {
            self.clock += 1;
            self.released.insert(self.clock, lease.index);
            self.released_at.insert(lease.index, self.clock);
        }
    }
}
