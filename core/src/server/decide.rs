//! The verdict on a client: addresses, cipher and options, or a refusal.

use std::time::Instant;

use crate::{
    client::mss,
    server::{
        endpoint::Endpoint,
        event::{ClientId, DenyReason, GoneReason, KeyNumber, Verdict},
        peer::{Awaiting, Inside, Stage},
        plan,
    },
    session::{DataParameters, Message, PendingOptions, Silence},
    wire::KeyId,
};

impl Endpoint {
    /// Answers an [`super::Event::Client`]. An answer that comes too late, or for another key, changes nothing.
    pub fn decide(&mut self, now: Instant, cid: ClientId, kid: KeyNumber, verdict: Verdict) {
        let asked = |peer: &crate::server::peer::Peer| {
            peer.cid == cid && peer.awaiting.is_some_and(|awaiting| awaiting.kid == kid)
        };
        let Some(slot) = (0..self.peers.len()).find(|slot| self.peer(*slot).is_some_and(asked)) else {
            return;
        };
        let Some(Awaiting { key_id, .. }) = self.peer(slot).and_then(|peer| peer.awaiting) else {
            return;
        };
        match verdict {
            Verdict::Pending { timeout, extra } => {
                if let Some(awaiting) = self.peer_mut(slot).and_then(|peer| peer.awaiting.as_mut()) {
                    awaiting.until = now + timeout;
                }
                let seconds = u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX);
                let pending = Message::AuthPending(PendingOptions {
                    timeout_seconds: Some(seconds),
                });
                self.tell(now, slot, &pending.to_string());
                self.tell(now, slot, &Message::InfoPre(extra).to_string());
            }
            Verdict::Deny { reason } => self.deny(now, slot, reason),
            Verdict::Accept { push } => self.accept(now, slot, key_id, &push),
        }
        self.drain_peer(now, slot);
    }

    fn tell(&mut self, now: Instant, slot: usize, text: &str) {
        if let Some(peer) = self.peer_mut(slot)
            && let Err(error) = peer.session.send_message(now, text)
        {
            self.remove(slot, GoneReason::Failed(error));
        }
    }

    pub(super) fn deny(&mut self, now: Instant, slot: usize, reason: DenyReason) {
        tracing::debug!(reason = %reason.log, "client refused");
        self.tell(now, slot, &Message::AuthFailed(reason.client.clone()).to_string());
        self.schedule_exit(now, slot, GoneReason::Denied(reason.log));
    }

    fn accept(&mut self, now: Instant, slot: usize, key_id: KeyId, push: &[String]) {
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        peer.awaiting = None;
        if peer.is_in() {
            peer.session.accept_key(now, key_id);
            return;
        }
        let name = peer.name().unwrap_or_default().to_owned();
        let address = peer.address;
        let Some(cipher) = self
            .peer(slot)
            .and_then(|peer| peer.caps.choose_cipher(&self.config))
        else {
            let text = "Data channel cipher negotiation failed (no shared cipher)".to_owned();
            self.deny(
                now,
                slot,
                DenyReason {
                    log: text.clone(),
                    client: text,
                },
            );
            return;
        };
        self.replace_older(slot, &name, address);
        let Some(lease) = self.pool.lease(&name) else {
            let log = format!("all addresses of {} are taken", self.config.net);
            self.deny(
                now,
                slot,
                DenyReason {
                    log,
                    client: "no address is free".to_owned(),
                },
            );
            return;
        };
        self.by_inner.insert(lease, slot);
        self.by_name.entry(name).or_default().insert(slot);
        let config = std::sync::Arc::clone(&self.config);
        let stream = self.stream;
        let number = u32::try_from(slot).unwrap_or(u32::MAX);
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        let replies = plan::replies(&config, &peer.caps, lease, number, cipher, push);
        peer.stage = Stage::In(Box::new(Inside {
            lease,
            replies,
            announced: false,
            cipher,
        }));
        let peer_id = peer.caps.peer_id(number);
        let parameters = DataParameters {
            cipher,
            peer_id,
            exporter: peer.caps.exporter(),
            dynamic_wrap: peer.caps.dynamic_wrap(),
            mss: mss(config.mssfix, stream, address, peer_id.is_some()),
        };
        let timers = config.timers;
        let silence = match (timers.ping_exit, timers.ping_restart) {
            (Some(after), _) | (None, Some(after)) => Some((after, Silence::Restart)),
            (None, None) => None,
        };
        peer.session.set_keepalive(now, timers.ping, silence);
        peer.session.accept_key(now, key_id);
        if let Err(error) = peer.session.set_data(now, parameters) {
            self.remove(slot, GoneReason::Failed(error));
        }
    }

    /// The same name comes in again, or the same address: the older session goes.
    fn replace_older(&mut self, slot: usize, name: &str, address: std::net::SocketAddr) {
        let mut older: Vec<usize> = self.slots_at(address);
        if !self.config.duplicate_cn && !name.is_empty() {
            older.extend(self.by_name.get(name).into_iter().flatten());
        }
        for other in older {
            if other != slot {
                self.remove(other, GoneReason::Replaced);
            }
        }
    }
}
