//! Three hosts in network namespaces: a client, a server, and a host behind the server.
//!
//! ```text
//! client 10.77.0.1 fd77::1 ── wan ── 10.77.0.2 fd77::2 server 10.88.0.1 fd88::1 ── lan ── 10.88.0.2 fd88::2 inner
//! ```
//! The client's default route leads to the server, which forwards: traffic that does not take the tunnel
//! would arrive all the same, and is told apart by its source address and counted on the outer link.
//! Namespaces carry the test's name and the process id; they go when the value is dropped, and the ones that a
//! killed process left behind go at the next start. Where namespaces cannot be made, the test fails.

use std::fs;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

/// First part of every namespace's name; the sweep looks for it.
const PREFIX: &str = "tunless";
/// Where `ip netns` keeps its names.
const NAMESPACES: &str = "/run/netns";
/// Where `ip netns exec` looks for files that replace those of `/etc`.
const OVERLAYS: &str = "/etc/netns";

/// Outer addresses of the client.
pub(crate) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));
/// Outer addresses of the server.
pub(crate) const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));
/// The server's outer address over IPv6.
pub(crate) const SERVER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2));
/// The host behind the server.
pub(crate) const INNER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 88, 0, 2));
/// The host behind the server over IPv6.
pub(crate) const INNER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd88, 0, 0, 0, 0, 0, 0, 2));

/// The three hosts of one test and its folder, readable to all users.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) client: Host,
    pub(crate) server: Host,
    pub(crate) inner: Host,
    dir: TempDir,
}

/// One namespace.
#[derive(Debug)]
pub(crate) struct Host {
    name: String,
}

impl Net {
    /// Makes the hosts for the test called `test`.
    pub(crate) fn new(test: &str) -> Self {
        sweep();
        let dir = tempfile::Builder::new()
            .prefix("tunless-it-")
            .tempdir()
            .expect("a temporary folder");
        open_to_all(dir.path(), 0o755);
        let host = |role: &str| Host::new(&format!("{PREFIX}-{test}-{}-{role}", std::process::id()));
        let net = Self {
            client: host("client"),
            server: host("server"),
            inner: host("inner"),
            dir,
        };
        Self::join(&net.client, &net.server, "wan", "77");
        Self::join(&net.server, &net.inner, "lan", "88");
        net.client.route_everything_through("10.77.0.2", "fd77::2");
        net.inner.route_everything_through("10.88.0.1", "fd88::1");
        for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            net.server.sysctl(key, "1");
        }
        net
    }

    /// A second link between client and server, `10.78.0.1` and `10.78.0.2`, which no route uses yet.
    pub(crate) fn add_second_link(&self) {
        Self::join(&self.client, &self.server, "wan2", "78");
    }

    /// Joins two hosts by a veth pair named `link` on both; the addresses contain `number`.
    fn join(left: &Host, right: &Host, link: &str, number: &str) {
        ip(&[
            "link",
            "add",
            link,
            "netns",
            &left.name,
            "type",
            "veth",
            "peer",
            "name",
            link,
            "netns",
            &right.name,
        ]);
        for (host, last) in [(left, 1), (right, 2)] {
            let (v4, v6) = (
                format!("10.{number}.0.{last}/24"),
                format!("fd{number}::{last}/64"),
            );
            ip(&["-n", &host.name, "address", "add", &v4, "dev", link]);
            ip(&["-n", &host.name, "address", "add", &v6, "dev", link, "nodad"]);
            ip(&["-n", &host.name, "link", "set", link, "up"]);
        }
    }

    /// The folder of this test.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file into the test's folder that every user can read.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        self.write_with_mode(name, text, 0o644)
    }

    /// Writes a program into the test's folder that every user can run.
    pub(crate) fn write_program(&self, name: &str, text: &str) -> PathBuf {
        self.write_with_mode(name, text, 0o755)
    }

    fn write_with_mode(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).expect("a file in the test's folder");
        open_to_all(&path, mode);
        path
    }
}

impl Host {
    fn new(name: &str) -> Self {
        ip(&["netns", "add", name]);
        let host = Self {
            name: name.to_owned(),
        };
        ip(&["-n", name, "link", "set", "lo", "up"]);
        // What systemd sets on nearly every host: anyone may send echo requests.
        host.sysctl("net.ipv4.ping_group_range", "0 2147483647");
        host
    }

    /// `ip netns exec` of `program` in this host; the process id is the program's own.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program.as_ref());
        command
    }

    /// Runs `work` on a thread inside the namespace; sockets made there stay there.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            let file = File::open(Path::new(NAMESPACES).join(&self.name)).expect("the namespace's file");
            setns(file, CloneFlags::CLONE_NEWNET).expect("entering the namespace");
            work()
        };
        match std::thread::scope(|scope| scope.spawn(inside).join()) {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Makes `resolver` this host's only resolver.
    pub(crate) fn resolve_by(&self, resolver: &str) {
        let folder = Path::new(OVERLAYS).join(&self.name);
        fs::create_dir_all(&folder).expect("a folder for the host's resolv.conf");
        fs::write(
            folder.join("resolv.conf"),
            format!("nameserver {resolver}\noptions timeout:1 attempts:1\n"),
        )
        .expect("the host's resolv.conf");
    }

    /// Runs `ip` in this host.
    pub(crate) fn ip(&self, arguments: &str) {
        let words: Vec<&str> = ["-n", &self.name]
            .into_iter()
            .chain(arguments.split(' '))
            .collect();
        ip(&words);
    }

    /// Loses every packet to and from `port` in silence, both ways.
    pub(crate) fn lose_packets(&self, port: u16) {
        let rules = format!(
            "add table inet cut
             add chain inet cut in {{ type filter hook prerouting priority -300; }}
             add rule inet cut in meta l4proto {{ tcp, udp }} th dport {port} drop
             add chain inet cut out {{ type filter hook postrouting priority 300; }}
             add rule inet cut out meta l4proto {{ tcp, udp }} th sport {port} drop"
        );
        run(self.command("nft").arg(rules));
    }

    /// Undoes [`Host::lose_packets`].
    pub(crate) fn stop_losing_packets(&self) {
        run(self.command("nft").arg("delete table inet cut"));
    }

    fn route_everything_through(&self, v4: &str, v6: &str) {
        ip(&["-n", &self.name, "route", "add", "default", "via", v4]);
        ip(&["-n", &self.name, "-6", "route", "add", "default", "via", v6]);
    }

    pub(crate) fn sysctl(&self, key: &str, value: &str) {
        run(self
            .command("sysctl")
            .args(["-q", "-w", &format!("{key}={value}")]));
    }

    /// Counts what leaves through `wan` and is not UDP or TCP to or from `port` (nor neighbour
    /// discovery, nor what the kernel answers to a server that still sends to a socket that is gone).
    pub(crate) fn watch_outer_link(&self, port: u16) {
        let rules = format!(
            "add table inet watch
             add counter inet watch stray
             add chain inet watch out {{ type filter hook output priority 0; }}
             add rule inet watch out oifname != \"wan\" accept
             add rule inet watch out meta l4proto {{ tcp, udp }} th dport {port} accept
             add rule inet watch out icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, \
                 nd-router-solicit, mld-listener-report, mld2-listener-report }} accept
             add rule inet watch out icmp type destination-unreachable accept
             add rule inet watch out counter name stray"
        );
        run(self.command("nft").arg(rules));
    }

    /// Packets counted by [`Host::watch_outer_link`].
    pub(crate) fn stray_packets(&self) -> u64 {
        let text = run(self
            .command("nft")
            .args(["list", "counter", "inet", "watch", "stray"]));
        let after = text.split("packets ").nth(1).expect("a packet count");
        after
            .split_whitespace()
            .next()
            .and_then(|count| count.parse().ok())
            .expect("a number")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes the namespaces of processes that no longer run.
fn sweep() {
    let Ok(entries) = fs::read_dir(NAMESPACES) else {
        return;
    };
    for name in entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
    {
        let Some(rest) = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-')) else {
            continue;
        };
        let owner = rest.rsplit('-').nth(1).and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&name);
        }
    }
}

/// Removes one namespace and its files; complains about nothing, since it also runs while a test fails.
fn remove(name: &str) {
    drop(Command::new("ip").args(["netns", "delete", name]).output());
    drop(fs::remove_dir_all(Path::new(OVERLAYS).join(name)));
}

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions for all users");
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}

/// Runs a command that has to succeed at once and gives its standard output.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {} {}(the tests need root, namespaces and Debian's iproute2 and nftables)",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
