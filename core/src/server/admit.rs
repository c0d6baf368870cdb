//! The stateless answer: a server keeps nothing for an address that has not proved itself (reference section 1.7).

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    config::Rate,
    rng::Rng,
    wire::{Acks, Body, Header, KeyId, Opcode, PacketId, Role, SessionId},
    wrap::{Wrap, WrapKey},
};

/// What a datagram from an unknown address amounts to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Drop it.
    Drop,
    /// Answer it with this reset and keep nothing.
    Answer(Vec<u8>),
    /// It returned our cookie: create the session with these ids (ours, theirs).
    Create(SessionId, SessionId),
}

/// Tells the first packets of clients from noise without keeping state for them.
#[derive(Debug)]
pub(super) struct Admitter {
    secret: Zeroizing<[u8; 32]>,
    wrap: WrapKey,
    started: Instant,
    slot_length: Duration,
    resets: RateLimit,
    sessions: Option<RateLimit>,
}

impl Admitter {
    pub(super) fn new(
        now: Instant,
        rng: &mut dyn Rng,
        wrap: WrapKey,
        handshake_window: Duration,
        resets: Rate,
        sessions: Option<Rate>,
    ) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill(&mut *secret);
        Self {
            secret,
            wrap,
            started: now,
            // Half of the window: a cookie is good for one to one and a half windows.
            slot_length: Duration::from_secs(handshake_window.as_secs().div_ceil(2).max(1)),
            resets: RateLimit::new(resets),
            sessions: sessions.map(RateLimit::new),
        }
    }

    /// Judges a control packet from an address (or with a session id) that is not known.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        unix_seconds: u32,
        from: SocketAddr,
        packet: &mut [u8],
    ) -> Admission {
        let wrap = self.wrap.context(Role::Server);
        let Ok((header, body)) = wrap.authenticate(packet) else {
            return Admission::Drop;
        };
        let Ok(body) = Body::decode(header.opcode, body) else {
            return Admission::Drop;
        };
        if header.key_id != KeyId::FIRST {
            return Admission::Drop;
        }
        match header.opcode {
            Opcode::HardResetClientV2 => {
                if body.id != Some(PacketId(0)) || !self.resets.spend(now) {
                    return Admission::Drop;
                }
                let cookie = self.cookie(self.slot(now), from, header.session);
                self.answer(unix_seconds, cookie, header.session)
            }
            Opcode::Control | Opcode::Ack => self.judge_return(now, from, header, &body),
            Opcode::SoftReset
            | Opcode::DataV1
            | Opcode::DataV2
            | Opcode::HardResetServerV2
            | Opcode::HardResetClientV3
            | Opcode::ControlWkc => Admission::Drop,
        }
    }

    fn judge_return(&mut self, now: Instant, from: SocketAddr, header: Header, body: &Body<'_>) -> Admission {
        let early = body.acks.iter().all(|id| id.0 <= 1) && body.id.is_none_or(|id| id.0 <= 1);
        let Some(cookie) = body.remote.filter(|_| early) else {
            return Admission::Drop;
        };
        let slot = self.slot(now);
        let good = (slot.saturating_sub(2)..=slot)
            .any(|slot| bool::from(self.cookie(slot, from, header.session).0.ct_eq(&cookie.0)));
        if !good || !self.sessions.as_mut().is_none_or(|limit| limit.spend(now)) {
            return Admission::Drop;
        }
        self.resets.give_back();
        Admission::Create(cookie, header.session)
    }

    /// The reset reply: acknowledges the client's reset, is wrapped with id 1, and is forgotten at once.
    fn answer(&self, unix_seconds: u32, cookie: SessionId, client: SessionId) -> Admission {
        let acks: Acks = [PacketId(0)].into_iter().collect();
        let mut body = Vec::new();
        Body {
            acks,
            remote: Some(client),
            id: Some(PacketId(0)),
            payload: &[],
        }
        .encode(&mut body);
        let header = Header {
            opcode: Opcode::HardResetServerV2,
            key_id: KeyId::FIRST,
            session: cookie,
        };
        let mut wrap: Wrap = self.wrap.context(Role::Server);
        let mut packet = Vec::new();
        match wrap.seal(unix_seconds, header, &body, &mut packet) {
            Ok(()) => Admission::Answer(packet),
            Err(_exhausted) => Admission::Drop,
        }
    }

    fn slot(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.started).as_secs();
        // Starts at 2, so that two earlier slots exist.
        elapsed / self.slot_length.as_secs().max(1) + 2
    }

    /// The session id that proves that `from` received our answer to `client`.
    fn cookie(&self, slot: u64, from: SocketAddr, client: SessionId) -> SessionId {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&*self.secret) else {
            // HMAC takes keys of any length.
            return SessionId::never_zero([0; 8]);
        };
        mac.update(&slot.to_be_bytes());
        match from.ip() {
            IpAddr::V4(ip) => mac.update(&ip.octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        mac.update(&from.port().to_be_bytes());
        mac.update(&client.0);
        let tag = mac.finalize().into_bytes();
        let mut id = [0; 8];
        for (to, from) in id.iter_mut().zip(tag) {
            *to = from;
        }
        SessionId::never_zero(id)
    }
}

/// So many in so long, over a sliding window.
#[derive(Debug)]
struct RateLimit {
    rate: Rate,
    spent: VecDeque<Instant>,
}

impl RateLimit {
    fn new(rate: Rate) -> Self {
        Self {
            rate,
            spent: VecDeque::new(),
        }
    }

    fn spend(&mut self, now: Instant) -> bool {
        while self
            .spent
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) >= self.rate.per)
        {
            self.spent.pop_front();
        }
        let most = usize::try_from(self.rate.count).unwrap_or(usize::MAX);
        if self.spent.len() >= most {
            return false;
        }
        self.spent.push_back(now);
        true
    }

    /// One that was spent turned out to be honest.
    fn give_back(&mut self) {
        self.spent.pop_back();
    }
}
