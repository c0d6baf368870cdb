//! User name and password as far as they are known, and whether a person typed them.

use tunless_core::client::Credentials;

/// What the tunnel logs in with.
#[derive(Debug)]
pub(super) struct Login {
    known: Option<Credentials>,
    typed: bool,
}

impl Login {
    /// Starts with what was known without asking anybody.
    pub(super) fn new(known: Option<Credentials>) -> Self {
        Self { known, typed: false }
    }

    /// What is known.
    pub(super) fn get(&self) -> Option<&Credentials> {
        self.known.as_ref()
    }

    /// Takes what a person typed.
    pub(super) fn on_answer(&mut self, credentials: Credentials) {
        self.known = Some(credentials);
        self.typed = true;
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
        assert!(login.get().is_some());
        login.reject();
        assert!(login.get().is_none());
        login.on_answer(ann());
        assert!(login.get().is_some());
        login.forget_typed();
        assert!(login.get().is_none());
    }
}
