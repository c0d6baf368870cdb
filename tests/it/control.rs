//! A running tunnel asked and told from outside: control socket, service manager, status line.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::fetch::page;
use crate::inner::{ECHO, HELLO, Inner, WEB};
use crate::netns::Net;
use crate::process::{Finished, Process, finish};
use crate::runner::Confinement;
use crate::serve::Serving;
use crate::server::{Login, Options, SOON, Server, USER};
use crate::tunnel::{LISTENER, Tunnel};

/// Who the program under test runs as.
const OURS: u32 = 65534;
/// Longest run of a command.
const LIMIT: Duration = Duration::from_secs(30);

/// A lab whose tunnels have a runtime folder of their own.
struct Lab {
    inner: Inner,
    server: Server,
    net: Net,
}

impl Lab {
    fn new(test: &str, options: Options) -> Self {
        let net = Net::new(test);
        let runtime = net.dir().join("runtime");
        fs::create_dir(&runtime).expect("a runtime folder");
        fs::set_permissions(&runtime, Permissions::from_mode(0o700)).expect("its mode");
        chown(&runtime, Some(OURS), Some(OURS)).expect("its owner");
        let inner = Inner::start(&net.inner);
        let server = Server::start(&net, options);
        Self { inner, server, net }
    }

    fn tunless(&self) -> Command {
        let mut command = self.net.tunless(&self.net.client, Confinement::Unprivileged);
        let runtime = self.net.dir().join("runtime");
        command.env("XDG_RUNTIME_DIR", &runtime).env("TMPDIR", &runtime);
        command
    }

    fn profile(&self, extra: &str) -> PathBuf {
        self.net.write("client.ovpn", &self.server.profile(extra))
    }

    fn connect(&self) -> Tunnel {
        Tunnel::start(&self.net, self.tunless().arg(self.profile("")))
    }

    fn socket(&self) -> PathBuf {
        self.net.dir().join("runtime/tunless/netstack0.sock")
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        let mut command = self.tunless();
        finish(self.net.dir(), "ctl", command.args(arguments), LIMIT)
    }

    /// Standard output of a command that has to succeed.
    fn ctl(&self, arguments: &[&str]) -> String {
        let finished = self.run(&[&["ctl"], arguments].concat());
        assert_eq!(finished.status, Some(0), "{arguments:?}: {}", finished.stderr);
        finished.stdout
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ctl(&[&["--json"], arguments].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    fn socks(&self, port: u16) -> std::io::Result<std::net::TcpStream> {
        crate::fetch::Via::Socks(LISTENER).connect(&self.net.client, "page.inner.test", port)
    }
}

fn echoes(mut stream: &std::net::TcpStream) -> std::io::Result<()> {
    stream.write_all(b"hello")?;
    stream.read_exact(&mut [0; 5])
}

#[test]
fn a_running_tunnel_says_how_it_fares() {
    let lab = Lab::new("control-status", Options::default());
    let nothing = lab.run(&["status"]);
    assert_eq!(nothing.status, Some(1));
    assert!(
        nothing.stderr.contains("no tunnel is running"),
        "{}",
        nothing.stderr
    );
    assert_eq!(lab.run(&["ctl", "pause"]).status, Some(1));
    let mut tunnel = lab.connect();
    let stream = lab.socks(ECHO).expect("a connection");
    echoes(&stream).expect("an echo");

    let status = lab.run(&["status"]);
    assert_eq!(status.status, Some(0), "{}", status.stderr);
    for wanted in [
        "netstack0: connected for",
        "10.77.0.2",
        "10.99.0.",
        "127.0.0.1:1080",
        "10.88.0.2",
    ] {
        assert!(status.stdout.contains(wanted), "no {wanted} in {}", status.stdout);
    }
    assert_eq!(lab.run(&["status", "netstack7"]).status, Some(1));
    let status = lab.run(&["--json", "status", "netstack0"]);
    let status: Value = serde_json::from_str(&status.stdout).expect("an object");
    assert_eq!(
        (&status["state"], &status["connections"]),
        (&"CONNECTED".into(), &1.into())
    );
    assert_eq!(status["server"]["address"], lab.server.address().to_string());

    assert!(lab.ctl(&["state"]).starts_with("connected for"));
    let statistics = lab.json(&["statistics"]);
    assert!(
        statistics["tunnel"]["bytes_in"].as_u64() > Some(0),
        "{statistics}"
    );
    assert_eq!(statistics["proxy"]["socks5"], 1);
    assert!(lab.ctl(&["statistics"]).contains("session.opened_packets"));
    assert!(
        lab.ctl(&["connections"])
            .contains(&format!("page.inner.test:{ECHO}"))
    );
    let connection = lab.json(&["connections"]);
    assert_eq!(
        (&connection["sent_bytes"], &connection["open"]),
        (&5.into(), &true.into())
    );

    tunnel.end(Signal::SIGTERM);
    assert!(!lab.socket().exists());
    assert_eq!(lab.run(&["status"]).status, Some(1));
}

#[test]
fn every_order_has_its_effect() {
    let lab = Lab::new("control-orders", Options::default());
    let mut tunnel = lab.connect();
    let mut listen = lab.tunless();
    let mut events = Process::start(lab.net.dir(), "events", listen.args(["ctl", "events"]));
    events.wait_for("state CONNECTED", SOON);

    let (first, second) = (
        lab.socks(ECHO).expect("a connection"),
        lab.socks(ECHO).expect("another"),
    );
    echoes(&first).and_then(|()| echoes(&second)).expect("echoes");
    let list = lab.ctl(&["--json", "connections"]);
    let oldest: Value = serde_json::from_str(list.lines().next().expect("a line")).expect("an object");
    lab.ctl(&["close", &oldest["id"].to_string()]);
    assert!(echoes(&first).is_err(), "it is still open");
    echoes(&second).expect("the other one stays");
    let refused = lab.run(&["ctl", "close", "999"]);
    assert_eq!(refused.status, Some(1));
    assert!(refused.stderr.contains("no connection 999"), "{}", refused.stderr);

    lab.ctl(&["pause"]);
    events.wait_for("state PAUSED", SOON);
    assert!(lab.ctl(&["state"]).starts_with("paused"));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| page(&lab.socks(WEB)?, "/hello"));
        assert!(lab.ctl(&["state"]).starts_with("paused"));
        lab.ctl(&["resume"]);
        let got = waiting
            .join()
            .expect("a thread")
            .expect("the connection that waited");
        assert_eq!(got, HELLO);
    });
    events.wait_for_times("connected to", 1, SOON);

    lab.ctl(&["reconnect"]);
    events.wait_for_times("connected to", 2, SOON);
    assert_eq!(lab.server.handshakes(), 3);

    assert!(!tunnel.process.log().contains("DEBUG"));
    lab.ctl(&["log-level", "debug"]);
    drop(lab.socks(ECHO).expect("a connection"));
    lab.ctl(&["reconnect"]);
    tunnel.process.wait_for("DEBUG", SOON);
    events.wait_for_times("connected to", 3, SOON);
    assert_eq!(lab.run(&["ctl", "log-level", "12"]).status, Some(2));

    lab.ctl(&["disconnect"]);
    let (status, _) = tunnel.process.wait(LIMIT);
    assert_eq!(status.code(), Some(0));
    events.wait_for("ended: ", SOON);
    let (status, _) = events.wait(LIMIT);
    assert_eq!(status.code(), Some(0));
}

#[test]
fn only_the_same_user_and_root_are_answered() {
    let lab = Lab::new("control-users", Options::default());
    let _tunnel = lab.connect();
    let socket = lab.socket();
    let folder = socket.parent().expect("a folder").to_owned();
    let mode = |path: &PathBuf| fs::metadata(path).expect("a mode").permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&socket)), (0o700, 0o600));

    let greeting = |stream: UnixStream| {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("a line");
        line
    };
    let root = greeting(UnixStream::connect(&socket).expect("root may connect"));
    assert!(root.contains("\"hello\""), "{root}");
    let ask = format!(
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect({:?}); print(s.recv(1000))",
        socket.display().to_string()
    );
    let stranger = || {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid",
            "12345",
            "--regid",
            "12345",
            "--clear-groups",
            "--",
            "/usr/bin/python3",
            "-I",
            "-c",
        ]);
        finish(lab.net.dir(), "stranger", command.arg(&ask), LIMIT)
    };
    assert!(stranger().stderr.contains("PermissionError"));
    // Even where the files let everybody in, the kernel tells who it is.
    fs::set_permissions(lab.net.dir().join("runtime"), Permissions::from_mode(0o755)).expect("a mode");
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).expect("a mode");
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).expect("a mode");
    let refused = stranger();
    assert!(
        refused.stdout.contains("refused") && !refused.stdout.contains("hello"),
        "{refused:?}"
    );
    // A folder that others can enter is not looked into any longer.
    assert_eq!(lab.run(&["status"]).status, Some(1));
}

#[test]
fn a_question_is_answered_from_elsewhere() {
    let options = Options {
        login: Login::Both,
        ..Options::default()
    };
    let lab = Lab::new("control-answer", options);
    let mut command = lab.tunless();
    let terminal = Terminal::start(command.arg(lab.profile("auth-user-pass\n")), true);
    terminal.wait_for("User name: ");
    let nobody = lab.run(&["ctl", "answer"]);
    assert_eq!(nobody.status, Some(2), "{}", nobody.stderr);
    let mut answer = lab.tunless();
    answer.args(["ctl", "answer", "--stdin"]).stdin(Stdio::piped());
    let mut child = answer.spawn().expect("a child");
    let mut stdin = child.stdin.take().expect("its input");
    write!(stdin, "{}\n{}\n", USER.0, USER.1).expect("the answer");
    drop(stdin);
    assert!(child.wait().expect("its end").success());
    terminal.wait_for("connected to ");
    let again = lab.run(&["ctl", "answer", "--stdin"]);
    assert!(again.stderr.contains("asks nothing"), "{}", again.stderr);
    lab.ctl(&["disconnect"]);
    terminal.end();
}

/// A service manager that listens.
struct Manager(UnixDatagram);

impl Manager {
    fn new(net: &Net) -> Self {
        let path = net.dir().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        fs::set_permissions(&path, Permissions::from_mode(0o777)).expect("its mode");
        socket.set_read_timeout(Some(SOON)).expect("a time-out");
        Self(socket)
    }

    /// Every message up to and with the one that contains `text`.
    fn until(&self, text: &str) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let mut buf = [0; 4096];
            let len = self
                .0
                .recv(&mut buf)
                .unwrap_or_else(|error| panic!("{error} after {all:?}"));
            all.push(String::from_utf8_lossy(&buf[..len]).into_owned());
            if all.last().is_some_and(|last| last.contains(text)) {
                return all;
            }
        }
    }
}

#[test]
fn the_service_manager_hears_when_packets_go_through_and_when_they_stop() {
    let lab = Lab::new("control-systemd", Options::default());
    let manager = Manager::new(&lab.net);
    let mut command = lab.tunless();
    command.env("NOTIFY_SOCKET", lab.net.dir().join("notify"));
    command.env("WATCHDOG_USEC", "600000").env_remove("WATCHDOG_PID");
    let mut tunnel = Tunnel::start(&lab.net, command.arg(lab.profile("")));
    let before = manager.until("READY=1");
    let asked = lab.inner.names.asked();
    assert!(asked.iter().any(|question| question == "udp "), "{asked:?}");
    assert!(
        before
            .iter()
            .any(|message| message.starts_with("STATUS=connecting")),
        "{before:?}"
    );
    let ready = before.last().expect("a message");
    assert!(
        ready.contains("STATUS=connected to 10.77.0.2") && !ready.contains("unverified"),
        "{ready}"
    );
    for _ in 0..3 {
        manager.until("WATCHDOG=1");
    }
    lab.ctl(&["reconnect"]);
    let reloading = manager.until("RELOADING=1");
    assert!(
        reloading
            .last()
            .is_some_and(|last| last.contains("MONOTONIC_USEC=")),
        "{reloading:?}"
    );
    manager.until("READY=1");
    lab.ctl(&["pause"]);
    manager.until("STATUS=paused");
    lab.ctl(&["resume"]);
    let again = manager.until("STATUS=connected");
    assert!(
        !again.iter().any(|message| message.contains("READY=1")),
        "{again:?}"
    );
    tunnel.end(Signal::SIGTERM);
    manager.until("STOPPING=1");
}

#[test]
fn a_tunnel_without_resolver_is_ready_when_its_far_end_answers() {
    let options = Options {
        push_resolver: false,
        ..Options::default()
    };
    let lab = Lab::new("control-systemd-unverified", options);
    let manager = Manager::new(&lab.net);
    let mut command = lab.tunless();
    command.env("NOTIFY_SOCKET", lab.net.dir().join("notify"));
    let _tunnel = Tunnel::start(&lab.net, command.arg(lab.profile("")));
    let ready = manager.until("READY=1");
    // There is always the first host of the inner network: what it refuses has gone through, too.
    assert!(
        ready
            .last()
            .is_some_and(|last| last.contains("connected to 10.77.0.2 as 10.99.0.2")),
        "{ready:?}"
    );
}

#[test]
fn the_service_manager_hears_of_a_server_too() {
    let net = Net::new("control-systemd-serve");
    let manager = Manager::new(&net);
    // It leaves a configuration behind that works.
    drop(Serving::start(&net, Confinement::Unprivileged, "udp", ""));
    let mut command = net.tunless(&net.server, Confinement::Unprivileged);
    command.arg("serve").arg(net.dir().join("serve.conf"));
    command.env("NOTIFY_SOCKET", net.dir().join("notify"));
    command.env("WATCHDOG_USEC", "600000").env_remove("WATCHDOG_PID");
    let mut server = Process::start(net.dir(), "tunless-serve", &mut command);
    let ready = manager.until("READY=1");
    assert!(
        ready
            .last()
            .is_some_and(|last| last.contains("STATUS=listening on")),
        "{ready:?}"
    );
    manager.until("WATCHDOG=1");
    server.signal(Signal::SIGTERM);
    manager.until("STOPPING=1");
    let (status, _) = server.wait(LIMIT);
    assert_eq!(status.code(), Some(0));
}

/// A program whose standard error is a terminal of 72 columns.
struct Terminal {
    child: std::process::Child,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    fn start(command: &mut Command, types: bool) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 72,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None).expect("a terminal");
        let copy = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("a copy"));
        command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
        command.stdin(if types { copy(&pty.slave) } else { Stdio::null() });
        command.stdout(copy(&pty.slave)).stderr(copy(&pty.slave));
        let child = command.spawn().expect("a child");
        // Only the program holds the other side now, so that reading ends with it.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        drop(pty.slave);
        let shown = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&shown);
        let mut screen = File::from(pty.master);
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            let mut bytes = Vec::new();
            while let Ok(len @ 1..) = screen.read(&mut buf) {
                bytes.extend_from_slice(&buf[..len]);
                *into.lock().expect("a lock") = String::from_utf8_lossy(&bytes).into_owned();
            }
        });
        Self { child, shown }
    }

    fn shown(&self) -> String {
        self.shown.lock().expect("a lock").clone()
    }

    fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + SOON;
        while !self.shown().contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", self.shown());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(mut self) {
        let deadline = Instant::now() + LIMIT;
        while self.child.try_wait().expect("its state").is_none() {
            assert!(Instant::now() < deadline, "it still runs: {:?}", self.shown());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What stands on the terminal's lines in the end: `\r` goes to the front, `ESC [ J` takes off what follows.
fn lines(shown: &str) -> Vec<String> {
    shown
        .split('\n')
        .map(|line| {
            let kept = line.trim_end_matches('\r').rsplit("\r\x1b[J").next();
            kept.unwrap_or_default().to_owned()
        })
        .collect()
}

#[test]
fn the_status_line_stays_below_the_log() {
    let lab = Lab::new("control-line", Options::default());
    let mut command = lab.tunless();
    let terminal = Terminal::start(command.arg("-v").arg(lab.profile("")), false);
    terminal.wait_for("connected · ↓ ");
    let stream = lab.socks(ECHO).expect("a connection");
    echoes(&stream).expect("an echo");
    terminal.wait_for(" · 1 connection\r");
    lab.ctl(&["pause"]);
    terminal.wait_for("paused · 0:0");
    lab.ctl(&["resume"]);
    lab.ctl(&["log-level", "debug"]);
    lab.ctl(&["reconnect"]);
    terminal.wait_for("DEBUG");
    lab.ctl(&["disconnect"]);
    terminal.wait_for("ended: ");
    let shown = terminal.shown();
    terminal.end();
    for line in lines(&shown) {
        assert!(!line.contains(" · "), "{line:?} is mixed in {shown:?}");
        assert!(!line.contains('\x1b'), "{line:?}");
    }
    let widest = shown
        .split("\r\x1b[J")
        .filter(|line| line.starts_with("connected · "))
        .map(|line| line.lines().next().unwrap_or_default().chars().count())
        .max();
    assert!(
        widest.is_some_and(|widest| widest < 72),
        "{widest:?} in {shown:?}"
    );
}

#[test]
fn without_a_terminal_there_are_plain_lines() {
    let lab = Lab::new("control-plain", Options::default());
    let mut tunnel = lab.connect();
    let mut command = lab.tunless();
    let mut events = Process::start(lab.net.dir(), "events", command.args(["ctl", "--json", "events"]));
    events.wait_for("CONNECTED", SOON);
    tunnel.end(Signal::SIGTERM);
    let log = tunnel.process.log();
    assert!(
        !log.contains('\r') && !log.contains('\x1b') && !log.contains(" MB/s"),
        "{log:?}"
    );
    events.wait_for("\"ended\"", SOON);
    for line in events.log().lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(event["event"].is_string(), "{line}");
    }
}

#[test]
fn a_killed_tunnel_s_socket_is_cleared_away() {
    let lab = Lab::new("control-stale", Options::default());
    let mut tunnel = lab.connect();
    tunnel.process.signal(Signal::SIGKILL);
    tunnel.process.wait(LIMIT);
    assert!(lab.socket().exists());
    assert_eq!(lab.run(&["status"]).status, Some(1));
    assert!(!lab.socket().exists());
    let _tunnel = lab.connect();
    assert!(lab.ctl(&["state"]).starts_with("connected"));
}
