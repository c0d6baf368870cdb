//! Running one service: its bus, its files, and when it ends.

use std::{
    env,
    ffi::OsString,
    fs::DirBuilder,
    io,
    os::{fd::AsFd as _, unix::fs::DirBuilderExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{io::AsyncReadExt as _, net::unix::pipe};
use tokio_util::sync::CancellationToken;
use tunless_dbus::{
    backends,
    bus::{Bus, BusAddress, BusError, ServeEnd},
    client, configuration, log,
    names::service,
    netcfg, sessions,
};

use super::{Clients, profile::ProfileReader};
use crate::driver::shutdown::Signals;

/// Users below this are the system's.
const FIRST_PERSON: u32 = 1000;
/// Where the system's services keep what they keep.
const SYSTEM_STATE: &str = "/var/lib/tunless";

/// One of the five services that have a name of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Log lines; first, since the others announce themselves there.
    Log,
    /// Profiles.
    Configuration,
    /// Devices.
    Netcfg,
    /// Starter of client processes.
    Backends,
    /// Sessions.
    Sessions,
}

impl Kind {
    /// All, in the order in which they are started.
    pub const ALL: [Self; 5] = [
        Self::Log,
        Self::Configuration,
        Self::Netcfg,
        Self::Backends,
        Self::Sessions,
    ];

    /// Its word on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Configuration => "configuration",
            Self::Netcfg => "netcfg",
            Self::Backends => "backends",
            Self::Sessions => "sessions",
        }
    }

    /// Its bus name.
    pub const fn bus_name(self) -> &'static str {
        match self {
            Self::Log => service::LOG,
            Self::Configuration => service::CONFIGURATION,
            Self::Netcfg => service::NETCFG,
            Self::Backends => service::BACKENDS,
            Self::Sessions => service::SESSIONS,
        }
    }

    /// How long it stays without use when the bus started it.
    const fn patience(self) -> Duration {
        match self {
            Self::Configuration | Self::Sessions => Duration::from_mins(3),
            Self::Backends => Duration::from_secs(30),
            Self::Netcfg => Duration::from_mins(5),
            Self::Log => Duration::from_mins(10),
        }
    }
}

/// Where a service runs.
#[derive(Debug, Clone)]
pub struct Hosting {
    /// Its bus; the usual one where none is given.
    pub bus: Option<BusAddress>,
    /// Its folder; the usual one where none is given.
    pub state_dir: Option<PathBuf>,
    /// When it ends without use; zero never.
    pub idle: Option<Duration>,
    /// It ends with its standard input.
    pub with_parent: bool,
}

/// Why a service cannot run.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The folder.
    #[error("cannot use {} for profiles and records; choose a folder with --state-dir", path.display())]
    State {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// No folder is known.
    #[error("neither XDG_STATE_HOME nor HOME is set; choose a folder with --state-dir")]
    NoHome,
    /// Our own program.
    #[error("cannot tell which program this is")]
    Program(#[source] io::Error),
    /// Signals.
    #[error("cannot take signals over")]
    Signals(#[source] io::Error),
}

/// The bus that is meant when none is given.
pub fn usual_bus() -> BusAddress {
    if let Some(starter) = BusAddress::starter() {
        starter
    } else if nix::unistd::geteuid().as_raw() < FIRST_PERSON {
        BusAddress::System
    } else {
        BusAddress::Session
    }
}

/// The folder for profiles and records of sessions on the system bus, or on another one of this user's.
///
/// # Errors
/// Where nothing says which folder is the user's.
pub fn usual_state(bus: &BusAddress) -> Result<PathBuf, HostError> {
    match bus {
        BusAddress::System => Ok(SYSTEM_STATE.into()),
        BusAddress::Session | BusAddress::At(_) => state_of_user("session"),
    }
}

/// A folder of this user's; `word` tells buses apart.
pub(super) fn state_of_user(word: &str) -> Result<PathBuf, HostError> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let base = env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let base = base
        .filter(|base| base.is_absolute())
        .or_else(home)
        .ok_or(HostError::NoHome)?;
    Ok(base.join("tunless").join(word))
}

/// This program, also when its file was replaced meanwhile.
///
/// # Errors
/// Where the system does not say.
pub fn own_program() -> Result<PathBuf, HostError> {
    let path = env::current_exe().map_err(HostError::Program)?;
    let text = path.to_string_lossy();
    Ok(text
        .strip_suffix(" (deleted)")
        .map_or_else(|| path.clone(), PathBuf::from))
}

/// Runs one service until a signal, or nobody needs it.
///
/// # Errors
/// No bus, no name, no folder.
pub async fn run(kind: Kind, hosting: &Hosting) -> Result<ServeEnd, HostError> {
    let address = hosting.bus.clone().unwrap_or_else(usual_bus);
    let state_dir = match &hosting.state_dir {
        Some(state_dir) => state_dir.clone(),
        None => usual_state(&address)?,
    };
    make_private(&state_dir).map_err(|source| HostError::State {
        path: state_dir.clone(),
        source,
    })?;
    let started_by_bus = hosting.bus.is_none() && BusAddress::starter().is_some();
    let idle = hosting.idle.or_else(|| started_by_bus.then(|| kind.patience()));
    let idle = idle.filter(|idle| !idle.is_zero());
    let shutdown = until_told(hosting.with_parent)?;
    let bus = Bus::connect(&address).await?;
    let file = |name: &str| Some(state_dir.join(name));
    let ended = match kind {
        Kind::Configuration => {
            let options = configuration::Options {
                state_dir: file("configs"),
                idle,
                reader: Arc::new(ProfileReader),
            };
            configuration::run(&bus, options, &shutdown).await
        }
        Kind::Sessions => sessions::run(&bus, sessions::Options { state_dir, idle }, &shutdown).await,
        Kind::Backends => {
            let command = client_command(&address)?;
            backends::run(&bus, backends::Options { command, idle }, &shutdown).await
        }
        Kind::Log => {
            let options = log::Options {
                idle,
                file: None,
                config_file: file("log-service.json"),
            };
            log::run(&bus, options, &shutdown).await
        }
        Kind::Netcfg => {
            let options = netcfg::Options {
                idle,
                config_file: file("netcfg.json"),
            };
            netcfg::run(&bus, options, &shutdown).await
        }
    };
    Ok(ended?)
}

/// Runs one tunnel's process.
///
/// # Errors
/// No bus, no name.
pub async fn run_client(bus: Option<BusAddress>, token: String) -> Result<ServeEnd, HostError> {
    let shutdown = until_told(false)?;
    let bus = Bus::connect(&bus.unwrap_or_else(usual_bus)).await?;
    Ok(client::run(&bus, token, Clients, &shutdown).await?)
}

/// What the starter runs; the token follows.
fn client_command(bus: &BusAddress) -> Result<Vec<OsString>, HostError> {
    let mut command = vec![own_program()?.into_os_string()];
    command.extend(["dbus", "client", "--bus"].map(OsString::from));
    command.push(bus.to_string().into());
    Ok(command)
}

/// Is cancelled by SIGTERM, SIGINT, and with the parent where that is wanted.
pub(super) fn until_told(with_parent: bool) -> Result<CancellationToken, HostError> {
    let mut signals = Signals::new().map_err(HostError::Signals)?;
    let shutdown = CancellationToken::new();
    let told = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            signal = signals.recv() => tracing::info!(signal, "leaving"),
            () = parent_gone(with_parent) => tracing::info!("the parent is gone, leaving"),
        }
        told.cancel();
    });
    Ok(shutdown)
}

/// Waits for the end of standard input, a pipe that the parent holds open.
async fn parent_gone(with_parent: bool) {
    let pipe = with_parent.then(|| {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        pipe::Receiver::from_owned_fd(input)
    });
    match pipe {
        Some(Ok(mut pipe)) => {
            let mut ignored = [0; 64];
            while pipe.read(&mut ignored).await.is_ok_and(|length| length > 0) {}
        }
        Some(Err(error)) => {
            tracing::warn!(%error, "standard input is no pipe of a parent");
            std::future::pending::<()>().await;
        }
        None => std::future::pending().await,
    }
}

/// Makes a folder that only we can enter.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}
