//! Reads the values of options and keeps what is wrong with them, so that one run tells all of it.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use super::{
    error::{ConfigError, ConfigErrors, ConfigProblem, Note},
    raw::{Connection, Directive, Directives, MAX_NOTES, named},
};
use crate::{secret::SecretBytes, wire::Role};

/// Reads a file that an option names; the error is shown to the user.
pub type ReadFile<'a> = dyn FnMut(&str) -> Result<Vec<u8>, String> + 'a;

/// A parameter that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("wants {wants}, got {got:?}")]
pub struct BadValue {
    /// What it should be.
    pub wants: &'static str,
    /// What it is.
    pub got: String,
}

impl BadValue {
    pub(super) fn new(wants: &'static str, got: &str) -> Self {
        Self {
            wants,
            got: got.chars().take(64).collect(),
        }
    }
}

impl From<BadValue> for ConfigProblem {
    fn from(bad: BadValue) -> Self {
        Self::Value {
            wants: bad.wants,
            got: bad.got,
        }
    }
}

/// Options under reading, with what was found wrong so far.
pub(super) struct Values<'a> {
    pub(super) directives: &'a Directives,
    files: &'a mut ReadFile<'a>,
    contents: BTreeMap<String, Result<SecretBytes, String>>,
    errors: ConfigErrors,
    notes: Vec<Note>,
}

impl<'a> Values<'a> {
    pub(super) fn new(directives: &'a Directives, files: &'a mut ReadFile<'a>) -> Self {
        let notes = directives.notes().to_vec();
        Self {
            directives,
            files,
            contents: BTreeMap::new(),
            errors: ConfigErrors::default(),
            notes,
        }
    }

    /// Keeps an error about a line.
    pub(super) fn fail(&mut self, directive: &Directive, problem: impl Into<ConfigProblem>) {
        self.push(directive.line, directive.spec.name, problem.into());
    }

    /// Keeps an error about an option that is missing.
    pub(super) fn missing(&mut self, name: &'static str, remedy: &'static str) {
        self.push(0, name, ConfigProblem::Missing(remedy));
    }

    fn push(&mut self, line: u32, name: &str, problem: ConfigProblem) {
        let file = self.directives.file().to_owned();
        self.errors.push(ConfigError {
            file,
            line,
            directive: name.to_owned(),
            problem,
        });
    }

    /// Keeps a note about a line.
    pub(super) fn note(&mut self, directive: &Directive, text: impl Into<String>) {
        self.note_at(directive.line, directive.spec.name, text.into());
    }

    /// Keeps a note about an option that may not be there.
    pub(super) fn note_at(&mut self, line: u32, name: &str, text: String) {
        if self.notes.len() < MAX_NOTES {
            let file = self.directives.file().to_owned();
            self.notes.push(Note {
                file,
                line,
                directive: name.to_owned(),
                text,
            });
        }
    }

    /// Ends the reading.
    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<(T, Vec<Note>), ConfigErrors> {
        match value {
            Some(value) if self.errors.is_empty() => {
                self.notes.sort_by_key(|note| note.line);
                Ok((value, self.notes))
            }
            _ => Err(self.errors.sorted()),
        }
    }

    /// Refuses a configuration of the other role; tells whether it is the right one.
    pub(super) fn expect_role(&mut self, role: Role) -> bool {
        if self.directives.role() == role {
            return true;
        }
        match role {
            Role::Client => {
                self.missing(
                    "client",
                    "this is a server's configuration; run it with `tunless serve`",
                );
            }
            Role::Server => {
                self.missing(
                    "server",
                    "this is a client's profile; run it with `tunless connect`",
                );
            }
        }
        false
    }

    /// Reads one parameter; a bad one is kept as an error.
    pub(super) fn arg<T>(
        &mut self,
        directive: &Directive,
        index: usize,
        wants: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = directive.arg(index)?;
        let value = read(text);
        if value.is_none() {
            self.fail(directive, BadValue::new(wants, text));
        }
        value
    }

    /// Reads the first parameter of the option that counts.
    pub(super) fn value<T>(
        &mut self,
        name: &str,
        wants: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let directive = self.directives.last(name)?;
        self.arg(directive, 0, wants, read)
    }

    /// Reads whole seconds of the option that counts.
    pub(super) fn seconds(&mut self, name: &str, default: u32) -> Duration {
        let read = self.value(name, SECONDS, whole_seconds);
        read.unwrap_or_else(|| Duration::from_secs(default.into()))
    }

    /// The content of the file that an option names, or of its block.
    pub(super) fn content(&mut self, directive: &Directive) -> Option<Vec<u8>> {
        if let Some(text) = &directive.inline {
            return Some(text.expose().as_bytes().to_vec());
        }
        self.content_at(directive, 0)
    }

    /// The content of the file that a parameter names.
    fn content_at(&mut self, directive: &Directive, index: usize) -> Option<Vec<u8>> {
        let path = directive.arg(index)?;
        if !self.contents.contains_key(path) {
            let read = (self.files)(path).map(SecretBytes::new);
            self.contents.insert(path.to_owned(), read);
        }
        match self.contents.get(path)? {
            Ok(bytes) => Some(bytes.expose().to_vec()),
            Err(why) => {
                let problem = ConfigProblem::File {
                    path: path.to_owned(),
                    why: why.clone(),
                };
                self.fail(directive, problem);
                None
            }
        }
    }

    /// The content of a file or block, as text.
    pub(super) fn text(&mut self, directive: &Directive) -> Option<String> {
        let bytes = self.content(directive)?;
        self.decoded(directive, bytes)
    }

    /// The content of the file that a parameter names, as text.
    pub(super) fn text_at(&mut self, directive: &Directive, index: usize) -> Option<String> {
        let bytes = self.content_at(directive, index)?;
        self.decoded(directive, bytes)
    }

    fn decoded(&mut self, directive: &Directive, bytes: Vec<u8>) -> Option<String> {
        let text = String::from_utf8(bytes).ok();
        if text.is_none() {
            self.fail(
                directive,
                ConfigProblem::Content("it is not text in UTF-8".into()),
            );
        }
        text
    }
}

impl std::fmt::Debug for Values<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Values")
            .field("errors", &self.errors)
            .finish_non_exhaustive()
    }
}

/// Where the options of one remote are looked up: in its block first, then before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) directives: &'a Directives,
    pub(super) connection: Option<&'a Connection>,
}

impl<'a> Scope<'a> {
    /// The option that counts here: a block inherits what stands before it.
    pub(super) fn last(&self, name: &str) -> Option<&'a Directive> {
        let Some(connection) = self.connection else {
            return self.directives.last(name);
        };
        let inside = named(&connection.directives, name).next_back();
        inside.or_else(|| {
            self.directives
                .all(name)
                .rfind(|outside| outside.line < connection.line)
        })
    }

    /// Every option of that name that counts here: those outside the block, then those in it.
    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &'a Directive> + use<'a> {
        let inside = self.connection.map(|block| named(&block.directives, name));
        self.directives.all(name).chain(inside.into_iter().flatten())
    }

    /// The option that counts here, wherever it stands outside the block.
    pub(super) fn anywhere(&self, name: &str) -> Option<&'a Directive> {
        let inside = self
            .connection
            .and_then(|block| named(&block.directives, name).next_back());
        inside.or_else(|| self.directives.last(name))
    }
}

pub(super) const SECONDS: &str = "whole seconds";

/// Reads a number without sign within limits.
pub(super) fn number<T: FromStr + PartialOrd>(least: T, most: T) -> impl FnOnce(&str) -> Option<T> {
    move |text| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|value| digits && *value >= least && *value <= most)
    }
}

/// Reads whole seconds, up to a century.
pub(super) fn whole_seconds(text: &str) -> Option<Duration> {
    number(0, 100 * 366 * 86_400_u64)(text).map(Duration::from_secs)
}

/// Zero stands for "never".
pub(super) fn some_if_positive(time: Duration) -> Option<Duration> {
    Some(time).filter(|time| !time.is_zero())
}
