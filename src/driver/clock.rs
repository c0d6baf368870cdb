//! The only place that reads a clock.

use std::time::{Duration, Instant, SystemTime};

use nix::time::{ClockId, clock_gettime};
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

/// How long the machine has slept since it started: time that the monotonic clock does not count. Zero where the
/// system does not tell.
pub fn slept() -> Duration {
    let read = |id| clock_gettime(id).map(Duration::from);
    match (read(ClockId::CLOCK_MONOTONIC), read(ClockId::CLOCK_BOOTTIME)) {
        (Ok(awake), Ok(all)) => all.saturating_sub(awake),
        (Err(_), _) | (_, Err(_)) => Duration::ZERO,
    }
}
