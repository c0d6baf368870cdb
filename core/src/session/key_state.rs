//! One TLS session and the keys that come of it: from reset to expiry (reference section 2.3).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use zeroize::{Zeroize, Zeroizing};

use crate::{
    data::{DataKeys, ReplayConfig},
    keys::{EXPORTER_DATA_KEYS, EXPORTER_DYNAMIC_TLS_CRYPT, Key2},
    reliable::{Recv, Send},
    rng::Rng,
    session::{DataParameters, Hello, Message, SessionError, SessionSettings, message::split_messages},
    tls::{PeerIdentity, Pump},
    tunnel::WallClock,
    wire::{KeyId, KeyMethod, KeySource, Opcode, PacketId, Role, SessionId},
};

/// Ciphertext that may wait for room in the send window; a handshake flight with long chains stays below it.
const MAX_TLS_OUT_BYTES: usize = 128 * 1024;
/// Decrypted bytes that may wait to be parsed.
const MAX_PLAIN_BYTES: usize = 64 * 1024;
/// Texts that may wait for the key to become active.
const MAX_QUEUED_MESSAGES: usize = 64;

/// How far a key exchange has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Resets are being exchanged.
    Resets {
        /// Whether the peer's reset has arrived.
        peer_reset: bool,
    },
    /// The TLS handshake runs.
    Handshake,
    /// TLS is up; the peer's key-method-2 message is awaited.
    AwaitHello,
    /// Both messages are out; own packets still wait for their acknowledgement.
    Settling,
    /// Control messages flow.
    Active {
        /// Since when.
        since: Instant,
    },
}

/// What a step of the key exchange brought about.
#[derive(Debug)]
pub(super) enum KeyEvent {
    PeerHello(Box<KeyMethod>),
    Active,
    Text(Message),
}

#[derive(Debug)]
pub(super) struct KeyState {
    pub(super) key_id: KeyId,
    created: Instant,
    handshake_window: Duration,
    pub(super) send: Send,
    pub(super) recv: Recv,
    tls: Box<dyn Pump>,
    phase: Phase,
    ours: Option<KeySource>,
    theirs: Option<KeySource>,
    tls_out: VecDeque<u8>,
    plain: Zeroizing<Vec<u8>>,
    queued: VecDeque<String>,
    /// The owner agreed to whom the peer says it is (always true for a client).
    accepted: bool,
    pub(super) data: Option<DataKeys>,
}

impl KeyState {
    pub(super) fn new(
        now: Instant,
        clock: WallClock,
        rng: &mut dyn Rng,
        settings: &SessionSettings,
        key_id: KeyId,
    ) -> Result<Self, SessionError> {
        Ok(Self {
            key_id,
            created: now,
            handshake_window: settings.timing.handshake_window,
            send: Send::new(settings.timing.retransmit),
            recv: Recv::new(),
            tls: settings.tls.pump(clock.unix_at(now))?,
            phase: Phase::Resets { peer_reset: false },
            ours: Some(KeySource::generate(settings.role, rng)),
            theirs: None,
            tls_out: VecDeque::new(),
            plain: Zeroizing::default(),
            queued: VecDeque::new(),
            accepted: settings.role == Role::Client,
            data: None,
        })
    }

    pub(super) fn open_with_hard_reset(&mut self, now: Instant, role: Role) {
        let opcode = match role {
            Role::Client => Opcode::HardResetClientV2,
            Role::Server => Opcode::HardResetServerV2,
        };
        self.send.push(now, opcode, Vec::new());
    }

    pub(super) fn open_with_soft_reset(&mut self, now: Instant) {
        self.send.push(now, Opcode::SoftReset, Vec::new());
    }

    /// The stateless answer has exchanged the resets already: both directions go on at message id 1.
    pub(super) fn resume_after_resets(&mut self, retransmit: Duration) {
        self.send = Send::new(retransmit).starting_at(PacketId(1));
        self.recv = Recv::expecting(PacketId(1));
        self.phase = Phase::Handshake;
    }

    pub(super) fn peer(&self) -> Option<&PeerIdentity> {
        self.tls.peer()
    }

    pub(super) fn tls_summary(&self) -> Option<String> {
        self.tls.describe()
    }

    pub(super) fn has_data(&self) -> bool {
        self.data.is_some()
    }

    pub(super) fn is_accepted(&self) -> bool {
        self.accepted
    }

    pub(super) fn accept(&mut self) {
        self.accepted = true;
    }

    pub(super) fn created(&self) -> Instant {
        self.created
    }

    pub(super) fn active_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Active { since } => Some(since),
            Phase::Resets { .. } | Phase::Handshake | Phase::AwaitHello | Phase::Settling => None,
        }
    }

    pub(super) fn handshake_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Active { .. } => None,
            Phase::Resets { .. } | Phase::Handshake | Phase::AwaitHello => {
                Some(self.created + self.handshake_window)
            }
            // Both have what keys are made of; only acknowledgements are missing. The peer may be using the key.
            Phase::Settling => Some(self.created + 2 * self.handshake_window),
        }
    }

    pub(super) fn retransmit_at(&self) -> Option<Instant> {
        self.send.next_deadline()
    }

    /// Whether everything that was written has been acknowledged.
    pub(super) fn is_flushed(&self) -> bool {
        self.send.is_empty() && self.tls_out.is_empty()
    }

    /// Sends `text` as one control message, now or as soon as the key is active.
    pub(super) fn write_message(&mut self, text: &str) -> Result<(), SessionError> {
        if self.active_since().is_none() {
            if self.queued.len() < MAX_QUEUED_MESSAGES {
                self.queued.push_back(text.to_owned());
            }
            return Ok(());
        }
        let mut bytes = Zeroizing::new(text.as_bytes().to_vec());
        bytes.push(0);
        Ok(self.tls.write_plain(&bytes)?)
    }

    /// Moves on as far as what has arrived allows: resets, TLS, key exchange, texts, and packets to send.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        role: Role,
        hello: &Hello,
        chunk_bytes: usize,
        events: &mut Vec<KeyEvent>,
    ) -> Result<(), SessionError> {
        let outcome = self.step(now, role, hello, events);
        // Also after a failure: the alert tells the peer why.
        self.flush_tls(now, chunk_bytes)?;
        outcome?;
        if self.phase == Phase::Settling && self.is_flushed() {
            self.phase = Phase::Active { since: now };
            events.push(KeyEvent::Active);
            while let Some(text) = self.queued.pop_front() {
                self.write_message(&text)?;
            }
            self.take_texts(events)?;
            self.flush_tls(now, chunk_bytes)?;
        }
        Ok(())
    }

    fn step(
        &mut self,
        now: Instant,
        role: Role,
        hello: &Hello,
        events: &mut Vec<KeyEvent>,
    ) -> Result<(), SessionError> {
        while let Some((opcode, payload)) = self.recv.pop() {
            match opcode {
                Opcode::SoftReset
                | Opcode::HardResetClientV2
                | Opcode::HardResetServerV2
                | Opcode::HardResetClientV3 => {
                    if let Phase::Resets { .. } = self.phase {
                        self.phase = Phase::Resets { peer_reset: true };
                    }
                }
                Opcode::Control | Opcode::ControlWkc => {
                    if !payload.is_empty() {
                        self.tls.read_tls(&payload)?;
                    }
                }
                Opcode::Ack | Opcode::DataV1 | Opcode::DataV2 => {}
            }
        }
        if self.phase == (Phase::Resets { peer_reset: true }) && self.send.is_empty() {
            self.phase = Phase::Handshake;
        }
        if self.phase == Phase::Handshake && !self.tls.is_handshaking() {
            if role == Role::Client {
                self.write_hello(role, hello)?;
            }
            self.phase = Phase::AwaitHello;
        }
        self.tls.read_plain(&mut self.plain)?;
        if self.plain.len() > MAX_PLAIN_BYTES {
            return Err(SessionError::TooMuch {
                what: "control data",
                limit: MAX_PLAIN_BYTES,
            });
        }
        if self.phase == Phase::AwaitHello {
            self.take_hello(role, hello, events)?;
        }
        if self.active_since().is_some_and(|since| since <= now) {
            self.take_texts(events)?;
        }
        Ok(())
    }

    fn write_hello(&mut self, role: Role, hello: &Hello) -> Result<(), SessionError> {
        let Some(ours) = &self.ours else {
            return Err(SessionError::NoKeyMaterial);
        };
        let message = KeyMethod {
            source: ours.clone(),
            options: hello.options.clone(),
            username: hello.username.clone(),
            password: hello.password.clone(),
            peer_info: hello.peer_info.clone(),
            credentials_too_long: false,
        };
        Ok(self.tls.write_plain(&message.encode(role))?)
    }

    fn take_hello(
        &mut self,
        role: Role,
        hello: &Hello,
        events: &mut Vec<KeyEvent>,
    ) -> Result<(), SessionError> {
        let len = match KeyMethod::complete_len(role.peer(), &self.plain)? {
            Some(len) => len,
            // The message is one TLS record, and records come whole: old peers end it behind the options.
            None if KeyMethod::decode(role.peer(), &self.plain).is_ok() => self.plain.len(),
            None => return Ok(()),
        };
        let rest = Zeroizing::new(self.plain.split_off(len));
        let message = KeyMethod::decode(role.peer(), &self.plain)?;
        self.plain.zeroize();
        self.plain = rest;
        self.theirs = Some(message.source.clone());
        if role == Role::Server {
            self.write_hello(role, hello)?;
        }
        self.phase = Phase::Settling;
        events.push(KeyEvent::PeerHello(Box::new(message)));
        Ok(())
    }

    fn take_texts(&mut self, events: &mut Vec<KeyEvent>) -> Result<(), SessionError> {
        self.tls.read_plain(&mut self.plain)?;
        let mut texts = Vec::new();
        let used = split_messages(&self.plain, &mut texts);
        self.plain.drain(..used);
        events.extend(texts.into_iter().map(KeyEvent::Text));
        Ok(())
    }

    fn flush_tls(&mut self, now: Instant, chunk_bytes: usize) -> Result<(), SessionError> {
        if let Phase::Resets { .. } = self.phase {
            return Ok(());
        }
        let mut fresh = Vec::new();
        self.tls.write_tls(&mut fresh);
        self.tls_out.extend(fresh);
        if self.tls_out.len() > MAX_TLS_OUT_BYTES {
            return Err(SessionError::TooMuch {
                what: "unsent control data",
                limit: MAX_TLS_OUT_BYTES,
            });
        }
        while self.send.has_room() && !self.tls_out.is_empty() {
            let len = chunk_bytes.min(self.tls_out.len());
            let chunk = self.tls_out.drain(..len).collect();
            self.send.push(now, Opcode::Control, chunk);
        }
        Ok(())
    }

    /// Derives the data keys; the key sources are wiped by it.
    pub(super) fn derive(
        &mut self,
        role: Role,
        parameters: &DataParameters,
        ids: (SessionId, SessionId),
        replay: ReplayConfig,
    ) -> Result<(), SessionError> {
        let key2 = if parameters.exporter {
            let mut exported = Zeroizing::new([0; 256]);
            self.tls.export(EXPORTER_DATA_KEYS.as_bytes(), &mut *exported)?;
            Key2::from_exporter(&exported)
        } else {
            let (Some(ours), Some(theirs)) = (&self.ours, &self.theirs) else {
                return Err(SessionError::NoKeyMaterial);
            };
            let (client, server) = match role {
                Role::Client => (ours, theirs),
                Role::Server => (theirs, ours),
            };
            Key2::from_prf(client, server, ids.0, ids.1).map_err(SessionError::Keys)?
        };
        let keys = DataKeys::new(
            parameters.cipher,
            &key2,
            role,
            self.key_id,
            parameters.peer_id,
            replay,
        )
        .map_err(SessionError::Keys)?;
        self.data = Some(keys);
        self.ours = None;
        self.theirs = None;
        Ok(())
    }

    /// Exports the material of the dynamic wrap from this TLS session.
    pub(super) fn export_dynamic_wrap(&self) -> Result<Zeroizing<[u8; 256]>, SessionError> {
        let mut exported = Zeroizing::new([0; 256]);
        self.tls
            .export(EXPORTER_DYNAMIC_TLS_CRYPT.as_bytes(), &mut *exported)?;
        Ok(exported)
    }
}
