//! How much one sender may have written: a bucket that refills with time.

use std::time::{Duration, Instant};

/// What a full bucket holds, and what comes back each second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) burst: u32,
    pub(super) per_second: u32,
}

/// Log lines of one sender, in points ([`line_cost`]): a start at the highest verbosity fits, and a flood that never
/// ends comes to some 50 KiB a second.
pub(super) const LINES: Rate = Rate {
    burst: 4000,
    per_second: 200,
};
/// Statuses of one sender; a session that changes its state more often is broken.
pub(super) const STATUSES: Rate = Rate {
    burst: 200,
    per_second: 20,
};

/// How often it is said that something was dropped: a flood does not become one of complaints.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// Bytes that cost one point more.
const BYTES_OF_POINT: usize = 256;

/// One sender's bucket.
#[derive(Debug)]
pub(super) struct Allowance {
    rate: Rate,
    points: f64,
    at: Instant,
    dropped: u64,
    reported: Option<Instant>,
}

impl Allowance {
    /// A full one.
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            points: f64::from(rate.burst),
            at: now,
            dropped: 0,
            reported: None,
        }
    }

    /// Takes `cost` points, or counts what was asked for as dropped. Gives how many were dropped before, if it is time to
    /// say so.
    pub(super) fn spend(&mut self, cost: u32, now: Instant) -> Option<u64> {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        let refilled = self.points + since * f64::from(self.rate.per_second);
        self.points = refilled.min(f64::from(self.rate.burst));
        if self.points < f64::from(cost) {
            self.dropped += 1;
            return None;
        }
        self.points -= f64::from(cost);
        let is_quiet = self
            .reported
            .is_none_or(|at| now.saturating_duration_since(at) >= REPORT_INTERVAL);
        if self.dropped == 0 || !is_quiet {
            return Some(0);
        }
        self.reported = Some(now);
        Some(std::mem::take(&mut self.dropped))
    }
}

/// What a line of that many bytes costs.
pub(super) fn line_cost(bytes: usize) -> u32 {
    u32::try_from(bytes / BYTES_OF_POINT)
        .unwrap_or(u32::MAX)
        .saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted_and_time_makes_it_good() {
        let start = Instant::now();
        let mut allowance = Allowance::new(STATUSES, start);
        let passed = (0..300).filter(|_| allowance.spend(1, start).is_some()).count();
        assert_eq!(passed, 200);
        let later = start + Duration::from_secs(1);
        assert_eq!(allowance.spend(1, later), Some(100));
        let passed = (0..300).filter(|_| allowance.spend(1, later).is_some()).count();
        assert_eq!(passed, 19);
        assert_eq!(allowance.spend(1, later + Duration::from_secs(1)), Some(0));
        assert_eq!(allowance.spend(1, later + REPORT_INTERVAL), Some(281));
        let much_later = start + Duration::from_hours(1);
        assert!(allowance.spend(201, much_later).is_none());
        assert!(allowance.spend(200, much_later).is_some());
    }

    #[test]
    fn long_lines_cost_more() {
        assert_eq!(line_cost(0), 1);
        assert_eq!(line_cost(4096), 17);
    }
}
