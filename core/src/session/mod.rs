//! One peer: control channel, renegotiation, data keys and keepalive, the same for both roles.
//!
//! [`Session`] owns the state; its owner (`client` or `server`) decides what a pushed option, a password or a
//! certificate means. Files: `settings` what a session is built from, `key_state` one TLS session and its keys,
//! `control` packets in and out, `rekey` soft resets and which key is used, `payload` inner packets in and out,
//! `keepalive` pings and silence, `message` the texts of the control channel, `event` what is reported.

mod control;
mod event;
mod keepalive;
mod key_state;
mod message;
mod payload;
mod rekey;
mod settings;

use std::{collections::VecDeque, sync::Arc, time::Instant};

pub use event::{PacketError, SessionError, SessionEvent, Silence};
pub use message::{Message, PendingOptions, RestartFlags, TempFlags, split_messages};
pub use payload::{DataError, Opened, SealError};
pub use settings::{DataParameters, Hello, SessionSettings, Timing};

use self::{keepalive::Keepalive, key_state::KeyState};
use crate::{
    rng::Rng,
    tls::PeerIdentity,
    tunnel::{Timer, WallClock},
    wire::{KeyId, Role, SessionId},
    wrap::Wrap,
};

/// Events that may wait for the owner; it drains them after each call, so only a bug fills this.
const MAX_EVENTS: usize = 64;

/// The state shared with one peer, from hard reset to close.
#[derive(Debug)]
pub struct Session {
    settings: Arc<SessionSettings>,
    clock: WallClock,
    rng: Box<dyn Rng>,
    local: SessionId,
    remote: Option<SessionId>,
    /// Wraps key id 0, and every key id unless `dynamic_wrap` is there.
    wrap: Wrap,
    /// Wraps the key ids above 0 once both sides agreed on dynamic tls-crypt.
    dynamic_wrap: Option<Wrap>,
    hello: Hello,
    primary: KeyState,
    lame_duck: Option<KeyState>,
    /// The key before the lame duck: opens what a peer with a longer grace time still sends under it.
    retired: Option<KeyState>,
    /// Until when the lame duck is still preferred for sending.
    switch_at: Option<Instant>,
    /// After a renewal that failed: not again before.
    renew_not_before: Option<Instant>,
    parameters: Option<DataParameters>,
    keepalive: Keepalive,
    exit_wanted: bool,
    /// A ping goes out before anything else.
    probe_wanted: bool,
    failed: bool,
    events: VecDeque<SessionEvent>,
    counters: Counters,
}

/// What one session counted. Datagrams that were dropped are counted by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Inner packets opened (pings and other in-band messages included).
    pub opened_packets: u64,
    /// Inner bytes opened.
    pub opened_bytes: u64,
    /// Inner packets sealed.
    pub sealed_packets: u64,
    /// Inner bytes sealed.
    pub sealed_bytes: u64,
    /// Control packets dropped because they were malformed, not authentic, replayed or out of place.
    pub control_dropped: u64,
    /// Data packets dropped for lack of a key, by authentication or as a replay.
    pub data_dropped: u64,
    /// Data keys derived.
    pub keys_derived: u64,
}

impl Session {
    /// Starts a session as the client: the hard reset is ready to be sent.
    ///
    /// # Errors
    /// Own certificate or key that cannot be used.
    pub fn client(
        now: Instant,
        clock: WallClock,
        rng: Box<dyn Rng>,
        settings: Arc<SessionSettings>,
    ) -> Result<Self, SessionError> {
        let mut session = Self::new(now, clock, rng, settings, None, None)?;
        session.primary.open_with_hard_reset(now, Role::Client);
        Ok(session)
    }

    /// Starts a session as the server for a client whose hard reset is about to be handled (TCP).
    ///
    /// # Errors
    /// Own certificate or key that cannot be used.
    pub fn server(
        now: Instant,
        clock: WallClock,
        rng: Box<dyn Rng>,
        settings: Arc<SessionSettings>,
    ) -> Result<Self, SessionError> {
        let mut session = Self::new(now, clock, rng, settings, None, None)?;
        session.primary.open_with_hard_reset(now, Role::Server);
        Ok(session)
    }

    /// Starts a session as the server for a client that returned the cookie `local` of a stateless answer.
    ///
    /// Reference section 1.7: the resets are done, message ids go on at 1, the next own wrap id is 2.
    ///
    /// # Errors
    /// Own certificate or key that cannot be used.
    pub fn server_after_cookie(
        now: Instant,
        clock: WallClock,
        rng: Box<dyn Rng>,
        settings: Arc<SessionSettings>,
        ids: (SessionId, SessionId),
    ) -> Result<Self, SessionError> {
        let (local, remote) = ids;
        let mut session = Self::new(now, clock, rng, settings, Some(local), Some(remote))?;
        session.wrap.skip_first_id();
        session
            .primary
            .resume_after_resets(session.settings.timing.retransmit);
        Ok(session)
    }

    fn new(
        now: Instant,
        clock: WallClock,
        mut rng: Box<dyn Rng>,
        settings: Arc<SessionSettings>,
        local: Option<SessionId>,
        remote: Option<SessionId>,
    ) -> Result<Self, SessionError> {
        let wrap = settings.wrap.context(settings.role).with_replay(settings.replay);
        let local = local.unwrap_or_else(|| SessionId::random(&mut *rng));
        let primary = KeyState::new(now, clock, &mut *rng, &settings, KeyId::FIRST)?;
        Ok(Self {
            clock,
            rng,
            local,
            remote,
            wrap,
            dynamic_wrap: None,
            hello: Hello::default(),
            primary,
            lame_duck: None,
            retired: None,
            switch_at: None,
            renew_not_before: None,
            parameters: None,
            keepalive: Keepalive::new(now),
            exit_wanted: false,
            probe_wanted: false,
            failed: false,
            events: VecDeque::new(),
            counters: Counters::default(),
            settings,
        })
    }

    /// Sets what this side says of itself in every key exchange: options, credentials, peer info.
    pub fn set_hello(&mut self, hello: Hello) {
        self.hello = hello;
    }

    /// Own session id.
    pub fn local_id(&self) -> SessionId {
        self.local
    }

    /// The peer's session id, once its first packet was accepted.
    pub fn remote_id(&self) -> Option<SessionId> {
        self.remote
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Who the peer's certificate says it is, after the current handshake.
    pub fn peer(&self) -> Option<&PeerIdentity> {
        self.primary.peer()
    }

    /// TLS version and cipher suite of the current key, for people.
    pub fn tls_summary(&self) -> Option<String> {
        self.primary.tls_summary()
    }

    /// Whether inner packets can be sealed now.
    pub fn has_keys(&self) -> bool {
        self.primary.has_data() || self.lame_duck.as_ref().is_some_and(KeyState::has_data)
    }

    /// Whether an event waits to be taken.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// Earliest instant at which [`Self::handle_timeout`] has work to do, and for whom.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        if self.failed {
            return self.primary.retransmit_at().map(|at| (at, Timer::Retransmit));
        }
        [
            self.primary.retransmit_at().map(|at| (at, Timer::Retransmit)),
            self.primary.handshake_deadline().map(|at| (at, Timer::Handshake)),
            self.rekey_at().map(|at| (at, Timer::Rekey)),
            self.keepalive
                .ping_at(self.has_keys())
                .map(|at| (at, Timer::Ping)),
            self.keepalive
                .silence_at()
                .map(|(at, _)| (at, Timer::PingRestart)),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }

    /// Does what is due at `now`: expiries and renewals. Due packets come from [`Self::poll_transmit`].
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.failed {
            return;
        }
        if self.primary.handshake_deadline().is_some_and(|at| at <= now) {
            let window = self.settings.timing.handshake_window;
            self.fail(now, SessionError::HandshakeTimeout { window });
            return;
        }
        if let Some((at, outcome)) = self.keepalive.silence_at()
            && at <= now
        {
            self.keepalive.stop_watching();
            self.push_event(SessionEvent::Silent(outcome));
        }
        self.expire_lame_duck(now);
        self.renew_if_due(now);
    }

    fn push_event(&mut self, event: SessionEvent) {
        // The end of a session must be heard, whatever a peer has filled the queue with.
        if self.events.len() < MAX_EVENTS || matches!(event, SessionEvent::Failed(_)) {
            self.events.push_back(event);
        }
    }

    /// Ends the session's own work; what is queued for the peer (an alert, say) is still sent.
    ///
    /// A renewal that fails over UDP ends nothing while the old key is good: control packets may be forged by
    /// whoever can inject them, and the old key's data cannot. The renewal is tried again later.
    fn fail(&mut self, now: Instant, error: SessionError) {
        if self.failed {
            return;
        }
        let old = self
            .lame_duck
            .take_if(|old| old.has_data() && !self.settings.stream);
        if let Some(old) = old {
            tracing::debug!(%error, "a renewal failed, the old key stays");
            self.primary = old;
            self.switch_at = None;
            self.renew_not_before = Some(now + self.settings.timing.handshake_window);
        } else {
            self.failed = true;
            self.push_event(SessionEvent::Failed(error));
        }
    }
}
