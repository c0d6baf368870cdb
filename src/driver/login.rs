//! What the tunnel logs in with: name, password and answers to challenges, as far as they are known, and what is
//! still to be asked.

use tunless_core::{
    client::{Credentials, DynamicChallenge},
    config::StaticChallenge,
    secret::SecretString,
};

/// What the tunnel logs in with.
#[derive(Debug)]
pub(super) struct Login {
    known: Option<Credentials>,
    typed: bool,
    /// The answer to the profile's own challenge, for one attempt.
    response: Option<SecretString>,
    /// The server's challenge, until it is answered.
    challenge: Option<Box<DynamicChallenge>>,
    /// What answers it, for one attempt.
    answered: Option<Credentials>,
}

/// What somebody has to say before the next attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missing<'a> {
    /// User name and password.
    Credentials,
    /// The answer to the profile's challenge.
    Static(&'a StaticChallenge),
    /// The answer to the server's challenge.
    Dynamic(&'a DynamicChallenge),
}

impl Login {
    /// Starts with what was known without asking anybody.
    pub(super) fn new(known: Option<Credentials>) -> Self {
        Self {
            known,
            typed: false,
            response: None,
            challenge: None,
            answered: None,
        }
    }

    /// What is known, whatever it is worth.
    pub(super) fn known(&self) -> Option<&Credentials> {
        self.known.as_ref()
    }

    /// What is still missing for an attempt.
    pub(super) fn missing<'a>(&'a self, own: Option<&'a StaticChallenge>) -> Option<Missing<'a>> {
        if self.answered.is_some() {
            return None;
        }
        if let Some(challenge) = &self.challenge {
            return Some(Missing::Dynamic(challenge));
        }
        if self.known.is_none() {
            return Some(Missing::Credentials);
        }
        own.filter(|_| self.response.is_none()).map(Missing::Static)
    }

    /// What the next attempt logs in with. Answers to challenges are good for one attempt.
    pub(super) fn take(&mut self, own: Option<&StaticChallenge>) -> Option<Credentials> {
        if let Some(answered) = self.answered.take() {
            return Some(answered);
        }
        let mut credentials = self.known.clone()?;
        if let (Some(own), Some(response)) = (own, self.response.take()) {
            credentials.password = own.password(&credentials.password, &response);
        }
        Some(credentials)
    }

    /// Takes the user name and password that a person typed.
    pub(super) fn on_credentials(&mut self, credentials: Credentials) {
        self.known = Some(credentials);
        self.typed = true;
    }

    /// Takes the answer to the challenge that is open.
    pub(super) fn on_response(&mut self, response: SecretString) {
        match self.challenge.take() {
            Some(challenge) => self.answered = Some(challenge.answered(&response)),
            None => self.response = Some(response),
        }
    }

    /// The server asks for more. A text that wants no answer is for the log; the attempt goes on with nothing.
    pub(super) fn on_challenge(&mut self, challenge: Box<DynamicChallenge>) {
        if challenge.response_required {
            self.challenge = Some(challenge);
        } else {
            self.answered = Some(challenge.answered(&SecretString::default()));
        }
    }

    /// The server does not accept them: they have to be asked for.
    pub(super) fn reject(&mut self) {
        self.known = None;
    }

    /// `auth-nocache`: what a person typed is not kept; what was configured would only be read again.
    pub(super) fn forget_typed(&mut self) {
        if self.typed {
            self.known = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use tunless_core::config::ChallengeFormat;

    use super::*;

    fn ann() -> Credentials {
        Credentials {
            username: "ann".into(),
            password: "secret".into(),
            is_token: false,
        }
    }

    #[test]
    fn only_what_was_typed_is_forgotten() {
        let mut login = Login::new(Some(ann()));
        login.forget_typed();
        assert_eq!(login.missing(None), None);
        login.reject();
        assert_eq!(login.missing(None), Some(Missing::Credentials));
        login.on_credentials(ann());
        assert_eq!(login.take(None), Some(ann()));
        login.forget_typed();
        assert_eq!(login.take(None), None);
    }

    #[test]
    fn the_profile_s_challenge_is_asked_for_each_attempt() {
        let own = StaticChallenge {
            text: "PIN".into(),
            echo: false,
            format: ChallengeFormat::Concat,
        };
        let mut login = Login::new(Some(ann()));
        for pin in ["1", "2"] {
            assert_eq!(login.missing(Some(&own)), Some(Missing::Static(&own)));
            login.on_response(pin.into());
            assert_eq!(login.missing(Some(&own)), None);
            let password = login.take(Some(&own)).unwrap().password;
            assert_eq!(password.expose(), format!("secret{pin}"));
        }
    }

    #[test]
    fn the_server_s_challenge_is_answered_once_and_without_the_password() {
        let challenge = DynamicChallenge::parse("CRV1:R:state:Ym9i:code?").unwrap();
        let mut login = Login::new(Some(ann()));
        login.on_challenge(Box::new(challenge));
        assert!(matches!(login.missing(None), Some(Missing::Dynamic(open)) if open.text == "code?"));
        login.on_response("77".into());
        let next = login.take(None).unwrap();
        assert_eq!(
            (next.username.as_str(), next.password.expose()),
            ("bob", "CRV1::state::77")
        );
        assert_eq!(login.take(None), Some(ann()), "the usual ones afterwards");
        let silent = DynamicChallenge::parse("CRV1::state:Ym9i:only told").unwrap();
        login.on_challenge(Box::new(silent));
        assert_eq!(login.missing(None), None);
        assert_eq!(login.take(None).unwrap().password.expose(), "CRV1::state::");
    }
}
