//! Numbers on the wire: statuses, questions, events, log groups and categories.
//!
//! Receivers crash or raise on numbers that they do not know, so that none but these is ever sent.

/// Major part of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum StatusMajor {
    /// None yet.
    Unset = 0,
    /// About the configuration.
    Config = 1,
    /// About the connection.
    Connection = 2,
    /// About the session.
    Session = 3,
    /// About a key on a token.
    Pkcs11 = 4,
    /// About a process.
    Process = 5,
}

/// Minor part of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum StatusMinor {
    /// None yet.
    Unset = 0,
    /// The profile cannot be used.
    CfgError = 1,
    /// The profile can be used.
    CfgOk = 2,
    /// A file that the profile names is missing.
    CfgInlineMissing = 3,
    /// Somebody has to answer a question.
    CfgRequireUser = 4,
    /// The client is ready.
    ConnInit = 5,
    /// The client connects.
    ConnConnecting = 6,
    /// Packets go through.
    ConnConnected = 7,
    /// The client leaves the server.
    ConnDisconnecting = 8,
    /// The client has left the server.
    ConnDisconnected = 9,
    /// The client gave up.
    ConnFailed = 10,
    /// The server does not accept who we are.
    ConnAuthFailed = 11,
    /// The connection was lost, another follows.
    ConnReconnecting = 12,
    /// A pause begins.
    ConnPausing = 13,
    /// The client waits to be resumed.
    ConnPaused = 14,
    /// A pause ends.
    ConnResuming = 15,
    /// The client process has ended.
    ConnDone = 16,
    /// A session was made.
    SessNew = 17,
    /// A session has its client process.
    SessBackendCompleted = 18,
    /// A session was removed.
    SessRemoved = 19,
    /// User name and password.
    SessAuthUserpass = 20,
    /// Challenge.
    SessAuthChallenge = 21,
    /// A page has to be opened.
    SessAuthUrl = 22,
    /// A token signs.
    Pkcs11Sign = 23,
    /// A token encrypts.
    Pkcs11Encrypt = 24,
    /// A token decrypts.
    Pkcs11Decrypt = 25,
    /// A token verifies.
    Pkcs11Verify = 26,
    /// A process was started.
    ProcStarted = 27,
    /// A process has ended.
    ProcStopped = 28,
    /// A process was killed.
    ProcKilled = 29,
}

/// A status as it travels: `(uus)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What it is about.
    pub major: StatusMajor,
    /// What is so.
    pub minor: StatusMinor,
    /// Why, for people.
    pub message: String,
}

impl Status {
    /// Before the first.
    pub const fn unset() -> Self {
        Self {
            major: StatusMajor::Unset,
            minor: StatusMinor::Unset,
            message: String::new(),
        }
    }

    /// A status of the connection.
    pub fn connection(minor: StatusMinor, message: impl Into<String>) -> Self {
        Self {
            major: StatusMajor::Connection,
            minor,
            message: message.into(),
        }
    }

    /// A status of the session.
    pub fn session(minor: StatusMinor, message: impl Into<String>) -> Self {
        Self {
            major: StatusMajor::Session,
            minor,
            message: message.into(),
        }
    }

    /// The three values.
    pub fn parts(&self) -> (u32, u32, String) {
        (self.major as u32, self.minor as u32, self.message.clone())
    }

    /// Reads the three values; `None` for numbers that nobody knows.
    pub fn from_parts(major: u32, minor: u32, message: String) -> Option<Self> {
        Some(Self {
            major: StatusMajor::ALL
                .into_iter()
                .find(|known| *known as u32 == major)?,
            minor: StatusMinor::ALL
                .into_iter()
                .find(|known| *known as u32 == minor)?,
            message,
        })
    }
}

impl StatusMajor {
    /// Every one, in order.
    pub const ALL: [Self; 6] = [
        Self::Unset,
        Self::Config,
        Self::Connection,
        Self::Session,
        Self::Pkcs11,
        Self::Process,
    ];
}

impl StatusMinor {
    /// Every one, in order.
    pub const ALL: [Self; 30] = [
        Self::Unset,
        Self::CfgError,
        Self::CfgOk,
        Self::CfgInlineMissing,
        Self::CfgRequireUser,
        Self::ConnInit,
        Self::ConnConnecting,
        Self::ConnConnected,
        Self::ConnDisconnecting,
        Self::ConnDisconnected,
        Self::ConnFailed,
        Self::ConnAuthFailed,
        Self::ConnReconnecting,
        Self::ConnPausing,
        Self::ConnPaused,
        Self::ConnResuming,
        Self::ConnDone,
        Self::SessNew,
        Self::SessBackendCompleted,
        Self::SessRemoved,
        Self::SessAuthUserpass,
        Self::SessAuthChallenge,
        Self::SessAuthUrl,
        Self::Pkcs11Sign,
        Self::Pkcs11Encrypt,
        Self::Pkcs11Decrypt,
        Self::Pkcs11Verify,
        Self::ProcStarted,
        Self::ProcStopped,
        Self::ProcKilled,
    ];
}

/// What kind of attention is wanted (`ClientAttentionType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum AttentionType {
    /// Something to be typed, or a page to be opened.
    Credentials = 1,
    /// A key on a token.
    Pkcs11 = 2,
    /// A permission.
    AccessPerm = 3,
}

/// What is asked for (`ClientAttentionGroup`); 6 to 9 as the newest front ends have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum AttentionGroup {
    /// User name and password.
    UserPassword = 1,
    /// User name and password for a proxy.
    HttpProxyCreds = 2,
    /// Passphrase of the private key.
    PkPassphrase = 3,
    /// The profile's own challenge.
    ChallengeStatic = 4,
    /// The server's challenge, with a refusal (`CRV1`).
    ChallengeDynamic = 5,
    /// The server's question while it decides (`CR_TEXT`).
    ChallengeAuthPending = 6,
    /// A token has to sign.
    Pkcs11Sign = 7,
    /// A token has to decrypt.
    Pkcs11Decrypt = 8,
    /// A page has to be opened.
    OpenUrl = 9,
}

/// What happened to a session (`SessionManagerEvent`, type `q`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum SessionEvent {
    /// It was made.
    Created = 1,
    /// It is gone.
    Destroyed = 2,
}

/// What happened to a profile (`ConfigurationManagerEvent`, type `q`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum ProfileEvent {
    /// It was imported.
    Created = 1,
    /// It is gone.
    Destroyed = 2,
}

/// Who logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum LogGroup {
    /// Nobody in particular.
    Undefined = 0,
    /// Configuration manager.
    ConfigMgr = 2,
    /// Session manager.
    SessionMgr = 3,
    /// Starter of client processes.
    BackendStart = 4,
    /// Log service.
    Logger = 5,
    /// Client process, about itself.
    BackendProc = 6,
    /// Client process, about the tunnel.
    Client = 7,
    /// Network configuration.
    Netcfg = 8,
}

/// How much a log line matters; the more the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum LogCategory {
    /// For developers.
    Debug = 1,
    /// Much.
    Verb2 = 2,
    /// More.
    Verb1 = 3,
    /// What a user would tell a colleague.
    Info = 4,
    /// Odd but working.
    Warn = 5,
    /// Broken.
    Error = 6,
    /// Broken beyond repair.
    Crit = 7,
    /// The end.
    Fatal = 8,
}

impl LogCategory {
    /// Every one, in order.
    pub const ALL: [Self; 8] = [
        Self::Debug,
        Self::Verb2,
        Self::Verb1,
        Self::Info,
        Self::Warn,
        Self::Error,
        Self::Crit,
        Self::Fatal,
    ];

    /// The category of that number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|known| *known as u32 == number)
    }
}

/// Highest verbosity (`log_level`, `log_verbosity`).
pub const MAX_VERBOSITY: u32 = 6;

/// Tells whether a line of `category` (its number) is let through at `verbosity`, 0 to 6.
pub fn is_shown(category: u32, verbosity: u32) -> bool {
    let least = match verbosity {
        0 => LogCategory::Crit,
        1 => LogCategory::Error,
        2 => LogCategory::Warn,
        3 => LogCategory::Info,
        4 => LogCategory::Verb1,
        5 => LogCategory::Verb2,
        _ => LogCategory::Debug,
    };
    category >= least as u32
}

/// What changed at a device (`NetworkChange`, a bit mask).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum NetworkChange {
    /// A device appeared.
    DeviceAdded = 1,
    /// A device is gone.
    DeviceRemoved = 2,
    /// It has an address.
    IpAddrAdded = 4,
    /// It has lost an address.
    IpAddrRemoved = 8,
    /// A network is reached through it.
    RouteAdded = 16,
    /// A network is no longer reached through it.
    RouteRemoved = 32,
    /// A network is not to be reached through it.
    RouteExcluded = 64,
    /// A resolver is used.
    DnsServerAdded = 128,
    /// A resolver is no longer used.
    DnsServerRemoved = 256,
    /// A domain is searched.
    DnsSearchAdded = 512,
    /// A domain is no longer searched.
    DnsSearchRemoved = 1024,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_that_nobody_knows_are_not_read() {
        let status = Status::connection(StatusMinor::ConnConnected, "x");
        let (major, minor, message) = status.parts();
        assert_eq!((major, minor), (2, 7));
        assert_eq!(Status::from_parts(major, minor, message), Some(status));
        assert_eq!(Status::from_parts(6, 0, String::new()), None);
        assert_eq!(Status::from_parts(2, 30, String::new()), None);
    }

    #[test]
    fn verbosity_lets_through_what_matters() {
        let shown = |verbosity| (1..=8).filter(|category| is_shown(*category, verbosity)).count();
        assert_eq!([0, 1, 2, 3, 4, 5, 6].map(shown), [2, 3, 4, 5, 6, 7, 8]);
    }
}
