//! The sliding window that finds replayed packets (reference section 5.5).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Size of the replay window (`replay-window`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayConfig {
    /// How far packets may be out of order, 0 to 65536; 0 wants them in strict order, without a gap.
    pub packets: u32,
    /// How late packets may be out of order, up to 600 s, in whole seconds; zero for no limit.
    pub time: Duration,
}

impl ReplayConfig {
    /// Largest window that can be configured, in packets.
    pub const MAX_PACKETS: u32 = 65_536;
    /// Longest time that can be configured.
    pub const MAX_TIME: Duration = Duration::from_mins(10);
}

impl Default for ReplayConfig {
    /// 64 packets and 15 s, as in the reference implementation.
    fn default() -> Self {
        Self {
            packets: 64,
            time: Duration::from_secs(15),
        }
    }
}

impl From<crate::config::ReplayWindow> for ReplayConfig {
    fn from(configured: crate::config::ReplayWindow) -> Self {
        Self {
            packets: configured.packets,
            time: configured.time,
        }
    }
}

/// A packet id that cannot be accepted: seen before, too old to tell, or 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("packet id {0} was seen before or is too old")]
pub struct Replayed(pub u32);

/// How often old ids are looked for (`SEQ_REAP_INTERVAL`), in seconds.
const REAP_SECONDS: u64 = 5;

/// A window over packet ids of 32 bits.
#[derive(Debug)]
pub struct ReplayWindow {
    packets: u32,
    seconds: u64,
    /// One bit an id, at its remainder by the number of bits: a power of two, at least `packets`.
    seen: Box<[u64]>,
    highest: u32,
    /// Ids up to here came too long ago.
    expired: u32,
    /// The highest id at the end of each second in which one came, oldest first.
    history: VecDeque<(u64, u32)>,
    origin: Option<Instant>,
    last_reap: u64,
}

impl ReplayWindow {
    /// An empty window. Sizes above the limits are cut.
    pub fn new(config: ReplayConfig) -> Self {
        let packets = config.packets.min(ReplayConfig::MAX_PACKETS);
        let seconds = config.time.min(ReplayConfig::MAX_TIME).as_secs();
        let words = (packets.next_power_of_two() as usize).div_ceil(64);
        // One entry a second, until the next reaping.
        let entries = usize::try_from(seconds + REAP_SECONDS + 2).unwrap_or(0);
        Self {
            packets,
            seconds,
            seen: vec![0; words].into_boxed_slice(),
            highest: 0,
            expired: 0,
            history: VecDeque::with_capacity(if seconds == 0 { 0 } else { entries }),
            origin: None,
            last_reap: 0,
        }
    }

    /// Tells whether `id` could be accepted. Remembers nothing but the time: packets are checked before they are
    /// authenticated and recorded after.
    ///
    /// # Errors
    /// It was seen before or is too old.
    pub fn check(&mut self, now: Instant, id: u32) -> Result<(), Replayed> {
        self.reap(now);
        let fresh = match (self.packets, self.highest.checked_sub(id)) {
            (_, _) if id == 0 => false,
            (0, _) => self.highest == 0 || self.highest.checked_add(1) == Some(id),
            (_, None) => true,
            (packets, Some(behind)) => behind < packets && id > self.expired && !self.is_seen(id),
        };
        if fresh { Ok(()) } else { Err(Replayed(id)) }
    }

    /// Remembers that `id` came and was authentic. It must have passed [`ReplayWindow::check`].
    pub fn record(&mut self, now: Instant, id: u32) {
        if id > self.highest {
            self.advance(id);
        }
        self.mark(id);
        if self.seconds > 0 {
            self.note_time(now);
        }
    }

    /// Checks and remembers an id whose packet is authentic already.
    ///
    /// # Errors
    /// It was seen before or is too old.
    pub fn accept(&mut self, now: Instant, id: u32) -> Result<(), Replayed> {
        self.check(now, id)?;
        self.record(now, id);
        Ok(())
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.seen.fill(0);
        self.highest = 0;
        self.expired = 0;
        self.history.clear();
    }

    /// The highest id so far, 0 if none came.
    pub const fn highest(&self) -> u32 {
        self.highest
    }

    /// Moves the window up to `id` and clears what it newly covers.
    fn advance(&mut self, id: u32) {
        let bits = self.seen.len() * 64;
        let distance = (id - self.highest) as usize;
        if distance >= bits {
            self.seen.fill(0);
        } else {
            for new in self.highest + 1..=id {
                let (word, bit) = self.place(new);
                if let Some(word) = self.seen.get_mut(word) {
                    *word &= !bit;
                }
            }
        }
        self.highest = id;
    }

    fn mark(&mut self, id: u32) {
        let (word, bit) = self.place(id);
        if let Some(word) = self.seen.get_mut(word) {
            *word |= bit;
        }
    }

    fn is_seen(&self, id: u32) -> bool {
        let (word, bit) = self.place(id);
        self.seen.get(word).is_none_or(|word| word & bit != 0)
    }

    /// Word and bit of an id. The number of words is a power of two.
    const fn place(&self, id: u32) -> (usize, u64) {
        let id = id as usize;
        ((id / 64) & (self.seen.len() - 1), 1 << (id % 64))
    }

    fn second(&mut self, now: Instant) -> u64 {
        let origin = *self.origin.get_or_insert(now);
        now.saturating_duration_since(origin).as_secs()
    }

    fn note_time(&mut self, now: Instant) {
        let second = self.second(now);
        match self.history.back_mut() {
            // A clock that stood still, or was read out of order.
            Some((last, highest)) if *last >= second => *highest = self.highest,
            Some(_) | None => self.history.push_back((second, self.highest)),
        }
    }

    /// Every five seconds, gives up ids at or behind the highest one that came too long ago.
    fn reap(&mut self, now: Instant) {
        if self.seconds == 0 {
            return;
        }
        let second = self.second(now);
        if second < self.last_reap + REAP_SECONDS {
            return;
        }
        self.last_reap = second;
        while let Some((then, highest)) = self.history.front()
            && then + self.seconds < second
        {
            self.expired = *highest;
            self.history.pop_front();
        }
    }
}

/// A window over ids that start anew with a later time (control-channel wraps).
#[derive(Debug)]
pub struct LongReplayWindow {
    time: u32,
    window: ReplayWindow,
}

impl LongReplayWindow {
    /// An empty window.
    pub fn new(config: ReplayConfig) -> Self {
        Self {
            time: 0,
            window: ReplayWindow::new(config),
        }
    }

    /// Checks and remembers an id whose packet is authentic already. A later time starts a new window, an
    /// earlier one is refused.
    ///
    /// # Errors
    /// It was seen before or is too old.
    pub fn accept(&mut self, now: Instant, id: u32, time: u32) -> Result<(), Replayed> {
        if id == 0 || time < self.time {
            return Err(Replayed(id));
        }
        if time > self.time {
            self.time = time;
            self.window.clear();
        }
        self.window.accept(now, id)
    }
}

#[cfg(test)]
mod tests;
