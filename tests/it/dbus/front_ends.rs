//! The calls of the known front ends in their orders, through whole lives of sessions, by an independent implementation
//! of D-Bus.

use super::{ANN, BOB, Services};
use crate::process::{Finished, finish};
use crate::server::{Login, Options, SOON, USER};

#[test]
fn the_calls_of_every_known_front_end_lead_where_it_wants() {
    let options = Options {
        login: Login::Both,
        ..Options::default()
    };
    let services = Services::start("dbus-front", options);
    services
        .net
        .write("profile.ovpn", &services.server.profile("auth-user-pass\n"));
    for front_end in ["command_line", "openvpn2", "autoload", "indicator", "helper"] {
        services.scenario("front_ends.py", front_end, &[&ANN.to_string()]);
    }
    services.no_client_is_left();
}

/// Our own front end as `uid`, with `typed` on its standard input.
fn front(services: &Services, uid: u32, typed: &str, args: &str) -> Finished {
    let program = services.net.dir().join("tunless");
    let mut command = services.command(uid);
    command
        .args(["/bin/sh", "-c"])
        .arg(format!("printf '{typed}' | {} {args}", program.display()));
    finish(services.net.dir(), "front", &mut command, SOON)
}

#[test]
fn our_own_front_end_stores_starts_steers_and_shows() {
    let options = Options {
        login: Login::Both,
        ..Options::default()
    };
    let services = Services::start("dbus-own", options);
    let profile = services.server.profile("auth-user-pass\n");
    let split = profile.replacen(
        &format!("<ca>\n{}</ca>\n", services.server.authority.certificate),
        "ca authority.pem\n",
        1,
    );
    assert_ne!(split, profile);
    services
        .net
        .write("authority.pem", &services.server.authority.certificate);
    let file = services.net.write("office.ovpn", &split).display().to_string();
    let ann = |typed: &str, args: &str| front(&services, ANN, typed, args);

    let stored = ann(
        "",
        &format!("configs import {file} --name office --persistent --tag desk"),
    );
    assert_eq!(stored.status, Some(0), "{}", stored.stderr);
    let shown = ann("", "configs show office");
    assert!(
        shown.stdout.contains("BEGIN CERTIFICATE") && !shown.stdout.contains("PRIVATE KEY"),
        "{}",
        shown.stdout
    );
    let wrong = ann("alice\nwrong\n", "sessions start office");
    assert_eq!(wrong.status, Some(3), "{}", wrong.stderr);
    let typed = format!("{}\n{}\n", USER.0, USER.1);
    let started = ann(&typed, "sessions start office");
    assert_eq!(started.status, Some(0), "{}", started.stderr);
    assert!(started.stdout.contains("device netstack0"), "{}", started.stdout);
    assert!(
        started.stdout.contains("curl --proxy socks5h://127.0.0.1:1080"),
        "{}",
        started.stdout
    );

    let listed = ann("", "--json sessions list");
    let session: serde_json::Value = serde_json::from_str(listed.stdout.trim()).expect("one line of JSON");
    assert_eq!(session["properties"]["device_name"], "netstack0");
    assert_eq!(session["offers"]["proxies"][0], "127.0.0.1:1080");
    assert_eq!(front(&services, BOB, "", "--json sessions list").stdout, "");
    let stranger = front(&services, BOB, "", "sessions disconnect netstack0");
    assert_eq!(stranger.status, Some(1), "{}", stranger.stdout);
    assert!(stranger.stderr.contains("Access denied"), "{}", stranger.stderr);
    for args in [
        "sessions pause office",
        "sessions resume office",
        "sessions stats netstack0",
        "sessions acl office --grant man",
    ] {
        let ended = ann("", args);
        assert_eq!(ended.status, Some(0), "{args}: {}", ended.stderr);
    }
    assert_eq!(
        front(&services, BOB, "", "sessions stats netstack0").status,
        Some(0)
    );
    assert_eq!(ann("", "sessions disconnect office").status, Some(0));
    assert_eq!(ann("", "sessions list").stdout, "");
    assert_eq!(ann("", "configs remove office").status, Some(0));
    let file = services.net.dir().join("profile.ovpn");
    services.net.write("profile.ovpn", &profile);
    let started = ann(&typed, &format!("sessions start {}", file.display()));
    assert_eq!(started.status, Some(0), "{}", started.stderr);
    assert_eq!(ann("", "sessions disconnect netstack0").status, Some(0));
    let missing = ann("", "sessions start no-such");
    assert!(
        missing.stderr.contains("neither a stored profile nor a file"),
        "{}",
        missing.stderr
    );
    services.no_client_is_left();
}
