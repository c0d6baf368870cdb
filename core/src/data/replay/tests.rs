//! The replay window against a slow, obvious model.

use proptest::prelude::*;

use super::*;
use crate::wire::fixtures::start;

fn window(packets: u32, seconds: u64) -> ReplayWindow {
    ReplayWindow::new(ReplayConfig {
        packets,
        time: Duration::from_secs(seconds),
    })
}

/// Remembers every id with its second and decides by the rules alone.
struct Model {
    packets: u32,
    seconds: u64,
    seen: Vec<(u32, u64)>,
    expired: u32,
    last_reap: u64,
}

impl Model {
    fn accept(&mut self, second: u64, id: u32) -> bool {
        if self.seconds > 0 && second >= self.last_reap + 5 {
            self.last_reap = second;
            let late = self.seen.iter().filter(|(_, then)| then + self.seconds < second);
            self.expired = late.map(|(id, _)| *id).max().unwrap_or(0).max(self.expired);
        }
        let highest = self.seen.iter().map(|(id, _)| *id).max().unwrap_or(0);
        let fresh = if id == 0 {
            false
        } else if self.packets == 0 {
            highest == 0 || u64::from(id) == u64::from(highest) + 1
        } else if id > highest {
            true
        } else {
            highest - id < self.packets
                && id > self.expired
                && !self.seen.iter().any(|(known, _)| *known == id)
        };
        if fresh {
            self.seen.push((id, second));
        }
        fresh
    }
}

proptest! {
    #[test]
    fn the_window_decides_like_the_model(
        packets in prop_oneof![Just(0_u32), Just(1), 2_u32..70, Just(64), Just(128), Just(1000)],
        seconds in prop_oneof![Just(0_u64), Just(1), Just(15)],
        base in prop_oneof![Just(1_u32), Just(5000), Just(u32::MAX - 400)],
        steps in proptest::collection::vec((0_u32..300, 0_u64..12, any::<bool>()), 1..150),
    ) {
        let mut window = window(packets, seconds);
        let mut model = Model { packets, seconds, seen: Vec::new(), expired: 0, last_reap: 0 };
        let mut second = 0;
        // The window counts seconds from its first use.
        prop_assert_eq!(window.check(start(), 0), Err(Replayed(0)));
        for (step, (offset, wait, waits)) in steps.into_iter().enumerate() {
            // Ids mostly go up, with a few from all over; time mostly stands still.
            second += if waits { wait } else { 0 };
            let drift = u32::try_from(step).unwrap();
            let id = base.saturating_add(if offset % 3 == 0 { offset } else { drift + offset % 7 });
            let now = start() + Duration::from_secs(second);
            prop_assert_eq!(window.accept(now, id).is_ok(), model.accept(second, id), "id {} at {} s", id, second);
        }
    }

    #[test]
    fn no_id_is_ever_accepted_twice(ids in proptest::collection::vec(0_u32..500, 1..300), packets in 0_u32..200) {
        let mut window = window(packets, 15);
        let mut seen = std::collections::BTreeSet::new();
        for id in ids {
            if window.accept(start(), id).is_ok() {
                prop_assert!(seen.insert(id));
            }
        }
    }
}

#[test]
fn checking_alone_remembers_nothing() {
    let mut window = window(64, 15);
    window.check(start(), 7).unwrap();
    window.check(start(), 7).unwrap();
    window.record(start(), 7);
    assert_eq!(window.check(start(), 7), Err(Replayed(7)));
    assert_eq!(window.highest(), 7);
    window.accept(start(), 3).unwrap();
}

#[test]
fn the_edge_of_the_window_is_exact() {
    let mut window = window(64, 0);
    window.accept(start(), 1000).unwrap();
    window.accept(start(), 937).unwrap();
    window.accept(start(), 936).unwrap_err();
}

#[test]
fn a_late_packet_is_refused_after_the_time() {
    let mut window = window(64, 15);
    let at = |seconds| start() + Duration::from_secs(seconds);
    window.accept(at(0), 1).unwrap();
    window.accept(at(0), 10).unwrap();
    window.accept(at(10), 20).unwrap();
    window.accept(at(16), 5).unwrap_err();
    window.accept(at(16), 15).unwrap();
    window.accept(at(16), 11).unwrap();
}

#[test]
fn the_largest_window_takes_a_jump_and_the_last_id() {
    let mut window = window(1 << 30, 1 << 40);
    assert_eq!(window.packets, 65_536);
    window.accept(start(), 70_000).unwrap();
    window.accept(start(), 70_000 - 65_535).unwrap();
    window.accept(start(), 70_000 - 65_536).unwrap_err();
    window.accept(start(), u32::MAX).unwrap();
    window.accept(start(), u32::MAX).unwrap_err();
    window.accept(start(), u32::MAX - 1).unwrap();
}

#[test]
fn the_history_stays_within_its_bounds() {
    let mut window = window(64, 15);
    let capacity = window.history.capacity();
    for second in 0..200 {
        window
            .accept(
                start() + Duration::from_secs(second),
                u32::try_from(second + 1).unwrap(),
            )
            .unwrap();
    }
    assert_eq!(window.history.capacity(), capacity);
}

#[test]
fn time_comes_before_the_id_in_the_long_form() {
    let mut window = LongReplayWindow::new(ReplayConfig::default());
    window.accept(start(), 1, 1000).unwrap();
    window.accept(start(), 2, 1000).unwrap();
    window.accept(start(), 1, 1000).unwrap_err();
    window.accept(start(), 0, 1001).unwrap_err();
    window.accept(start(), 1, 1001).unwrap();
    window.accept(start(), 3, 1000).unwrap_err();
    window.accept(start(), 2, 1001).unwrap();
}
