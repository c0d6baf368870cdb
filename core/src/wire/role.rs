//! The two roles of a session: client and server.

/// Which end of a session this is: always the TLS role, whoever renegotiates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sends the first hard reset and the TLS client hello.
    Client,
    /// Answers them.
    Server,
}

impl Role {
    /// The other end.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}
