//! The tunnel in everyday life: servers that go away and come back, networks that change, machines that sleep,
//! signals. What is open through the tunnel lives on wherever the inner address stays the same.

#![expect(clippy::print_stdout, reason = "gaps are printed for whoever compares them")]

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::fetch::Via;
use crate::inner::ECHO;
use crate::losses::{BACK, Loss, Outcome, Scene, Who, inner_address, observe, step};
use crate::server::Transport;
use crate::tunnel::{LISTENER, full};

/// Loses the tunnel over `transport` and expects everything to live on.
fn survives(test: &str, transport: Transport, loss: Loss) -> (Scene, Outcome) {
    let mut scene = Scene::new(test, transport, Who::Ours, "");
    let address = inner_address(&scene);
    let outcome = observe(&mut scene, loss);
    println!("{loss:?} over {transport:?}: {}", outcome.row());
    outcome.idle.as_ref().expect("the idle connection lives on");
    outcome.echo.as_ref().expect("the echo lives on");
    outcome.download.as_ref().expect("the download lives on");
    assert_eq!(inner_address(&scene), address);
    assert!(scene.client.is_running());
    (scene, outcome)
}

/// A number in the statistics that SIGUSR2 prints, by the words before it.
fn statistic(scene: &mut Scene, times: usize, before: &str) -> u64 {
    scene.client.signal(Signal::SIGUSR2);
    let line = scene.client.wait_for_times("keys renewed", times, BACK);
    let rest = line.split_once(before).expect("the words").1.trim_start();
    let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
    number.parse().expect("a number")
}

#[test]
fn reconnect_to_a_server_that_was_killed() {
    survives("killed", Transport::Udp4, Loss::ServerKilled);
}

#[test]
fn reconnect_over_tcp_to_a_server_that_was_killed() {
    survives("killed-tcp", Transport::Tcp4, Loss::ServerKilled);
}

#[test]
fn reconnect_to_a_server_that_left_with_notice() {
    survives("leaves", Transport::Udp4, Loss::ServerLeaves);
}

#[test]
fn reconnect_when_packets_vanished_for_long() {
    survives("cut", Transport::Udp4, Loss::PathCut);
}

#[test]
fn reconnect_when_the_link_was_down() {
    survives("link-down", Transport::Udp4, Loss::LinkDown);
}

#[test]
fn reconnect_over_tcp_when_the_link_was_down() {
    survives("link-down-tcp", Transport::Tcp4, Loss::LinkDown);
}

#[test]
fn reconnect_is_not_needed_when_the_outer_address_changes() {
    let (mut scene, _) = survives("roam", Transport::Udp4, Loss::AddressChanged);
    scene.server.process.wait_for("floated from", BACK);
    assert_eq!(scene.connections(), 1, "the session floats");
    assert_eq!(statistic(&mut scene, 1, "attempts "), 1);
    assert_eq!(scene.server.handshakes(), 1);
}

#[test]
fn reconnect_over_tcp_when_the_outer_address_changes() {
    let (scene, _) = survives("roam-tcp", Transport::Tcp4, Loss::AddressChanged);
    assert_eq!(scene.connections(), 2);
}

#[test]
fn reconnect_is_not_needed_when_another_link_leads_to_the_server() {
    let (mut scene, _) = survives("other-link", Transport::Udp4, Loss::OtherLink);
    scene.server.process.wait_for("floated from", BACK);
    assert_eq!(scene.connections(), 1, "the session floats");
    assert_eq!(statistic(&mut scene, 1, "attempts "), 1);
}

#[test]
fn reconnect_after_a_stop_that_the_server_did_not_wait_for() {
    let (scene, outcome) = survives("stopped", Transport::Udp4, Loss::Stopped);
    assert_eq!(scene.connections(), 2);
    assert!(outcome.after_healing < Duration::from_secs(15), "{outcome:?}");
}

#[test]
fn reconnect_by_sigusr1() {
    let (mut scene, _) = survives("usr1", Transport::Udp4, Loss::Restarted);
    assert_eq!(statistic(&mut scene, 1, "connections "), 2);
}

#[test]
fn reconnect_by_sighup_with_the_profile_as_it_is_now() {
    let mut scene = Scene::new("hup", Transport::Udp4, Who::Ours, "");
    let waiting = scene.connect(ECHO);
    step(&waiting, 1).expect("an answer");
    // A broken profile is refused, and the old one goes on.
    scene.net.write("client.ovpn", "client\nremote\n");
    scene.client.signal(Signal::SIGHUP);
    scene.client.wait_for("the old one stays", BACK);
    step(&waiting, 2).expect("an answer by the old profile");
    assert_eq!(scene.connections(), 1);
    // A good one is taken; what it changes can be seen at the server.
    let profile = scene.server.profile("setenv UV_ROUND second\npush-peer-info");
    scene.net.write("client.ovpn", &profile);
    scene.client.signal(Signal::SIGHUP);
    scene.wait_connected(2);
    step(&waiting, 3).expect("the same connection over the new profile");
    scene.server.process.wait_for("UV_ROUND=second", BACK);
    assert_eq!(scene.net.client.stray_packets(), 0);
}

#[test]
fn reconnect_to_another_inner_address_resets_what_was_open() {
    let mut scene = Scene::new("moved", Transport::Udp4, Who::Ours, "");
    let waiting = scene.connect(ECHO);
    step(&waiting, 1).expect("an answer");
    let folder = scene.net.dir().join("ccd");
    let before = inner_address(&scene);
    fs::write(folder.join("DEFAULT"), "ifconfig-push 10.99.0.77 255.255.255.0\n")
        .expect("a client's options");
    scene.client.signal(Signal::SIGUSR1);
    scene.wait_connected(2);
    step(&waiting, 2).expect_err("its address is gone");
    let after = inner_address(&scene);
    assert_eq!(after.trim(), "10.99.0.77");
    assert_ne!(before, after);
    assert_eq!(scene.net.client.stray_packets(), 0);
}

#[test]
fn statistics_are_printed_by_sigusr2() {
    let mut scene = Scene::new("usr2", Transport::Udp4, Who::Ours, "");
    let echo = scene.connect(ECHO);
    step(&echo, 1).expect("an answer");
    scene.client.signal(Signal::SIGUSR2);
    scene.client.wait_for("keys renewed 0", BACK);
    let log = scene.client.log();
    let state = log
        .lines()
        .find(|line| line.starts_with("state "))
        .expect("the state");
    assert!(state.contains("CONNECTED to 10.77.0.2 (udp)"), "{state}");
    let flows = log
        .lines()
        .find(|line| line.starts_with("flows "))
        .expect("the flows");
    assert!(flows.starts_with("flows open 1, opened 1, failed 0,"), "{flows}");
    step(&echo, 2).expect("the tunnel goes on");
}

#[test]
fn reconnect_refuses_new_connections_meanwhile_and_lets_nothing_out() {
    let mut scene = Scene::new("meanwhile", Transport::Udp4, Who::Ours, "");
    let waiting = scene.connect(ECHO);
    step(&waiting, 1).expect("an answer");
    scene.server.process.signal(Signal::SIGKILL);
    scene.server.process.wait(BACK);
    scene.client.wait_for("trying ", BACK);
    let start = Instant::now();
    let refused = Via::Socks(LISTENER).connect(&scene.net.client, "10.88.0.2", ECHO);
    let error = refused.expect_err("no tunnel, no connection").to_string();
    assert_eq!(error, "SOCKS reply 1");
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    scene.server.start_again(&scene.net);
    scene.wait_connected(2);
    step(&waiting, 2).expect("what was open before lives on");
    step(&scene.connect(ECHO), 1).expect("new connections are made again");
    assert_eq!(scene.net.client.stray_packets(), 0);
}

/// A few random troubles in a row, many in the long tier; the seed is printed by a failure.
fn soak(test: &str, transport: Transport, seed: u64) {
    let mut scene = Scene::new(test, transport, Who::Ours, "");
    let echo = scene.connect(ECHO);
    step(&echo, 0).expect("an answer");
    let (memory, files) = (scene.resident(), scene.client.open_files());
    let mut random = seed;
    let mut outer = ["10.77.0.1/24", "10.77.0.3/24"];
    for round in 1..=if full() { 100 } else { 6 } {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let trouble = random % 5;
        match trouble {
            0 => scene.inflict(Loss::ServerKilled),
            1 => scene.inflict(Loss::Restarted),
            2 => scene.inflict(Loss::Reloaded),
            3 => {
                scene.net.client.ip("link set wan down");
                scene.net.client.ip("link set wan up");
                scene.net.client.ip("route replace default via 10.77.0.2");
            }
            _ => {
                scene.net.client.ip(&format!("address add {} dev wan", outer[1]));
                scene.net.client.ip(&format!("address del {} dev wan", outer[0]));
                scene.net.client.ip("route replace default via 10.77.0.2");
                outer.reverse();
            }
        }
        step(&echo, round).unwrap_or_else(|error| {
            panic!("seed {seed}, round {round}, trouble {trouble}: {error}");
        });
        assert!(scene.client.is_running());
    }
    step(&scene.connect(ECHO), 1).expect("a new connection");
    let deadline = Instant::now() + BACK;
    while scene.client.open_files() > files {
        assert!(
            Instant::now() < deadline,
            "descriptors: {files} before, {} after",
            scene.client.open_files()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let after = scene.resident();
    println!("{test}: {memory} kB before, {after} kB after, {files} descriptors");
    assert!(
        after < memory + 16_000,
        "memory: {memory} kB before, {after} kB after"
    );
    assert_eq!(scene.net.client.stray_packets(), 0);
}

#[test]
fn reconnect_after_one_trouble_after_the_other() {
    soak("soak", Transport::Udp4, 0x5eed_0001);
}

#[test]
fn reconnect_over_tcp_after_one_trouble_after_the_other() {
    soak("soak-tcp", Transport::Tcp4, 0x5eed_0002);
}

#[test]
fn reconnect_beside_the_stock_client() {
    let losses = if full() {
        &Loss::ALL[..]
    } else {
        &[Loss::AddressChanged, Loss::Restarted]
    };
    let mut table = String::new();
    for loss in losses {
        for who in [Who::Ours, Who::Stock] {
            let mut scene = Scene::new("beside", Transport::Udp4, who, "");
            let outcome = observe(&mut scene, *loss);
            let loss = format!("{loss:?}");
            writeln!(table, "{loss:14} | {who:?}\t | {}", outcome.row()).expect("text");
        }
    }
    println!(
        "kind of loss   | client\t | idle      | echo      | download  | gap      | healed   | RSS before / after"
    );
    print!("{table}");
}
