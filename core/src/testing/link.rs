//! A one-way link that delays, loses, duplicates and reorders, all of it fixed by a seed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{rng::Rng, testing::SeededRng};

/// A one-way link in virtual time.
#[derive(Debug)]
pub struct Link {
    /// Packets lost, per mille.
    pub loss: u32,
    /// Packets delivered twice, per mille.
    pub duplication: u32,
    /// Packets held back so that later ones overtake them, per mille.
    pub reorder: u32,
    /// Time from one end to the other.
    pub delay: Duration,
    rng: SeededRng,
    queue: BTreeMap<(Instant, u64), Vec<u8>>,
    count: u64,
}

impl Link {
    /// A link that delivers everything, in order, after 10 ms.
    pub fn perfect(seed: u64) -> Self {
        Self {
            loss: 0,
            duplication: 0,
            reorder: 0,
            delay: Duration::from_millis(10),
            rng: SeededRng::new(seed),
            queue: BTreeMap::new(),
            count: 0,
        }
    }

    /// A link that loses a third of its packets, doubles some and reorders some.
    pub fn bad(seed: u64) -> Self {
        Self {
            loss: 333,
            duplication: 50,
            reorder: 100,
            ..Self::perfect(seed)
        }
    }

    /// Puts a packet on the link.
    pub fn send(&mut self, now: Instant, packet: &[u8]) {
        if self.rng.per_mille(self.loss) {
            return;
        }
        let copies = if self.rng.per_mille(self.duplication) {
            2
        } else {
            1
        };
        for _copy in 0..copies {
            let late = if self.rng.per_mille(self.reorder) {
                self.rng.below(50)
            } else {
                0
            };
            let at = now + self.delay + Duration::from_millis(late.into());
            self.count += 1;
            self.queue.insert((at, self.count), packet.to_vec());
        }
    }

    /// When the next packet arrives.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next packet that has arrived by `now`.
    pub fn receive(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.next_arrival()? > now {
            return None;
        }
        self.queue.pop_first().map(|(_, packet)| packet)
    }
}
