//! Why there is no way through a proxy, and what to do about it.

use super::MAX_ANSWER_BYTES;

/// Why there is no way through a proxy; the text goes on from the proxy's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// What answers there does not speak HTTP.
    #[error("does not answer as an HTTP proxy does; check its port, and whether it is one for `socks-proxy`")]
    NotHttp,
    /// What answers there does not speak SOCKS 5.
    #[error(
        "does not answer as a SOCKS 5 proxy does; check its port, and whether it is one for `http-proxy`"
    )]
    NotSocks,
    /// The answer breaks the rules of its language.
    #[error("sent an answer that cannot be read: {0}")]
    Malformed(&'static str),
    /// The answer does not end.
    #[error("sent an answer of more than {MAX_ANSWER_BYTES} bytes; is it a proxy?")]
    TooLong,
    /// The proxy ended the connection.
    #[error("closed the connection before it answered; does it let this host in?")]
    Closed,
    /// The proxy does not want to.
    #[error(
        "refuses to connect to the server ({0}); whoever runs it has to allow the server's name and port"
    )]
    Refused(String),
    /// The proxy tried and did not come through.
    #[error("cannot reach the server ({0}); check the server's name and port, or try later")]
    Unreachable(String),
    /// The proxy wants a login, and none was sent.
    #[error("wants a user name and a password")]
    WantsCredentials,
    /// The proxy does not take the login that was sent.
    #[error("refused the user name and the password")]
    CredentialsRefused,
    /// The proxy only takes logins in ways that are not spoken.
    #[error(
        "wants a login by {0}, of which only Basic is spoken; ask whoever runs it for Basic, or for a way without"
    )]
    Method(String),
    /// The proxy takes no login at all.
    #[error("takes no login by user name and password; leave the file out of `socks-proxy`")]
    NoLogin,
    /// The only possible login is forbidden by the profile.
    #[error("wants a login by Basic, which `auto-nct` forbids; write `auto` if the way to it is safe")]
    NotInClear,
    /// The profile forbids logins.
    #[error("wants a login, which `none` behind `http-proxy` forbids; write `basic`")]
    LoginOff,
    /// The credentials cannot be written in the proxy's language.
    #[error("cannot be sent these credentials: {0}")]
    Credentials(&'static str),
    /// The server cannot be named in the proxy's language.
    #[error("cannot be told to connect to {0:?}; name the server by a plain name or address")]
    Target(String),
}

impl UpstreamError {
    /// Tells whether the profile, or the proxy, has to be changed before another attempt can end otherwise.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Method(_) | Self::NoLogin | Self::NotInClear | Self::LoginOff | Self::Target(_) => true,
            Self::NotHttp
            | Self::NotSocks
            | Self::Malformed(_)
            | Self::TooLong
            | Self::Closed
            | Self::Refused(_)
            | Self::Unreachable(_)
            | Self::WantsCredentials
            | Self::CredentialsRefused
            | Self::Credentials(_) => false,
        }
    }

    /// Tells whether other credentials might help.
    pub fn is_about_credentials(&self) -> bool {
        matches!(
            self,
            Self::WantsCredentials | Self::CredentialsRefused | Self::Credentials(_)
        )
    }
}

/// An [`UpstreamError`] and the proxy that it came from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {proxy} {error}")]
pub struct UpstreamFailure {
    /// The proxy's kind and place.
    pub proxy: String,
    /// Whether it is one for HTTP.
    pub is_http: bool,
    /// What happened.
    pub error: UpstreamError,
}
