//! `tunless configs` and `tunless sessions`: stored profiles and the sessions made of them.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use tunless_dbus::bus::BusAddress;

use crate::cli::args::switch;

/// Which bus.
#[derive(Debug, Clone, Args)]
pub struct OnBus {
    /// The bus: system, session or an address; otherwise the first that has the services
    #[arg(long, global = true, value_name = "BUS", env = "TUNLESS_BUS")]
    pub bus: Option<BusAddress>,
}

/// `tunless configs`.
#[derive(Debug, Args)]
pub struct Configs {
    /// Which bus
    #[command(flatten)]
    pub on: OnBus,
    /// What to do
    #[command(subcommand)]
    pub what: ConfigsWhat,
}

/// What `tunless configs` does.
#[derive(Debug, Subcommand)]
pub enum ConfigsWhat {
    /// Store a profile, the files that it names inside
    Import(Import),
    /// Show the stored profiles
    List,
    /// Show one: its text without keys and passwords, and what is set beside it
    Show {
        /// Its name, or its path
        profile: String,
    },
    /// Set something in place of what the profile says, server-override for one
    Set {
        /// Its name, or its path
        profile: String,
        /// What
        key: String,
        /// To what; true or false where it is yes or no
        value: String,
    },
    /// Take that back
    Unset {
        /// Its name, or its path
        profile: String,
        /// What
        key: String,
    },
    /// Give it another name
    Rename {
        /// Its name, or its path
        profile: String,
        /// The new name
        name: String,
    },
    /// Let it be changed no more
    Seal {
        /// Its name, or its path
        profile: String,
    },
    /// Remove it
    Remove {
        /// Its name, or its path
        profile: String,
    },
    /// Show or change who may use it
    Acl {
        /// Its name, or its path
        profile: String,
        /// Changes
        #[command(flatten)]
        access: Access,
    },
}

/// `tunless configs import`.
#[derive(Debug, Args)]
pub struct Import {
    /// The profile (.ovpn)
    pub file: PathBuf,
    /// Its name; otherwise the file's
    #[arg(long, value_name = "NAME", env = "TUNLESS_CONFIG_NAME")]
    pub name: Option<String>,
    /// Keep it when the service ends
    #[arg(long, value_parser = switch(), env = "TUNLESS_CONFIG_PERSISTENT")]
    pub persistent: bool,
    /// Remove it once it has been used
    #[arg(long, value_parser = switch(), env = "TUNLESS_CONFIG_SINGLE_USE")]
    pub single_use: bool,
    /// A tag to find it by; may be repeated
    #[arg(long, value_name = "TAG", value_delimiter = ',', env = "TUNLESS_CONFIG_TAG")]
    pub tag: Vec<String>,
}

/// Who may use something.
#[derive(Debug, Clone, Args)]
pub struct Access {
    /// Let this user use it, too, by name or number; may be repeated
    #[arg(long, value_name = "USER", value_delimiter = ',', env = "TUNLESS_GRANT")]
    pub grant: Vec<String>,
    /// Let this user use it no more; may be repeated
    #[arg(long, value_name = "USER", value_delimiter = ',', env = "TUNLESS_REVOKE")]
    pub revoke: Vec<String>,
    /// Let everybody use it, or not
    #[arg(long, value_name = "ON|OFF", env = "TUNLESS_PUBLIC_ACCESS")]
    pub public: Option<OnOff>,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// Yes.
    On,
    /// No.
    Off,
}

/// `tunless sessions`.
#[derive(Debug, Args)]
pub struct Sessions {
    /// Which bus
    #[command(flatten)]
    pub on: OnBus,
    /// What to do
    #[command(subcommand)]
    pub what: SessionsWhat,
}

/// What `tunless sessions` does.
#[derive(Debug, Subcommand)]
pub enum SessionsWhat {
    /// Connect by a stored profile, or by a file
    Start(Start),
    /// Show the sessions
    List,
    /// Show a session's counters
    Stats(OfSession),
    /// Leave the server until it is resumed
    Pause(OfSession),
    /// Go on after a pause
    Resume(OfSession),
    /// Connect anew
    Restart(OfSession),
    /// Leave the server and end the session
    Disconnect(OfSession),
    /// Answer what a session asks
    Auth(OfSession),
    /// Follow a session's log until Ctrl-C
    Log {
        /// Which
        #[command(flatten)]
        session: OfSession,
        /// How much, 0 to 6
        #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u32).range(0..=6), env = "TUNLESS_LOG_LEVEL")]
        level: Option<u32>,
    },
    /// Show or change who may use a session
    Acl {
        /// Which
        #[command(flatten)]
        session: OfSession,
        /// Changes
        #[command(flatten)]
        access: Access,
    },
    /// End the sessions that have come to nothing
    Cleanup,
}

/// A session.
#[derive(Debug, Clone, Args)]
pub struct OfSession {
    /// Its profile's name, its path, or its interface
    pub session: String,
}

/// `tunless sessions start`.
#[derive(Debug, Args)]
pub struct Start {
    /// A stored profile's name, or a file
    pub profile: String,
    /// Do not wait for the connection
    #[arg(long, value_parser = switch(), env = "TUNLESS_BACKGROUND")]
    pub background: bool,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, env = "TUNLESS_CONNECT_TIMEOUT")]
    pub timeout: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: u32 = text.parse().map_err(|_other| "wants whole seconds".to_owned())?;
    Ok(Duration::from_secs(seconds.into()))
}
