//! Answers as objects: status, counters, connections, events. The names of fields are part of the protocol.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tunless_core::client::ExitKind;
use tunless_proxy::Connection;

use super::{Subject, VERSION, statistics};
use crate::driver::{ChallengeOrigin, Event, Question, QuestionKind, Up};

/// The first line to every client.
pub(super) fn hello(subject: &Subject) -> Value {
    json!({
        "event": "hello", "tunless": VERSION, "version": env!("CARGO_PKG_VERSION"), "device": subject.device,
        "pid": std::process::id(),
    })
}

/// The last line of an answer.
pub(super) fn done(request: &str) -> Value {
    json!({ "event": "done", "request": request })
}

/// The last line of an answer that is none.
pub(super) fn error(kind: &str, message: &str) -> Value {
    json!({ "event": "error", "error": kind, "message": message })
}

/// What the tunnel is and how far it has come.
pub(super) fn status(subject: &Subject) -> Value {
    let (now, told, snapshot) = (Instant::now(), subject.journal.told(), subject.handle.snapshot());
    let device = snapshot.device;
    let mut fields = object(json!({
        "event": "status",
        "device": subject.device,
        "device_kind": "netstack",
        "state": told.state.to_string(),
        "detail": told.detail,
        "paused": told.is_paused(),
        "state_since": unix_seconds(now, told.since),
        "state_seconds": seconds(now, told.since),
        "started": unix_seconds(now, told.started),
        "uptime_seconds": seconds(now, told.started),
        "attempts": snapshot.attempts,
        "proxies": subject.proxies,
        "connections": subject.connections.count(),
        "received_bytes": device.bytes_in,
        "sent_bytes": device.bytes_out,
        "questions": told.questions.iter().map(|open| question(now, open)).collect::<Vec<_>>(),
        "retry": told.until_retry(now).zip(told.retry.as_ref()).map(|(left, retry)| json!({
            "reason": retry.reason, "next": retry.next, "wait_seconds": left.as_secs_f64(),
        })),
    }));
    // While there is no connection, this is what the last one was.
    let up = subject.handle.up();
    fields.insert("server".into(), up.as_deref().map_or(Value::Null, server));
    Value::Object(fields)
}

/// What a connection consists of.
fn server(up: &Up) -> Value {
    json!({
        "host": up.host, "through": up.through, "address": up.address.to_string(), "carrier": up.carrier, "tls": up.tls,
        "cipher": up.cipher, "inner": texts(&up.inner), "dns": texts(&up.dns), "mtu": up.mtu_bytes,
        "connected_seconds": Instant::now().saturating_duration_since(up.since).as_secs(),
    })
}

/// All counters.
pub(super) fn statistics(subject: &Subject) -> Value {
    let (snapshot, up) = (subject.handle.snapshot(), subject.handle.up());
    let mut fields = object(statistics::object(&snapshot, up.as_deref(), Instant::now()));
    fields.insert("event".into(), "statistics".into());
    let proxy = subject.stats.snapshot();
    let counts = proxy
        .entries()
        .map(|(name, count)| (name.to_owned(), count.into()));
    fields.insert("proxy".into(), Value::Object(counts.collect()));
    Value::Object(fields)
}

/// A connection through the proxy.
pub(super) fn connection(connection: &Connection) -> Value {
    json!({
        "event": "connection", "id": connection.id, "kind": connection.kind.to_string(),
        "client": connection.client, "target": connection.target, "open": connection.is_open,
        "seconds": seconds(Instant::now(), connection.since),
        "sent_bytes": connection.up_bytes, "received_bytes": connection.down_bytes,
    })
}

/// What happened.
pub(super) fn event(event: &Event) -> Value {
    match event {
        Event::State { state, detail } => {
            json!({ "event": "state", "state": state.to_string(), "detail": detail })
        }
        Event::Connected(up) => {
            let mut fields = object(server(up));
            fields.remove("connected_seconds");
            fields.insert("event".into(), "connected".into());
            fields.insert("device".into(), up.device.clone().into());
            Value::Object(fields)
        }
        Event::Retry { reason, wait, next } => json!({
            "event": "retry", "reason": reason, "next": next, "wait_seconds": wait.as_secs_f64(),
        }),
        Event::Question(open) => open_question(open),
        Event::QuestionGone(id) => json!({ "event": "question-gone", "id": id }),
        Event::Info(text) => json!({ "event": "info", "text": text }),
        Event::Renewed => json!({ "event": "renewed" }),
        Event::Ended(end) => {
            let kind = match end.kind {
                ExitKind::Done => "done",
                ExitKind::Failed => "failed",
                ExitKind::AuthFailed => "auth-failed",
            };
            json!({ "event": "ended", "kind": kind, "reason": end.reason })
        }
    }
}

/// A question as an event.
pub(super) fn open_question(open: &Question) -> Value {
    let mut fields = object(question(Instant::now(), open));
    fields.insert("event".into(), "question".into());
    Value::Object(fields)
}

/// Events that a slow client missed.
pub(super) fn missed(count: u64) -> Value {
    json!({ "event": "missed", "count": count })
}

fn question(now: Instant, question: &Question) -> Value {
    let mut fields = object(match &question.kind {
        QuestionKind::Credentials { username, refused } => {
            json!({ "kind": "credentials", "username": username, "message": refused })
        }
        QuestionKind::ProxyCredentials { proxy, refused } => {
            json!({ "kind": "proxy-credentials", "proxy": proxy, "refused": refused })
        }
        QuestionKind::Passphrase { is_wrong } => json!({ "kind": "passphrase", "wrong": is_wrong }),
        QuestionKind::Challenge { origin, text, echo } => json!({
            "kind": "challenge", "message": text, "echo": echo,
            "origin": match origin {
                ChallengeOrigin::Static => "static",
                ChallengeOrigin::Dynamic => "dynamic",
                ChallengeOrigin::Pending => "pending",
            },
        }),
        QuestionKind::OpenUrl { url } => json!({ "kind": "open-url", "url": url }),
    });
    fields.insert("id".into(), question.id.into());
    let left = question.deadline.saturating_duration_since(now);
    fields.insert("seconds_left".into(), left.as_secs().into());
    Value::Object(fields)
}

fn texts(items: &[impl ToString]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn seconds(now: Instant, since: Instant) -> u64 {
    now.saturating_duration_since(since).as_secs()
}

/// The wall time of `then`, in seconds since 1970.
fn unix_seconds(now: Instant, then: Instant) -> u64 {
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    wall.saturating_sub(now.saturating_duration_since(then)).as_secs()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}
