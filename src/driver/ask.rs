//! Questions: what somebody has to say before or while the tunnel connects, and what follows from the answers.
//!
//! Every surface sees the same question and the first answer counts. Nothing in here waits.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tunless_core::{
    client::{Attempt, Credentials, ExitKind, PendingRequest, SetupError},
    config::{CredentialSource, ProxyCredentials},
    secret::SecretString,
    tls::TlsError,
};

use super::{
    attempt::{Phase, shifted},
    chain,
    client::Driver,
    handle::{Answer, ChallengeOrigin, Event, Question, QuestionKind},
    login::Missing,
};

/// Longest wait for a person.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_mins(5);

impl Driver {
    /// What somebody has to say before an attempt makes sense.
    pub(super) fn missing(&self) -> Option<QuestionKind> {
        if self.setup.needs_passphrase() {
            return Some(QuestionKind::Passphrase {
                is_wrong: self.passphrase_is_wrong,
            });
        }
        let config = self.setup.config();
        if config.credentials.is_none() || self.token.is_some() {
            return None;
        }
        let challenge = |origin, text: &str, echo| QuestionKind::Challenge {
            origin,
            text: text.to_owned(),
            echo,
        };
        Some(match self.login.missing(config.static_challenge.as_ref())? {
            Missing::Credentials => QuestionKind::Credentials {
                username: match &config.credentials {
                    Some(CredentialSource::PromptPassword { username }) => Some(username.clone()),
                    Some(CredentialSource::Prompt | CredentialSource::Given { .. }) | None => None,
                },
                refused: self.last_reason.clone(),
            },
            Missing::Static(own) => challenge(ChallengeOrigin::Static, &own.text, own.echo),
            Missing::Dynamic(theirs) => challenge(ChallengeOrigin::Dynamic, &theirs.text, theirs.echo),
        })
    }

    pub(super) fn ask(&mut self, now: Instant, attempt: Attempt, kind: QuestionKind) {
        self.phase = Phase::Asking {
            attempt,
            deadline: now + ANSWER_DEADLINE,
        };
        self.put(now, kind);
    }

    /// Puts a question to all surfaces.
    fn put(&mut self, now: Instant, kind: QuestionKind) {
        self.questions += 1;
        let question = Question {
            id: self.questions,
            kind,
            deadline: now + ANSWER_DEADLINE,
        };
        self.question = Some((question.clone(), now));
        self.shared.emit(Event::Question(question));
    }

    /// The server wants something while it decides.
    pub(super) fn on_pending(&mut self, now: Instant, request: PendingRequest) {
        let _void = self.stop_asking(now);
        match request {
            PendingRequest::Text {
                text,
                echo,
                response_required: true,
            } => self.put(
                now,
                QuestionKind::Challenge {
                    origin: ChallengeOrigin::Pending,
                    text,
                    echo,
                },
            ),
            PendingRequest::Text { text, .. } => self.shared.emit(Event::Info(text)),
            PendingRequest::OpenUrl { url, .. } => self.put(now, QuestionKind::OpenUrl { url }),
        }
    }

    /// Somebody has answered the open question.
    pub(super) fn on_answer(&mut self, now: Instant, question: u64, answer: Option<Answer>) {
        if self.question.as_ref().is_none_or(|(open, _)| open.id != question) {
            return;
        }
        let asking = match self.phase {
            Phase::Asking { attempt, .. } => Some(attempt),
            Phase::Idle
            | Phase::Paused { .. }
            | Phase::Pausing { .. }
            | Phase::Resolving { .. }
            | Phase::Opening { .. }
            | Phase::Linked(_) => None,
        };
        let asked = self.stop_asking(now).map(|question| question.kind);
        match (answer, asking) {
            (None, _) => self.exit(ExitKind::AuthFailed, refused(asked.as_ref())),
            (Some(Answer::Credentials { username, password }), Some(attempt)) => {
                if let Some(QuestionKind::ProxyCredentials { proxy, .. }) = &asked {
                    let typed = ProxyCredentials { username, password };
                    self.proxies.on_typed(proxy, typed);
                } else {
                    self.login.on_credentials(Credentials {
                        username,
                        password,
                        is_token: false,
                    });
                }
                self.attempt(now, attempt);
            }
            (Some(Answer::Passphrase(passphrase)), Some(attempt)) => self.unlock(now, attempt, passphrase),
            (Some(Answer::Response(response)), Some(attempt)) => {
                self.login.on_response(response);
                self.attempt(now, attempt);
            }
            (Some(Answer::Response(response)), None) => {
                if let Phase::Linked(link) = &mut self.phase
                    && !link.client.respond(now, &response)
                {
                    tracing::warn!("the answer came too late, or is too long to be sent");
                }
            }
            (Some(Answer::Credentials { .. } | Answer::Passphrase(_)), None) => {}
        }
    }

    fn unlock(&mut self, now: Instant, attempt: Attempt, passphrase: SecretString) {
        match self.setup.unlock(passphrase) {
            Ok(setup) => self.setup = Arc::new(setup),
            Err(SetupError::Tls(TlsError::WrongPassphrase)) => self.passphrase_is_wrong = true,
            Err(error) => {
                self.exit(ExitKind::Failed, chain(&error));
                return;
            }
        }
        self.attempt(now, attempt);
    }

    /// A person's time is not the server's: `--connect-timeout` stands still while a question is open.
    /// Gives the question that is void now.
    pub(super) fn stop_asking(&mut self, now: Instant) -> Option<Question> {
        if let Phase::Asking { .. } = self.phase {
            self.phase = Phase::Idle;
        }
        let (question, since) = self.question.take()?;
        self.shared.emit(Event::QuestionGone(question.id));
        self.connect_by = self.connect_by.map(|by| shifted(by, since, now));
        Some(question)
    }

    pub(super) fn check_question(&mut self, now: Instant) {
        // While a connection is up, the server's own patience ends it.
        if let Some((question, _)) = self.question.take_if(|(open, _)| open.deadline <= now) {
            self.shared.emit(Event::QuestionGone(question.id));
            self.exit(
                ExitKind::AuthFailed,
                "nobody gave in time what was asked for".into(),
            );
        }
    }
}

/// What to say when nobody answers what had to be answered.
fn refused(asked: Option<&QuestionKind>) -> String {
    let text = match asked {
        Some(QuestionKind::ProxyCredentials { proxy, refused: true }) => {
            return format!(
                "the proxy {proxy} refused the user name and the password; correct those that `http-proxy`, \
                 `http-proxy-user-pass` or `socks-proxy` gives"
            );
        }
        Some(QuestionKind::ProxyCredentials {
            proxy,
            refused: false,
        }) => {
            return format!(
                "the proxy {proxy} wants a user name and a password; name a file with both as the third parameter of \
                 `http-proxy` or `socks-proxy`"
            );
        }
        Some(QuestionKind::Passphrase { .. }) => {
            "the private key is encrypted and its passphrase was not given; name a file with it by `--key-passphrase`, \
             or set TUNLESS_KEY_PASSPHRASE"
        }
        Some(QuestionKind::Challenge { .. }) => "the challenge was not answered",
        Some(QuestionKind::Credentials { .. } | QuestionKind::OpenUrl { .. }) | None => {
            "no user name and password were given"
        }
    };
    text.to_owned()
}
