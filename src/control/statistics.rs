//! Statistics of a tunnel for people and for programs: one snapshot of its handle, without names or addresses of what
//! went through it.

use std::time::Instant;

use serde_json::{Value, json};

use crate::driver::{Snapshot, State, Up};

/// Plain lines, without a line feed at the end. `up` is the connection, or the last one.
pub fn lines(snapshot: &Snapshot, up: Option<&Up>, now: Instant) -> String {
    let (inner, outer, session) = (&snapshot.device, &snapshot.link, &snapshot.session.session);
    let state = state_name(snapshot.state);
    let since = seconds_since(snapshot.since, now).map_or_else(String::new, |s| format!(" for {s} s"));
    let retry = seconds_until(snapshot.retry_at, now);
    let retry = retry.map_or_else(String::new, |s| format!(", next attempt in {s} s"));
    let server = match up {
        Some(up) if snapshot.state == Some(State::Connected) => format!(" to {} ({})", up.host, up.carrier),
        Some(_) | None => String::new(),
    };
    format!(
        "state {state}{server}{since}{retry}\n\
         tunnel in {} packets, {} bytes, out {} packets, {} bytes, dropped in {}, out {}\n\
         link in {} packets, {} bytes, out {} packets, {} bytes, unsent {}, errors {}\n\
         not accepted: control {}, data {}\n\
         flows open {}, opened {}, failed {}, reset by faults {}, buffers {} bytes\n\
         attempts {}, connections {}, keys renewed {}",
        inner.packets_in,
        inner.bytes_in,
        inner.packets_out,
        inner.bytes_out,
        inner.dropped_in,
        inner.dropped_out,
        outer.received,
        outer.received_bytes,
        outer.sent,
        outer.sent_bytes,
        outer.send_errors,
        outer.refused,
        session.control_dropped,
        session.data_dropped,
        inner.flows_open,
        inner.flows_opened,
        inner.flows_failed,
        inner.flows_faulted,
        inner.buffer_bytes,
        snapshot.attempts,
        snapshot.connections,
        snapshot.renewals,
    )
}

/// The same as an object.
pub fn object(snapshot: &Snapshot, up: Option<&Up>, now: Instant) -> Value {
    let (inner, outer, session) = (&snapshot.device, &snapshot.link, &snapshot.session.session);
    json!({
        "state": state_name(snapshot.state),
        "state_seconds": seconds_since(snapshot.since, now),
        "next_attempt_seconds": seconds_until(snapshot.retry_at, now),
        "host": up.map(|up| &up.host),
        "carrier": up.map(|up| up.carrier),
        "tunnel": {
            "packets_in": inner.packets_in, "bytes_in": inner.bytes_in,
            "packets_out": inner.packets_out, "bytes_out": inner.bytes_out,
            "dropped_in": inner.dropped_in, "dropped_out": inner.dropped_out,
        },
        "link": {
            "packets_in": outer.received, "bytes_in": outer.received_bytes,
            "packets_out": outer.sent, "bytes_out": outer.sent_bytes,
            "unsent": outer.send_errors, "errors": outer.refused,
        },
        "session": {
            "opened_packets": session.opened_packets, "opened_bytes": session.opened_bytes,
            "sealed_packets": session.sealed_packets, "sealed_bytes": session.sealed_bytes,
            "keys_derived": session.keys_derived,
        },
        "not_accepted": { "control": session.control_dropped, "data": session.data_dropped },
        "flows": {
            "open": inner.flows_open, "opened": inner.flows_opened, "failed": inner.flows_failed,
            "faulted": inner.flows_faulted, "buffer_bytes": inner.buffer_bytes,
        },
        "attempts": snapshot.attempts,
        "connections": snapshot.connections,
        "keys_renewed": snapshot.renewals,
    })
}

fn state_name(state: Option<State>) -> String {
    state.unwrap_or(State::Connecting).to_string()
}

fn seconds_since(since: Option<Instant>, now: Instant) -> Option<u64> {
    since.map(|since| now.saturating_duration_since(since).as_secs())
}

/// Whole seconds, begun ones counted.
fn seconds_until(at: Option<Instant>, now: Instant) -> Option<u64> {
    at.map(|at| {
        let left = at.saturating_duration_since(now);
        left.as_secs() + u64::from(left.subsec_nanos() > 0)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::driver::clock;

    #[test]
    fn both_forms_say_the_same() {
        let start = clock::now();
        let now = start + Duration::from_secs(75);
        let mut snapshot = Snapshot {
            state: Some(State::Reconnecting),
            since: Some(start),
            retry_at: Some(now + Duration::from_millis(2500)),
            attempts: 4,
            connections: 2,
            renewals: 7,
            ..Snapshot::default()
        };
        snapshot.device.flows_open = 3;
        snapshot.link.sent_bytes = 99;
        let text = lines(&snapshot, None, now);
        assert!(
            text.starts_with("state RECONNECTING for 75 s, next attempt in 3 s\n"),
            "{text}"
        );
        assert!(
            text.ends_with("attempts 4, connections 2, keys renewed 7"),
            "{text}"
        );
        assert!(
            text.contains("flows open 3,") && text.contains("out 0 packets, 99 bytes"),
            "{text}"
        );
        let object = object(&snapshot, None, now);
        assert_eq!(object["state_seconds"], 75);
        assert_eq!(object["next_attempt_seconds"], 3);
        assert_eq!(object["flows"]["open"], 3);
        assert_eq!(object["link"]["bytes_out"], 99);
        assert_eq!(object["keys_renewed"], 7);
        assert_eq!(object["host"], Value::Null);
    }
}
