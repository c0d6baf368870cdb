//! Renegotiation: soft resets in both directions, the lame duck, and which key sends (reference section 2.5).

use std::time::Instant;

use crate::{
    session::{DataParameters, PacketError, Session, SessionError, SessionEvent, key_state::KeyState},
    wire::{KeyId, Opcode, PacketId, Role},
    wrap::Wrap,
};

impl Session {
    /// Sets what the data channel uses from now on, and derives keys for what is already active.
    ///
    /// # Errors
    /// The exporter or the key material fails.
    pub fn set_data(&mut self, now: Instant, parameters: DataParameters) -> Result<(), SessionError> {
        if parameters.dynamic_wrap && self.dynamic_wrap.is_none() {
            let exported = self.primary.export_dynamic_wrap()?;
            let key = self.settings.wrap.static_key();
            self.dynamic_wrap = Some(
                Wrap::from_dynamic(&exported, key, self.settings.role).with_replay(self.settings.replay),
            );
        }
        self.parameters = Some(parameters);
        self.install_keys(now);
        Ok(())
    }

    /// Changes the MSS that inner TCP connections are held to (`mssfix`).
    pub fn set_mss(&mut self, mss: Option<u16>) {
        if let Some(parameters) = &mut self.parameters {
            parameters.mss = mss;
        }
    }

    /// A server has decided that the peer of `key_id` may use its keys.
    pub fn accept_key(&mut self, now: Instant, key_id: KeyId) {
        if self.primary.key_id == key_id {
            self.primary.accept();
            self.install_keys(now);
        }
    }

    /// Starts a renegotiation now, if the current key is established.
    pub fn renegotiate(&mut self, now: Instant) {
        if !self.primary.has_data() || self.failed {
            return;
        }
        match self.next_key(now, self.primary.key_id.next()) {
            Ok(mut fresh) => {
                fresh.open_with_soft_reset(now);
                self.replace_primary(now, fresh);
            }
            Err(error) => self.fail(now, error),
        }
    }

    /// The peer starts a renegotiation: answer with a reset of our own for the same key id.
    pub(super) fn answer_soft_reset(
        &mut self,
        now: Instant,
        key_id: KeyId,
        id: Option<PacketId>,
    ) -> Result<(), PacketError> {
        // A stray duplicate of an earlier reset must not start another renegotiation.
        if key_id != self.primary.key_id.next() || !self.primary.has_data() || id != Some(PacketId(0)) {
            return Err(PacketError::KeyId {
                got: key_id,
                wanted: self.primary.key_id,
            });
        }
        match self.next_key(now, key_id) {
            Ok(mut fresh) => {
                fresh.open_with_soft_reset(now);
                fresh.recv.accept(PacketId(0), Opcode::SoftReset, &[]);
                self.replace_primary(now, fresh);
            }
            Err(error) => self.fail(now, error),
        }
        Ok(())
    }

    fn next_key(&mut self, now: Instant, key_id: KeyId) -> Result<KeyState, SessionError> {
        KeyState::new(now, self.clock, &mut *self.rng, &self.settings, key_id)
    }

    fn replace_primary(&mut self, now: Instant, fresh: KeyState) {
        let old = std::mem::replace(&mut self.primary, fresh);
        self.retired = self.lame_duck.replace(old);
        self.switch_at = Some(now + self.settings.timing.grace());
        self.push_event(SessionEvent::Renewing {
            key_id: self.primary.key_id,
        });
    }

    /// Derives the keys of the current key state once it is active, accepted and the parameters are known.
    pub(super) fn install_keys(&mut self, now: Instant) {
        let Some(parameters) = self.parameters else {
            return;
        };
        if self.primary.has_data() || self.primary.active_since().is_none() || !self.primary.is_accepted() {
            return;
        }
        let Some(remote) = self.remote else {
            return;
        };
        let role = self.settings.role;
        let ids = match role {
            Role::Client => (self.local, remote),
            Role::Server => (remote, self.local),
        };
        match self.primary.derive(role, &parameters, ids, self.settings.replay) {
            Ok(()) => {
                self.counters.keys_derived += 1;
                self.keepalive.on_sent(now);
                self.push_event(SessionEvent::Keys {
                    key_id: self.primary.key_id,
                });
            }
            Err(error) => self.fail(now, error),
        }
    }

    /// When a key has to be renewed or dropped.
    pub(super) fn rekey_at(&self) -> Option<Instant> {
        let renew = self
            .settings
            .timing
            .renegotiate_after
            .zip(self.primary.active_since());
        let renew = renew
            .filter(|_| self.primary.has_data())
            .map(|(after, since)| since + after);
        let renew = renew.max(renew.and(self.renew_not_before));
        let expire = self
            .lame_duck
            .as_ref()
            .map(|_| self.primary.created() + self.settings.timing.transition_window);
        let retire = self.retired.as_ref().map(|_| self.retired_until());
        [renew, expire, retire].into_iter().flatten().min()
    }

    /// Until when the key before the lame duck still opens packets.
    fn retired_until(&self) -> Instant {
        self.primary.created() + self.settings.timing.handshake_window
    }

    pub(super) fn expire_lame_duck(&mut self, now: Instant) {
        if self.retired.is_some() && self.retired_until() <= now {
            self.retired = None;
        }
        if self.lame_duck.is_some() && self.primary.created() + self.settings.timing.transition_window <= now
        {
            self.lame_duck = None;
            self.switch_at = None;
        }
    }

    pub(super) fn renew_if_due(&mut self, now: Instant) {
        if self.renew_not_before.is_some_and(|at| now < at) {
            return;
        }
        let timing = self.settings.timing;
        let Some(data) = &self.primary.data else {
            return;
        };
        let old = timing
            .renegotiate_after
            .zip(self.primary.active_since())
            .is_some_and(|(after, since)| since + after <= now);
        let worn = timing
            .renegotiate_bytes
            .is_some_and(|limit| data.bytes_sent() + data.bytes_received() >= limit)
            || timing
                .renegotiate_packets
                .is_some_and(|limit| data.packets_sent() + data.packets_received() >= limit)
            || data.wants_renewal();
        if old || worn {
            self.renegotiate(now);
        }
    }
}
