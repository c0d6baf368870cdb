//! `tunless dbus`: which service, on which bus, and where files go.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use tunless_dbus::bus::BusAddress;

use crate::cli::args::switch;

/// `tunless dbus`.
#[derive(Debug, Args)]
pub struct Dbus {
    /// What to run
    #[command(subcommand)]
    pub what: What,
}

/// What `tunless dbus` runs.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Store profiles (net.openvpn.v3.configuration)
    Configuration(Hosting),
    /// Hold sessions (net.openvpn.v3.sessions)
    Sessions(Hosting),
    /// Start client processes (net.openvpn.v3.backends)
    Backends(Hosting),
    /// Collect and forward log lines (net.openvpn.v3.log)
    Log(Hosting),
    /// Describe devices (net.openvpn.v3.netcfg)
    Netcfg(Hosting),
    /// Run one tunnel; the starter runs this
    Client(Client),
    /// Run all services and start anew what ends
    All(All),
    /// Place policy and activation files, so that the system bus starts the services for everybody
    Install(Install),
    /// Remove these files
    Uninstall(Uninstall),
}

/// Where a service runs.
#[derive(Debug, Clone, Args)]
pub struct Hosting {
    /// The bus: system, session or an address; otherwise the one that started us, the system bus for system users,
    /// the session bus for others
    #[arg(long, value_name = "BUS", env = "TUNLESS_BUS")]
    pub bus: Option<BusAddress>,
    /// Where profiles and records of sessions are kept
    #[arg(long, value_name = "DIR", env = "TUNLESS_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// End after this many minutes without use; 0 never; the default is 0 unless the bus started us
    #[arg(long, value_name = "MINUTES", value_parser = minutes, env = "TUNLESS_IDLE_EXIT")]
    pub idle_exit: Option<Duration>,
    /// End when standard input does
    #[arg(long, hide = true, value_parser = switch(), env = "TUNLESS_WITH_PARENT")]
    pub with_parent: bool,
}

/// `tunless dbus client`.
#[derive(Debug, Args)]
pub struct Client {
    /// The bus: system, session or an address
    #[arg(long, value_name = "BUS", env = "TUNLESS_BUS")]
    pub bus: Option<BusAddress>,
    /// What ties the process to its session
    pub token: String,
}

/// `tunless dbus all`.
#[derive(Debug, Args)]
pub struct All {
    /// The bus: system, session or an address; otherwise the system bus for system users, the session bus for others
    #[arg(long, value_name = "BUS", conflicts_with = "private", env = "TUNLESS_BUS")]
    pub bus: Option<BusAddress>,
    /// Where profiles and records of sessions are kept
    #[arg(long, value_name = "DIR", env = "TUNLESS_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Start a bus of our own and print the address to export: front ends that insist on the system bus then work
    /// without root
    #[arg(long, value_parser = switch(), env = "TUNLESS_PRIVATE_BUS")]
    pub private: bool,
}

/// What is written where.
#[derive(Debug, Clone, Args)]
pub struct Install {
    /// Place files below this folder, as a package does; users and buses of this host are left alone
    #[arg(long, value_name = "DIR", env = "TUNLESS_INSTALL_ROOT")]
    pub root: Option<PathBuf>,
    /// User that the services run as, by name
    #[arg(
        long,
        value_name = "USER",
        default_value = "openvpn",
        env = "TUNLESS_INSTALL_USER"
    )]
    pub user: String,
    /// Program in the activation files; otherwise this one
    #[arg(long, value_name = "PATH", env = "TUNLESS_INSTALL_EXEC")]
    pub exec: Option<PathBuf>,
    /// Where the services keep profiles and records
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/lib/tunless",
        env = "TUNLESS_STATE_DIR"
    )]
    pub state_dir: PathBuf,
    /// Replace files of another program, OpenVPN 3 Linux for one
    #[arg(long, value_parser = switch(), env = "TUNLESS_INSTALL_REPLACE")]
    pub replace: bool,
    /// Print what would be written, and write nothing
    #[arg(long, value_parser = switch(), env = "TUNLESS_INSTALL_DRY_RUN")]
    pub dry_run: bool,
}

/// `tunless dbus uninstall`.
#[derive(Debug, Clone, Args)]
pub struct Uninstall {
    /// Remove files below this folder
    #[arg(long, value_name = "DIR", env = "TUNLESS_INSTALL_ROOT")]
    pub root: Option<PathBuf>,
}

fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: u16 = text
        .parse()
        .map_err(|_other| "wants whole minutes, 0 to 65535".to_owned())?;
    Ok(Duration::from_mins(minutes.into()))
}
