//! The D-Bus services on a private `dbus-daemon` with the policy files that are shipped, against Debian's `openvpn`.
//!
//! The bus runs as root, as the system's does; the services as a user of their own, without privileges, on the client
//! host; front ends are Python programs on libdbus (`lab.py` and the scenarios beside it) that run as three users. The
//! program under test has no TUN device, so that every tunnel ends in the embedded stack.

mod front_ends;
mod hosting;
mod life;
mod objects;
mod rights;
mod sequences;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::inner::Inner;
use crate::netns::{Net, run};
use crate::process::{Process, finish};
use crate::runner::TUNLESS;
use crate::server::{Options, SOON, Server};

/// The user of the services: `daemon`. The bus lets in and its policy names only users that the system knows, and
/// these three are on every Debian.
pub(crate) const SERVICE: u32 = 1;
/// The same by name.
const SERVICE_NAME: &str = "daemon";
/// A user who has tunnels: `games`.
pub(crate) const ANN: u32 = 5;
/// Another one: `man`.
pub(crate) const BOB: u32 = 6;
/// Debian's Python, for which Debian's dbus module is.
const PYTHON: &str = "/usr/bin/python3";
/// Longest run of a scenario.
const SCENARIO: Duration = Duration::from_secs(150);

/// A bus with everything on it.
#[derive(Debug)]
pub(crate) struct Services {
    // Dropped in this order: programs first, hosts last.
    pub(crate) all: Process,
    _bus: Process,
    pub(crate) server: Server,
    pub(crate) net: Net,
}

impl Services {
    /// Hosts, a server by `options`, a bus, and all services on it.
    pub(crate) fn start(test: &str, options: Options) -> Self {
        let net = Net::new(test);
        Inner::start(&net.inner);
        let server = Server::start(&net, options);
        Self::with(net, server)
    }

    /// The same with hosts and server that are there.
    pub(crate) fn with(net: Net, server: Server) -> Self {
        let program = net.dir().join("tunless");
        fs::copy(TUNLESS, &program).expect("a copy of the program");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its permissions");
        for script in [
            "lab.py",
            "objects.py",
            "rights.py",
            "sequences.py",
            "front_ends.py",
            "life.py",
        ] {
            net.write(script, text_of(script));
        }
        net.write("profile.ovpn", &server.profile(""));
        install(&net);
        let bus = start_bus(&net);
        let state = net.dir().join("state");
        fs::create_dir(&state).expect("a folder for the services");
        chown(&state, Some(SERVICE), Some(SERVICE)).expect("its owner");
        let mut command = as_user(&net, SERVICE);
        command
            .arg(&program)
            .args(["dbus", "all", "--bus", &address(&net), "--state-dir"])
            .arg(&state)
            .env("RUST_BACKTRACE", "1");
        let mut all = Process::start(net.dir(), "services", &mut command);
        all.wait_for("the services of OpenVPN 3 Linux's D-Bus API are on", SOON);
        Self {
            all,
            _bus: bus,
            server,
            net,
        }
    }

    /// A command on the client host as `uid`, with the bus in its environment.
    pub(crate) fn command(&self, uid: u32) -> Command {
        let mut command = as_user(&self.net, uid);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", address(&self.net));
        command
    }

    /// Our own program as `uid`.
    pub(crate) fn tunless(&self, uid: u32) -> Command {
        let mut command = self.command(uid);
        command.arg(self.net.dir().join("tunless"));
        command
    }

    /// A command that runs a scenario of a script, as root: it becomes other users by itself.
    pub(crate) fn scenario_command(&self, script: &str, scenario: &str, args: &[&str]) -> Command {
        let mut command = self.net.client.command(PYTHON);
        command
            .arg("-B")
            .arg(self.net.dir().join(script))
            .arg(scenario)
            .args(args)
            .env("DBUS_SYSTEM_BUS_ADDRESS", address(&self.net))
            .env("LAB_PROFILE", self.net.dir().join("profile.ovpn"))
            .env("LAB_SERVICE_UID", SERVICE.to_string())
            .env("PYTHONUNBUFFERED", "1");
        command
    }

    /// Runs a scenario to its end and gives what it prints.
    pub(crate) fn scenario(&self, script: &str, scenario: &str, args: &[&str]) -> String {
        let mut command = self.scenario_command(script, scenario, args);
        let finished = finish(self.net.dir(), scenario, &mut command, SCENARIO);
        assert_eq!(
            finished.status,
            Some(0),
            "{scenario}:\n{}\n{}",
            finished.stdout,
            finished.stderr
        );
        finished.stdout
    }

    /// Client processes that run.
    pub(crate) fn clients(&self) -> Vec<i32> {
        let program = self.net.dir().join("tunless");
        let wanted = format!("{} dbus client", program.display());
        let processes = fs::read_dir("/proc").expect("processes").flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.starts_with(&wanted)
        })
        .collect()
    }

    /// Waits for the end of every client process: it comes a moment after the answer to `Disconnect`.
    pub(crate) fn no_client_is_left(&self) {
        let deadline = Instant::now() + SOON;
        while !self.clients().is_empty() {
            assert!(Instant::now() < deadline, "a client process is left");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The process of one service.
    pub(crate) fn pid_of(&self, service: &str) -> Option<i32> {
        let program = self.net.dir().join("tunless");
        let wanted = format!("{} dbus {service} ", program.display());
        let processes = fs::read_dir("/proc").expect("processes").flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.find(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line)
                .replace('\0', " ")
                .starts_with(&wanted)
        })
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        for pid in self.clients() {
            // It may have ended meanwhile.
            let _ended = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn text_of(script: &str) -> &'static str {
    match script {
        "lab.py" => include_str!("lab.py"),
        "objects.py" => include_str!("objects.py"),
        "rights.py" => include_str!("rights.py"),
        "sequences.py" => include_str!("sequences.py"),
        "front_ends.py" => include_str!("front_ends.py"),
        _ => include_str!("life.py"),
    }
}

/// A command on the client host as an ordinary user without a TUN device; the program and its arguments follow.
fn as_user(net: &Net, uid: u32) -> Command {
    let home = net.dir().join(format!("home-{uid}"));
    if !home.exists() {
        fs::create_dir(&home).expect("a home");
        chown(&home, Some(uid), Some(uid)).expect("its owner");
    }
    let script = net.write_program(
        "as-user.sh",
        "#!/bin/sh\nset -e\nuid=$1\nshift\nmount --bind /dev/null /dev/net/tun\n\
         exec setpriv --reuid \"$uid\" --regid \"$uid\" --clear-groups --bounding-set -all --inh-caps -all \
         --no-new-privs \"$@\"\n",
    );
    let mut command = net.client.command("unshare");
    command
        .args(["--mount", "/bin/sh"])
        .arg(script)
        .arg(uid.to_string());
    for (name, _) in std::env::vars() {
        if name.starts_with("TUNLESS_") || name.starts_with("DBUS_") || name.starts_with("XDG_") {
            command.env_remove(name);
        }
    }
    command.env("HOME", &home).env("XDG_RUNTIME_DIR", &home);
    command
}

fn address(net: &Net) -> String {
    format!("unix:path={}", socket(net).display())
}

fn socket(net: &Net) -> PathBuf {
    net.dir().join("bus")
}

/// Places the shipped files below the test's folder.
fn install(net: &Net) {
    let root = net.dir().join("root");
    run(Command::new(TUNLESS)
        .args(["dbus", "install", "--user", SERVICE_NAME, "--root"])
        .arg(&root)
        .arg("--exec")
        .arg(net.dir().join("tunless"))
        .arg("--state-dir")
        .arg(net.dir().join("state")));
}

/// Starts a bus with the rules of a system bus and the shipped policies.
fn start_bus(net: &Net) -> Process {
    let policies = net.dir().join("root/usr/share/dbus-1/system.d");
    let config = format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
    <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"
          send_member="UpdateActivationEnvironment"/>
  </policy>
  <includedir>{}</includedir>
</busconfig>
"#,
        socket(net).display(),
        policies.display()
    );
    let path = net.write("bus.conf", &config);
    let mut command = Command::new("dbus-daemon");
    command
        .args(["--nofork", "--nopidfile", "--nosyslog", "--print-address=1"])
        .arg(format!("--config-file={}", path.display()));
    let mut bus = Process::start(net.dir(), "bus", &mut command);
    bus.wait_for("unix:path=", SOON);
    bus
}
