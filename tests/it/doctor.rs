//! `tunless doctor` on a tunnel that is well, on ones that are not, and on none.

use std::process::Command;
use std::time::Duration;

use crate::inner::Inner;
use crate::netns::{Net, run};
use crate::process::{Finished, finish};
use crate::runner::Confinement;
use crate::server::{Options, Server, Transport, Wrap};

/// Longest time for all tests of a tunnel whose resolver does not answer.
const LIMIT: Duration = Duration::from_secs(55);

fn doctor(net: &Net, profile: &str, arguments: &[&str]) -> Finished {
    let path = net.write("client.ovpn", profile);
    let mut command: Command = net.tunless(&net.client, Confinement::Unprivileged);
    command.arg("doctor").arg(path).args(arguments);
    finish(net.dir(), "tunless-doctor", &mut command, LIMIT)
}

#[test]
fn a_tunnel_that_is_well_gets_a_clean_bill() {
    let net = Net::new("doctor-well");
    Inner::start(&net.inner);
    let server = Server::start(&net, Options::default());
    net.client.watch_outer_link(server.address().port());
    let arguments = [
        "--name",
        "page.inner.test",
        "--url",
        "http://page.inner.test/bytes/4000000",
    ];
    let found = doctor(&net, &server.profile(""), &arguments);
    assert_eq!(found.status, Some(0), "{}{}", found.stdout, found.stderr);
    for line in [
        "ok    connect    10.77.0.2",
        "ok    addresses  10.99.0.",
        "ok    names      10.88.0.2 answers",
        "ok    names      page.inner.test is",
        "ok    mtu        full packets of 1500 bytes pass",
        "ok    throughput 4000",
        "ok    leaks      every socket",
        "everything is as it should be",
    ] {
        assert!(found.stdout.contains(line), "no {line:?} in\n{}", found.stdout);
    }
    assert_eq!(net.client.stray_packets(), 0);
}

#[test]
fn each_fault_is_told_with_what_to_do() {
    let net = Net::new("doctor-ill");
    // No name server runs on the inner host: the pushed resolver does not answer.
    let server = Server::start(&net, Options::default());
    net.client.watch_outer_link(server.address().port());
    let found = doctor(
        &net,
        &server.profile(""),
        &["--json", "--name", "page.inner.test"],
    );
    assert_eq!(found.status, Some(1), "{}{}", found.stdout, found.stderr);
    let silent = found
        .stdout
        .lines()
        .find(|line| line.contains("does not answer"))
        .expect("a finding about names");
    assert!(
        silent.contains("\"verdict\":\"bad\"") && silent.contains("--dns ADDR"),
        "{silent}"
    );
    assert!(
        found.stdout.contains("\"about\":\"leaks\"") && found.stdout.contains("every socket"),
        "{}",
        found.stdout
    );
    assert_eq!(
        net.client.stray_packets(),
        0,
        "a silent resolver leads nobody outside"
    );
}

#[test]
fn a_narrow_path_is_noticed() {
    let net = Net::new("doctor-mtu");
    Inner::start(&net.inner);
    let options = Options {
        wrap: Wrap::None,
        transport: Transport::Udp4,
        ..Options::default()
    };
    let server = Server::start(&net, options);
    // Longer packets are lost without a word, as behind a wrong firewall: a veth takes nothing above its own MTU.
    run(net
        .server
        .command("ip")
        .args(["link", "set", "wan", "mtu", "1400"]));
    let found = doctor(&net, &server.profile(""), &[]);
    assert_eq!(found.status, Some(0), "{}{}", found.stdout, found.stderr);
    let line = found
        .stdout
        .lines()
        .find(|line| line.starts_with("doubt mtu"))
        .expect("a finding about the MTU");
    let bytes: usize = line
        .split_whitespace()
        .find_map(|word| word.parse().ok())
        .expect("a number of bytes");
    assert!((1300..=1360).contains(&bytes), "{line}");
}

#[test]
fn no_server_is_told_with_a_remedy() {
    let net = Net::new("doctor-none");
    let mut server = Server::start(&net, Options::default());
    server.process.signal(nix::sys::signal::Signal::SIGKILL);
    server.process.wait(Duration::from_secs(5));
    let found = doctor(
        &net,
        &server.profile("connect-retry-max 1\nserver-poll-timeout 3\n"),
        &[],
    );
    assert_eq!(found.status, Some(1), "{}{}", found.stdout, found.stderr);
    assert!(found.stdout.contains("BAD   connect"), "{}", found.stdout);
    assert!(found.stdout.contains("→"), "{}", found.stdout);
}
