//! A bus of this user's own, for front ends that insist on a system bus: started, found again, ended.
//!
//! Its socket lies in the runtime folder, which nobody else can enter; besides that the bus asks the kernel who connects.
//! It can start our services by itself, so that they come back whoever ended them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};
use tunless_dbus::bus::{Bus, BusAddress};

use super::host::{HostError, Kind, make_private, own_program, state_of_user};
use crate::driver::{NameError, runtime_folder};

/// Longest wait for the bus to take connections.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// The program, and the Debian package that has it.
const PROGRAM: &str = "dbus-daemon";

/// A private bus.
#[derive(Debug)]
pub struct PrivateBus {
    /// Its address.
    pub address: BusAddress,
    /// The folder for profiles and records of its sessions.
    pub state_dir: PathBuf,
    /// The daemon, where this process started it.
    daemon: Option<Child>,
}

/// Why there is no private bus.
#[derive(Debug, thiserror::Error)]
pub enum PrivateBusError {
    /// No folder for its socket.
    #[error(transparent)]
    Folder(#[from] NameError),
    /// What every service needs.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A file of its configuration.
    #[error("cannot write {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The daemon.
    #[error("cannot start {PROGRAM}; on Debian it is in the package {PROGRAM}")]
    Start(#[source] io::Error),
    /// The daemon ended, or said nothing.
    #[error("{PROGRAM} does not take connections at {0}")]
    Silent(String),
}

/// Where this user's private bus is, whether it runs or not.
///
/// # Errors
/// Where there is no runtime folder.
pub fn socket() -> Result<PathBuf, NameError> {
    Ok(runtime_folder()?.join("bus"))
}

/// The address of this user's private bus where its socket is there.
///
/// # Errors
/// Where there is no runtime folder, or no socket in it.
pub fn address() -> io::Result<BusAddress> {
    let socket = socket().map_err(io::Error::other)?;
    fs::metadata(&socket)?;
    Ok(address_of(&socket))
}

fn address_of(socket: &Path) -> BusAddress {
    BusAddress::At(format!("unix:path={}", socket.display()))
}

impl PrivateBus {
    /// Finds the bus of this user that runs, or starts one.
    ///
    /// # Errors
    /// See [`PrivateBusError`].
    pub async fn open() -> Result<Self, PrivateBusError> {
        let socket = socket()?;
        let (address, state_dir) = (address_of(&socket), state_of_user("private")?);
        make_private(&state_dir).map_err(|source| HostError::State {
            path: state_dir.clone(),
            source,
        })?;
        let daemon = match Bus::connect(&address).await {
            Ok(_answers) => None,
            Err(_) => Some(start(&socket, &address, &state_dir).await?),
        };
        Ok(Self {
            address,
            state_dir,
            daemon,
        })
    }

    /// Tells whether the bus was there before.
    pub fn was_running(&self) -> bool {
        self.daemon.is_none()
    }

    /// Ends the daemon, where this process started it.
    pub async fn close(self) {
        if let Some(mut daemon) = self.daemon
            && let Err(error) = daemon.kill().await
        {
            tracing::debug!(%error, "the bus has ended already");
        }
    }
}

async fn start(socket: &Path, address: &BusAddress, state_dir: &Path) -> Result<Child, PrivateBusError> {
    let folder = socket.parent().unwrap_or_else(|| Path::new("/"));
    let services = folder.join("bus-services");
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| PrivateBusError::File { path, source }
    };
    make_private(&services).map_err(file(&services))?;
    let program = own_program()?;
    for kind in Kind::ALL {
        let path = services.join(format!("{}.service", kind.bus_name()));
        fs::write(&path, activation(kind, &program, address, state_dir)).map_err(file(&path))?;
    }
    let config = folder.join("bus.conf");
    fs::write(&config, configuration(socket, &services)).map_err(file(&config))?;
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file(socket)(error)),
        // Left over from a bus that was killed: nobody answers there.
        _ => {}
    }
    let mut daemon = Command::new(PROGRAM)
        .args(["--nofork", "--nopidfile", "--nosyslog", "--print-address=1"])
        .arg(format!("--config-file={}", config.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(PrivateBusError::Start)?;
    let silent = || PrivateBusError::Silent(socket.display().to_string());
    let output = daemon.stdout.take().ok_or_else(silent)?;
    let (mut line, mut output) = (String::new(), BufReader::new(output));
    let said = tokio::time::timeout(START_DEADLINE, output.read_line(&mut line)).await;
    if !matches!(said, Ok(Ok(length)) if length > 0) {
        return Err(silent());
    }
    Bus::connect(address).await.map_err(HostError::from)?;
    Ok(daemon)
}

/// What the bus starts a service with.
fn activation(kind: Kind, program: &Path, address: &BusAddress, state_dir: &Path) -> String {
    format!(
        "[D-BUS Service]\nName={}\nExec={} dbus {} --idle-exit 0 --bus {} --state-dir {}\n",
        kind.bus_name(),
        quoted(program),
        kind.word(),
        address,
        quoted(state_dir),
    )
}

/// A word of an `Exec` line, which is split as by a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-+=:,@".contains(&byte));
    if is_plain {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

fn configuration(socket: &Path, services: &Path) -> String {
    let (socket, services) = (escaped(socket), escaped(services));
    format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<!-- Written by tunless: a bus for one user's own tunnels. -->
<busconfig>
  <type>tunless</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <servicedir>{services}</servicedir>
  <policy context="default">
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    <allow own_prefix="net.openvpn.v3"/>
  </policy>
  <limit name="max_incoming_bytes">16777216</limit>
  <limit name="max_outgoing_bytes">16777216</limit>
  <limit name="max_message_size">8388608</limit>
  <limit name="max_completed_connections">1024</limit>
  <limit name="max_connections_per_user">1024</limit>
  <limit name="max_match_rules_per_connection">4096</limit>
  <limit name="max_replies_per_connection">2048</limit>
</busconfig>
"#
    )
}

fn escaped(path: &Path) -> String {
    let text = path.display().to_string();
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_stay_one_word_and_one_text() {
        assert_eq!(quoted(Path::new("/usr/bin/tunless")), "/usr/bin/tunless");
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
        assert_eq!(escaped(Path::new("/a<&>")), "/a&lt;&amp;&gt;");
    }

    #[test]
    fn every_service_can_be_started_by_the_bus() {
        let address = address_of(Path::new("/run/user/1000/tunless/bus"));
        for kind in Kind::ALL {
            let text = activation(kind, Path::new("/usr/bin/tunless"), &address, Path::new("/s"));
            assert!(text.contains(&format!("Name={}\n", kind.bus_name())), "{text}");
            assert!(text.contains(&format!("tunless dbus {} ", kind.word())), "{text}");
        }
    }
}
