//! A configuration as written: options with their places, checked by the table alone.
//!
//! What the table refuses is an error here, what it ignores is a note; values are read by
//! [`super::ClientConfig`] and [`super::ServerConfig`].

mod adjust;

use super::{
    directive::{self, Spec, Status},
    error::{ConfigError, ConfigErrors, ConfigProblem, Note},
    lex::{self, Block, Statement},
};
use crate::{secret::SecretString, wire::Role};

/// Bytes in a configuration; ours, far above what certificates and revocation lists in blocks need.
pub(super) const MAX_TEXT_BYTES: usize = 8 << 20;
/// Notes that are kept for one file.
pub(super) const MAX_NOTES: usize = 500;

/// One option as written.
#[derive(Debug, Clone)]
pub struct Directive {
    /// Its line, from 1.
    pub line: u32,
    /// What it is.
    pub spec: &'static Spec,
    /// Its parameters, without the name.
    pub args: Vec<String>,
    /// The content of its block.
    pub inline: Option<SecretString>,
}

impl Directive {
    /// The parameter at `index`.
    pub fn arg(&self, index: usize) -> Option<&str> {
        self.args.get(index).map(String::as_str)
    }

    /// Tells whether this only says that a block stands elsewhere, as in `ca [inline]`.
    fn is_placeholder(&self) -> bool {
        self.inline.is_none() && self.spec.inline && self.arg(0) == Some("[inline]")
    }
}

/// A `<connection>` block.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Its line, from 1.
    pub line: u32,
    /// What it holds.
    pub directives: Vec<Directive>,
}

/// A configuration as written.
#[derive(Debug, Clone)]
pub struct Directives {
    file: String,
    role: Role,
    global: Vec<Directive>,
    connections: Vec<Connection>,
    notes: Vec<Note>,
}

impl Directives {
    /// Reads the text of `file`, whose name is only used in messages.
    ///
    /// # Errors
    /// Everything that is wrong with form, names, number of parameters, and what the table refuses.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigErrors> {
        let (directives, errors) = Self::parse_partly(file, text);
        if errors.is_empty() {
            Ok(directives)
        } else {
            Err(errors)
        }
    }

    /// Reads what can be read of `text`, and says what cannot: a check goes on with the rest.
    pub fn parse_partly(file: &str, text: &str) -> (Self, ConfigErrors) {
        let mut reader = Reader::new(file);
        if text.len() > MAX_TEXT_BYTES {
            reader.fail(0, "configuration", ConfigProblem::TooLarge(MAX_TEXT_BYTES));
            return reader.finish();
        }
        let statements = reader.statements(text, 1);
        reader.learn(&statements);
        for statement in statements {
            if let (Some("connection"), Some(block)) =
                (statement.parameters.first().map(String::as_str), &statement.block)
            {
                let directives = reader.connection(block);
                reader.connections.push(Connection {
                    line: statement.line,
                    directives,
                });
            } else if let Some(directive) = reader.directive(statement, false) {
                reader.global.push(directive);
            }
        }
        reader.finish()
    }

    /// The file's name as the caller gave it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Whose configuration this is: a server's if it says `server`, `tls-server` or `mode server`.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The folder to which the names of files are relative (`cd`), if the text names one.
    pub fn directory(&self) -> Option<&str> {
        self.last("cd").and_then(|directive| directive.arg(0))
    }

    /// What is ignored, and why.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Options outside `<connection>`, in order.
    pub fn global(&self) -> &[Directive] {
        &self.global
    }

    /// The `<connection>` blocks, in order.
    pub fn connections(&self) -> &[Connection] {
        &self.connections
    }

    /// The last option of that name outside `<connection>`: the one that counts.
    pub fn last(&self, name: &str) -> Option<&Directive> {
        self.all(name).next_back()
    }

    /// All options of that name outside `<connection>`, in order.
    pub fn all<'a>(&'a self, name: &str) -> impl DoubleEndedIterator<Item = &'a Directive> {
        named(&self.global, name)
    }

    /// Tells whether the option stands outside `<connection>`.
    pub fn has(&self, name: &str) -> bool {
        self.last(name).is_some()
    }
}

/// Options of that name that say something themselves.
pub(super) fn named<'a>(list: &'a [Directive], name: &str) -> impl DoubleEndedIterator<Item = &'a Directive> {
    list.iter()
        .filter(move |directive| directive.spec.name == name && !directive.is_placeholder())
}

/// What is gathered while the text is read.
#[derive(Debug)]
struct Reader {
    file: String,
    role: Role,
    unknown_ok: Vec<String>,
    all_unknown_ok: bool,
    global: Vec<Directive>,
    connections: Vec<Connection>,
    notes: Vec<Note>,
    errors: ConfigErrors,
}

impl Reader {
    fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            role: Role::Client,
            unknown_ok: Vec::new(),
            all_unknown_ok: false,
            global: Vec::new(),
            connections: Vec::new(),
            notes: Vec::new(),
            errors: ConfigErrors::default(),
        }
    }

    fn fail(&mut self, line: u32, directive: &str, problem: ConfigProblem) {
        let directive = shown(directive);
        self.errors.push(ConfigError {
            file: self.file.clone(),
            line,
            directive,
            problem,
        });
    }

    fn note(&mut self, line: u32, directive: &str, text: String) {
        if self.notes.len() < MAX_NOTES {
            let directive = directive.to_owned();
            self.notes.push(Note {
                file: self.file.clone(),
                line,
                directive,
                text,
            });
        }
    }

    /// Splits the text and keeps what is wrong with its form.
    fn statements(&mut self, text: &str, first_line: u32) -> Vec<Statement> {
        let mut good = Vec::new();
        for item in lex::statements(text, first_line) {
            match item {
                Ok(statement) => good.push(statement),
                Err(bad) => self.fail(bad.line, &bad.word, bad.error.into()),
            }
        }
        good
    }

    /// Finds what has a bearing on all lines: the role, and which unknown options are fine.
    fn learn(&mut self, statements: &[Statement]) {
        for statement in statements {
            let words: Vec<&str> = statement.parameters.iter().map(String::as_str).collect();
            match *words.as_slice() {
                ["server" | "server-bridge" | "tls-server", ..] | ["mode", "server", ..] => {
                    self.role = Role::Server;
                }
                ["ignore-unknown-option", ref names @ ..] => {
                    self.unknown_ok
                        .extend(names.iter().map(|name| (*name).to_owned()));
                }
                ["setenv", "FORWARD_COMPATIBLE", "1"] => self.all_unknown_ok = true,
                _ => {}
            }
        }
    }

    /// Reads a block of options for one remote.
    fn connection(&mut self, block: &Block) -> Vec<Directive> {
        let statements = self.statements(block.text.expose(), block.line);
        statements
            .into_iter()
            .filter_map(|statement| self.directive(statement, true))
            .collect()
    }

    /// Checks one line against the table.
    fn directive(&mut self, mut statement: Statement, in_connection: bool) -> Option<Directive> {
        let optional = is_optional(&statement.parameters);
        if optional {
            statement.parameters.drain(..2);
        }
        let line = statement.line;
        let mut args = statement.parameters.into_iter();
        let name = args.next()?;
        let args: Vec<String> = args.collect();
        let Some(spec) = directive::find(&name) else {
            if optional || self.all_unknown_ok || self.unknown_ok.contains(&name) {
                self.note(
                    line,
                    &name,
                    "is ignored: it is not known, and the profile says that this is fine".into(),
                );
            } else {
                self.fail(
                    line,
                    &name,
                    ConfigProblem::Unknown {
                        suggestion: directive::suggest(&name),
                    },
                );
            }
            return None;
        };
        if let Some(problem) = misplaced(spec, &args, statement.block.is_some(), in_connection) {
            self.fail(line, spec.name, problem);
            return None;
        }
        if !self.allowed(spec, line) {
            return None;
        }
        Some(Directive {
            line,
            spec,
            args,
            inline: statement.block.map(|block| block.text),
        })
    }

    /// Applies the table's verdict.
    fn allowed(&mut self, spec: &'static Spec, line: u32) -> bool {
        if !spec.is_for(self.role) {
            let whom = if self.role == Role::Client {
                "servers only"
            } else {
                "clients only"
            };
            self.fail(line, spec.name, ConfigProblem::WrongSide(whom));
            return false;
        }
        match spec.status {
            Status::Applied => true,
            Status::Ignored(why) => {
                self.note(line, spec.name, format!("is ignored: {why}"));
                true
            }
            Status::Refused(why) => {
                self.fail(line, spec.name, ConfigProblem::Refused(why));
                false
            }
        }
    }

    fn finish(self) -> (Directives, ConfigErrors) {
        let Self {
            file,
            role,
            global,
            connections,
            notes,
            errors,
            ..
        } = self;
        let directives = Directives {
            file,
            role,
            global,
            connections,
            notes,
        };
        (directives, errors.sorted())
    }
}

/// A name fit for a message. A long one is no name but perhaps a line of a key outside its block: only its
/// beginning is shown.
fn shown(name: &str) -> String {
    let name = name.chars().filter(|c| !c.is_control());
    let short: String = name.clone().take(12).collect();
    if name.clone().count() > 40 {
        format!("{short}…")
    } else {
        name.collect()
    }
}

/// Tells whether a line is `setenv opt …`: an option that old versions may not know.
fn is_optional(parameters: &[String]) -> bool {
    let words = (
        parameters.first().map(String::as_str),
        parameters.get(1).map(String::as_str),
    );
    words == (Some("setenv"), Some("opt")) && parameters.len() > 2
}

/// Checks number of parameters and place.
fn misplaced(
    spec: &'static Spec,
    args: &[String],
    block: bool,
    in_connection: bool,
) -> Option<ConfigProblem> {
    let got = args.len();
    if block && !spec.inline {
        return Some(ConfigProblem::NotInline { name: spec.name });
    }
    if in_connection && !spec.per_remote {
        return Some(ConfigProblem::NotInConnection);
    }
    if spec.name == "connection" && !block {
        return Some(ConfigProblem::Value {
            wants: "a block that starts with `<connection>`",
            got: args.join(" "),
        });
    }
    if !block && (got < usize::from(spec.min) || got > usize::from(spec.max)) {
        return Some(ConfigProblem::Arity {
            min: spec.min,
            max: spec.max,
            got,
        });
    }
    None
}
