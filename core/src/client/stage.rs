//! How far a connection has come, and what is due in each stage.

use std::time::{Duration, Instant};

use crate::{
    client::{Client, CloseReason},
    config::pushed::Pushed,
    tunnel::Timer,
};

/// First `PUSH_REQUEST` after the key became active: servers since 2.5 have pushed by then without being asked.
pub(super) const FIRST_PUSH_REQUEST: Duration = Duration::from_millis(250);
/// Later `PUSH_REQUEST`s (reference section 7.2).
pub(super) const NEXT_PUSH_REQUEST: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) enum Stage {
    /// The reset is out; `connect-timeout` runs.
    Waiting { deadline: Instant, after: Duration },
    /// TLS and key exchange; the session watches `hand-window`.
    Handshaking,
    /// Options are awaited.
    Pulling {
        next_request: Instant,
        deadline: Instant,
    },
    /// Options are complete; the first key is being derived.
    Installing { pushed: Box<Pushed> },
    /// Packets go through.
    Connected {
        ends_at: Option<Instant>,
        inactive: Option<(Duration, u64)>,
    },
    /// The notice of leaving is on its way.
    Leaving {
        until: Instant,
        reason: Option<CloseReason>,
    },
    /// Over.
    Closed,
}

impl Client {
    pub(super) fn stage_timeout(&self) -> Option<(Instant, Timer)> {
        match &self.stage {
            Stage::Waiting { deadline, .. } => Some((*deadline, Timer::Handshake)),
            Stage::Pulling {
                next_request,
                deadline,
            } => Some(((*next_request).min(*deadline), Timer::PushRequest)),
            Stage::Connected { ends_at, inactive } => {
                let idle = inactive.map(|(after, _)| self.activity.since + after);
                [*ends_at, idle]
                    .into_iter()
                    .flatten()
                    .min()
                    .map(|at| (at, Timer::Close))
            }
            Stage::Leaving { until, .. } => Some((*until, Timer::Close)),
            Stage::Handshaking | Stage::Installing { .. } | Stage::Closed => None,
        }
    }

    pub(super) fn on_stage_timeout(&mut self, now: Instant) {
        match &mut self.stage {
            Stage::Waiting { deadline, after } if *deadline <= now => {
                let after = *after;
                let foreign = self.session.counters().control_dropped;
                self.finish(CloseReason::NoAnswer { after, foreign });
            }
            Stage::Pulling { deadline, .. } if *deadline <= now => self.finish(CloseReason::NoPushReply),
            Stage::Pulling { next_request, .. } if *next_request <= now => {
                *next_request = now + NEXT_PUSH_REQUEST;
                self.request_push(now);
            }
            Stage::Connected {
                ends_at: Some(at), ..
            } if *at <= now => {
                self.leave(now, CloseReason::SessionTimeout);
            }
            Stage::Connected {
                inactive: Some((after, bytes)),
                ..
            } if self.activity.since + *after <= now => {
                let enough = (*bytes).max(1);
                if self.activity.bytes < enough {
                    self.leave(now, CloseReason::Inactive);
                } else {
                    self.activity.since = now;
                    self.activity.bytes = 0;
                }
            }
            Stage::Leaving { until, reason } if *until <= now || self.session.is_flushed() => {
                let reason = reason.take().unwrap_or(CloseReason::LocalExit);
                self.finish(reason);
            }
            Stage::Waiting { .. }
            | Stage::Handshaking
            | Stage::Pulling { .. }
            | Stage::Installing { .. }
            | Stage::Connected { .. }
            | Stage::Leaving { .. }
            | Stage::Closed => {}
        }
    }
}
