//! Ways to host the services: a bus of the user's own, the end of everything by a signal, bad input.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{ANN, BOB, Services};
use crate::process::{Process, finish};
use crate::runner::TUNLESS;
use crate::server::{Options, SOON};

#[test]
fn a_user_without_a_bus_gets_one_of_his_own_that_others_cannot_use() {
    let services = Services::start("dbus-private", Options::default());
    let mut command = services.tunless(BOB);
    command.args(["dbus", "all", "--private"]);
    let mut private = Process::start(services.net.dir(), "private", &mut command);
    let line = private.wait_for("export DBUS_SYSTEM_BUS_ADDRESS=", SOON);
    private.wait_for("the services of OpenVPN 3 Linux's D-Bus API are on", SOON);
    let address = line
        .split_once('=')
        .expect("an address")
        .1
        .trim_matches('\'')
        .to_owned();
    let list = |uid: u32| {
        let mut command = services.command(uid);
        command
            .args([
                "gdbus",
                "call",
                "--address",
                &address,
                "--dest",
                "net.openvpn.v3.sessions",
            ])
            .args(["--object-path", "/net/openvpn/v3/sessions"])
            .args(["--method", "net.openvpn.v3.sessions.FetchAvailableSessions"]);
        finish(services.net.dir(), "gdbus", &mut command, SOON)
    };
    let own = list(BOB);
    assert_eq!(
        (own.status, own.stdout.trim()),
        (Some(0), "(@ao [],)"),
        "{}",
        own.stderr
    );
    assert_ne!(list(ANN).status, Some(0), "another user gets in");
    private.signal(Signal::SIGTERM);
    let (status, _) = private.wait(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0));
    assert_ne!(list(BOB).status, Some(0), "the bus is still there");
}

#[test]
fn the_end_of_the_services_is_the_end_of_their_tunnels() {
    let mut services = Services::start("dbus-end", Options::default());
    services.scenario("life.py", "left", &[&ANN.to_string()]);
    assert_eq!(services.clients().len(), 1, "a tunnel runs");
    services.all.signal(Signal::SIGTERM);
    let (status, _) = services.all.wait(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0));
    services.no_client_is_left();
    assert_eq!(services.pid_of("sessions"), None);
}

#[test]
fn what_cannot_be_hosted_is_told_with_a_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |args: &[&str]| {
        let mut command = Command::new(TUNLESS);
        command.args(args).env("HOME", folder.path());
        finish(folder.path(), "bad", &mut command, SOON)
    };
    let state = folder.path().join("state").display().to_string();
    let nobody = format!("unix:path={}/no-bus", folder.path().display());
    let ended = run(&["dbus", "sessions", "--bus", &nobody, "--state-dir", &state]);
    assert_eq!(ended.status, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot connect to the"), "{}", ended.stderr);
    let ended = run(&["dbus", "sessions", "--bus", "sistem"]);
    assert_eq!(ended.status, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("names no bus"), "{}", ended.stderr);
    let ended = run(&["dbus", "install", "--root", &state, "--user", "a\"b"]);
    assert_eq!(ended.status, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("one word"), "{}", ended.stderr);
    let ended = run(&["dbus", "install", "--dry-run"]);
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("net.openvpn.v3.sessions.conf"),
        "{}",
        ended.stdout
    );
}
