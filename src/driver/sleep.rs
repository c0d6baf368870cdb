//! Notices that the machine slept or the process was stopped: time in which the other end may have given up.

use std::time::{Duration, Instant};

use super::clock;

/// A gap below this is a busy machine, not a sleeping one.
const SHORTEST: Duration = Duration::from_secs(5);

/// Compares how long each wait was meant to be with how long it was.
#[derive(Debug)]
pub(super) struct SleepWatch {
    slept: Duration,
    last: Instant,
}

impl SleepWatch {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            slept: clock::slept(),
            last: now,
        }
    }

    /// Called when a wait that was meant to last `wait` at most (`None`: for ever) is over; gives the gap, if there
    /// was one. The turn before the wait counts with it: a process may be stopped anywhere.
    pub(super) fn on_woken(&mut self, now: Instant, wait: Option<Duration>) -> Option<Duration> {
        let slept = if wait.is_some_and(|wait| wait.is_zero()) {
            // Busy: a sleep shows at the next real wait.
            self.slept
        } else {
            clock::slept()
        };
        self.gap(now, wait, slept)
    }

    fn gap(&mut self, now: Instant, wait: Option<Duration>, slept: Duration) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.last);
        let stopped = wait.is_some_and(|wait| passed.saturating_sub(wait) >= SHORTEST);
        let asleep = slept.saturating_sub(self.slept);
        self.last = now;
        self.slept = slept;
        let gap = asleep + if stopped { passed } else { Duration::ZERO };
        (gap >= SHORTEST).then_some(gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_wait_that_lasts_as_meant_or_ends_early_is_no_gap() {
        let start = clock::now();
        let mut watch = SleepWatch::new(start);
        let slept = watch.slept;
        assert_eq!(watch.gap(start + seconds(10), Some(seconds(10)), slept), None);
        assert_eq!(watch.gap(start + seconds(11), Some(seconds(60)), slept), None);
        assert_eq!(watch.gap(start + seconds(999), None, slept), None);
    }

    #[test]
    fn a_process_that_was_stopped_shows_by_its_late_wake() {
        let start = clock::now();
        let mut watch = SleepWatch::new(start);
        let slept = watch.slept;
        let gap = watch.gap(start + seconds(30), Some(seconds(2)), slept);
        assert_eq!(gap, Some(seconds(30)));
        assert_eq!(watch.gap(start + seconds(31), Some(seconds(2)), slept), None);
    }

    #[test]
    fn a_machine_that_slept_shows_by_the_other_clock_also_while_nothing_is_due() {
        let start = clock::now();
        for wait in [Some(seconds(10)), None] {
            let mut watch = SleepWatch::new(start);
            let slept = watch.slept + seconds(3600);
            assert_eq!(watch.gap(start + seconds(1), wait, slept), Some(seconds(3600)));
            assert_eq!(watch.gap(start + seconds(2), wait, slept), None);
        }
    }
}
