//! Ports inside the tunnel that lead to the client's host.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::fetch::{Via, curl, download};
use crate::inner::{HELLO, Inner, serve_pages};
use crate::netns::{Net, run};
use crate::process::finish;
use crate::runner::Confinement;
use crate::server::{Options, SOON, Server};
use crate::tunnel::Tunnel;

/// Where the client's host serves pages, out of everybody else's reach.
const PAGES: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);

fn inner_address(tunnel: &mut Tunnel) -> String {
    let line = tunnel.process.wait_for("inner address ", SOON);
    let address = line.split_whitespace().nth(2).expect("an address");
    address.split('/').next().expect("an address").to_owned()
}

#[test]
fn the_inner_host_reaches_a_page_of_the_client_host_before_and_after_a_restart() {
    let net = Net::new("remote-forward");
    Inner::start(&net.inner);
    serve_pages(&net.client, PAGES);
    let mut server = Server::start(
        &net,
        Options {
            keepalive: (1, 4),
            ..Options::default()
        },
    );
    let profile = net.write("client.ovpn", &server.profile(""));
    let mut command = net.tunless(&net.client, Confinement::Unprivileged);
    command.arg(profile);
    command.args(["-R", "8080:127.0.0.1:8000", "-R", "8081:localhost:9"]);
    let mut tunnel = Tunnel::start(&net, &mut command);
    tunnel
        .process
        .wait_for("forwarding inner port 8080 to 127.0.0.1:8000", SOON);
    let address = inner_address(&mut tunnel);
    let url = format!("http://{address}:8080/hello");
    assert_eq!(run(&mut curl(&net.inner, 10, &[&url])), HELLO);

    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let stream = Via::Direct
                    .connect(&net.inner, &address, 8080)
                    .expect("a connection");
                download(&stream, 3_000_000).expect("the right bytes");
            });
        }
    });
    for (port, why) in [("8081", "nothing listens there"), ("8082", "no such forward")] {
        let url = format!("http://{address}:{port}/hello");
        let failed = finish(net.dir(), "curl", &mut curl(&net.inner, 10, &[&url]), SOON);
        // Refused or reset, not silent.
        assert!(
            matches!(failed.status, Some(7 | 56)),
            "{why}: {:?} {}",
            failed.status,
            failed.stderr
        );
    }

    server.process.signal(Signal::SIGUSR1);
    server
        .process
        .wait_for_times("Initialization Sequence Completed", 2, SOON);
    tunnel
        .process
        .wait_for_times("connected to ", 2, Duration::from_secs(30));
    let again = tunnel.process.wait_for_times("inner address ", 2, SOON);
    assert!(again.contains(&address), "another address: {again}");
    assert_eq!(run(&mut curl(&net.inner, 10, &[&url])), HELLO);
    tunnel.end(Signal::SIGTERM);
}

#[test]
fn a_port_that_is_named_twice_ends_the_start() {
    let net = Net::new("remote-twice");
    let server = Server::start(&net, Options::default());
    let profile = net.write("client.ovpn", &server.profile(""));
    let mut command = net.tunless(&net.client, Confinement::Unprivileged);
    command.arg(profile);
    command.args(["-R", "8080:127.0.0.1:1", "-R", "8080:127.0.0.1:2"]);
    let ended = finish(net.dir(), "tunless-client", &mut command, SOON);
    assert_eq!(ended.status, Some(1));
    assert!(
        ended.stderr.contains("cannot listen on inner port 8080"),
        "{}",
        ended.stderr
    );
    // The tunnel's own loopback listener is free again, too.
    net.client
        .enter(|| TcpListener::bind("127.0.0.1:1080"))
        .expect("the port of the proxy");
}
