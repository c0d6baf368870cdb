//! The command line: help, usage errors, `check`, `genkey`, `demo --once`. Needs no network.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::pki::{Authority, Purpose};
use crate::process::{Finished, Process, finish};
use crate::runner::TUNLESS;
use crate::server::inline;

/// Longest run of a command.
const LIMIT: Duration = Duration::from_secs(30);
const DONE: Option<i32> = Some(0);
const FAILED: Option<i32> = Some(1);
const USAGE: Option<i32> = Some(2);

const COMMANDS: [&str; 9] = [
    "connect",
    "serve",
    "check",
    "demo",
    "genkey",
    "status",
    "ctl",
    "completions",
    "man",
];

/// A folder of its own for one test.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    fn tunless(&self, arguments: &[&str]) -> Finished {
        let mut command = Command::new(TUNLESS);
        command
            .args(arguments)
            .current_dir(self.dir())
            .stdin(Stdio::null());
        finish(self.dir(), "tunless", &mut command, LIMIT)
    }
}

fn good_profile() -> String {
    let authority = Authority::new("authority");
    let identity = authority.issue("client", Purpose::Client);
    let mut text =
        "client\ndev tun\nproto udp\nremote vpn.example.test 1194\nremote-cert-tls server\n".to_owned();
    inline(&mut text, "ca", &authority.certificate);
    inline(&mut text, "cert", &identity.certificate);
    inline(&mut text, "key", &identity.key);
    text
}

#[test]
fn help_names_every_command() {
    for arguments in [&["--help"][..], &["-h"], &["help"]] {
        let help = Bench::new().tunless(arguments);
        assert_eq!(help.status, DONE, "{}", help.stderr);
        for command in COMMANDS {
            assert!(
                help.stdout.contains(command),
                "{arguments:?} does not name {command}:\n{}",
                help.stdout
            );
        }
    }
}

#[test]
fn every_command_has_help() {
    for command in COMMANDS {
        let help = Bench::new().tunless(&[command, "--help"]);
        assert_eq!(help.status, DONE, "{command}: {}", help.stderr);
        assert!(help.stdout.contains("Usage"), "{}", help.stdout);
    }
}

#[test]
fn the_version_is_the_packages() {
    let version = Bench::new().tunless(&["--version"]);
    assert_eq!(
        (version.status, version.stdout.trim()),
        (DONE, concat!("tunless ", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn wrong_usage_has_its_own_status_and_goes_to_standard_error() {
    let cases: [&[&str]; 12] = [
        &[],
        &["--no-such-flag"],
        &["connect"],
        &["connect", "a.ovpn", "--no-such-flag"],
        &["connect", "a.ovpn", "--listen", "nonsense"],
        &["serve"],
        &["check"],
        &["ctl"],
        &["ctl", "close", "nonsense"],
        &["ctl", "log-level", "loud"],
        &["completions", "no-such-shell"],
        &["--json", "completions", "bash"],
    ];
    for arguments in cases {
        let finished = Bench::new().tunless(arguments);
        assert_eq!(
            finished.status, USAGE,
            "{arguments:?}: {}{}",
            finished.stdout, finished.stderr
        );
        let json = arguments.contains(&"--json");
        let said = if json { &finished.stdout } else { &finished.stderr };
        assert!(!said.is_empty(), "{arguments:?} says nothing");
    }
}

#[test]
fn check_accepts_a_good_profile() {
    let bench = Bench::new();
    bench.write("good.ovpn", &good_profile());
    let check = bench.tunless(&["check", "good.ovpn"]);
    assert_eq!(check.status, DONE, "{}{}", check.stdout, check.stderr);
    assert!(
        check.stdout.contains("vpn.example.test"),
        "says nothing of where it goes:\n{}",
        check.stdout
    );
    assert!(!check.stdout.contains("PRIVATE KEY") && !check.stderr.contains("PRIVATE KEY"));
}

#[test]
fn check_names_file_line_and_directive_of_each_problem() {
    let bench = Bench::new();
    let profile = good_profile().replacen(
        "proto udp\n",
        "proto udp\nhand-window 1m\nno-such-directive 7\n",
        1,
    );
    bench.write("bad.ovpn", &profile);
    bench.write("good.ovpn", &good_profile());
    let check = bench.tunless(&["check", "good.ovpn", "bad.ovpn"]);
    assert_eq!(check.status, FAILED);
    let text = format!("{}{}", check.stdout, check.stderr);
    for (line, directive) in [(4, "hand-window"), (5, "no-such-directive")] {
        let found = text
            .lines()
            .any(|found| found.contains(&format!("bad.ovpn:{line}:")) && found.contains(directive));
        assert!(found, "no bad.ovpn:{line}: {directive} in\n{text}");
    }
}

#[test]
fn check_refuses_what_would_weaken_the_tunnel_and_says_why() {
    let bench = Bench::new();
    for line in ["dev tap", "secret static.key", "cipher none\ndata-ciphers none"] {
        bench.write("weak.ovpn", &good_profile().replacen("dev tun", line, 1));
        let check = bench.tunless(&["check", "weak.ovpn"]);
        assert_eq!(check.status, FAILED, "{line}: {}{}", check.stdout, check.stderr);
    }
    assert_eq!(bench.tunless(&["check", "missing.ovpn"]).status, FAILED);
}

#[test]
fn json_output_is_one_object_a_line() {
    let bench = Bench::new();
    bench.write("good.ovpn", &good_profile());
    let check = bench.tunless(&["--json", "check", "good.ovpn"]);
    assert_eq!(check.status, DONE, "{}", check.stderr);
    assert!(!check.stdout.is_empty());
    for line in check.stdout.lines() {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(value.is_object(), "{line}");
    }
}

#[test]
fn errors_are_objects_where_json_is_asked_for() {
    let bench = Bench::new();
    for (arguments, status) in [
        (&["--json", "connect"][..], USAGE),
        (&["--json", "connect", "missing.ovpn"], FAILED),
        (&["--json", "serve", "missing.conf"], FAILED),
        (&["--json", "ctl", "--device", "./missing.sock", "state"], FAILED),
        (&["--json", "man", "missing"], FAILED),
        (&["--json", "no-such-command", "--no-such-flag"], USAGE),
    ] {
        let failed = bench.tunless(arguments);
        assert_eq!(failed.status, status, "{arguments:?}: {}", failed.stderr);
        let line = failed.stdout.lines().last().unwrap_or_default();
        let error: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{arguments:?}: {line:?}: {error}"));
        assert_eq!(error["event"], "error", "{arguments:?}");
        assert_eq!(error["status"].as_i64(), status.map(i64::from), "{arguments:?}");
    }
    let key = bench.tunless(&["--json", "genkey", "tls-crypt"]);
    let key: serde_json::Value = serde_json::from_str(&key.stdout).expect("an object");
    assert!(
        key["key"]
            .as_str()
            .is_some_and(|key| key.contains("BEGIN OpenVPN Static key"))
    );
    let demo = bench.tunless(&["--json", "demo", "--once"]);
    assert_eq!(demo.status, DONE, "{}", demo.stderr);
    for line in demo.stdout.lines() {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(value["event"].is_string(), "{line}");
    }
}

#[test]
fn completions_are_scripts_that_their_shells_read() {
    let bench = Bench::new();
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = bench.tunless(&["completions", shell]);
        assert_eq!(script.status, DONE, "{}", script.stderr);
        assert!(script.stdout.contains("log-level"), "{shell}");
        let path = bench.write(shell, &script.stdout);
        let mut reader = Command::new(shell);
        // Bash is on every Debian; the others are read where they are.
        if shell == "bash" || Path::new("/usr/bin").join(shell).exists() {
            let read = finish(bench.dir(), shell, reader.arg(check).arg(path), LIMIT);
            assert_eq!((read.status, read.stderr.as_str()), (DONE, ""), "{shell}");
        }
    }
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let bench = Bench::new();
    let page = bench.tunless(&["man"]);
    assert_eq!(page.status, DONE, "{}", page.stderr);
    let title = page.stdout.lines().find(|line| line.starts_with(".TH"));
    assert!(
        title.is_some_and(|title| title.contains("TUNLESS")),
        "{}",
        page.stdout
    );
    std::fs::create_dir(bench.dir().join("pages")).expect("a folder");
    let pages = bench.tunless(&["man", "pages"]);
    assert_eq!(pages.status, DONE, "{}", pages.stderr);
    for command in COMMANDS {
        let text =
            std::fs::read_to_string(bench.dir().join(format!("pages/tunless-{command}.1"))).expect("a page");
        assert!(text.contains(".SH SYNOPSIS"), "{command}: {text}");
    }
}

#[test]
fn genkey_makes_keys_that_openvpn_reads_and_never_the_same() {
    let bench = Bench::new();
    let keys = [1, 2].map(|_| bench.tunless(&["genkey", "tls-crypt"]));
    for key in &keys {
        assert_eq!(key.status, DONE, "{}", key.stderr);
        assert!(
            key.stdout.contains("-----BEGIN OpenVPN Static key V1-----"),
            "{}",
            key.stdout
        );
    }
    assert_ne!(keys[0].stdout, keys[1].stdout);
    let path = bench.write("static.key", &keys[0].stdout);
    // A server whose certificate is missing fails only after it has read its static key.
    let mut openvpn = Command::new("openvpn");
    openvpn.args([
        "--dev",
        "null",
        "--tls-server",
        "--dh",
        "none",
        "--cert",
        "missing.crt",
        "--key",
        "missing.key",
    ]);
    openvpn.args(["--ca", "missing.crt", "--tls-crypt"]).arg(path);
    let output = finish(bench.dir(), "openvpn", &mut openvpn, LIMIT);
    assert!(!output.stdout.contains("tls-crypt"), "{}", output.stdout);
}

#[test]
fn the_demo_checks_itself() {
    let demo = Bench::new().tunless(&["demo", "--once"]);
    assert_eq!(demo.status, DONE, "{}{}", demo.stdout, demo.stderr);
}

#[test]
fn the_demo_prints_a_line_to_paste_that_works() {
    let bench = Bench::new();
    let mut command = Command::new(TUNLESS);
    let mut demo = Process::start(bench.dir(), "demo", command.arg("demo"));
    let line = demo.wait_for("curl ", LIMIT);
    let paste = line.trim().trim_start_matches("$ ").to_owned();
    let mut shell = Command::new("sh");
    let page = finish(bench.dir(), "paste", shell.args(["-c", &paste]), LIMIT);
    assert_eq!(page.status, DONE, "{paste}: {}", page.stderr);
    assert!(!page.stdout.is_empty(), "{paste} prints nothing");
    demo.signal(Signal::SIGINT);
    let (status, took) = demo.wait(LIMIT);
    assert_eq!(status.code(), DONE);
    assert!(took < crate::tunnel::END, "ended after {took:?}");
}
