//! The status page's data.

use std::time::Instant;

use serde_json::{Map, Value, json};
use tunless_proxy::Connection;

use super::{
    Sources,
    watch::{INTERVAL, Memory, Watch},
};
use crate::{
    driver::{State, Up, clock},
    log,
};

/// Connections that are listed; of further ones only the number is told.
const MAX_ROWS: usize = 200;

/// Everything that the page shows. Times are ages in seconds, so that nobody's clock has to be right.
pub(super) fn json(sources: &Sources, watch: &Watch) -> Value {
    let now = clock::now();
    let memory = watch.memory();
    let snapshot = sources.handle.snapshot();
    let up = sources.handle.up();
    let state = snapshot.state.unwrap_or(State::Connecting);
    let session = up.as_ref().map(|up| session(up, state, &memory, now));
    let device = snapshot.device;
    let retry = memory
        .retry
        .as_ref()
        .map(|retry| json!({ "reason": retry.reason, "next": retry.next, "seconds": age(retry.at, now) }));
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": age(memory.started, now),
        "listening": sources.listening.map(|address| address.to_string()),
        "state": {
            "name": state.to_string(), "level": level(state), "text": sentence(state),
            "seconds": age(memory.state_since, now),
        },
        "question": memory.question(),
        "retry": retry,
        "session": session,
        "traffic": {
            "up_bytes": device.bytes_out, "down_bytes": device.bytes_in,
            "up_packets": device.packets_out, "down_packets": device.packets_in,
            "up_dropped": device.dropped_out, "down_dropped": device.dropped_in,
        },
        "history": {
            "interval_seconds": INTERVAL.as_secs(),
            "up": memory.samples.iter().map(|sample| sample.up_bytes).collect::<Vec<_>>(),
            "down": memory.samples.iter().map(|sample| sample.down_bytes).collect::<Vec<_>>(),
        },
        "attempts": snapshot.attempts,
        "connects": memory.connects,
        "renewals": memory.renewals,
        "connections": connections(sources.connections.list(), now),
        "proxy": sources.stats.snapshot().entries().map(|(name, count)| (name.to_owned(), count.into()))
            .collect::<Map<String, Value>>(),
        "rules": sources.rules.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "log": log::recent().iter().map(|line| json!({
            "seconds": age(line.at, now), "level": line.level.as_str(), "text": line.text,
        })).collect::<Vec<_>>(),
    })
}

/// Seconds since `then`, to a tenth.
fn age(then: Instant, now: Instant) -> f64 {
    (now.saturating_duration_since(then).as_secs_f64() * 10.0).round() / 10.0
}

/// Whether packets go through, may soon, or will not.
fn level(state: State) -> &'static str {
    match state {
        State::Connected => "up",
        State::Connecting
        | State::Paused
        | State::Resolve
        | State::TcpConnect
        | State::Session(_)
        | State::AssignIp
        | State::Reconnecting => "wait",
        State::Exiting => "down",
    }
}

fn sentence(state: State) -> &'static str {
    match state {
        State::Connecting => "Connecting",
        State::Paused => "Paused",
        State::Resolve => "Looking up the server",
        State::TcpConnect => "Opening a connection to the server",
        State::Session(_) => "Talking to the server",
        State::AssignIp => "Taking the addresses",
        State::Connected => "Connected",
        State::Reconnecting => "Connecting again",
        State::Exiting => "Ended",
    }
}

fn session(up: &Up, state: State, memory: &Memory, now: Instant) -> Value {
    let texts = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>();
    json!({
        "is_current": state == State::Connected,
        "host": up.host, "through": up.through, "address": up.address.to_string(), "carrier": up.carrier, "device": up.device,
        "inner": texts(&mut up.inner.iter().map(ToString::to_string)),
        "dns": texts(&mut up.dns.iter().map(ToString::to_string)),
        "domains": up.domains,
        "routes": texts(&mut up.routes.iter().map(ToString::to_string)),
        "redirects": { "ipv4": up.redirects.0, "ipv6": up.redirects.1 },
        "cipher": up.cipher, "tls": up.tls, "mtu_bytes": up.mtu_bytes,
        "seconds": age(up.since, now), "renewals": memory.renewals,
    })
}

/// The newest first: they are what somebody looks for.
fn connections(all: Vec<Connection>, now: Instant) -> Value {
    let open = all.len();
    let row = |one: Connection| {
        json!({
            "id": one.id, "kind": one.kind.to_string(), "client": one.client, "target": one.target,
            "is_open": one.is_open, "seconds": age(one.since, now),
            "up_bytes": one.up_bytes, "down_bytes": one.down_bytes,
        })
    };
    let rows: Vec<_> = all.into_iter().rev().take(MAX_ROWS).map(row).collect();
    json!({ "open": open, "more": open - rows.len(), "rows": rows })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tunless_proxy::{ConnectionKind, Connections};

    use super::*;

    #[test]
    fn the_list_of_connections_is_short_and_says_how_many_more_there_are() {
        let all = Arc::new(Connections::default());
        let kept: Vec<_> = (0..MAX_ROWS + 7)
            .map(|port| {
                all.add(
                    ConnectionKind::Socks5,
                    "127.0.0.1:5".into(),
                    format!("<b>a.test:{port}"),
                )
            })
            .collect();
        let listed = connections(all.list(), clock::now());
        assert_eq!(
            (&listed["open"], &listed["more"]),
            (&json!(MAX_ROWS + 7), &json!(7))
        );
        assert_eq!(listed["rows"].as_array().unwrap().len(), MAX_ROWS);
        assert_eq!(
            listed["rows"][0]["target"],
            json!(format!("<b>a.test:{}", MAX_ROWS + 6))
        );
        drop(kept);
    }
}
