//! How sessions end: by wish, because the client process ended or crashed; and how a crashed one is replaced.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    manager::Manager,
    session::{Session, Stage},
};
use crate::{
    bus::Body,
    constants::{SessionEvent, Status, StatusMajor, StatusMinor as Minor},
    error::CallError,
    names::{client_pid, interface, path, session_token},
};

/// How long a session that failed can be looked at before it is removed.
const FAILED_GRACE: Duration = Duration::from_secs(20);
/// First pause before a crashed client process is replaced; it doubles.
const REPLACE_PAUSE: Duration = Duration::from_secs(3);
/// Longest pause before that.
const LONGEST_PAUSE: Duration = Duration::from_secs(768);
/// Replacements in a row.
const MAX_REPLACED: u32 = 10;
/// A connection of this length ends the row.
const LASTED: Duration = Duration::from_secs(90);

impl Manager {
    /// Ends a session by wish. When this answers, the session is gone.
    pub(super) async fn disconnect(self: &Arc<Self>, path: &str) -> Result<Body, CallError> {
        let client = self.with(path, |session| {
            session.stage = Stage::Closing;
            Ok((session.unique.clone(), session.record.client.clone()))
        })?;
        if let (Some(unique), name) = client {
            let called = self
                .bus
                .call(
                    &unique,
                    path::CLIENT,
                    interface::BACKENDS,
                    "Disconnect",
                    Body::none(),
                )
                .await;
            if let Err(error) = called {
                tracing::warn!(%error, path, "the client process does not leave by itself");
                end_process(&name);
            }
        }
        self.remove(path, &Status::session(Minor::ProcStopped, "Session closed"))
            .await;
        Ok(Body::none())
    }

    /// The client process does not answer: it is ended, and so is its session.
    pub(super) async fn close_killed(self: &Arc<Self>, path: &str, client: &str) {
        let name = {
            let mut state = self.lock();
            let session = state.sessions.get_mut(path);
            let session = session.filter(|session| session.unique.as_deref() == Some(client));
            let Some(session) = session.filter(|session| session.stage == Stage::Open) else {
                return;
            };
            session.stage = Stage::Closing;
            session.record.client.clone()
        };
        end_process(&name);
        self.remove(path, &killed()).await;
    }

    /// A client process's name has no owner any more.
    pub(super) fn on_client_gone(self: &Arc<Self>, name: &str) {
        let found = {
            let mut state = self.lock();
            let mut sessions = state.sessions.iter_mut();
            let found = sessions.find(|(_, session)| session.record.client == name);
            found.and_then(|(path, session)| {
                let next = after_crash(session)?;
                Some((path.clone(), next))
            })
        };
        let Some((path, next)) = found else { return };
        let manager = Arc::clone(self);
        tokio::spawn(async move {
            match next {
                None => manager.remove(&path, &killed()).await,
                Some(pause) => manager.replace(&path, pause).await,
            }
        });
    }

    /// The client process told a status; some of them end the session.
    pub(super) fn on_status(self: &Arc<Self>, path: String, status: &Status, count: u64) {
        let wait = match (status.major, status.minor) {
            (StatusMajor::Connection, Minor::ConnFailed) => FAILED_GRACE,
            (StatusMajor::Connection, Minor::ConnDone | Minor::CfgError) => Duration::ZERO,
            _ => return,
        };
        let manager = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let is_same = {
                let state = manager.lock();
                let session = state.sessions.get(&path);
                session.is_some_and(|session| session.stage == Stage::Open && session.statuses == count)
            };
            if is_same && let Err(error) = manager.disconnect(&path).await {
                tracing::debug!(%error, path, "the session is gone already");
            }
        });
    }

    /// Removes a session and tells everybody who should know.
    async fn remove(self: &Arc<Self>, path: &str, status: &Status) {
        let Some(session) = self.lock().sessions.remove(path) else {
            return;
        };
        if let Some(store) = &self.store {
            store.forget(path);
        }
        self.say(path, status).await;
        for proxy in session.forwards.values() {
            self.remove_proxy(proxy).await;
        }
        self.announce(path, SessionEvent::Destroyed, session.record.owner)
            .await;
        self.info(format!("Session {path} removed: {}", status.message));
    }

    /// Starts another client process for a session whose own has crashed.
    async fn replace(self: &Arc<Self>, path: &str, pause: Duration) {
        self.say(path, &killed()).await;
        self.info(format!(
            "Session {path}: the client process crashed and is replaced in {} s",
            pause.as_secs()
        ));
        tokio::time::sleep(pause).await;
        let is_wanted = self
            .lock()
            .sessions
            .get(path)
            .is_some_and(|session| session.stage == Stage::Replacing);
        if !is_wanted {
            return;
        }
        let started = self.start_client(path).await;
        if let Err(error) = started {
            tracing::warn!(%error, path, "a crashed client process cannot be replaced");
            self.remove(path, &killed()).await;
            return;
        }
        self.save(path);
        let client = self.with(path, |session| Ok(session.unique.clone()));
        let Ok(Some(client)) = client else { return };
        for method in ["Ready", "Connect"] {
            let called = self
                .bus
                .call(&client, path::CLIENT, interface::BACKENDS, method, Body::none())
                .await;
            if let Err(error) = called {
                // Somebody has to say something first, and sees so in the status.
                tracing::info!(%error, path, "the replaced client process does not connect yet");
                return;
            }
        }
    }
}

/// What follows from a crash: nothing where the end was wanted, else the end, or a pause before a replacement.
#[expect(clippy::option_option, reason = "nothing to do, and what to do")]
fn after_crash(session: &mut Session) -> Option<Option<Duration>> {
    if session.stage != Stage::Open {
        return None;
    }
    session.unique = None;
    if session
        .connected
        .take()
        .is_some_and(|since| since.elapsed() >= LASTED)
    {
        session.replaced = 0;
    }
    if !session.record.automatic_restart || session.replaced >= MAX_REPLACED {
        session.stage = Stage::Closing;
        return Some(None);
    }
    let pause = REPLACE_PAUSE
        .saturating_mul(1 << session.replaced.min(16))
        .min(LONGEST_PAUSE);
    session.replaced += 1;
    session.stage = Stage::Replacing;
    session.on_status(Instant::now(), killed());
    // The old one may still be on its way to register; it would be taken for the new one.
    session.record.token = session_token();
    session.record.client.clear();
    Some(Some(pause))
}

fn killed() -> Status {
    Status::session(Minor::ProcKilled, "Session closed, killed backend client")
}

/// Ends a client process that does not end by itself.
fn end_process(name: &str) {
    let pid = client_pid(name).and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid.filter(|pid| *pid > 1)
        && let Err(error) = kill(Pid::from_raw(pid), Signal::SIGKILL)
    {
        tracing::debug!(%error, pid, "the client process is gone already");
    }
}

#[cfg(test)]
mod tests {
    use super::{super::session::example, *};

    #[test]
    fn a_crash_ends_the_session_unless_it_is_to_be_replaced() {
        let mut session = example();
        assert_eq!(after_crash(&mut session), None, "it has not begun");
        session.stage = Stage::Open;
        assert_eq!(after_crash(&mut session), Some(None));
        assert_eq!(session.stage, Stage::Closing);
        assert_eq!(after_crash(&mut session), None, "the end is on its way");
    }

    #[test]
    fn replacements_come_later_and_later_and_then_no_more() {
        let mut session = example();
        session.record.automatic_restart = true;
        let mut pauses = Vec::new();
        for _ in 0..=MAX_REPLACED {
            session.stage = Stage::Open;
            let token = session.record.token.clone();
            if let Some(Some(pause)) = after_crash(&mut session) {
                assert_ne!(session.record.token, token);
                pauses.push(pause.as_secs());
            }
        }
        assert_eq!(pauses, [3, 6, 12, 24, 48, 96, 192, 384, 768, 768]);
        assert_eq!(session.stage, Stage::Closing);
    }
}
