//! What the server's texts mean for a connection (reference sections 7.4 to 7.6).

use std::time::{Duration, Instant};

use crate::{
    client::{Client, CloseReason, DynamicChallenge, Event, PendingRequest, State, stage::Stage},
    session::{Message, PendingOptions, TempFlags},
};

impl Client {
    pub(super) fn on_text(&mut self, now: Instant, message: Message) {
        match message {
            Message::PushReply(text) => self.on_push_reply(now, &text),
            Message::AuthFailed(reason) => self.on_auth_failed(reason),
            Message::AuthPending(options) => self.on_auth_pending(now, options),
            Message::InfoPre(text) => self.events.push_back(match PendingRequest::parse(&text) {
                Some(request) => Event::Pending(request),
                None => Event::Info(text),
            }),
            Message::Info(text) => self.events.push_back(Event::Info(text)),
            Message::Restart(flags) => self.finish(CloseReason::Restart(flags)),
            Message::Halt(text) => self.finish(CloseReason::Halt(text)),
            Message::Exit => self.finish(CloseReason::RemoteExit),
            Message::PushUpdate(_) => tracing::warn!("PUSH_UPDATE was not asked for and is ignored"),
            Message::PushRequest | Message::ChallengeResponse(_) => {
                tracing::debug!("the server sent a client's message");
            }
            Message::Other(text) => tracing::warn!(%text, "unknown control message"),
        }
    }

    fn on_auth_failed(&mut self, reason: String) {
        let token = self
            .credentials
            .as_ref()
            .is_some_and(|credentials| credentials.is_token);
        let reason = match TempFlags::parse(&reason) {
            Some(flags) => CloseReason::AuthTemporary(flags),
            None if token => CloseReason::AuthToken { reason },
            None => CloseReason::AuthFailed {
                challenge: DynamicChallenge::parse(&reason).map(Box::new),
                reason,
                retry: self.setup.config().auth_retry,
            },
        };
        self.finish(reason);
    }

    fn on_auth_pending(&mut self, now: Instant, options: PendingOptions) {
        let config = self.setup.config();
        let window = config.limits.handshake_window;
        let half = config
            .renegotiation
            .after
            .map_or(window, |(earliest, _)| earliest / 2);
        let asked = options
            .timeout_seconds
            .map_or(window, |seconds| Duration::from_secs(seconds.into()));
        if let Stage::Pulling { deadline, .. } = &mut self.stage {
            *deadline = now + asked.min(half.max(window));
            self.events.push_back(Event::State(State::AuthPending));
        }
    }
}
