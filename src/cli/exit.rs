//! How a command ends: from error to exit status.

use std::process::ExitCode;

use tunless_core::client::ExitKind;

/// What the shell sees of a command's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// 0: done.
    Done,
    /// 1: failed.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 3: the server does not accept who we are.
    AuthFailed,
}

impl Status {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::AuthFailed => 3,
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status.code())
    }
}

impl From<ExitKind> for Status {
    fn from(kind: ExitKind) -> Self {
        match kind {
            ExitKind::Done => Self::Done,
            ExitKind::Failed => Self::Failed,
            ExitKind::AuthFailed => Self::AuthFailed,
        }
    }
}

/// A command's end that is not `Done`: what to say, and with which status.
#[derive(Debug)]
pub struct Failure {
    /// The status.
    pub status: Status,
    /// What, where, and what to do about it.
    pub error: anyhow::Error,
}

impl Failure {
    /// A failure of usage, which another command line would not have.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self {
            status: Status::Usage,
            error: error.into(),
        }
    }

    /// A failure that asks for a name and a password.
    pub fn auth(error: impl Into<anyhow::Error>) -> Self {
        Self {
            status: Status::AuthFailed,
            error: error.into(),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            status: Status::Failed,
            error: error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_the_documented_ones() {
        let all = [Status::Done, Status::Failed, Status::Usage, Status::AuthFailed];
        assert_eq!(all.map(Status::code), [0, 1, 2, 3]);
        assert_eq!(Status::from(ExitKind::AuthFailed), Status::AuthFailed);
    }
}
