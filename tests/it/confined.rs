//! The program in the confines of a container: read-only files, no writes to `/proc/sys`, no capability,
//! `no_new_privs`, a seccomp filter.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::fetch::{Via, page};
use crate::inner::{HELLO, Inner, WEB};
use crate::netns::Net;
use crate::process::{Process, finish};
use crate::runner::Confinement;
use crate::serve::Serving;
use crate::server::{Options, Server, Transport};
use crate::stock;
use crate::tunnel::{LISTENER, Tunnel};

/// Tries what must not work, and prints what did.
const TRIES: &str = r#"
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, work):
    try:
        result = work()
    except OSError as error:
        print(name, "refused:", error.errno)
    else:
        print(name, "WORKED" if result != -1 else f"refused: {ctypes.get_errno()}")
attempt("write to /", lambda: open("/tunless-was-here", "w"))
attempt("write to /tmp", lambda: (open("/tmp/tunless-was-here", "w"), os.unlink("/tmp/tunless-was-here")))
attempt("write to /proc/sys", lambda: open("/proc/sys/net/ipv4/ip_forward", "w"))
attempt("tun", lambda: libc.ioctl(os.open("/dev/net/tun", os.O_RDWR), 0x400454CA, ctypes.create_string_buffer(64)))
attempt("mount", lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
attempt("io_uring", lambda: libc.syscall(425, 1, None))
attempt("raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
attempt("packet socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3))
attempt("low port", lambda: socket.socket().bind(("127.0.0.1", 80)))
fields = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
for line in open("/proc/self/status"):
    if line.split(":")[0] in fields:
        print(" ".join(line.split()))
attempt("user namespace", lambda: libc.unshare(0x10000000))
attempt("net namespace", lambda: libc.unshare(0x40000000))
attempt("clone with a user namespace", lambda: libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0) or os._exit(0))
attempt("ptrace", lambda: libc.ptrace(0, 0, 0, 0))
"#;

fn tries(net: &Net, confinement: Confinement) -> String {
    let mut command = net.confined(&net.client, confinement);
    command.args(["/usr/bin/python3", "-I", "-c", TRIES]);
    let finished = finish(net.dir(), "tries", &mut command, Duration::from_secs(10));
    assert_eq!(finished.status, Some(0), "{}", finished.stderr);
    finished.stdout
}

#[test]
fn the_confines_hold() {
    let net = Net::new("confines");
    let text = tries(&net, Confinement::Confined);
    assert!(!text.contains("WORKED"), "{text}");
    assert_eq!(text.matches("refused: ").count(), 13, "{text}");
    for line in [
        "Uid: 65534 65534 65534 65534",
        "Groups:",
        "CapEff: 0000000000000000",
        "NoNewPrivs: 1",
        "Seccomp: 2",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line:?} in {text}");
    }
    let text = tries(&net, Confinement::Unprivileged);
    for line in [
        "tun refused:",
        "raw socket refused: 1",
        "low port refused: 13",
        "CapBnd: 0000000000000000",
    ] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
}

#[test]
fn a_confined_client_carries_pages() {
    for (test, transport) in [
        ("confined-udp", Transport::Udp4),
        ("confined-tcp", Transport::Tcp4),
    ] {
        let net = Net::new(test);
        let _inner = Inner::start(&net.inner);
        let server = Server::start(
            &net,
            Options {
                transport,
                ..Options::default()
            },
        );
        let mut tunnel = Tunnel::connect(&net, Confinement::Confined, &server.profile(""));
        assert_eq!(tunnel.process.status_field("Seccomp"), "2");
        let stream = Via::Socks(LISTENER)
            .connect(&net.client, "page.inner.test", WEB)
            .expect("a connection");
        assert_eq!(page(&stream, "/hello").expect("a page"), HELLO);
        tunnel.end(Signal::SIGTERM);
    }
}

#[test]
fn a_confined_server_carries_pages_and_pings() {
    let net = Net::new("confined-serve");
    let _inner = Inner::start(&net.inner);
    let serving = Serving::start(&net, Confinement::Confined, "udp", "");
    let _client: Process = stock::connect(&net, &serving.profile);
    let stream = Via::Direct
        .connect(&net.client, "10.88.0.2", WEB)
        .expect("a connection");
    assert_eq!(page(&stream, "/hello").expect("a page"), HELLO);
    let ping: &mut Command = &mut net.client.command("ping");
    crate::netns::run(ping.args(["-n", "-c", "1", "-W", "2", "10.88.0.2"]));
}

#[test]
fn a_confined_demo_checks_itself() {
    let net = Net::new("confined-demo");
    let mut command = net.tunless(&net.client, Confinement::Confined);
    let demo = finish(
        net.dir(),
        "demo",
        command.args(["demo", "--once"]),
        Duration::from_secs(30),
    );
    assert_eq!(demo.status, Some(0), "{}{}", demo.stdout, demo.stderr);
}
