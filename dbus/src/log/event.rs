//! Signals that senders send: read, checked and made harmless.

use crate::{
    bus::{Body, Received},
    constants::{LogCategory, Status, StatusMajor, StatusMinor},
    names::{interface, printable},
};

/// Longest text of a line, in bytes.
const MAX_LINE_BYTES: usize = 4096;
/// Longest message of a status, in bytes; a page to be opened is a long one.
const MAX_STATUS_BYTES: usize = 16 * 1024;

/// What a sender says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// A log line.
    Line {
        /// Number of a group that has a name.
        group: u32,
        category: LogCategory,
        text: String,
    },
    /// A session's new status.
    Status(Status),
}

impl Event {
    /// Reads a signal; `None` for others and for what nobody could understand.
    pub(super) fn read(signal: &Received) -> Option<Self> {
        match signal.member.as_str() {
            "Log" => {
                // A client process puts its session's token before the text. The token is a secret: it ends here.
                let (group, category, text) = match signal.args::<(u32, u32, String, String)>() {
                    Some((group, category, _token, text)) if signal.interface == interface::BACKENDS => {
                        (group, category, text)
                    }
                    Some(_) => return None,
                    None => signal.args::<(u32, u32, String)>()?,
                };
                Self::line(group, category, &text)
            }
            "StatusChange" => {
                let (major, minor, message) = signal.args::<(u32, u32, String)>()?;
                Self::status(major, minor, &message)
            }
            _ => None,
        }
    }

    pub(super) fn line(group: u32, category: u32, text: &str) -> Option<Self> {
        group_name(group)?;
        Some(Self::Line {
            group,
            category: LogCategory::from_number(category)?,
            text: cut(printable(text), MAX_LINE_BYTES),
        })
    }

    pub(super) fn status(major: u32, minor: u32, message: &str) -> Option<Self> {
        let message = cut(printable(message), MAX_STATUS_BYTES);
        Status::from_parts(major, minor, message).map(Self::Status)
    }

    /// How much it matters.
    pub(super) fn category(&self) -> LogCategory {
        match self {
            Self::Line { category, .. } => *category,
            Self::Status(_) => LogCategory::Verb1,
        }
    }

    /// Name of the signal.
    pub(super) fn member(&self) -> &'static str {
        match self {
            Self::Line { .. } => "Log",
            Self::Status(_) => "StatusChange",
        }
    }

    /// What is forwarded: `(uus)`.
    pub(super) fn body(&self) -> Body {
        match self {
            Self::Line {
                group,
                category,
                text,
            } => Body::of((*group, *category as u32, text.clone())),
            Self::Status(status) => Body::of(status.parts()),
        }
    }

    /// Tells whether the session manager says with it that the session is closed.
    pub(super) fn is_close(&self) -> bool {
        matches!(
            self,
            Self::Status(Status {
                major: StatusMajor::Session,
                minor: StatusMinor::ProcStopped,
                ..
            })
        )
    }
}

/// How a group is printed.
pub(super) fn group_name(group: u32) -> Option<&'static str> {
    Some(match group {
        0 => "",
        1 => "Master Process",
        2 => "Config Manager",
        3 => "Session Manager",
        4 => "Backend Starter",
        5 => "Logger",
        6 => "Backend Session Process",
        7 => "Client",
        8 => "Network Configuration",
        9 => "External Service",
        _ => return None,
    })
}

fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_is_not_taken() {
        assert!(Event::line(10, 4, "x").is_none());
        assert!(Event::line(7, 0, "x").is_none());
        assert!(Event::line(7, 9, "x").is_none());
        assert!(Event::status(2, 30, "x").is_none());
    }

    #[test]
    fn texts_are_one_line_of_bounded_length() {
        let Some(Event::Line { text, .. }) =
            Event::line(7, 4, &format!("a\r\n\u{1b}[2J{}", "é".repeat(9999)))
        else {
            panic!("a line");
        };
        assert!(
            text.starts_with("a[2Jéé") && text.len() <= MAX_LINE_BYTES,
            "{text}"
        );
    }

    #[test]
    fn a_session_is_closed_by_that_status_alone() {
        assert!(Event::status(3, 28, "Session closed").unwrap().is_close());
        assert!(!Event::status(3, 29, "").unwrap().is_close());
        assert!(!Event::status(2, 9, "").unwrap().is_close());
    }
}
