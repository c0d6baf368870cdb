//! The only place that reads a clock.

use std::time::{Duration, Instant, SystemTime};

use tunless_core::tunnel::WallClock;

/// Reads the monotonic clock.
pub fn now() -> Instant {
    Instant::now()
}

/// Ties the monotonic clock to the calendar, as it stands now.
pub fn wall() -> WallClock {
    // A host whose clock stands before 1970 cannot check certificates anyway.
    let unix = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    WallClock::new(Instant::now(), unix)
}
