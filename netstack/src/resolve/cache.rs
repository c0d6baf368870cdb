//! Answers that are still fresh.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

const MAX_ENTRIES: usize = 512;
/// Times to live are taken from the answer, within these bounds.
const MIN_AGE: Duration = Duration::from_secs(1);
const MAX_AGE: Duration = Duration::from_mins(5);

/// Addresses by name.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: HashMap<String, (Vec<IpAddr>, Instant)>,
}

impl Cache {
    pub(crate) fn find(&self, now: Instant, name: &str) -> Option<Vec<IpAddr>> {
        let (addresses, until) = self.entries.get(name)?;
        (*until > now).then(|| addresses.clone())
    }

    pub(crate) fn keep(&mut self, now: Instant, name: String, addresses: Vec<IpAddr>, ttl: Duration) {
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.retain(|_, (_, until)| *until > now);
        }
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.clear();
        }
        self.entries
            .insert(name, (addresses, now + ttl.clamp(MIN_AGE, MAX_AGE)));
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}
