//! Control packets in and out: unwrap, check, order, acknowledge, and the reverse (reference sections 1.5, 2.7).

use std::time::Instant;

use crate::{
    reliable::Accepted,
    session::{Hello, PacketError, Session, SessionError, SessionEvent, key_state::KeyEvent},
    wire::{
        Acks, Body, Header, KeyId, Opcode, PacketId, Role, SessionId,
        magic::{OccCode, PING, occ_message},
    },
    wrap::Wrap,
};

/// Acknowledgements carried by a control packet, and the most an `ACK_V1` to an unwrapped peer may carry.
const ACKS_PIGGYBACKED: usize = 4;
/// Acknowledgements in an `ACK_V1`.
const ACKS_ALONE: usize = 8;
/// Opcode and key id, and the sender's session id.
const HEADER_BYTES: usize = 9;
/// Count, peer's session id and the acknowledgements that may be piggybacked.
const ACK_BLOCK_BYTES: usize = 1 + 8 + 4 * ACKS_PIGGYBACKED;
/// Message packet id.
const PACKET_ID_BYTES: usize = 4;
/// Payload that is sent even when `max-packet-size` leaves less (reference section 2.4).
const MIN_CHUNK_BYTES: usize = 16;

impl Session {
    /// Takes one control packet from the peer's address.
    ///
    /// # Errors
    /// A packet that is not authentic, malformed, replayed or out of place. Over UDP the owner drops it;
    /// over TCP the session has failed.
    pub fn handle_control(&mut self, now: Instant, packet: &mut [u8]) -> Result<(), PacketError> {
        let outcome = self.accept_control(now, packet);
        if let Err(error) = outcome {
            self.counters.control_dropped += 1;
            return Err(error);
        }
        self.keepalive.on_received(now);
        self.advance(now);
        Ok(())
    }

    fn accept_control(&mut self, now: Instant, packet: &mut [u8]) -> Result<(), PacketError> {
        let first = packet.first().copied().unwrap_or_default();
        let (_, key_id) = Opcode::decode_byte(first)?;
        let wrap = wrap_for(&mut self.wrap, self.dynamic_wrap.as_mut(), key_id);
        let (header, body) = wrap.open(now, packet)?;
        check_role(self.settings.role, header.opcode)?;
        let body = Body::decode(header.opcode, body)?;
        if body.remote.is_some_and(|id| id != self.local) {
            return Err(PacketError::NotOurs);
        }
        let first_contact = match self.remote {
            Some(remote) if remote == header.session => false,
            Some(_) => return Err(PacketError::ForeignSession),
            None if header.opcode.is_hard_reset() => true,
            None => return Err(PacketError::Unexpected("packet before the peer's reset")),
        };
        if header.opcode == Opcode::SoftReset && header.key_id != self.primary.key_id {
            // Only ids and an acknowledgement count can be in `body`; it is re-read by the new key state below.
            let acks = body.acks;
            let id = body.id;
            self.answer_soft_reset(now, header.key_id, id)?;
            acks.iter().for_each(|ack| self.primary.send.on_ack(ack));
            return Ok(());
        }
        if header.key_id != self.primary.key_id {
            return Err(PacketError::KeyId {
                got: header.key_id,
                wanted: self.primary.key_id,
            });
        }
        if header.opcode.is_hard_reset() && body.id.is_some_and(|id| id.0 != 0) {
            return Err(PacketError::Unexpected("hard reset with a message id"));
        }
        if let Some(id) = body.id
            && self.primary.recv.accept(id, header.opcode, body.payload) == Accepted::OutOfWindow
        {
            return Err(PacketError::Unexpected("message id beyond the window"));
        }
        body.acks.iter().for_each(|ack| self.primary.send.on_ack(ack));
        if first_contact {
            self.remote = Some(header.session);
            self.primary.send.on_first_contact(now);
            self.push_event(SessionEvent::FirstContact);
        }
        Ok(())
    }

    /// Moves the key exchange on and reports what came of it.
    pub(super) fn advance(&mut self, now: Instant) {
        if self.failed {
            return;
        }
        let mut events = Vec::new();
        let chunk = self.chunk_bytes();
        let outcome = self
            .primary
            .advance(now, self.settings.role, &self.hello, chunk, &mut events);
        let key_id = self.primary.key_id;
        for event in events {
            match event {
                KeyEvent::PeerHello(message) => self.push_event(SessionEvent::PeerHello { key_id, message }),
                KeyEvent::Active => self.push_event(SessionEvent::Active { key_id }),
                KeyEvent::Text(text) => self.push_event(SessionEvent::Message(text)),
            }
        }
        if let Err(error) = outcome {
            self.fail(now, error);
            return;
        }
        self.install_keys(now);
    }

    /// Sends `text` on the control channel, as soon as the current key is active.
    ///
    /// # Errors
    /// The TLS engine takes no more data.
    pub fn send_message(&mut self, now: Instant, text: &str) -> Result<(), SessionError> {
        self.primary.write_message(text)?;
        self.advance(now);
        Ok(())
    }

    /// Whether everything written to the control channel has been acknowledged.
    pub fn is_flushed(&self) -> bool {
        self.primary.is_flushed()
    }

    /// Changes what is said in the next key exchange (a token instead of a password, say).
    pub fn update_hello(&mut self, change: impl FnOnce(&mut Hello)) {
        change(&mut self.hello);
    }

    /// Makes the peer show that it can still be reached: a ping, by which a server learns our new address, and a
    /// control packet that it has to acknowledge. Both come from [`Self::poll_transmit`].
    ///
    /// The ping alone has no answer, and control packets are only taken from the address that data came from.
    pub fn probe(&mut self, now: Instant) {
        self.probe_wanted = true;
        self.primary.send.repeat(now);
    }

    /// When the peer's last authentic packet arrived (the start of the session before the first).
    pub fn heard_at(&self) -> Instant {
        self.keepalive.heard_at()
    }

    /// Takes the next packet to send: a control packet that is due, an acknowledgement, a ping.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        if std::mem::take(&mut self.probe_wanted)
            && let Some(ping) = self.seal_in_band(now, &PING)
        {
            return Some(ping);
        }
        if let Some(packet) = self.poll_control(now) {
            return Some(packet);
        }
        if self.failed {
            return None;
        }
        if self.exit_wanted {
            self.exit_wanted = false;
            return self.seal_in_band(now, &occ_message(OccCode::Exit, &[]));
        }
        match self.keepalive.ping_at(self.has_keys()) {
            Some(at) if at <= now => {
                // Also when it cannot be sealed: the next one is due an interval later, not at once.
                self.keepalive.on_sent(now);
                self.seal_in_band(now, &PING)
            }
            Some(_) | None => None,
        }
    }

    fn poll_control(&mut self, now: Instant) -> Option<Vec<u8>> {
        let remote = self.remote;
        let mut body = Vec::new();
        let opcode = if let Some(due) = self.primary.send.poll(now) {
            let acks = match remote {
                Some(_) => self.primary.recv.take_acks(ACKS_PIGGYBACKED),
                None => Acks::default(),
            };
            encode(due.opcode, acks, remote, Some(due.id), due.payload, &mut body);
            due.opcode
        } else if self.primary.recv.pending_acks() && remote.is_some() {
            let most = match self.settings.wrap {
                crate::wrap::WrapKey::None => ACKS_PIGGYBACKED,
                crate::wrap::WrapKey::TlsAuth { .. } | crate::wrap::WrapKey::TlsCrypt { .. } => ACKS_ALONE,
            };
            encode(
                Opcode::Ack,
                self.primary.recv.take_acks(most),
                remote,
                None,
                &[],
                &mut body,
            );
            Opcode::Ack
        } else {
            return None;
        };
        let header = Header {
            opcode,
            key_id: self.primary.key_id,
            session: self.local,
        };
        let unix = self.clock.unix_at(now).as_secs();
        let mut packet = Vec::new();
        let wrap = wrap_for(&mut self.wrap, self.dynamic_wrap.as_mut(), header.key_id);
        // The wire field has 32 bits; it wraps in 2106.
        let seconds = u32::try_from(unix & u64::from(u32::MAX)).unwrap_or_default();
        match wrap.seal(seconds, header, &body, &mut packet) {
            Ok(()) => Some(packet),
            Err(error) => {
                tracing::debug!(%error, "control packet could not be wrapped");
                None
            }
        }
    }

    /// TLS bytes that fit into one control packet.
    fn chunk_bytes(&self) -> usize {
        let wrap = match (&self.dynamic_wrap, self.primary.key_id) {
            (Some(wrap), key_id) if key_id != KeyId::FIRST => wrap,
            (_, _) => &self.wrap,
        };
        let overhead = self.settings.outer_header_bytes
            + HEADER_BYTES
            + wrap.overhead_bytes()
            + ACK_BLOCK_BYTES
            + PACKET_ID_BYTES;
        self.settings
            .max_packet_bytes
            .saturating_sub(overhead)
            .max(MIN_CHUNK_BYTES)
    }
}

fn wrap_for<'a>(wrap: &'a mut Wrap, dynamic: Option<&'a mut Wrap>, key_id: KeyId) -> &'a mut Wrap {
    match dynamic {
        Some(dynamic) if key_id != KeyId::FIRST => dynamic,
        Some(_) | None => wrap,
    }
}

fn encode(
    opcode: Opcode,
    acks: Acks,
    remote: Option<SessionId>,
    id: Option<PacketId>,
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    debug_assert!(
        opcode != Opcode::Ack || id.is_none(),
        "acknowledgements have no id"
    );
    let remote = remote.filter(|_| !acks.is_empty());
    Body {
        acks,
        remote,
        id,
        payload,
    }
    .encode(out);
}

/// Refuses what the peer's role never sends.
fn check_role(role: Role, opcode: Opcode) -> Result<(), PacketError> {
    match (role, opcode) {
        (_, Opcode::SoftReset | Opcode::Control | Opcode::Ack)
        | (Role::Client, Opcode::HardResetServerV2)
        | (Role::Server, Opcode::HardResetClientV2) => Ok(()),
        (_, Opcode::ControlWkc | Opcode::HardResetClientV3) => {
            Err(PacketError::Unexpected("packet of tls-crypt-v2"))
        }
        (_, Opcode::DataV1 | Opcode::DataV2) => Err(PacketError::Unexpected("data packet")),
        (Role::Client, Opcode::HardResetClientV2) | (Role::Server, Opcode::HardResetServerV2) => {
            Err(PacketError::Unexpected("hard reset of the own role"))
        }
    }
}
