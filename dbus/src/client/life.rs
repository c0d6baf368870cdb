//! What a client process says, and when: events and calls in, statuses, questions and log lines out. Pure.
//!
//! The order of statuses is that of section 8 of the D-Bus reference; front ends count on it.

use super::{
    program::{Answer, Answers, Connected, Ended, Event, Need, Question, QuestionKind},
    queue::{self, Ask, Queue},
};
use crate::{
    constants::{AttentionGroup, LogCategory, Status, StatusMinor as Minor},
    error::{CallError, Domain},
};

const WANTS_LOGIN: &str = "Username/password credentials needed";
const WANTS_PASSPHRASE: &str = "Private key passphrase needed";

/// Something to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// A status; it stays until the next.
    Status(Status),
    /// Somebody's attention is wanted.
    Attention(AttentionGroup, String),
    /// A line for the log.
    Log(LogCategory, String),
}

/// What `Connect` leads to.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing: it connects or is connected.
    Nothing,
    /// Start the tunnel.
    Start(Answers),
    /// Answer its question.
    Answer(u64, Answer),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nobody has said which profile this is for.
    Unregistered,
    /// The tunnel does not run: not yet, or not any more.
    Idle,
    /// It runs.
    Running,
    /// It has been paused.
    Paused,
    /// It leaves.
    Leaving,
    /// The process ends.
    Over,
}

/// The life of one client process.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Life {
    phase: Phase,
    status: Status,
    pub(super) queue: Queue,
    config_path: String,
    needs: Vec<Need>,
    /// The open question, and what of the queue answers it.
    question: Option<(u64, AttentionGroup)>,
    /// A page has to be used first.
    web: Option<u64>,
    /// There was a connection; what follows are reconnections.
    ever_connected: bool,
    /// `Client connecting` may be said once more: when the server has answered.
    may_say_answered: bool,
    /// The server has refused us; whether that is the last word shows later.
    refused: bool,
    connected: Option<Box<Connected>>,
    is_up: bool,
    /// There is a connection whose end is worth a word when the tunnel leaves.
    has_farewell: bool,
}

impl Life {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Unregistered,
            status: Status::unset(),
            queue: Queue::default(),
            config_path: String::new(),
            needs: Vec::new(),
            question: None,
            web: None,
            ever_connected: false,
            may_say_answered: false,
            refused: false,
            connected: None,
            is_up: false,
            has_farewell: false,
        }
    }

    /// The last status.
    pub(super) fn status(&self) -> &Status {
        &self.status
    }

    /// The last connection: what it consisted of stays while the tunnel runs.
    pub(super) fn connected(&self) -> Option<&Connected> {
        self.connected.as_deref()
    }

    /// Tells whether packets go through.
    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Paused | Phase::Leaving)
    }

    /// The profile is known and can be used.
    pub(super) fn register(&mut self, config_path: &str, needs: Vec<Need>) -> Vec<Notice> {
        self.phase = Phase::Idle;
        config_path.clone_into(&mut self.config_path);
        let mut notices = vec![self.config_ok()];
        self.needs = needs;
        // Answers are asked for in the order in which they are used.
        for need in self.needs.clone() {
            match need {
                Need::UserPassword => {
                    self.queue
                        .ask(AttentionGroup::UserPassword, &queue::user_password());
                    notices.extend(self.attention(AttentionGroup::UserPassword, WANTS_LOGIN, WANTS_LOGIN));
                }
                Need::StaticChallenge { text, echo } => {
                    self.queue
                        .ask(AttentionGroup::ChallengeStatic, &[static_challenge(&text, echo)]);
                    let status = Status::connection(Minor::CfgRequireUser, text);
                    notices.push(self.say(status));
                }
                Need::Passphrase => notices.extend(self.ask_passphrase()),
            }
        }
        notices
    }

    fn ask_passphrase(&mut self) -> Vec<Notice> {
        let asked = queue::ask("pk_passphrase", "Private key passphrase", true);
        self.queue.ask(AttentionGroup::PkPassphrase, &[asked]);
        self.attention(
            AttentionGroup::PkPassphrase,
            WANTS_PASSPHRASE,
            "Private key passphrase needed to connect",
        )
    }

    fn attention(&mut self, group: AttentionGroup, attention: &str, status: &str) -> Vec<Notice> {
        let status = self.say(Status::connection(Minor::CfgRequireUser, status));
        vec![Notice::Attention(group, attention.to_owned()), status]
    }

    /// What `Ready` says.
    pub(super) fn ready(&self) -> Result<(), CallError> {
        self.registered()?;
        self.queue.ready(self.web.is_some())
    }

    fn registered(&self) -> Result<(), CallError> {
        if self.phase == Phase::Unregistered {
            return Err(client_error("Backend service is not initialized"));
        }
        Ok(())
    }

    /// Somebody wants to connect, or has answered what was asked.
    pub(super) fn connect(&mut self) -> Result<(Vec<Notice>, Step), CallError> {
        self.registered()?;
        if self.queue.is_open() {
            return Err(client_error("Required user input not provided"));
        }
        match (self.phase, self.question) {
            (Phase::Idle, _) => {
                let answers = self.answers();
                self.phase = Phase::Running;
                self.ever_connected = false;
                Ok((self.begin(), Step::Start(answers)))
            }
            (Phase::Running, Some((id, group))) => {
                let answer = self
                    .answer(group)
                    .ok_or_else(|| client_error("Required user input not provided"))?;
                self.question = None;
                Ok((self.begin(), Step::Answer(id, answer)))
            }
            // What was asked while the server decides has been answered at once.
            (Phase::Running, None) if self.status.minor == Minor::CfgRequireUser => {
                let status = Status::connection(Minor::ConnConnecting, "");
                Ok((vec![self.say(status)], Step::Nothing))
            }
            (Phase::Unregistered | Phase::Running | Phase::Paused | Phase::Leaving | Phase::Over, _) => {
                Ok((Vec::new(), Step::Nothing))
            }
        }
    }

    /// What connecting begins with.
    fn begin(&mut self) -> Vec<Notice> {
        self.may_say_answered = true;
        self.refused = false;
        let log = Notice::Log(LogCategory::Info, "Starting connection".into());
        let connecting = Status::connection(Minor::ConnConnecting, "");
        vec![log, self.config_ok(), self.say(connecting)]
    }

    fn config_ok(&mut self) -> Notice {
        self.say(Status::connection(
            Minor::CfgOk,
            format!("config_path={}", self.config_path),
        ))
    }

    fn answers(&self) -> Answers {
        let one = |group| self.queue.answer(group, 0);
        let login = AttentionGroup::UserPassword;
        Answers {
            user_password: one(login).zip(self.queue.answer(login, 1)),
            passphrase: one(AttentionGroup::PkPassphrase),
            static_challenge: one(AttentionGroup::ChallengeStatic),
        }
    }

    fn answer(&self, group: AttentionGroup) -> Option<Answer> {
        let first = self.queue.answer(group, 0)?;
        match group {
            AttentionGroup::UserPassword | AttentionGroup::HttpProxyCreds => {
                Some(Answer::UserPassword(first, self.queue.answer(group, 1)?))
            }
            AttentionGroup::PkPassphrase
            | AttentionGroup::ChallengeStatic
            | AttentionGroup::ChallengeDynamic
            | AttentionGroup::ChallengeAuthPending
            | AttentionGroup::Pkcs11Sign
            | AttentionGroup::Pkcs11Decrypt
            | AttentionGroup::OpenUrl => Some(Answer::Text(first)),
        }
    }

    /// Something was provided; gives what has to be said to the tunnel at once.
    pub(super) fn provided(&mut self) -> Option<(u64, Answer)> {
        let (id, group) = self.question?;
        if group != AttentionGroup::ChallengeAuthPending || !self.queue.is_answered(group) {
            return None;
        }
        self.question = None;
        Some((id, self.answer(group)?))
    }

    /// Somebody wants a pause.
    pub(super) fn pause(&mut self, reason: &str) -> Result<Vec<Notice>, CallError> {
        match self.phase {
            Phase::Running => {
                self.phase = Phase::Paused;
                let log = Notice::Log(LogCategory::Info, "Pausing connection".into());
                let status = Status::connection(Minor::ConnPausing, format!("Reason: {reason}"));
                Ok(vec![log, self.say(status)])
            }
            Phase::Paused => Err(client_error("Connection is already paused")),
            Phase::Unregistered | Phase::Idle | Phase::Leaving | Phase::Over => {
                Err(client_error("Backend service is not initialized"))
            }
        }
    }

    /// Somebody ends the pause.
    pub(super) fn resume(&mut self) -> Result<Vec<Notice>, CallError> {
        match self.phase {
            Phase::Paused => {
                self.phase = Phase::Running;
                let log = Notice::Log(LogCategory::Info, "Resuming connection".into());
                let resuming = Status::connection(Minor::ConnResuming, "");
                let again = Status::connection(Minor::ConnReconnecting, "");
                Ok(vec![log, self.say(resuming), self.say(again)])
            }
            Phase::Running => Err(client_error("Connection is not paused")),
            Phase::Unregistered | Phase::Idle | Phase::Leaving | Phase::Over => {
                Err(client_error("Backend service is not initialized"))
            }
        }
    }

    /// Somebody wants a new connection.
    pub(super) fn restart(&mut self) -> Result<Vec<Notice>, CallError> {
        match self.phase {
            Phase::Running => {
                let log = Notice::Log(LogCategory::Info, "Restarting connection".into());
                let status = Status::connection(Minor::ConnReconnecting, "");
                Ok(vec![log, self.say(status)])
            }
            Phase::Paused => Err(client_error("Connection is already paused")),
            Phase::Unregistered | Phase::Idle | Phase::Leaving | Phase::Over => {
                Err(client_error("Backend service is not initialized"))
            }
        }
    }

    /// Somebody wants the end; tells whether there is a tunnel whose end follows.
    pub(super) fn disconnect(&mut self) -> (Vec<Notice>, bool) {
        if matches!(self.phase, Phase::Leaving | Phase::Over) {
            return (Vec::new(), self.phase == Phase::Leaving);
        }
        let runs = self.is_running();
        // Whoever has failed, or still asks, has no connection to lose.
        let last = self.status.minor;
        let was_connected = !matches!(
            last,
            Minor::ConnAuthFailed | Minor::ConnFailed | Minor::CfgRequireUser
        );
        let log = Notice::Log(LogCategory::Info, "Stopping VPN client".into());
        let mut notices = vec![log];
        notices.push(self.say(Status::connection(Minor::ConnDisconnecting, "")));
        self.phase = Phase::Leaving;
        self.is_up = false;
        if was_connected && !runs {
            notices.push(self.say(Status::connection(Minor::ConnDisconnected, "")));
        }
        self.has_farewell = was_connected;
        (notices, runs)
    }

    /// The last words, once.
    pub(super) fn done(&mut self) -> Vec<Notice> {
        self.phase = Phase::Over;
        if self.status.minor == Minor::ConnDone {
            return Vec::new();
        }
        vec![self.say(Status::connection(Minor::ConnDone, ""))]
    }

    /// The tunnel tells something.
    pub(super) fn on_event(&mut self, event: Event) -> Vec<Notice> {
        match event {
            Event::Connecting => self.on_attempt(),
            Event::Answered => self.on_answered(),
            Event::Connected(connected) => self.on_connected(connected),
            Event::Reconnecting { auth_failed, reason } => self.on_reconnecting(auth_failed, reason),
            Event::Paused => vec![self.say(Status::connection(Minor::ConnPaused, ""))],
            Event::Question(question) => self.on_question(question),
            Event::QuestionGone(id) => self.on_question_gone(id),
            Event::Log(category, text) => vec![Notice::Log(category, text)],
            Event::Ended(ended) => self.on_ended(ended),
        }
    }

    fn on_attempt(&mut self) -> Vec<Notice> {
        if !std::mem::take(&mut self.refused) {
            return Vec::new();
        }
        // The refusal was not the last word, and nobody is asked: the same is tried again.
        self.may_say_answered = true;
        let failed = Status::connection(Minor::ConnAuthFailed, "Authentication failed");
        let again = Status::connection(Minor::ConnConnecting, "");
        vec![self.say(failed), self.say(again)]
    }

    fn on_answered(&mut self) -> Vec<Notice> {
        if self.ever_connected || !std::mem::take(&mut self.may_say_answered) {
            return Vec::new();
        }
        vec![self.say(Status::connection(Minor::ConnConnecting, ""))]
    }

    fn on_connected(&mut self, connected: Box<Connected>) -> Vec<Notice> {
        self.web = None;
        self.question = None;
        self.refused = false;
        if self.phase == Phase::Leaving {
            return Vec::new();
        }
        self.ever_connected = true;
        self.is_up = true;
        let list: Vec<_> = connected.addresses.iter().map(ToString::to_string).collect();
        let text = format!(
            "Connected: {}:{} ({}) via {} on {}/{} mtu={}",
            connected.host,
            connected.port,
            connected.address,
            connected.protocol,
            connected.device_name,
            list.join(","),
            connected.mtu_bytes
        );
        self.connected = Some(connected);
        let log = Notice::Log(LogCategory::Info, text);
        vec![log, self.say(Status::connection(Minor::ConnConnected, ""))]
    }

    fn on_reconnecting(&mut self, auth_failed: bool, reason: String) -> Vec<Notice> {
        self.is_up = false;
        let log = Notice::Log(LogCategory::Verb1, reason);
        if self.phase != Phase::Running {
            return vec![log];
        }
        if auth_failed {
            self.refused = true;
            return vec![log];
        }
        if self.ever_connected {
            return vec![log, self.say(Status::connection(Minor::ConnReconnecting, ""))];
        }
        vec![log]
    }

    fn on_question(&mut self, question: Question) -> Vec<Notice> {
        self.refused = false;
        let Question { id, kind } = question;
        let (group, asks, attention, status) = match kind {
            QuestionKind::OpenUrl(url) => return self.on_url(id, url),
            QuestionKind::UserPassword => (
                AttentionGroup::UserPassword,
                queue::user_password().to_vec(),
                WANTS_LOGIN.to_owned(),
                WANTS_LOGIN.to_owned(),
            ),
            QuestionKind::ProxyCredentials => (
                AttentionGroup::HttpProxyCreds,
                queue::proxy_credentials().to_vec(),
                String::new(),
                "HTTP proxy credentials".to_owned(),
            ),
            QuestionKind::Challenge { group, text, echo } => {
                let (name, status) = match group {
                    AttentionGroup::ChallengeStatic => ("static_challenge", text.clone()),
                    AttentionGroup::ChallengeDynamic => ("dynamic_challenge", "Dynamic Challenge".to_owned()),
                    AttentionGroup::ChallengeAuthPending
                    | AttentionGroup::UserPassword
                    | AttentionGroup::HttpProxyCreds
                    | AttentionGroup::PkPassphrase
                    | AttentionGroup::Pkcs11Sign
                    | AttentionGroup::Pkcs11Decrypt
                    | AttentionGroup::OpenUrl => ("auth_pending", text.clone()),
                };
                (group, vec![queue::ask(name, &text, !echo)], text, status)
            }
        };
        self.queue.ask(group, &asks);
        self.question = Some((id, group));
        self.attention(group, &attention, &status)
    }

    fn on_url(&mut self, id: u64, url: String) -> Vec<Notice> {
        self.web = Some(id);
        let status = self.say(Status::session(Minor::SessAuthUrl, url.clone()));
        vec![Notice::Attention(AttentionGroup::OpenUrl, url), status]
    }

    fn on_question_gone(&mut self, id: u64) -> Vec<Notice> {
        if self.web == Some(id) {
            self.web = None;
        }
        if let Some((_, group)) = self.question.take_if(|(open, _)| *open == id) {
            self.queue.withdraw(group);
        }
        Vec::new()
    }

    fn on_ended(&mut self, ended: Ended) -> Vec<Notice> {
        let leaving = self.phase == Phase::Leaving;
        self.phase = if leaving { Phase::Over } else { Phase::Idle };
        self.is_up = false;
        self.web = None;
        if let Some((_, group)) = self.question.take() {
            self.queue.withdraw(group);
        }
        let log = Notice::Log(LogCategory::Info, "Disconnected".into());
        if leaving {
            let gone = self
                .has_farewell
                .then(|| self.say(Status::connection(Minor::ConnDisconnected, "")));
            return gone.into_iter().chain([log]).collect();
        }
        let status = match ended {
            Ended::Done => Status::connection(Minor::ConnDisconnected, ""),
            Ended::Inactive => Status::connection(Minor::ConnDone, "Inactive tunnel, disconnected"),
            Ended::AuthFailed(reason) => {
                let log = Notice::Log(LogCategory::Verb1, reason);
                let failed = Status::connection(Minor::ConnAuthFailed, "Authentication failed");
                return vec![log, self.say(failed)];
            }
            Ended::WrongPassphrase => Status::connection(
                Minor::ConnFailed,
                "PEM_PASSWORD_FAIL: the passphrase does not open the private key",
            ),
            Ended::Failed(reason) => Status::connection(Minor::ConnFailed, reason),
        };
        vec![log, self.say(status)]
    }

    fn say(&mut self, status: Status) -> Notice {
        self.status = status.clone();
        Notice::Status(status)
    }
}

fn static_challenge(text: &str, echo: bool) -> Ask {
    queue::ask("static_challenge", text, !echo)
}

fn client_error(text: &str) -> CallError {
    CallError::new(Domain::Client, text)
}

#[cfg(test)]
mod tests;
