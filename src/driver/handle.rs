//! The one view of a running tunnel: commands in, events out, a snapshot for statistics.
//!
//! Every surface (command line, management, D-Bus) uses this and nothing else, so that all show the same.

use std::{
    collections::VecDeque,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ipnet::IpNet;
use tokio::sync::broadcast;
use tunless_core::{client, secret::SecretString};
use tunless_netstack::StackStats;

use crate::transport::Counters;

/// Commands that may wait for the tunnel's thread; it takes all of them each turn.
const MAX_COMMANDS: usize = 64;
/// Events that a slow subscriber may be behind; beyond that it misses the oldest and is told how many.
const MAX_EVENTS: usize = 256;

/// What a surface may ask of a tunnel.
#[derive(Debug, Clone)]
pub enum Command {
    /// Leave the server and wait for [`Command::Resume`]; proxied connections wait, too.
    Pause,
    /// Connect again after [`Command::Pause`].
    Resume,
    /// Leave the server and connect anew; nothing while the tunnel is paused.
    Restart,
    /// Go on with another profile: leave the server and connect by it, or after the pause.
    Reload {
        /// Configuration and TLS.
        setup: Arc<client::Setup>,
        /// User name and password, if they are known already.
        credentials: Option<client::Credentials>,
    },
    /// Leave the server and end.
    Disconnect,
    /// Answer a question; the first answer wins.
    Answer {
        /// The question's number.
        question: u64,
        /// The answer; `None` refuses, which ends the tunnel.
        answer: Option<Answer>,
    },
    /// Log more or less (`verb`).
    SetVerbosity(u8),
}

/// An answer to a [`Question`].
#[derive(Debug, Clone)]
pub enum Answer {
    /// User name and password.
    Credentials {
        /// The user's name.
        username: String,
        /// The user's password.
        password: SecretString,
    },
    /// The passphrase of the private key.
    Passphrase(SecretString),
    /// The answer to a challenge.
    Response(SecretString),
}

/// Something that a person or a program has to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its number, never used twice by a tunnel.
    pub id: u64,
    /// What is asked.
    pub kind: QuestionKind,
    /// When nobody is waited for any longer.
    pub deadline: Instant,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuestionKind {
    /// User name and password for the server.
    Credentials {
        /// The user's name, where it is known and only the password is asked for.
        username: Option<String>,
        /// What the server said to the last ones.
        refused: Option<String>,
    },
    /// User name and password for the proxy on the way to the server.
    ProxyCredentials {
        /// Its host and port.
        proxy: String,
        /// Whether it refused others already.
        refused: bool,
    },
    /// What the private key is opened with.
    Passphrase {
        /// Whether one was tried already and does not fit.
        is_wrong: bool,
    },
    /// A question of the server's, or of the profile.
    Challenge {
        /// Where it comes from.
        origin: ChallengeOrigin,
        /// The question.
        text: String,
        /// Whether the answer may be seen while it is typed.
        echo: bool,
    },
    /// The server waits until a page has been used in a browser. Nobody answers; it goes when the server has heard.
    OpenUrl {
        /// The page.
        url: String,
    },
}

/// Where a challenge comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeOrigin {
    /// The profile (`static-challenge`).
    Static,
    /// The server, with a refusal (`CRV1`).
    Dynamic,
    /// The server, while it decides (`CR_TEXT`).
    Pending,
}

/// How far a tunnel has come, in the words of OpenVPN's management interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Before an attempt.
    Connecting,
    /// Until somebody lets it go on.
    Paused,
    /// The server's name is being resolved.
    Resolve,
    /// A TCP connection is being opened.
    TcpConnect,
    /// The protocol runs.
    Session(client::State),
    /// The device gets its addresses.
    AssignIp,
    /// Packets go through.
    Connected,
    /// An attempt or a connection has ended, another follows.
    Reconnecting,
    /// The tunnel ends.
    Exiting,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "CONNECTING",
            Self::Paused => "PAUSED",
            Self::Resolve => "RESOLVE",
            Self::TcpConnect => "TCP_CONNECT",
            Self::Session(state) => state.name(),
            Self::AssignIp => "ASSIGN_IP",
            Self::Connected => "CONNECTED",
            Self::Reconnecting => "RECONNECTING",
            Self::Exiting => "EXITING",
        })
    }
}

/// What a tunnel reports.
#[derive(Debug, Clone)]
pub enum Event {
    /// Its state changed.
    State {
        /// The new state.
        state: State,
        /// The reason in OpenVPN's words, or the address in question; may be empty.
        detail: String,
    },
    /// Packets go through.
    Connected(Arc<Up>),
    /// An attempt, or the connection, has ended; another follows.
    Retry {
        /// Why, in a sentence.
        reason: String,
        /// The pause before the next attempt.
        wait: Duration,
        /// Where it goes.
        next: String,
    },
    /// Somebody has to answer.
    Question(Question),
    /// A question has been answered or is void.
    QuestionGone(u64),
    /// The server has something to say.
    Info(String),
    /// Keys were renewed.
    Renewed,
    /// The tunnel has ended; nothing follows.
    Ended(End),
}

/// What a connection consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Up {
    /// The server as the profile names it.
    pub host: String,
    /// The server's outer address, or that of the proxy on the way.
    pub address: SocketAddr,
    /// The proxy that the way leads through: its kind, host and port.
    pub through: Option<String>,
    /// `UDP` or `TCP`.
    pub carrier: &'static str,
    /// The device.
    pub device: String,
    /// Our inner addresses.
    pub inner: Vec<IpNet>,
    /// Resolvers in use inside the tunnel.
    pub dns: Vec<SocketAddr>,
    /// MTU of the inside.
    pub mtu_bytes: usize,
    /// Data-channel cipher.
    pub cipher: String,
    /// TLS version and cipher suite.
    pub tls: String,
    /// Options of the server that were left out, and why.
    pub ignored: Vec<String>,
    /// Whether the server wants all of IPv4 and all of IPv6 to go through (`redirect-gateway`).
    pub redirects: (bool, bool),
    /// Networks that the server wants to go through (`route`, `route-ipv6`), the inner ones included.
    pub routes: Vec<IpNet>,
    /// Domains of names behind the tunnel (`dhcp-option DOMAIN`, `dns`): those to search and those to resolve.
    pub domains: Vec<String>,
    /// When packets began to go through.
    pub since: Instant,
}

/// How a tunnel ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// As wanted, with an error, or because the server does not accept who we are.
    pub kind: client::ExitKind,
    /// Why, in a sentence.
    pub reason: String,
}

/// Counters of a tunnel at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Snapshot {
    /// Its state; `None` before it started.
    pub state: Option<State>,
    /// Since when it is in this state.
    pub since: Option<Instant>,
    /// When the next attempt begins, during the pause before it.
    pub retry_at: Option<Instant>,
    /// The carrier since the last attempt began.
    pub transport: Counters,
    /// The carriers of all attempts.
    pub link: Counters,
    /// The protocol since the last attempt began.
    pub session: client::Stats,
    /// The device since the start: what front ends show as `TUN_*`.
    pub device: StackStats,
    /// Attempts so far.
    pub attempts: u64,
    /// Connections so far.
    pub connections: u64,
    /// Renewals of keys so far.
    pub renewals: u64,
}

/// A handle on a running tunnel; clones see the same.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// What handles and the tunnel's thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    commands: Mutex<VecDeque<Command>>,
    waker: Arc<mio::Waker>,
    events: broadcast::Sender<Event>,
    snapshot: Mutex<Snapshot>,
    up: Mutex<Option<Arc<Up>>>,
    turns: AtomicU64,
}

impl Handle {
    pub(crate) fn new(waker: Arc<mio::Waker>) -> (Self, Arc<Shared>) {
        let (events, _) = broadcast::channel(MAX_EVENTS);
        let shared = Arc::new(Shared {
            commands: Mutex::default(),
            waker,
            events,
            snapshot: Mutex::default(),
            up: Mutex::default(),
            turns: AtomicU64::new(0),
        });
        (
            Self {
                shared: Arc::clone(&shared),
            },
            shared,
        )
    }

    /// Sends a command; `false` when the tunnel's thread is so far behind that it is dropped.
    pub fn send(&self, command: Command) -> bool {
        let mut commands = lock(&self.shared.commands);
        if commands.len() >= MAX_COMMANDS {
            return false;
        }
        commands.push_back(command);
        drop(commands);
        self.shared.waker.wake().is_ok()
    }

    /// Subscribes to what happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// What the connection consists of, or the last one while there is none; `None` before the first.
    pub fn up(&self) -> Option<Arc<Up>> {
        lock(&self.shared.up).clone()
    }

    /// Counters as of the tunnel's last turn.
    pub fn snapshot(&self) -> Snapshot {
        *lock(&self.shared.snapshot)
    }

    /// A count that grows with each turn of the tunnel's thread.
    pub fn turns(&self) -> u64 {
        self.shared.turns.load(Ordering::Relaxed)
    }

    /// Makes the tunnel's thread turn once more, so that [`Handle::turns`] grows unless it is stuck.
    pub fn wake(&self) {
        if let Err(error) = self.shared.waker.wake() {
            tracing::debug!(%error, "waking the tunnel failed");
        }
    }
}

impl Shared {
    pub(crate) fn take_commands(&self) -> VecDeque<Command> {
        std::mem::take(&mut lock(&self.commands))
    }

    pub(crate) fn emit(&self, event: Event) {
        tracing::debug!(?event, "tunnel");
        if let Event::Connected(up) = &event {
            *lock(&self.up) = Some(Arc::clone(up));
        }
        // No subscriber is no error: the snapshot still shows the state.
        let _nobody = self.events.send(event);
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut lock(&self.snapshot));
        self.turns.fetch_add(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
