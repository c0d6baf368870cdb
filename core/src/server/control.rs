//! What the clients' sessions report, and what follows from it.

use std::time::Instant;

use crate::{
    server::{
        endpoint::{Endpoint, SCHEDULED_EXIT},
        event::{AdmissionRequest, DenyReason, Established, Event, GoneReason, KeyNumber},
        peer::{Awaiting, IdentityLock, Peer, Stage},
        plan::ClientCaps,
    },
    session::{Message, SessionEvent},
    wire::{IvProto, KeyId, KeyMethod, PeerInfo},
};

/// A repeated `PUSH_REQUEST` is not answered for this long (reference section 7.2).
const PUSH_LOCK: std::time::Duration = std::time::Duration::from_secs(30);

impl Endpoint {
    /// Handles everything that a client's session reports, and keeps its timer.
    pub(super) fn drain_peer(&mut self, now: Instant, slot: usize) {
        while let Some(event) = self.peer_mut(slot).and_then(|peer| peer.session.poll_event()) {
            self.on_session_event(now, slot, event);
        }
        self.touch(slot);
    }

    fn on_session_event(&mut self, now: Instant, slot: usize, event: SessionEvent) {
        match event {
            SessionEvent::FirstContact | SessionEvent::Renewing { .. } => {}
            SessionEvent::PeerHello { key_id, message } => self.on_hello(now, slot, key_id, *message),
            SessionEvent::Active { .. } | SessionEvent::Keys { .. } => self.send_push(now, slot),
            SessionEvent::Message(message) => self.on_message(now, slot, &message),
            SessionEvent::PeerExit => self.remove(slot, GoneReason::Left),
            SessionEvent::Silent(_) => self.remove(slot, GoneReason::Silent),
            SessionEvent::Failed(error) => self.on_failed(now, slot, error),
        }
    }

    fn on_failed(&mut self, now: Instant, slot: usize, error: crate::session::SessionError) {
        // The alert that tells the client why is still to be sent, more than once where it gets lost.
        self.schedule_exit(now, slot, GoneReason::Failed(error));
    }

    fn on_hello(&mut self, now: Instant, slot: usize, key_id: KeyId, message: KeyMethod) {
        let username_is_name = self.config.username_as_common_name;
        let window = self.config.limits.handshake_window;
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        if let Stage::Closing { .. } = peer.stage {
            return;
        }
        let certificate = peer.session.peer().cloned();
        let username = message.username.as_ref().map(|name| name.expose().to_owned());
        let lock = IdentityLock::of(certificate.as_ref(), username.as_deref(), username_is_name);
        let renewal = peer.is_in();
        if renewal && peer.lock.as_ref() != Some(&lock) {
            let log = "renegotiated with another certificate or user name".to_owned();
            self.deny(
                now,
                slot,
                DenyReason {
                    log,
                    client: String::new(),
                },
            );
            return;
        }
        if !renewal {
            peer.caps = ClientCaps::of(&message);
            peer.push_wanted = peer.caps.proto.contains(IvProto::REQUEST_PUSH);
            peer.lock = Some(lock);
        }
        let kid = peer.next_key;
        peer.next_key = KeyNumber(kid.0 + 1);
        if message.credentials_too_long {
            let text = "Username or password is too long. Maximum length is 128 bytes".to_owned();
            self.deny(
                now,
                slot,
                DenyReason {
                    log: text.clone(),
                    client: text,
                },
            );
            return;
        }
        peer.awaiting = Some(Awaiting {
            kid,
            key_id,
            until: now + window,
        });
        let request = AdmissionRequest {
            address: peer.address,
            certificate,
            username: message.username,
            password: message.password,
            peer_info: PeerInfo::parse(message.peer_info),
            renewal,
        };
        let cid = peer.cid;
        self.push_event(Event::Client {
            cid,
            kid,
            request: Box::new(request),
        });
    }

    fn on_message(&mut self, now: Instant, slot: usize, message: &Message) {
        match message {
            Message::PushRequest => {
                if let Some(peer) = self.peer_mut(slot)
                    && !push_locked(peer, now)
                {
                    peer.push_wanted = true;
                }
                self.send_push(now, slot);
            }
            Message::Exit => self.schedule_exit(now, slot, GoneReason::Left),
            Message::ChallengeResponse(_)
            | Message::PushReply(_)
            | Message::PushUpdate(_)
            | Message::AuthFailed(_)
            | Message::AuthPending(_)
            | Message::InfoPre(_)
            | Message::Info(_)
            | Message::Restart(_)
            | Message::Halt(_)
            | Message::Other(_) => tracing::debug!("unexpected message of a client"),
        }
    }

    /// Sends a client its options, once: when it is in, has its keys and wants them.
    pub(super) fn send_push(&mut self, now: Instant, slot: usize) {
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        let locked = push_locked(peer, now);
        if !peer.session.has_keys() || !peer.push_wanted || locked {
            return;
        }
        let Stage::In(inside) = &mut peer.stage else {
            return;
        };
        peer.push_wanted = false;
        peer.last_push = Some(now);
        let texts = inside.replies.clone();
        let first = !std::mem::replace(&mut inside.announced, true);
        let (lease, cipher) = (inside.lease, inside.cipher);
        for text in texts {
            if let Err(error) = peer.session.send_message(now, &text) {
                self.on_failed(now, slot, error);
                return;
            }
        }
        if first {
            let established = Established {
                cid: peer.cid,
                name: peer.name().unwrap_or_default().to_owned(),
                address: peer.address,
                lease,
                cipher,
                tls: peer.session.tls_summary(),
            };
            self.push_event(Event::Established(Box::new(established)));
        }
    }

    /// The client leaves or was refused: its control channel works a little longer, its packets do not pass.
    pub(super) fn schedule_exit(&mut self, now: Instant, slot: usize, reason: GoneReason) {
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        let lease = peer.lease();
        peer.awaiting = None;
        peer.stage = Stage::Closing {
            until: now + SCHEDULED_EXIT,
            lease,
            reason: Some(reason),
        };
        self.touch(slot);
    }
}

/// Whether options were sent so recently that a request for them is ignored.
fn push_locked(peer: &Peer, now: Instant) -> bool {
    peer.last_push
        .is_some_and(|at| now.saturating_duration_since(at) < PUSH_LOCK)
}
