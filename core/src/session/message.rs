//! The texts of the control channel (reference section 7): parsing and printing.

use std::fmt;

/// Longest text taken; what the reference can hold in one TLS read.
const MAX_MESSAGE_BYTES: usize = 2048;

/// A text of the control channel, sorted by its first word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// `PUSH_REQUEST`.
    PushRequest,
    /// `PUSH_REPLY[,options]`: the whole text.
    PushReply(String),
    /// `PUSH_UPDATE,…`: the whole text.
    PushUpdate(String),
    /// `AUTH_FAILED[,reason]`: the reason, empty without one.
    AuthFailed(String),
    /// `AUTH_PENDING[,keywords]`.
    AuthPending(PendingOptions),
    /// `INFO_PRE,…`.
    InfoPre(String),
    /// `INFO,…`.
    Info(String),
    /// `CR_RESPONSE,<base64>`.
    ChallengeResponse(String),
    /// `RESTART[,[flags]text]`.
    Restart(RestartFlags),
    /// `HALT[,text]`.
    Halt(String),
    /// `EXIT`.
    Exit,
    /// Anything else; logged, never acted upon.
    Other(String),
}

/// What `AUTH_PENDING` says beyond its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PendingOptions {
    /// `timeout N`, in seconds.
    pub timeout_seconds: Option<u32>,
}

/// What `RESTART` says beyond its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestartFlags {
    /// `P`: keep cached credentials.
    pub keep_credentials: bool,
    /// `N`: go on to the next remote.
    pub next_remote: bool,
    /// The text behind the flags.
    pub text: String,
}

/// What `AUTH_FAILED,TEMP[flags]:text` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TempFlags {
    /// `backoff N`, in seconds.
    pub backoff_seconds: Option<u32>,
    /// `advance addr`.
    pub next_address: bool,
    /// `advance remote`.
    pub next_remote: bool,
    /// The text behind the flags.
    pub text: String,
}

impl Message {
    /// Sorts one text; the order of the prefixes is the reference's (section 7.1).
    pub fn parse(text: &str) -> Self {
        let after = |prefix: &str| {
            let rest = text.strip_prefix(prefix)?;
            Some(rest.strip_prefix(',').unwrap_or(rest).to_owned())
        };
        if let Some(reason) = after("AUTH_FAILED") {
            return Self::AuthFailed(reason);
        }
        if text.starts_with("PUSH_REQUEST") {
            return Self::PushRequest;
        }
        if text.starts_with("PUSH_REPLY") {
            return Self::PushReply(text.to_owned());
        }
        if text.starts_with("PUSH_UPDATE") {
            return Self::PushUpdate(text.to_owned());
        }
        if let Some(rest) = after("RESTART") {
            return Self::Restart(RestartFlags::parse(&rest));
        }
        if let Some(rest) = after("HALT") {
            return Self::Halt(RestartFlags::parse(&rest).text);
        }
        if let Some(extra) = after("INFO_PRE") {
            return Self::InfoPre(extra);
        }
        if let Some(extra) = after("INFO") {
            return Self::Info(extra);
        }
        if let Some(response) = after("CR_RESPONSE") {
            return Self::ChallengeResponse(response);
        }
        if let Some(keywords) = after("AUTH_PENDING") {
            return Self::AuthPending(PendingOptions::parse(&keywords));
        }
        if text.starts_with("EXIT") {
            return Self::Exit;
        }
        Self::Other(text.to_owned())
    }
}

impl PendingOptions {
    fn parse(keywords: &str) -> Self {
        let timeout = keywords
            .split(',')
            .find_map(|word| word.trim().strip_prefix("timeout "));
        Self {
            timeout_seconds: timeout.and_then(|seconds| seconds.trim().parse().ok()),
        }
    }
}

impl RestartFlags {
    fn parse(rest: &str) -> Self {
        let (flags, text) = bracketed(rest);
        Self {
            keep_credentials: flags.contains('P'),
            next_remote: flags.contains('N'),
            text: text.to_owned(),
        }
    }
}

impl TempFlags {
    /// Reads the reason of an `AUTH_FAILED`; `None` where it is not a temporary failure.
    pub fn parse(reason: &str) -> Option<Self> {
        let rest = reason.strip_prefix("TEMP")?;
        let (flags, text) = bracketed(rest);
        let mut parsed = Self {
            text: text.trim_start_matches(':').trim().to_owned(),
            ..Self::default()
        };
        for flag in flags.split(',').map(str::trim) {
            match flag.split_once(' ') {
                Some(("backoff", seconds)) => parsed.backoff_seconds = seconds.trim().parse().ok(),
                Some(("advance", "addr")) => parsed.next_address = true,
                Some(("advance", "remote")) => parsed.next_remote = true,
                _unknown => {}
            }
        }
        Some(parsed)
    }
}

/// Splits `[flags]text`.
fn bracketed(rest: &str) -> (&str, &str) {
    rest.strip_prefix('[')
        .and_then(|inner| inner.split_once(']'))
        .unwrap_or(("", rest))
}

impl fmt::Display for Message {
    /// Prints what is sent on the wire, without its NUL; tokens are not masked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PushRequest => f.write_str("PUSH_REQUEST"),
            Self::PushReply(text) | Self::PushUpdate(text) | Self::Other(text) => f.write_str(text),
            Self::AuthFailed(reason) if reason.is_empty() => f.write_str("AUTH_FAILED"),
            Self::AuthFailed(reason) => write!(f, "AUTH_FAILED,{reason}"),
            Self::AuthPending(options) => match options.timeout_seconds {
                Some(seconds) => write!(f, "AUTH_PENDING,timeout {seconds}"),
                None => f.write_str("AUTH_PENDING"),
            },
            Self::InfoPre(extra) => write!(f, "INFO_PRE,{extra}"),
            Self::Info(extra) => write!(f, "INFO,{extra}"),
            Self::ChallengeResponse(response) => write!(f, "CR_RESPONSE,{response}"),
            Self::Restart(flags) => match (flags.next_remote, flags.text.as_str()) {
                (false, "") => f.write_str("RESTART"),
                (true, text) => write!(f, "RESTART,[N]{text}"),
                (false, text) => write!(f, "RESTART,{text}"),
            },
            Self::Halt(text) if text.is_empty() => f.write_str("HALT"),
            Self::Halt(text) => write!(f, "HALT,{text}"),
            Self::Exit => f.write_str("EXIT"),
        }
    }
}

/// Cuts `bytes` at its NULs, appends each printable text to `out` and returns how many bytes were used up.
///
/// Texts that are empty, too long, not UTF-8 or that hold control characters are skipped. What follows the
/// last NUL stays, unless it is longer than any text may be.
pub fn split_messages(bytes: &[u8], out: &mut Vec<Message>) -> usize {
    let mut used = 0;
    for part in bytes.split_inclusive(|byte| *byte == 0) {
        let Some((0, text)) = part.split_last() else {
            break;
        };
        used += part.len();
        let Ok(text) = std::str::from_utf8(text) else {
            continue;
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() || text.len() > MAX_MESSAGE_BYTES || text.chars().any(char::is_control) {
            continue;
        }
        out.push(Message::parse(text));
    }
    if bytes.len() - used > MAX_MESSAGE_BYTES {
        bytes.len()
    } else {
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(bytes: &[u8]) -> (Vec<Message>, usize) {
        let mut out = Vec::new();
        let used = split_messages(bytes, &mut out);
        (out, used)
    }

    #[test]
    fn several_texts_in_one_record_come_in_order_and_a_tail_stays() {
        let (texts, used) = split(b"PUSH_REPLY\0\0AUTH_FAILED,no\r\n\0EX");
        assert_eq!(
            texts,
            [
                Message::PushReply("PUSH_REPLY".into()),
                Message::AuthFailed("no".into())
            ]
        );
        assert_eq!(used, 29);
    }

    #[test]
    fn texts_with_control_characters_or_beyond_the_limit_are_skipped() {
        let (texts, used) = split(b"EXI\x07T\0EXIT\0");
        assert_eq!((texts, used), (vec![Message::Exit], 11));
        let long = vec![b'A'; MAX_MESSAGE_BYTES + 1];
        assert_eq!(split(&long), (vec![], long.len()));
    }

    #[test]
    fn flags_are_read() {
        let restart = Message::parse("RESTART,[PN]maintenance");
        let wanted = RestartFlags {
            keep_credentials: true,
            next_remote: true,
            text: "maintenance".into(),
        };
        assert_eq!(restart, Message::Restart(wanted));
        let temp = TempFlags::parse("TEMP[backoff 42,advance remote]: busy").unwrap();
        assert_eq!(temp.backoff_seconds, Some(42));
        assert!(temp.next_remote && !temp.next_address);
        assert_eq!(temp.text, "busy");
        assert_eq!(TempFlags::parse("no such user"), None);
        let pending = Message::parse("AUTH_PENDING,timeout 90,else");
        assert_eq!(
            pending,
            Message::AuthPending(PendingOptions {
                timeout_seconds: Some(90)
            })
        );
    }

    #[test]
    fn texts_print_as_they_are_read() {
        for text in [
            "PUSH_REQUEST",
            "AUTH_FAILED,SESSION: gone",
            "INFO_PRE,WEB_AUTH::https://x",
            "RESTART",
            "EXIT",
            "HALT,bye",
        ] {
            assert_eq!(Message::parse(text).to_string(), text);
        }
    }
}
