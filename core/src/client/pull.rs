//! What the server pushes: asking for it, putting it together, and putting it into force.

use std::time::Instant;

use crate::{
    client::{Client, CloseReason, Credentials, Event, ExitNotice, State, stage::Stage},
    config::{Assembled, Pushed},
    data::Cipher,
    secret::SecretString,
    session::{DataParameters, Silence},
    tls::PeerIdentity,
    wire::KeyId,
};

/// What an established connection consists of.
#[derive(Debug, Clone)]
pub struct Connected {
    /// The server's options merged with the profile's.
    pub pushed: Pushed,
    /// Data-channel cipher.
    pub cipher: Cipher,
    /// Whether the data keys come from the TLS exporter (otherwise from the PRF).
    pub exporter: bool,
    /// TLS version and cipher suite, for people.
    pub tls: Option<String>,
    /// Who the server's certificate says it is.
    pub server: Option<PeerIdentity>,
    /// Largest MSS that inner TCP connections are held to.
    pub mss: Option<u16>,
}

impl Client {
    pub(super) fn on_active(&mut self, now: Instant) {
        if !matches!(self.stage, Stage::Waiting { .. } | Stage::Handshaking) {
            return;
        }
        let window = self.setup.config().limits.handshake_window;
        self.stage = Stage::Pulling {
            next_request: now + super::stage::FIRST_PUSH_REQUEST,
            deadline: now + window,
        };
        self.events.push_back(Event::State(State::GetConfig));
    }

    pub(super) fn request_push(&mut self, now: Instant) {
        if let Err(error) = self.session.send_message(now, "PUSH_REQUEST") {
            self.on_failure(error);
        }
    }

    pub(super) fn on_push_reply(&mut self, now: Instant, text: &str) {
        match &self.stage {
            Stage::Pulling { .. } => {}
            Stage::Connected { .. } => {
                self.on_token_refresh(text);
                return;
            }
            Stage::Waiting { .. }
            | Stage::Handshaking
            | Stage::Installing { .. }
            | Stage::Leaving { .. }
            | Stage::Closed => return,
        }
        let config = self.setup.config();
        let pushed = match self.assembler.add(text) {
            Ok(Assembled::More) => return,
            Ok(Assembled::Complete(options)) => match self.setup.remote(self.remote) {
                Ok(remote) => Pushed::merge(config, remote, &options),
                Err(_gone) => return,
            },
            Err(error) => Err(error),
        };
        match pushed {
            Ok(pushed) => self.put_in_force(now, pushed),
            Err(error) => self.finish(CloseReason::Push(error)),
        }
    }

    fn put_in_force(&mut self, now: Instant, pushed: Pushed) {
        for ignored in &pushed.ignored {
            tracing::debug!(option = %ignored, "pushed option ignored");
        }
        let parameters = match self.negotiate(&pushed) {
            Ok(parameters) => parameters,
            Err(reason) => {
                self.finish(reason);
                return;
            }
        };
        let silence = match (pushed.timers.ping_exit, pushed.timers.ping_restart) {
            (Some(after), _) => Some((after, Silence::Exit)),
            (None, Some(after)) => Some((after, Silence::Restart)),
            (None, None) => None,
        };
        self.session.set_keepalive(now, pushed.timers.ping, silence);
        if self.exit_notice == ExitNotice::InBand && pushed.protocol_flags.cc_exit {
            self.exit_notice = ExitNotice::Control;
        }
        self.block_ipv6 = pushed.block_ipv6;
        self.stub_v2 = pushed.stub_v2;
        self.adopt_token(&pushed);
        self.activity = super::Activity { since: now, bytes: 0 };
        self.stage = Stage::Installing {
            pushed: Box::new(pushed),
        };
        if let Err(error) = self.session.set_data(now, parameters) {
            self.on_failure(error);
            return;
        }
        self.drain_session(now);
        // The first event after the keys is the one that says that packets go through.
        self.announce(now, parameters);
    }

    fn announce(&mut self, now: Instant, parameters: DataParameters) {
        let pushed = match std::mem::replace(&mut self.stage, Stage::Closed) {
            Stage::Installing { pushed } => *pushed,
            other @ (Stage::Waiting { .. }
            | Stage::Handshaking
            | Stage::Pulling { .. }
            | Stage::Connected { .. }
            | Stage::Leaving { .. }
            | Stage::Closed) => {
                self.stage = other;
                return;
            }
        };
        let timers = pushed.timers;
        self.stage = Stage::Connected {
            ends_at: timers.session_timeout.map(|after| now + after),
            inactive: timers.inactive.map(|inactive| (inactive.after, inactive.bytes)),
        };
        let connected = Connected {
            pushed,
            cipher: parameters.cipher,
            exporter: parameters.exporter,
            tls: self.session.tls_summary(),
            server: self.session.peer().cloned(),
            mss: parameters.mss,
        };
        self.events.push_back(Event::Connected(Box::new(connected)));
    }

    pub(super) fn on_keys(&mut self, key_id: KeyId) {
        if matches!(self.stage, Stage::Connected { .. }) {
            self.events.push_back(Event::Renewed { key_id });
        }
    }

    /// A lone `PUSH_REPLY,auth-token …` during a session refreshes the token and changes nothing else.
    fn on_token_refresh(&mut self, text: &str) {
        let Ok(Assembled::Complete(options)) = self.assembler.add(text) else {
            return;
        };
        let Ok(remote) = self.setup.remote(self.remote) else {
            return;
        };
        if let Ok(pushed) = Pushed::merge(self.setup.config(), remote, &options) {
            self.adopt_token(&pushed);
        }
    }

    fn adopt_token(&mut self, pushed: &Pushed) {
        if let Some(token) = pushed.auth_token.clone() {
            self.use_token(pushed.auth_token_user.clone(), token);
        }
    }

    fn use_token(&mut self, user: Option<String>, token: SecretString) {
        let known = self
            .credentials
            .as_ref()
            .map(|credentials| credentials.username.clone());
        let username = user.or(known).unwrap_or_default();
        let credentials = Credentials {
            username,
            password: token,
            is_token: true,
        };
        self.session.update_hello(|hello| {
            hello.username = Some(SecretString::new(credentials.username.clone()));
            hello.password = Some(credentials.password.clone());
        });
        self.credentials = Some(credentials.clone());
        self.events.push_back(Event::Token(credentials));
    }
}
