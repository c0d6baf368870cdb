//! Leaving a server by wish: pause, restart, another profile, the end; in whatever phase the tunnel is.

use std::{sync::Arc, time::Instant};

use tunless_core::{
    client::{CloseReason, Credentials, ExitKind, Remotes, Setup},
    config::CredentialSource,
};

use super::{
    SystemRng,
    attempt::{Phase, shifted},
    client::{Driver, Leaving},
    handle::State,
    login::Login,
};

impl Driver {
    /// Paused, or about to be.
    pub(super) fn is_paused(&self) -> bool {
        matches!(self.phase, Phase::Paused { .. }) || self.leaving == Leaving::Pause
    }

    pub(super) fn restart(&mut self, now: Instant, why: &str) {
        if self.is_paused() || matches!(self.leaving, Leaving::Exit(_)) {
            tracing::debug!(why, "no restart now");
            return;
        }
        self.set_state(State::Reconnecting, why);
        self.leave(now, Leaving::Restart);
    }

    pub(super) fn resume(&mut self, now: Instant) {
        if self.leaving == Leaving::Pause {
            // It has not even begun: the good-bye is on its way, and a new connection follows it.
            self.leaving = Leaving::Restart;
        } else if let Phase::Paused { since } = self.phase {
            self.phase = Phase::Idle;
            self.connect_by = self.connect_by.map(|by| shifted(by, since, now));
            self.set_state(State::Connecting, "");
            self.begin(now);
        }
    }

    /// Everything that came from the old profile goes; connections through the tunnel stay.
    pub(super) fn adopt(&mut self, setup: Arc<Setup>, credentials: Option<Credentials>) {
        let identity = self.setup.config().tls.identity.as_ref();
        let passphrase = identity.and_then(|identity| identity.passphrase.clone());
        let setup = match passphrase.filter(|_| setup.needs_passphrase()) {
            // What opened the old key probably opens the new one; if not, it is asked for.
            Some(passphrase) => setup.unlock(passphrase).map_or(setup, Arc::new),
            None => setup,
        };
        self.passphrase_is_wrong = false;
        self.remotes = Remotes::new(setup.config(), &mut SystemRng::default());
        self.setup = setup;
        // Nobody is asked again for what the new profile asks for just the same.
        let kept = match (&credentials, &self.setup.config().credentials, self.login.known()) {
            (None, Some(CredentialSource::Prompt), Some(_)) => true,
            (None, Some(CredentialSource::PromptPassword { username }), Some(known)) => {
                known.username == *username
            }
            (_, _, _) => false,
        };
        if !kept {
            self.login = Login::new(credentials);
        }
        self.proxies.adopt();
        self.token = None;
        self.unresolved_since = None;
        self.last_reason = None;
    }

    /// Leaves the server; what follows depends on `leaving`. Nothing takes the end back.
    pub(super) fn leave(&mut self, now: Instant, leaving: Leaving) {
        if let Leaving::Exit(_) = self.leaving {
            return;
        }
        if let Leaving::Exit(_) = leaving {
            self.set_state(State::Exiting, CloseReason::LocalExit.name());
        }
        let _void = self.stop_asking(now);
        self.leaving = leaving;
        if let Phase::Linked(link) = &mut self.phase {
            link.client.close(now);
        } else {
            self.on_left(now);
        }
    }

    /// The connection we wanted to end has ended.
    pub(super) fn on_left(&mut self, now: Instant) {
        match std::mem::replace(&mut self.leaving, Leaving::No) {
            Leaving::Exit(_) => self.exit(ExitKind::Done, CloseReason::LocalExit.to_string()),
            Leaving::Pause => {
                self.phase = Phase::Paused { since: now };
                self.set_state(State::Paused, "");
            }
            Leaving::Restart | Leaving::No => self.begin(now),
        }
    }
}
