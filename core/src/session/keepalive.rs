//! Pings and silence: when one is due, and when the peer counts as gone (`ping`, `ping-restart`, `ping-exit`).

use std::time::{Duration, Instant};

use crate::session::event::Silence;

#[derive(Debug)]
pub(super) struct Keepalive {
    ping_after: Option<Duration>,
    silence: Option<(Duration, Silence)>,
    sent_at: Instant,
    received_at: Instant,
}

impl Keepalive {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            ping_after: None,
            silence: None,
            sent_at: now,
            received_at: now,
        }
    }

    pub(super) fn set(&mut self, now: Instant, ping: Option<Duration>, silence: Option<(Duration, Silence)>) {
        self.ping_after = ping.filter(|after| !after.is_zero());
        self.silence = silence.filter(|(after, _)| !after.is_zero());
        self.received_at = now;
    }

    pub(super) fn on_sent(&mut self, now: Instant) {
        self.sent_at = now;
    }

    pub(super) fn on_received(&mut self, now: Instant) {
        self.received_at = now;
    }

    pub(super) fn heard_at(&self) -> Instant {
        self.received_at
    }

    pub(super) fn silence_after(&self) -> Option<Duration> {
        self.silence.map(|(after, _)| after)
    }

    pub(super) fn ping_at(&self, can_send: bool) -> Option<Instant> {
        self.ping_after
            .filter(|_| can_send)
            .map(|after| self.sent_at + after)
    }

    pub(super) fn silence_at(&self) -> Option<(Instant, Silence)> {
        self.silence
            .map(|(after, outcome)| (self.received_at + after, outcome))
    }

    pub(super) fn stop_watching(&mut self) {
        self.silence = None;
    }
}
