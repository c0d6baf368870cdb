//! Many sessions in a row leave nothing behind; a service that is killed comes back, and so does everything else.

use super::{ANN, Services};
use crate::server::Options;

/// Sessions in a row.
const MANY: &str = "200";

fn memory_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a service's status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line
        .and_then(|line| line.split_whitespace().next())
        .expect("its memory");
    number.parse().expect("a number")
}

fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("a service's descriptors")
        .count()
}

#[test]
fn two_hundred_sessions_in_a_row_leave_nothing_behind() {
    let services = Services::start("dbus-many", Options::default());
    let ann = ANN.to_string();
    // What is made once and kept is there after a few.
    services.scenario("life.py", "many", &[&ann, "8"]);
    let kinds = ["sessions", "configuration", "backends", "log", "netcfg"];
    let pids = kinds.map(|kind| services.pid_of(kind).expect("a service"));
    let before = pids.map(|pid| (memory_kib(pid), descriptors(pid)));
    services.scenario("life.py", "many", &[&ann, MANY]);
    services.no_client_is_left();
    for ((kind, pid), (memory, open)) in kinds.into_iter().zip(pids).zip(before) {
        assert_eq!(services.pid_of(kind), Some(pid), "{kind} was started anew");
        let (memory_now, open_now) = (memory_kib(pid), descriptors(pid));
        // A client process that has just ended is held for a moment; a leak would show two hundred times.
        assert!(
            open_now <= open + 2,
            "{kind}: {open} descriptors before, {open_now} after"
        );
        assert!(
            memory_now < memory + 8 * 1024,
            "{kind}: {memory} KiB before, {memory_now} after"
        );
    }
    let records = std::fs::read_dir(services.net.dir().join("state/sessions")).expect("records");
    assert_eq!(records.count(), 0, "a record is left");
}

#[test]
fn whatever_is_killed_at_whatever_step_everything_comes_back() {
    let services = Services::start("dbus-killed", Options::default());
    for service in ["log", "configuration", "netcfg", "backends", "sessions", "client"] {
        services.scenario("life.py", "killed", &[&ANN.to_string(), service]);
    }
    services.no_client_is_left();
}
