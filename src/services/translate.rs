//! The driver's events in the words of the D-Bus client process, and answers that are known beforehand. Pure.

use tunless_core::client::{ExitKind, State as Progress};
use tunless_dbus::{
    client::{Answers, Connected, Ended, Event, Question, QuestionKind},
    constants::{AttentionGroup, LogCategory},
};

use crate::{
    driver::{self, Answer, ChallengeOrigin, Command, End, State, Up},
    front::listen::Place,
};

/// What follows from an event.
#[derive(Debug)]
pub(super) enum Step {
    /// Tell it.
    Tell(Event),
    /// Have the tunnel do something.
    Do(Command),
}

/// What the tunnel offers on this host.
#[derive(Debug, Clone, Default)]
pub(super) struct Offer {
    proxies: Vec<String>,
    pac: String,
    status_page: String,
}

impl Offer {
    /// A proxy at `place`, with its pages.
    pub(super) fn at(place: &Place) -> Self {
        let base = place.address().map(|address| format!("http://{address}/"));
        Self {
            proxies: vec![place.to_string()],
            pac: base
                .as_ref()
                .map(|base| format!("{base}proxy.pac"))
                .unwrap_or_default(),
            status_page: base.unwrap_or_default(),
        }
    }
}

/// Translates what one tunnel tells.
#[derive(Debug)]
pub(super) struct Translator {
    answers: Answers,
    offer: Offer,
    /// An attempt has begun and was told.
    attempting: bool,
    /// The server has answered, and that was told.
    answered: bool,
    /// The passphrase that was given does not fit.
    wrong_passphrase: bool,
    /// Questions that were answered without asking anybody.
    settled: Vec<u64>,
}

impl Translator {
    pub(super) fn new(answers: Answers, offer: Offer) -> Self {
        Self {
            answers,
            offer,
            attempting: false,
            answered: false,
            wrong_passphrase: false,
            settled: Vec::new(),
        }
    }

    pub(super) fn on_event(&mut self, event: driver::Event) -> Vec<Step> {
        match event {
            driver::Event::State { state, detail } => self.on_state(state, detail),
            driver::Event::Connected(up) => vec![Step::Tell(Event::Connected(Box::new(self.connected(&up))))],
            driver::Event::Retry { reason, wait, next } => {
                let text = format!("{reason}; trying {next} in {} s", wait.as_secs());
                vec![Step::Tell(Event::Log(LogCategory::Info, text))]
            }
            driver::Event::Question(question) => vec![self.on_question(question)],
            driver::Event::QuestionGone(id) if self.settled.contains(&id) => Vec::new(),
            driver::Event::QuestionGone(id) => vec![Step::Tell(Event::QuestionGone(id))],
            driver::Event::Info(text) => vec![Step::Tell(Event::Log(LogCategory::Info, text))],
            driver::Event::Renewed => {
                vec![Step::Tell(Event::Log(LogCategory::Verb2, "keys renewed".into()))]
            }
            driver::Event::Ended(end) => vec![Step::Tell(Event::Ended(self.ended(end)))],
        }
    }

    fn on_state(&mut self, state: State, detail: String) -> Vec<Step> {
        match state {
            State::Resolve | State::TcpConnect | State::Session(Progress::Wait) => {
                if std::mem::replace(&mut self.attempting, true) {
                    return Vec::new();
                }
                self.answered = false;
                vec![Step::Tell(Event::Connecting)]
            }
            State::Session(Progress::Auth | Progress::AuthPending | Progress::GetConfig) => {
                if std::mem::replace(&mut self.answered, true) {
                    return Vec::new();
                }
                vec![Step::Tell(Event::Answered)]
            }
            State::Reconnecting => {
                (self.attempting, self.answered) = (false, false);
                vec![Step::Tell(Event::Reconnecting {
                    auth_failed: detail == "auth-failure",
                    reason: detail,
                })]
            }
            State::Paused => {
                (self.attempting, self.answered) = (false, false);
                vec![Step::Tell(Event::Paused)]
            }
            State::Connecting | State::AssignIp | State::Connected | State::Exiting => Vec::new(),
        }
    }

    fn on_question(&mut self, question: driver::Question) -> Step {
        let driver::Question { id, kind, .. } = question;
        let secret =
            |text: tunless_dbus::client::Secret| tunless_core::secret::SecretString::new(text.as_str());
        let (known, kind) = match kind {
            driver::QuestionKind::Credentials { .. } => {
                let known = self.answers.user_password.take();
                let known = known.map(|(username, password)| Answer::Credentials {
                    username: username.to_string(),
                    password: secret(password),
                });
                (known, QuestionKind::UserPassword)
            }
            driver::QuestionKind::Passphrase { .. } => {
                // It was asked for before the start, so that this is the second time: it does not fit.
                let Some(text) = self.answers.passphrase.take() else {
                    self.wrong_passphrase = true;
                    return Step::Do(Command::Disconnect);
                };
                self.settled.push(id);
                return Step::Do(Command::Answer {
                    question: id,
                    answer: Some(Answer::Passphrase(secret(text))),
                });
            }
            driver::QuestionKind::Challenge { origin, text, echo } => {
                let (known, group) = match origin {
                    ChallengeOrigin::Static => (
                        self.answers.static_challenge.take(),
                        AttentionGroup::ChallengeStatic,
                    ),
                    ChallengeOrigin::Dynamic => (None, AttentionGroup::ChallengeDynamic),
                    ChallengeOrigin::Pending => (None, AttentionGroup::ChallengeAuthPending),
                };
                let known = known.map(|text| Answer::Response(secret(text)));
                (known, QuestionKind::Challenge { group, text, echo })
            }
            driver::QuestionKind::ProxyCredentials { .. } => (None, QuestionKind::ProxyCredentials),
            driver::QuestionKind::OpenUrl { url } => (None, QuestionKind::OpenUrl(url)),
        };
        match known {
            Some(answer) => {
                self.settled.push(id);
                Step::Do(Command::Answer {
                    question: id,
                    answer: Some(answer),
                })
            }
            None => Step::Tell(Event::Question(Question { id, kind })),
        }
    }

    fn connected(&mut self, up: &Up) -> Connected {
        (self.attempting, self.answered) = (false, false);
        Connected {
            protocol: up.carrier.to_owned(),
            host: up.host.clone(),
            address: up.address.ip().to_string(),
            port: up.address.port(),
            device_name: up.device.clone(),
            device_kind: "netstack",
            addresses: up.inner.clone(),
            routes: up.routes.clone(),
            redirects: up.redirects,
            dns_servers: up.dns.iter().map(std::net::SocketAddr::ip).collect(),
            dns_search: up.domains.clone(),
            mtu_bytes: u16::try_from(up.mtu_bytes).unwrap_or(u16::MAX),
            proxies: self.offer.proxies.clone(),
            pac: self.offer.pac.clone(),
            status_page: self.offer.status_page.clone(),
        }
    }

    fn ended(&self, end: End) -> Ended {
        match end.kind {
            _ if self.wrong_passphrase => Ended::WrongPassphrase,
            ExitKind::Done if end.reason.ends_with("(inactive)") => Ended::Inactive,
            ExitKind::Done => Ended::Done,
            ExitKind::AuthFailed => Ended::AuthFailed(end.reason),
            ExitKind::Failed => Ended::Failed(end.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use tunless_dbus::client::Secret;

    use super::*;
    use crate::driver::clock;

    fn state(state: State, detail: &str) -> driver::Event {
        driver::Event::State {
            state,
            detail: detail.into(),
        }
    }

    fn question(id: u64, kind: driver::QuestionKind) -> driver::Event {
        driver::Event::Question(driver::Question {
            id,
            kind,
            deadline: clock::now(),
        })
    }

    fn credentials(id: u64) -> driver::Event {
        question(
            id,
            driver::QuestionKind::Credentials {
                username: None,
                refused: None,
            },
        )
    }

    #[test]
    fn an_attempt_is_told_once_and_so_is_the_server_s_answer() {
        let mut translator = Translator::new(Answers::default(), Offer::default());
        let states = [
            state(State::Connecting, ""),
            state(State::Resolve, ""),
            state(State::Session(Progress::Wait), ""),
            state(State::Session(Progress::Auth), ""),
            state(State::Session(Progress::GetConfig), ""),
            state(State::Reconnecting, "auth-failure"),
            state(State::Session(Progress::Wait), ""),
        ];
        let told: Vec<_> = states
            .into_iter()
            .flat_map(|event| translator.on_event(event))
            .collect();
        let told: Vec<_> = told
            .iter()
            .map(|step| match step {
                Step::Tell(Event::Connecting) => "connecting",
                Step::Tell(Event::Answered) => "answered",
                Step::Tell(Event::Reconnecting {
                    auth_failed: true, ..
                }) => "refused",
                Step::Tell(_) | Step::Do(_) => "?",
            })
            .collect();
        assert_eq!(told, ["connecting", "answered", "refused", "connecting"]);
    }

    #[test]
    fn what_was_answered_beforehand_is_asked_of_nobody_and_used_once() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let answers = Answers {
            user_password: Some((secret("ann"), secret("pw"))),
            ..Answers::default()
        };
        let mut translator = Translator::new(answers, Offer::default());
        let steps = translator.on_event(credentials(1));
        assert!(matches!(
            &steps[..],
            [Step::Do(Command::Answer {
                question: 1,
                answer: Some(_)
            })]
        ));
        assert!(translator.on_event(driver::Event::QuestionGone(1)).is_empty());
        let steps = translator.on_event(credentials(2));
        assert!(matches!(&steps[..], [Step::Tell(Event::Question(_))]));
    }

    #[test]
    fn a_wrong_passphrase_ends_the_tunnel_with_its_own_word() {
        let answers = Answers {
            passphrase: Some(Secret::new("wrong".into())),
            ..Answers::default()
        };
        let mut translator = Translator::new(answers, Offer::default());
        let ask = |is_wrong| question(1, driver::QuestionKind::Passphrase { is_wrong });
        let steps = translator.on_event(ask(false));
        assert!(matches!(&steps[..], [Step::Do(Command::Answer { .. })]));
        let steps = translator.on_event(ask(true));
        assert!(matches!(&steps[..], [Step::Do(Command::Disconnect)]));
        let end = End {
            kind: ExitKind::Done,
            reason: "closed here".into(),
        };
        let steps = translator.on_event(driver::Event::Ended(end));
        assert!(matches!(
            &steps[..],
            [Step::Tell(Event::Ended(Ended::WrongPassphrase))]
        ));
    }
}
