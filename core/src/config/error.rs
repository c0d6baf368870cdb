//! What can be wrong with a configuration, told with its place and with what to do about it.

use std::fmt;

use super::lex::LexError;

/// Errors that are kept for one file; more are only counted.
pub(super) const MAX_ERRORS: usize = 100;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// File as the caller named it.
    pub file: String,
    /// Line, from 1; 0 when the fault is that a line is missing.
    pub line: u32,
    /// Option.
    pub directive: String,
    /// What is wrong with it.
    pub problem: ConfigProblem,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, &self.file, self.line)?;
        write!(f, ": `{}` {}", self.directive, self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// What is wrong with an option; the text goes on from the option's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigProblem {
    /// The form of the line.
    #[error(transparent)]
    Syntax(#[from] LexError),
    /// No such option.
    #[error("is not a known option{}", suggestion.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default())]
    Unknown {
        /// The option whose name is nearest.
        suggestion: Option<&'static str>,
    },
    /// An option whose absence would change security or connectivity.
    #[error("cannot be used: {0}")]
    Refused(&'static str),
    /// Too few or too many parameters.
    #[error("wants {}, has {got}", parameters(*min, *max))]
    Arity {
        /// Least number.
        min: u8,
        /// Greatest number.
        max: u8,
        /// What was there.
        got: usize,
    },
    /// An inline block for an option that has no file.
    #[error("cannot be written as a block; write `{name} …` on one line")]
    NotInline {
        /// The option.
        name: &'static str,
    },
    /// An option that cannot differ between remotes.
    #[error("cannot stand inside `<connection>`; move it out of the block")]
    NotInConnection,
    /// A server's option at a client or the other way round.
    #[error("is for {0}; remove it")]
    WrongSide(&'static str),
    /// A parameter that cannot be read.
    #[error("wants {wants}, got {got:?}")]
    Value {
        /// What it should be.
        wants: &'static str,
        /// What it is.
        got: String,
    },
    /// A file that the caller could not read.
    #[error("names the file {path:?}, which cannot be read: {why}")]
    File {
        /// The file as written.
        path: String,
        /// The caller's words.
        why: String,
    },
    /// A file or block whose content is not what it should be.
    #[error("has content that cannot be used: {0}")]
    Content(String),
    /// An option that has to be there.
    #[error("is missing: {0}")]
    Missing(&'static str),
    /// Two options that exclude each other.
    #[error("cannot stand beside `{with}`: {remedy}")]
    Conflict {
        /// The other option.
        with: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A text beyond every sensible size.
    #[error("is larger than {0} bytes; this is no configuration")]
    TooLarge(usize),
}

/// Everything that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
    more: usize,
}

impl ConfigErrors {
    /// Adds one that is new, or counts it beyond [`MAX_ERRORS`].
    pub(crate) fn push(&mut self, error: ConfigError) {
        if self.errors.contains(&error) {
            // Every remote reads the options that stand outside its block.
        } else if self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
        } else {
            self.more += 1;
        }
    }

    /// Adds what `others` say of particular lines; what is missing may be so because of these errors.
    #[must_use]
    pub fn and_in_lines(mut self, others: Self) -> Self {
        for error in others.errors.into_iter().filter(|error| error.line > 0) {
            self.push(error);
        }
        self.sorted()
    }

    /// Tells whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// The errors in order of their lines.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.errors.iter()
    }

    /// Puts the errors in order, those of missing options last.
    pub(crate) fn sorted(mut self) -> Self {
        self.errors
            .sort_by_key(|error| if error.line == 0 { u32::MAX } else { error.line });
        self
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ConfigErrors {
    /// One error a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        if self.more > 0 {
            write!(f, "\n… and {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Something a user should know about a configuration that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// File as the caller named it.
    pub file: String,
    /// Line, from 1; 0 when it is about no line in particular.
    pub line: u32,
    /// Option.
    pub directive: String,
    /// What to know; goes on from the option's name.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, &self.file, self.line)?;
        write!(f, ": note: `{}` {}", self.directive, self.text)
    }
}

fn place(f: &mut fmt::Formatter<'_>, file: &str, line: u32) -> fmt::Result {
    f.write_str(file)?;
    if line > 0 { write!(f, ":{line}") } else { Ok(()) }
}

/// Says how many parameters there may be.
fn parameters(min: u8, max: u8) -> String {
    let plural = |count: u8| if count == 1 { "parameter" } else { "parameters" };
    match (min, max) {
        (0, 0) => "no parameters".to_owned(),
        (min, max) if min == max => format!("{min} {}", plural(min)),
        (min, max) if max >= 15 => format!("at least {min} {}", plural(min)),
        (min, max) => format!("{min} to {max} parameters"),
    }
}
