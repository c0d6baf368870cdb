//! Text to parameters: quoting, comments, lines with their numbers, inline blocks.
//!
//! Knows no option by name but `connection`, whose block is itself made of lines. The rules are those of the
//! reference implementation's `parse_line` and `read_config_file`; pushed options use the same ones.

use crate::secret::SecretString;

/// Parameters of one line, the option's name included; more are left out.
pub const MAX_PARAMETERS: usize = 16;
/// Bytes in one parameter.
pub const MAX_PARAMETER_BYTES: usize = 256;
/// Bytes in a line of a file, its end included; inline blocks have no such limit.
pub const MAX_LINE_BYTES: usize = 255;

/// What is wrong with the form of a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LexError {
    /// A backslash before a character that needs none.
    #[error("has a backslash before {0:?}; write two for one, or put the parameter in single quotes")]
    BadBackslash(char),
    /// A line that ends in a backslash.
    #[error("ends in a backslash; write two for one, lines cannot be continued")]
    TrailingBackslash,
    /// A quote that is not closed.
    #[error("has a {0} that is not closed on the same line")]
    OpenQuote(char),
    /// A parameter beyond [`MAX_PARAMETER_BYTES`].
    #[error("has a parameter of more than {MAX_PARAMETER_BYTES} bytes")]
    LongParameter,
    /// A line beyond [`MAX_LINE_BYTES`].
    #[error(
        "has a line of {0} bytes, the limit is {MAX_LINE_BYTES}; put long content into a file or an inline block"
    )]
    LongLine(usize),
    /// A NUL in the text.
    #[error("has a NUL character; this is no text file")]
    Nul,
    /// An inline block without its end.
    #[error("opens a block that no line `</{0}>` closes")]
    OpenBlock(String),
    /// The end of a block that is not open.
    #[error("closes a block that is not open; remove the line, or look for the missing `<…>`")]
    StrayEnd,
}

/// Where a parameter stands while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    Bare,
    Quoted(char),
}

/// Splits a line into parameters, without the comment.
///
/// # Errors
/// Quotes and backslashes that do not follow the rules, a parameter that is too long.
pub fn parameters(line: &str) -> Result<Vec<String>, LexError> {
    let mut found = Vec::new();
    let mut current = String::new();
    let mut state = State::Between;
    let mut escaped = false;
    for character in line.chars() {
        if found.len() == MAX_PARAMETERS {
            return Ok(found);
        }
        if character == '\0' {
            return Err(LexError::Nul);
        }
        if character == '\\' && !escaped && state != State::Quoted('\'') {
            escaped = true;
            continue;
        }
        let literal = std::mem::take(&mut escaped);
        if literal && !(matches!(character, '\\' | '"') || is_blank(character)) {
            return Err(LexError::BadBackslash(character));
        }
        let ended = match state {
            State::Between if literal => {
                state = State::Bare;
                false
            }
            State::Between if is_blank(character) => continue,
            State::Between if matches!(character, '#' | ';') => return Ok(found),
            State::Between if matches!(character, '"' | '\'') => {
                state = State::Quoted(character);
                continue;
            }
            State::Between => {
                state = State::Bare;
                false
            }
            State::Bare => !literal && is_blank(character),
            State::Quoted(quote) => !literal && character == quote,
        };
        if ended {
            found.push(std::mem::take(&mut current));
            state = State::Between;
        } else if current.len() + character.len_utf8() > MAX_PARAMETER_BYTES {
            return Err(LexError::LongParameter);
        } else {
            current.push(character);
        }
    }
    finish(found, current, state, escaped)
}

/// Decides what the end of a line means.
fn finish(
    mut found: Vec<String>,
    current: String,
    state: State,
    escaped: bool,
) -> Result<Vec<String>, LexError> {
    if found.len() == MAX_PARAMETERS {
        return Ok(found);
    }
    if escaped {
        return Err(LexError::TrailingBackslash);
    }
    match state {
        State::Quoted(quote) => return Err(LexError::OpenQuote(quote)),
        State::Bare => found.push(current),
        State::Between => {}
    }
    Ok(found)
}

/// White space as the lexer knows it: that of the C locale.
const fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// Writes a parameter so that [`parameters`] reads it back; line ends cannot be quoted.
pub fn quote(parameter: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+,=%".contains(c);
    if !parameter.is_empty() && parameter.chars().all(plain) {
        return parameter.to_owned();
    }
    let escaped = parameter.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

/// A line that says something, with its inline block.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Number of the line, from 1.
    pub line: u32,
    /// Name and parameters, never empty; the name without leading dashes, or that of the block.
    pub parameters: Vec<String>,
    /// What the block holds.
    pub block: Option<Block>,
}

/// The inside of an inline block.
#[derive(Debug, Clone)]
pub struct Block {
    /// Number of its first line.
    pub line: u32,
    /// Its text; may be a key.
    pub text: SecretString,
}

/// A line whose form is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Number of the line, from 1.
    pub line: u32,
    /// Its first word, cut to a length that can be shown.
    pub word: String,
    /// What is wrong.
    pub error: LexError,
}

/// Splits a file into statements. `first_line` is the number of the text's first line.
pub fn statements(text: &str, first_line: u32) -> impl Iterator<Item = Result<Statement, BadLine>> + '_ {
    let text = if first_line == 1 {
        text.strip_prefix('\u{feff}').unwrap_or(text)
    } else {
        text
    };
    Statements {
        rest: text,
        line: first_line,
    }
}

#[derive(Debug)]
struct Statements<'a> {
    rest: &'a str,
    line: u32,
}

impl<'a> Statements<'a> {
    /// Takes the next line, its end included.
    fn next_line(&mut self) -> Option<(u32, &'a str)> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.find('\n').map_or(self.rest.len(), |at| at + 1);
        let (line, rest) = self.rest.split_at_checked(end)?;
        let number = self.line;
        self.rest = rest;
        self.line = self.line.saturating_add(1);
        Some((number, line))
    }

    /// Takes lines up to `</name>`.
    fn block(&mut self, name: &str) -> Result<Block, LexError> {
        let end = format!("</{name}>");
        let (start, first, mut len) = (self.rest, self.line, 0);
        while let Some((_, line)) = self.next_line() {
            if line.trim_start().starts_with(&end) {
                let text = start.get(..len).unwrap_or_default();
                return Ok(Block {
                    line: first,
                    text: SecretString::new(text),
                });
            }
            len += line.len();
        }
        Err(LexError::OpenBlock(name.to_owned()))
    }

    fn statement(&mut self, number: u32, line: &str) -> Result<Option<Statement>, LexError> {
        if line.len() > MAX_LINE_BYTES && !line.trim_start().starts_with(['#', ';']) {
            return Err(LexError::LongLine(line.len()));
        }
        let mut parameters = parameters(line.trim_end_matches(['\r', '\n']))?;
        let Some(name) = parameters.first_mut() else {
            return Ok(None);
        };
        if let Some(bare) = name.strip_prefix("--").filter(|bare| !bare.is_empty()) {
            *name = bare.to_owned();
        }
        if name.starts_with("</") {
            return Err(LexError::StrayEnd);
        }
        let tag = name
            .strip_prefix('<')
            .and_then(|rest| rest.strip_suffix('>'))
            .map(str::to_owned);
        let mut block = None;
        if let (Some(tag), 1) = (tag, parameters.len()) {
            block = Some(self.block(&tag)?);
            parameters = vec![tag];
        }
        Ok(Some(Statement {
            line: number,
            parameters,
            block,
        }))
    }
}

impl Iterator for Statements<'_> {
    type Item = Result<Statement, BadLine>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (number, line) = self.next_line()?;
            match self.statement(number, line) {
                Ok(None) => {}
                Ok(Some(statement)) => return Some(Ok(statement)),
                Err(error) => {
                    return Some(Err(BadLine {
                        line: number,
                        word: first_word(line),
                        error,
                    }));
                }
            }
        }
    }
}

/// First word of a line that could not be read, fit to be shown.
fn first_word(line: &str) -> String {
    let word = line.split_whitespace().next().unwrap_or_default();
    let word = word.trim_start_matches("--").trim_matches(['<', '>']);
    word.chars().filter(|c| !c.is_control()).take(32).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        parameters(line).unwrap()
    }

    #[test]
    fn white_space_separates() {
        assert_eq!(
            words(" remote\tvpn.example 1194 \r\n"),
            ["remote", "vpn.example", "1194"]
        );
        assert!(words("   ").is_empty());
    }

    #[test]
    fn quotes_group_and_may_be_empty() {
        assert_eq!(
            words(r#"push "route 10.0.0.0 255.0.0.0" '' """#),
            ["push", "route 10.0.0.0 255.0.0.0", "", ""]
        );
        assert_eq!(words(r#"a "it's" '"'"#), ["a", "it's", "\""]);
    }

    #[test]
    fn quotes_inside_a_bare_word_are_ordinary_and_text_after_a_quote_is_new() {
        assert_eq!(words(r#"a b"c'd e"#), ["a", "b\"c'd", "e"]);
        assert_eq!(words(r#"a "b"c"#), ["a", "b", "c"]);
    }

    #[test]
    fn a_backslash_makes_quotes_blanks_and_itself_literal() {
        assert_eq!(
            words(r#"cert c:\\keys\\my\ key "say \"hi\"" \"q"#),
            ["cert", "c:\\keys\\my key", "say \"hi\"", "\"q"]
        );
        assert_eq!(words(r"a '\n\'"), ["a", r"\n\"]);
        assert_eq!(parameters(r"a c:\keys"), Err(LexError::BadBackslash('k')));
        assert_eq!(parameters(r"a b\"), Err(LexError::TrailingBackslash));
    }

    #[test]
    fn a_comment_starts_only_where_a_parameter_could() {
        assert_eq!(words("verb 3 # loud"), ["verb", "3"]);
        assert_eq!(words("verb 3;x ;y"), ["verb", "3;x"]);
        assert!(words("# nothing").is_empty());
        assert!(words("; \"nothing").is_empty());
    }

    #[test]
    fn open_quotes_are_errors() {
        assert_eq!(parameters("a \"b"), Err(LexError::OpenQuote('"')));
        assert_eq!(parameters("a 'b"), Err(LexError::OpenQuote('\'')));
    }

    #[test]
    fn the_seventeenth_parameter_is_left_out() {
        let line = "p ".repeat(16) + "'unclosed";
        assert_eq!(words(&line).len(), MAX_PARAMETERS);
    }

    #[test]
    fn a_parameter_holds_256_bytes() {
        assert_eq!(words(&"x".repeat(256)).len(), 1);
        assert_eq!(parameters(&"x".repeat(257)), Err(LexError::LongParameter));
    }

    /// What a line became: its number, its words, and the first line and text of its block.
    type Line = (u32, Vec<String>, Option<(u32, String)>);

    fn read(text: &str) -> Vec<Result<Line, BadLine>> {
        let plain = |block: Block| (block.line, block.text.expose().to_owned());
        statements(text, 1)
            .map(|item| item.map(|s| (s.line, s.parameters, s.block.map(plain))))
            .collect()
    }

    fn bad(line: u32, word: &str, error: LexError) -> Result<Line, BadLine> {
        Err(BadLine {
            line,
            word: word.to_owned(),
            error,
        })
    }

    #[test]
    fn a_file_becomes_numbered_statements() {
        let text = "\u{feff}--client\r\n\r\n# note\r\n<ca>\r\nPEM \\x \"\r\n</ca>\r\n  proto udp";
        assert_eq!(
            read(text),
            [
                Ok((1, vec!["client".to_owned()], None)),
                Ok((4, vec!["ca".to_owned()], Some((5, "PEM \\x \"\r\n".to_owned())))),
                Ok((7, vec!["proto".to_owned(), "udp".to_owned()], None)),
            ]
        );
    }

    #[test]
    fn blocks_must_be_closed_and_opened() {
        assert_eq!(
            read("<ca>\nx\n"),
            [bad(1, "ca", LexError::OpenBlock("ca".to_owned()))]
        );
        assert_eq!(read("</ca>"), [bad(1, "/ca", LexError::StrayEnd)]);
        assert_eq!(read("<ca>\n  </ca> \n").len(), 1);
    }

    #[test]
    fn a_line_has_255_bytes_with_its_end_but_a_block_has_no_limit() {
        let fits = format!("x {}\n", "y".repeat(252));
        assert!(read(&fits)[0].is_ok());
        let long = format!("x {}\n", "y".repeat(253));
        assert_eq!(read(&long), [bad(1, "x", LexError::LongLine(256))]);
        assert!(read(&format!("<ca>\n{}\n</ca>\n", "y".repeat(9999)))[0].is_ok());
    }

    #[test]
    fn errors_do_not_stop_the_reader() {
        let items = read("a \\x\nb \"\nc");
        assert_eq!(items.len(), 3);
        assert!(items[2].is_ok());
    }

    proptest! {
        #[test]
        fn quoted_parameters_read_back(list in prop::collection::vec("[^\0\n]{0,60}", 1..16)) {
            let line = list.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(parameters(&line).unwrap(), list);
        }

        #[test]
        fn no_text_panics(text in "\\PC*|[\\\\\"'<>/ca\n# ]{0,80}") {
            let _count = statements(&text, 1).count();
        }
    }
}
