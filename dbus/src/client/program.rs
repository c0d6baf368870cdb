//! The seam to what connects: a profile goes in, a tunnel comes out, and events tell what becomes of it.
//!
//! The program implements it over its own driver. Nothing in here knows the protocol.

use std::net::IpAddr;

use ipnet::IpNet;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::{
    configuration::Overrides,
    constants::{AttentionGroup, LogCategory},
};

/// Events that may wait for the client process; a tunnel tells few.
pub const MAX_EVENTS: usize = 256;

/// A text that is wiped.
pub type Secret = Zeroizing<String>;

/// A profile as the configuration service stores it.
#[derive(Debug)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Its text, everything inlined.
    pub text: Secret,
    /// What is set in place of what it says.
    pub overrides: Overrides,
}

/// Makes tunnels.
pub trait Program: Send + Sync + 'static {
    /// What it makes.
    type Tunnel: Tunnel;

    /// Reads a profile, without connecting.
    ///
    /// # Errors
    /// Why it cannot be used, for people.
    fn prepare(&self, profile: Profile) -> Result<Prepared<Self::Tunnel>, String>;
}

/// A tunnel that has not been started.
#[derive(Debug)]
pub struct Prepared<T> {
    /// The tunnel.
    pub tunnel: T,
    /// What has to be known before it can connect.
    pub needs: Vec<Need>,
    /// What a user should know of the profile.
    pub notes: Vec<String>,
    /// Verbosity that the profile asks for.
    pub log_level: Option<u32>,
}

/// What has to be known before a tunnel can connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// User name and password.
    UserPassword,
    /// The passphrase of the private key.
    Passphrase,
    /// The answer to the profile's own challenge.
    StaticChallenge {
        /// The challenge.
        text: String,
        /// Whether the answer may be seen while it is typed.
        echo: bool,
    },
}

/// What was answered before connecting.
#[derive(Debug, Default)]
pub struct Answers {
    /// User name and password.
    pub user_password: Option<(Secret, Secret)>,
    /// The passphrase of the private key.
    pub passphrase: Option<Secret>,
    /// The answer to the profile's own challenge.
    pub static_challenge: Option<Secret>,
}

/// A tunnel; everything but [`Tunnel::connect`] concerns the one that runs and does nothing while none does.
pub trait Tunnel: Send + Sync + 'static {
    /// Starts it. Its end is told by [`Event::Ended`]; then it can be started again.
    fn connect(&self, answers: Answers)
    -> impl Future<Output = Result<mpsc::Receiver<Event>, String>> + Send;

    /// Answers a question.
    fn answer(&self, question: u64, answer: Answer);

    /// Leaves the server until it is resumed.
    fn pause(&self);

    /// Goes on after a pause.
    fn resume(&self);

    /// Connects anew.
    fn restart(&self);

    /// Leaves the server and ends.
    fn disconnect(&self);

    /// Logs more or less.
    fn set_verbosity(&self, level: u32);

    /// Whose programs may use what the tunnel offers on this host.
    fn set_users(&self, users: Users);

    /// Counters by their names; those that are 0 are left out.
    fn statistics(&self) -> Vec<(&'static str, i64)>;
}

/// Whose programs may use a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Users {
    /// These users', by uid.
    Only(Vec<u32>),
    /// Nobody's.
    #[default]
    Nobody,
    /// Everybody's.
    Everybody,
}

/// The answer to a question.
#[derive(Debug)]
pub enum Answer {
    /// User name and password.
    UserPassword(Secret, Secret),
    /// One text.
    Text(Secret),
}

/// What becomes of a tunnel.
#[derive(Debug)]
pub enum Event {
    /// An attempt begins.
    Connecting,
    /// The server has answered.
    Answered,
    /// Packets go through.
    Connected(Box<Connected>),
    /// The connection, or the attempt, is over and another follows.
    Reconnecting {
        /// Whether the server refused who we are.
        auth_failed: bool,
        /// Why, for people.
        reason: String,
    },
    /// It waits to be resumed.
    Paused,
    /// Somebody has to answer.
    Question(Question),
    /// A question is void.
    QuestionGone(u64),
    /// Something for the log.
    Log(LogCategory, String),
    /// It is over.
    Ended(Ended),
}

/// How a tunnel ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// As wanted.
    Done,
    /// Too little traffic.
    Inactive,
    /// The server does not accept who we are.
    AuthFailed(String),
    /// The private key does not open with the passphrase that was given.
    WrongPassphrase,
    /// With an error.
    Failed(String),
}

/// What a connection consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connected {
    /// `udp` or `tcp`.
    pub protocol: String,
    /// The server as the profile names it.
    pub host: String,
    /// The server's outer address.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// The device's name: an interface of the host, or the embedded stack's.
    pub device_name: String,
    /// `netstack`, `tun` or `tap`.
    pub device_kind: &'static str,
    /// Our addresses inside.
    pub addresses: Vec<IpNet>,
    /// Networks behind the tunnel.
    pub routes: Vec<IpNet>,
    /// Whether all of IPv4 and all of IPv6 goes through.
    pub redirects: (bool, bool),
    /// Resolvers inside.
    pub dns_servers: Vec<IpAddr>,
    /// Domains to search.
    pub dns_search: Vec<String>,
    /// MTU of the inside.
    pub mtu_bytes: u16,
    /// Where the proxy listens.
    pub proxies: Vec<String>,
    /// URL of the PAC file, or nothing.
    pub pac: String,
    /// URL of the status page, or nothing.
    pub status_page: String,
}

/// A question that came up while connecting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its number.
    pub id: u64,
    /// What is asked.
    pub kind: QuestionKind,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuestionKind {
    /// User name and password: the server refused the last ones.
    UserPassword,
    /// User name and password for the proxy on the way to the server.
    ProxyCredentials,
    /// A challenge.
    Challenge {
        /// Of the profile, of the server with a refusal, or of the server while it decides.
        group: AttentionGroup,
        /// The challenge.
        text: String,
        /// Whether the answer may be seen while it is typed.
        echo: bool,
    },
    /// A page has to be used in a browser.
    OpenUrl(String),
}
