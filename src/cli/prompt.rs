//! Questions on the terminal: one at a time, on a thread of its own, secrets without echo.
//!
//! Texts of the server are shown without control characters: they could paint over what the terminal says.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tunless_core::secret::SecretString;

use super::terminal::TerminalState;
use crate::{
    driver::{Answer, Command, Handle, Question, QuestionKind},
    screen,
};

/// Asks a person. A process that ends meanwhile does not wait for them.
#[derive(Debug)]
pub(super) struct Prompter {
    /// A password whose user name is missing; it is tried once.
    password: Option<SecretString>,
    terminal: TerminalState,
    /// Number of the question on the screen, 0 for none.
    shown: Arc<AtomicU64>,
    /// Whoever holds it has the terminal.
    turn: Arc<Mutex<()>>,
}

impl Prompter {
    pub(super) fn new(password: Option<SecretString>, terminal: TerminalState) -> Self {
        Self {
            password,
            terminal,
            shown: Arc::default(),
            turn: Arc::default(),
        }
    }

    /// Takes another password whose user name is missing.
    pub(super) fn set_password(&mut self, password: Option<SecretString>) {
        self.password = password;
    }

    /// Puts a question on the screen once those before it are off it.
    pub(super) fn ask(&mut self, handle: Handle, question: Question) {
        if matches!(question.kind, QuestionKind::OpenUrl { .. }) {
            return;
        }
        // It is for the server, and for nobody else.
        let is_the_server_s = matches!(question.kind, QuestionKind::Credentials { .. });
        let password = self.password.take_if(|_| is_the_server_s);
        let terminal = self.terminal.clone();
        let (shown, turn) = (Arc::clone(&self.shown), Arc::clone(&self.turn));
        let ask = move || {
            let _mine = turn.lock().unwrap_or_else(PoisonError::into_inner);
            shown.store(question.id, Ordering::Relaxed);
            let answer = prompt(&question.kind, password, &terminal);
            shown.store(0, Ordering::Relaxed);
            // Others may answer what cannot be asked here: `tunless ctl answer`.
            if answer.is_none() && is_left_to_others(&question.kind) {
                return;
            }
            handle.send(Command::Answer {
                question: question.id,
                answer,
            });
        };
        let spawned = std::thread::Builder::new()
            .name("tunless-prompt".into())
            .spawn(ask);
        if let Err(error) = spawned {
            tracing::error!(%error, "cannot ask on the terminal");
        }
    }

    /// Whether this question is on the screen although it is void: the next line typed is thrown away.
    pub(super) fn is_stale(&self, question: u64) -> bool {
        self.shown.load(Ordering::Relaxed) == question
    }
}

/// Without a terminal, a challenge waits for another surface; names, passwords and passphrases could have been given
/// at the start, so that nobody will.
fn is_left_to_others(kind: &QuestionKind) -> bool {
    matches!(kind, QuestionKind::Challenge { .. }) && !io::stdin().is_terminal()
}

/// Asks on the terminal; `None` when there is none, or nothing was typed.
pub(super) fn prompt(
    kind: &QuestionKind,
    known_password: Option<SecretString>,
    terminal: &TerminalState,
) -> Option<Answer> {
    if !io::stdin().is_terminal() {
        return None;
    }
    // Not locked: who logs meanwhile must not wait for a person.
    let _held = screen::hold();
    match kind {
        QuestionKind::Credentials { username, refused } => {
            if let Some(refused) = refused {
                show(&format!("{}\n", printable(refused)))?;
            }
            let username = match username {
                Some(username) => username.clone(),
                None => visible("User name: ")?,
            };
            if username.is_empty() {
                return None;
            }
            let password = match known_password {
                Some(password) => password,
                None => hidden(&format!("Password of {}: ", printable(&username)), terminal)?,
            };
            Some(Answer::Credentials { username, password })
        }
        QuestionKind::ProxyCredentials { proxy, refused } => {
            let proxy = printable(proxy);
            if *refused {
                show(&format!(
                    "the proxy {proxy} refused the user name and the password\n"
                ))?;
            }
            let username = visible(&format!("User name at the proxy {proxy}: "))?;
            if username.is_empty() {
                return None;
            }
            let password = hidden(
                &format!("Password of {} at the proxy: ", printable(&username)),
                terminal,
            )?;
            Some(Answer::Credentials { username, password })
        }
        QuestionKind::Passphrase { is_wrong } => {
            if *is_wrong {
                show("the passphrase does not fit the private key\n")?;
            }
            let passphrase = hidden("Passphrase of the private key: ", terminal)?;
            (!passphrase.is_empty()).then_some(Answer::Passphrase(passphrase))
        }
        QuestionKind::Challenge { text, echo, .. } => {
            let text = format!("{} ", printable(text));
            let response = if *echo {
                SecretString::new(visible(&text)?)
            } else {
                hidden(&text, terminal)?
            };
            Some(Answer::Response(response))
        }
        QuestionKind::OpenUrl { .. } => None,
    }
}

fn show(text: &str) -> Option<()> {
    let mut terminal = io::stderr();
    terminal.write_all(text.as_bytes()).ok()?;
    terminal.flush().ok()
}

fn visible(text: &str) -> Option<String> {
    show(text)?;
    let mut line = String::new();
    io::stdin().read_line(&mut line).ok()?;
    Some(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn hidden(text: &str, terminal: &TerminalState) -> Option<SecretString> {
    terminal.save();
    let typed = rpassword::prompt_password(text);
    terminal.forget();
    typed.ok().map(SecretString::new)
}

/// What a terminal may be shown of a text from outside: no control characters, in one line.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_from_outside_cannot_steer_the_terminal() {
        assert_eq!(printable("PIN\u{1b}[2J\r\n\u{9b}1A ok"), "PIN [2J   1A ok");
    }
}
