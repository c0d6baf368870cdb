//! Conversion between the caller's clock and smoltcp's.

use std::time::{Duration, Instant};

use smoltcp::time::Instant as EngineInstant;

/// smoltcp reads zero as "now": its clock starts later.
const OFFSET: Duration = Duration::from_secs(1);

/// Counts smoltcp's microseconds from the moment it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    base: Instant,
}

impl Clock {
    pub(crate) fn new(now: Instant) -> Self {
        Self { base: now }
    }

    pub(crate) fn engine(&self, now: Instant) -> EngineInstant {
        let since = now.saturating_duration_since(self.base) + OFFSET;
        EngineInstant::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    pub(crate) fn caller(&self, at: EngineInstant) -> Instant {
        let micros = u64::try_from(at.total_micros()).unwrap_or(0);
        self.base + Duration::from_micros(micros).saturating_sub(OFFSET)
    }
}
