//! How a connection ends, and what follows from it (reference sections 7.4, 7.6, 9.4).

use std::{fmt, time::Duration};

use super::DynamicChallenge;
use crate::{
    config::{AuthRetry, PushError},
    session::{PacketError, RestartFlags, SessionError, TempFlags},
    tls::TlsError,
    upstream::UpstreamFailure,
};

/// Pause before the same credentials are tried again (`auth-retry nointeract`; reference section 9.3).
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// Why a connection ended.
#[derive(Debug)]
pub enum CloseReason {
    /// This side wanted it.
    LocalExit,
    /// Nothing authentic came from the server before `connect-timeout`.
    NoAnswer {
        /// The time waited.
        after: Duration,
        /// Control packets that came but were not accepted: a sign of a wrong tls-auth or tls-crypt key.
        foreign: u64,
    },
    /// The transport could not be set up; the text says why.
    ConnectFailed(String),
    /// The server's name, or its proxy's, does not resolve; the text says which and why.
    Unresolved(String),
    /// The proxy on the way gives no way to the server.
    Upstream(UpstreamFailure),
    /// The stream ended or lost its framing.
    ConnectionReset(String),
    /// The way to the server changed or broke, and the connection cannot follow; the text says how.
    PathLost(String),
    /// The session failed: TLS, key exchange, time.
    Session(SessionError),
    /// The server did not answer `PUSH_REQUEST`.
    NoPushReply,
    /// What the server pushed cannot be used.
    Push(PushError),
    /// Client and server have no data channel in common.
    Negotiation(NegotiationError),
    /// A data packet over TCP did not open: the two ends are out of step.
    DecryptionError,
    /// Silence (`ping-restart`).
    PingRestart,
    /// Silence (`ping-exit`).
    PingExit,
    /// Too little traffic (`inactive`).
    Inactive,
    /// Time is up (`session-timeout`).
    SessionTimeout,
    /// The server asked for a new connection.
    Restart(RestartFlags),
    /// The server ended it for good.
    Halt(String),
    /// The server left.
    RemoteExit,
    /// The server refused user name or password (or the certificate's owner).
    AuthFailed {
        /// What the server said; may be empty.
        reason: String,
        /// `auth-retry`.
        retry: AuthRetry,
        /// What it asks before it accepts them.
        challenge: Option<Box<DynamicChallenge>>,
    },
    /// The server refused the token; the real credentials come next.
    AuthToken {
        /// What the server said; may be empty.
        reason: String,
    },
    /// The server refused for now.
    AuthTemporary(TempFlags),
}

/// Client and server have no data channel in common.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// A cipher that this profile does not allow.
    #[error("the server wants cipher {theirs}, data-ciphers allows {ours}; only AEAD ciphers are supported")]
    Cipher {
        /// What the server wants.
        theirs: String,
        /// What is allowed here.
        ours: String,
    },
    /// The server names no cipher at all.
    #[error("the server names no cipher and there is no data-ciphers-fallback; data-ciphers allows {ours}")]
    NoCipher {
        /// What is allowed here.
        ours: String,
    },
    /// The epoch format was not announced and yet chosen.
    #[error("the server chose the epoch data format, which this client did not offer")]
    Epoch,
    /// A peer id above 24 bits.
    #[error("the server pushed peer-id {0}, which is above 16777215")]
    PeerId(u32),
}

impl From<NegotiationError> for CloseReason {
    fn from(error: NegotiationError) -> Self {
        Self::Negotiation(error)
    }
}

/// What follows from the end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Connect again.
    Retry {
        /// Where.
        advance: Advance,
        /// At least this long a pause, beyond the usual one.
        wait: Option<Duration>,
        /// The token is void: use the real credentials.
        forget_token: bool,
    },
    /// End.
    Exit(ExitKind),
}

/// Where the next attempt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advance {
    /// The same address again.
    Stay,
    /// The next address of the same remote, then the next remote.
    Address,
    /// The next remote.
    Remote,
}

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitKind {
    /// As wanted.
    Done,
    /// With an error.
    Failed,
    /// The server, or the proxy on the way to it, does not accept who we are.
    AuthFailed,
}

impl CloseReason {
    /// What follows from it.
    pub fn action(&self) -> Action {
        let retry = |advance| Action::Retry {
            advance,
            wait: None,
            forget_token: false,
        };
        match self {
            Self::LocalExit | Self::Inactive | Self::SessionTimeout | Self::PingExit => {
                Action::Exit(ExitKind::Done)
            }
            Self::Halt(_) | Self::Negotiation(_) => Action::Exit(ExitKind::Failed),
            // The challenge is the server's next question, whatever follows from a plain refusal.
            Self::AuthFailed {
                challenge: Some(_), ..
            } => retry(Advance::Stay),
            Self::AuthFailed {
                retry: AuthRetry::None,
                ..
            } => Action::Exit(ExitKind::AuthFailed),
            Self::AuthToken { .. } => Action::Retry {
                advance: Advance::Stay,
                wait: None,
                forget_token: true,
            },
            Self::AuthTemporary(flags) => Action::Retry {
                advance: match (flags.next_remote, flags.next_address) {
                    (true, _) => Advance::Remote,
                    (false, true) => Advance::Address,
                    (false, false) => Advance::Stay,
                },
                wait: flags
                    .backoff_seconds
                    .map(|seconds| Duration::from_secs(seconds.into())),
                forget_token: false,
            },
            // Without `P` the server wants credentials anew; a token is all of them that it can take back.
            Self::Restart(flags) => Action::Retry {
                advance: if flags.next_remote {
                    Advance::Remote
                } else {
                    Advance::Stay
                },
                wait: None,
                forget_token: !flags.keep_credentials,
            },
            Self::AuthFailed {
                retry: AuthRetry::NoInteract,
                ..
            } => Action::Retry {
                advance: Advance::Stay,
                wait: Some(REFUSED_PAUSE),
                forget_token: false,
            },
            Self::AuthFailed { .. } | Self::PingRestart | Self::RemoteExit | Self::PathLost(_) => {
                retry(Advance::Stay)
            }
            Self::Session(SessionError::Tls(error)) if is_final(error) => Action::Exit(ExitKind::Failed),
            Self::Upstream(failure) if failure.error.is_about_credentials() => {
                Action::Exit(ExitKind::AuthFailed)
            }
            Self::Upstream(failure) if failure.error.is_final() => Action::Exit(ExitKind::Failed),
            Self::NoAnswer { .. }
            | Self::ConnectFailed(_)
            | Self::Upstream(_)
            | Self::Unresolved(_)
            | Self::ConnectionReset(_)
            | Self::Session(_)
            | Self::NoPushReply
            | Self::Push(_)
            | Self::DecryptionError => retry(Advance::Address),
        }
    }

    /// The reason in the words of OpenVPN's management interface.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LocalExit => "exit-with-notification",
            Self::NoAnswer { .. } => "server_poll",
            Self::ConnectFailed(_) => "connection-failed",
            Self::Unresolved(_) => "resolve-failed",
            Self::Upstream(failure) if failure.is_http => "HTTP proxy error",
            Self::Upstream(_) => "socks-error",
            Self::ConnectionReset(_) | Self::Session(SessionError::Packet(PacketError::Wrap(_))) => {
                "connection-reset"
            }
            Self::PathLost(_) => "network-unreachable",
            Self::Session(_) => "tls-error",
            Self::NoPushReply => "no-push-reply",
            Self::Push(_) | Self::Negotiation(_) => "process-push-msg-failed",
            Self::DecryptionError => "decryption-error",
            Self::PingRestart => "ping-restart",
            Self::PingExit => "ping-exit",
            Self::Inactive => "inactive",
            Self::SessionTimeout => "session-timeout",
            Self::Restart(_) => "server-pushed-connection-reset",
            Self::Halt(_) => "server-pushed-halt",
            Self::RemoteExit => "remote-exit",
            Self::AuthFailed { .. } => "auth-failure",
            Self::AuthToken { .. } => "auth-failure (auth-token)",
            Self::AuthTemporary(_) => "auth-temp-failure (server temporary reject)",
        }
    }
}

/// What trying again does not change: certificates that do not fit, on either side.
fn is_final(error: &TlsError) -> bool {
    match error {
        TlsError::UnknownIssuer { .. }
        | TlsError::Expired { .. }
        | TlsError::NotYetValid { .. }
        | TlsError::Revoked { .. }
        | TlsError::CrlExpired { .. }
        | TlsError::WrongUsage { .. }
        | TlsError::WrongName { .. }
        | TlsError::WrongFingerprint { .. }
        | TlsError::BadSignature
        | TlsError::PeerCertificate { .. }
        | TlsError::NoCertificate
        | TlsError::Incompatible(_)
        | TlsError::BadKey { .. }
        | TlsError::NeedsPassphrase
        | TlsError::WrongPassphrase
        | TlsError::BadCertificate { .. }
        | TlsError::NoTrust
        | TlsError::NoCipher { .. }
        | TlsError::Settings(_) => true,
        TlsError::PeerAlert(alert) => alert.is_about_certificate(),
        TlsError::Protocol(_)
        | TlsError::Closed
        | TlsError::BufferFull { .. }
        | TlsError::NotReady
        | TlsError::Export(_) => false,
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LocalExit => f.write_str("closed here"),
            Self::NoAnswer { after, foreign: 0 } => write!(
                f,
                "no answer within {} s: the server is down or unreachable, its port is blocked, or its \
                 tls-auth/tls-crypt key is another one (a server does not answer a wrong key)",
                after.as_secs()
            ),
            Self::NoAnswer { after, foreign } => write!(
                f,
                "no usable answer within {} s, but {foreign} packets that do not fit: the tls-auth/tls-crypt key \
                 (or key-direction, or auth) differs from the server's",
                after.as_secs()
            ),
            Self::ConnectFailed(why) => write!(f, "cannot connect: {why}"),
            Self::Unresolved(why) => write!(f, "cannot resolve {why}"),
            Self::Upstream(failure) => write!(f, "{failure}"),
            Self::ConnectionReset(why) => write!(f, "the connection was lost: {why}"),
            Self::PathLost(why) => write!(f, "the way to the server is lost: {why}"),
            Self::Session(SessionError::Tls(error)) => write!(f, "TLS: {error}"),
            Self::Session(error) => write!(f, "{error}"),
            Self::NoPushReply => f.write_str("the server did not send its options (PUSH_REPLY) in time"),
            Self::Push(error) => write!(f, "the server's options cannot be used: {error}"),
            Self::Negotiation(error) => write!(f, "{error}"),
            Self::DecryptionError => f.write_str("a data packet over TCP did not decrypt"),
            Self::PingRestart => f.write_str("the server fell silent (ping-restart)"),
            Self::PingExit => f.write_str("the server fell silent (ping-exit)"),
            Self::Inactive => f.write_str("too little traffic (inactive)"),
            Self::SessionTimeout => f.write_str("the session's time is up (session-timeout)"),
            Self::Restart(flags) => write_with(f, "the server asked for a new connection", &flags.text),
            Self::Halt(text) => write_with(f, "the server ended the session", text),
            Self::RemoteExit => f.write_str("the server left"),
            Self::AuthFailed {
                challenge: Some(challenge),
                ..
            } => write_with(f, "the server asks for more", &challenge.text),
            Self::AuthFailed { reason, .. } => write_with(f, "authentication failed", reason),
            Self::AuthToken { reason } => write_with(f, "the server no longer accepts its token", reason),
            Self::AuthTemporary(flags) => write_with(f, "the server refuses for now", &flags.text),
        }
    }
}

fn write_with(f: &mut fmt::Formatter<'_>, what: &str, detail: &str) -> fmt::Result {
    if detail.is_empty() {
        f.write_str(what)
    } else {
        write!(f, "{what}: {detail}")
    }
}
