//! The program under test as a client: started without privileges, waited for, asked, ended.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::fetch::Via;
use crate::inner::Inner;
use crate::netns::Net;
use crate::process::{Finished, Process, finish};
use crate::runner::Confinement;
use crate::server::{Options, SOON, Server};

/// Where a client listens unless told otherwise.
pub(crate) const LISTENER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1080);
/// Longest time from SIGTERM to the end: a second by promise, and some for a busy machine.
pub(crate) const END: Duration = Duration::from_millis(2500);

/// A connected client.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) process: Process,
}

/// A whole lab with a connected client. From the client's start to the end nothing may leave its outer link but the
/// tunnel: that is looked at when the lab goes.
#[derive(Debug)]
pub(crate) struct Lab {
    // Dropped in this order: programs first, hosts last.
    pub(crate) tunnel: Tunnel,
    pub(crate) server: Server,
    pub(crate) net: Net,
    /// The test sends something outside on purpose.
    pub(crate) goes_beside: bool,
}

impl Tunnel {
    /// Starts the client with `profile` on the client host and waits until it is connected.
    pub(crate) fn connect(net: &Net, confinement: Confinement, profile: &str) -> Self {
        let path = net.write("client.ovpn", profile);
        let mut command = net.tunless(&net.client, confinement);
        command.arg(path);
        Self::start(net, &mut command)
    }

    /// Starts a client by `command` and waits until it is connected.
    pub(crate) fn start(net: &Net, command: &mut Command) -> Self {
        let mut process = Process::start(net.dir(), "tunless-client", command);
        process.wait_for(&format!("listening on {LISTENER}"), SOON);
        process.wait_for("connected to ", SOON);
        Self { process }
    }

    /// Ends the client by `signal`: it has to go within a second, with status 0.
    pub(crate) fn end(&mut self, signal: Signal) {
        self.process.signal(signal);
        let (status, took) = self.process.wait(Duration::from_secs(20));
        assert_eq!(status.code(), Some(0), "{signal}: {status}");
        assert!(took < END, "{signal}: ended after {took:?}");
    }
}

impl Lab {
    /// Hosts, services, a server by `options` and an unprivileged client.
    pub(crate) fn new(test: &str, options: Options) -> Self {
        Self::with_profile(test, options, "")
    }

    /// The same with lines added to the profile.
    pub(crate) fn with_profile(test: &str, options: Options, extra: &str) -> Self {
        let net = Net::new(test);
        Inner::start(&net.inner);
        let server = Server::start(&net, options);
        net.client.watch_outer_link(server.address().port());
        let tunnel = Tunnel::connect(&net, Confinement::Unprivileged, &server.profile(extra));
        Self {
            tunnel,
            server,
            net,
            goes_beside: false,
        }
    }

    /// Through the client's SOCKS5 side.
    pub(crate) fn socks(&self, target: &str, port: u16) -> std::net::TcpStream {
        Via::Socks(LISTENER)
            .connect(&self.net.client, target, port)
            .expect("a connection through SOCKS5")
    }

    /// Through the client's HTTP side.
    pub(crate) fn http(&self, target: &str, port: u16) -> std::net::TcpStream {
        Via::Http(LISTENER)
            .connect(&self.net.client, target, port)
            .expect("a connection through HTTP CONNECT")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !self.goes_beside && !std::thread::panicking() {
            assert_eq!(self.net.client.stray_packets(), 0, "packets beside the tunnel");
        }
    }
}

/// Runs the client with the profile at `path` to its end.
pub(crate) fn finish_client(net: &Net, path: &Path, limit: Duration) -> Finished {
    let mut command = net.tunless(&net.client, Confinement::Unprivileged);
    command.arg(path);
    finish(net.dir(), "tunless-client", &mut command, limit)
}

/// Whether the long tier was asked for (`tests/run --full`).
pub(crate) fn full() -> bool {
    std::env::var_os("TUNLESS_FULL").is_some_and(|value| value == "1")
}
