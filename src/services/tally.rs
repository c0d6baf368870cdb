//! Statistics under the names that front ends of OpenVPN 3 know: counters of the driver, and what its events add up to.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::driver::{Event, Snapshot, State};

/// What events add up to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: Mutex<Counts>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    pauses: i64,
    reconnects: i64,
    keepalive: i64,
    handshake: i64,
    resolve: i64,
    tcp_connect: i64,
    network_eof: i64,
    tls: i64,
    auth_failed: i64,
    decrypt: i64,
    halted: i64,
    restarted: i64,
    inactive: i64,
}

impl Tally {
    /// The tunnel is paused by wish.
    pub(super) fn paused(&self) {
        self.lock().pauses += 1;
    }

    /// Something happened to the tunnel.
    pub(super) fn on_event(&self, event: &Event) {
        let reason = match event {
            Event::State {
                state: State::Reconnecting,
                detail,
            } => {
                self.lock().reconnects += 1;
                detail.as_str()
            }
            Event::Ended(end) => {
                let mut counts = self.lock();
                match end.kind {
                    tunless_core::client::ExitKind::AuthFailed => counts.auth_failed += 1,
                    tunless_core::client::ExitKind::Done if end.reason.ends_with("(inactive)") => {
                        counts.inactive += 1;
                    }
                    tunless_core::client::ExitKind::Done | tunless_core::client::ExitKind::Failed => {}
                }
                return;
            }
            Event::State { .. }
            | Event::Connected(_)
            | Event::Retry { .. }
            | Event::Question(_)
            | Event::QuestionGone(_)
            | Event::Info(_)
            | Event::Renewed => return,
        };
        let mut counts = self.lock();
        match reason {
            "ping-restart" => counts.keepalive += 1,
            "server_poll" => counts.handshake += 1,
            "resolve-failed" => counts.resolve += 1,
            "connection-failed" => counts.tcp_connect += 1,
            "connection-reset" => counts.network_eof += 1,
            "tls-error" => counts.tls += 1,
            "decryption-error" => counts.decrypt += 1,
            "server-pushed-connection-reset" => counts.restarted += 1,
            "server-pushed-halt" => counts.halted += 1,
            other if other.starts_with("auth-") => counts.auth_failed += 1,
            _ => {}
        }
    }

    /// Every counter in the order of the reference (section 10), those that are 0 as well. What is read from the
    /// device (`TUN_…_IN`) is what leaves through the tunnel.
    pub(super) fn statistics(&self, snapshot: &Snapshot) -> Vec<(&'static str, i64)> {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let (link, device) = (&snapshot.link, &snapshot.device);
        let counts = *self.lock();
        vec![
            ("BYTES_IN", count(link.received_bytes)),
            ("BYTES_OUT", count(link.sent_bytes)),
            ("PACKETS_IN", count(link.received)),
            ("PACKETS_OUT", count(link.sent)),
            ("TUN_BYTES_IN", count(device.bytes_out)),
            ("TUN_BYTES_OUT", count(device.bytes_in)),
            ("TUN_PACKETS_IN", count(device.packets_out)),
            ("TUN_PACKETS_OUT", count(device.packets_in)),
            ("NETWORK_RECV_ERROR", count(link.refused)),
            ("NETWORK_EOF_ERROR", counts.network_eof),
            ("NETWORK_SEND_ERROR", count(link.send_errors)),
            ("DECRYPT_ERROR", counts.decrypt),
            ("RESOLVE_ERROR", counts.resolve),
            ("TCP_CONNECT_ERROR", counts.tcp_connect),
            ("SSL_ERROR", counts.tls),
            ("HANDSHAKE_TIMEOUT", counts.handshake),
            ("KEEPALIVE_TIMEOUT", counts.keepalive),
            ("INACTIVE_TIMEOUT", counts.inactive),
            ("AUTH_FAILED", counts.auth_failed),
            ("CLIENT_HALT", counts.halted),
            ("CLIENT_RESTART", counts.restarted),
            ("N_PAUSE", counts.pauses),
            ("N_RECONNECT", counts.reconnects),
        ]
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_under_their_names() {
        let tally = Tally::default();
        for reason in ["ping-restart", "auth-failure", "server_poll", "something new"] {
            tally.on_event(&Event::State {
                state: State::Reconnecting,
                detail: reason.into(),
            });
        }
        tally.paused();
        let mut snapshot = Snapshot::default();
        snapshot.device.bytes_out = 7;
        let all = tally.statistics(&snapshot);
        let count = |name| all.iter().find(|(known, _)| *known == name).unwrap().1;
        assert_eq!(count("KEEPALIVE_TIMEOUT"), 1);
        assert_eq!(count("AUTH_FAILED"), 1);
        assert_eq!(count("HANDSHAKE_TIMEOUT"), 1);
        assert_eq!(count("N_RECONNECT"), 4);
        assert_eq!(count("N_PAUSE"), 1);
        assert_eq!(count("TUN_BYTES_IN"), 7);
    }
}
