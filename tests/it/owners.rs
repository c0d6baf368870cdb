//! Whose programs are served: the user's own and root's, and nobody else's unless that was asked for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::fetch::{Via, page};
use crate::forwards::folder_of_program;
use crate::inner::{HELLO, Inner, WEB};
use crate::netns::{Net, run};
use crate::runner::Confinement;
use crate::server::{Options, Server};
use crate::tunnel::{LISTENER, Tunnel};

/// The user who runs the program.
const OWN: u32 = 65534;
const ROOT: u32 = 0;
const STRANGER: u32 = 12345;

/// Greets a SOCKS5 server, or asks a name server, and prints what comes back.
const CLIENT: &str = r#"
import socket, sys
kind, where = sys.argv[1:3]
try:
    if kind == "udp":
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(float(sys.argv[3]))
        query = bytes.fromhex("123401000001000000000000047061676505696e6e6572047465737400") + b"\0\1\0\1"
        client.sendto(query, ("127.0.0.1", int(where)))
        print(client.recv(512)[:2].hex())
    else:
        if kind == "unix":
            client = socket.socket(socket.AF_UNIX)
            client.connect(where)
        else:
            client = socket.create_connection((kind, int(where)))
        client.settimeout(20)
        client.sendall(b"\5\1\0")
        print(client.recv(2).hex() or "closed")
except (ConnectionResetError, BrokenPipeError):
    print("closed")
except PermissionError:
    print("denied")
except socket.timeout:
    print("silence")
"#;

/// Sends a whole request and is gone before anybody can ask whose it was.
const BLIND: &str = r#"
import socket
for number in range(50):
    client = socket.create_connection(("127.0.0.1", 1080))
    name = b"blind%d.inner.test" % number
    client.sendall(b"\5\1\0" + b"\5\1\0\3" + bytes([len(name)]) + name + b"\0\x50")
    client.close()
"#;

/// Runs a program that may open no netlink socket (`EAFNOSUPPORT`), as strict sandboxes have it.
const WITHOUT_NETLINK: &str = r#"
import ctypes, os, platform, struct, sys
call = {"x86_64": 41, "aarch64": 198}[platform.machine()]
steps = [(0x20, 0, 0, 0), (0x15, 0, 3, call), (0x20, 0, 0, 16), (0x15, 0, 1, 16)]
steps += [(0x06, 0, 0, 0x00050000 | 97), (0x06, 0, 0, 0x7FFF0000)]
code = b"".join(struct.pack("=HBBI", *step) for step in steps)
kept = ctypes.create_string_buffer(code, len(code))
program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(kept)))
assert ctypes.CDLL(None).prctl(22, 2, program, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"#;

fn python(net: &Net, user: u32, script: &str, arguments: &[&str]) -> String {
    let user = user.to_string();
    let mut command = net.client.command("setpriv");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]);
    command
        .args(["/usr/bin/python3", "-I", "-c", script])
        .args(arguments);
    run(&mut command).trim().to_owned()
}

struct Ends {
    tunnel: Tunnel,
    socket: String,
    inner: Inner,
    net: Net,
    // Dropped before the hosts are.
    _server: Server,
}

fn start(test: &str, more: &[&str]) -> Ends {
    let net = Net::new(test);
    let inner = Inner::start(&net.inner);
    let server = Server::start(&net, Options::default());
    let socket = folder_of_program(&net).join("proxy");
    let profile = net.write("client.ovpn", &server.profile(""));
    let mut command = net.tunless(&net.client, Confinement::Unprivileged);
    command.args([
        "-D",
        "1080",
        "-D",
        "[::1]:1081",
        "-L",
        "5300:10.88.0.2:53/udp",
        "-D",
    ]);
    command.arg(&socket).args(more).arg(profile);
    let tunnel = Tunnel::start(&net, &mut command);
    Ends {
        tunnel,
        socket: socket.display().to_string(),
        inner,
        net,
        _server: server,
    }
}

#[test]
fn only_the_own_user_and_root_are_served() {
    let mut ends = start("owners", &[]);
    let Ends { net, socket, .. } = &ends;
    let ask = |user, kind, place: &str| python(net, user, CLIENT, &[kind, place, "20"]);
    for user in [OWN, ROOT] {
        assert_eq!(ask(user, "127.0.0.1", "1080"), "0500", "uid {user}");
        assert_eq!(ask(user, "::1", "1081"), "0500", "uid {user}");
        assert_eq!(ask(user, "unix", socket), "0500", "uid {user}");
        assert_eq!(ask(user, "udp", "5300"), "1234", "uid {user}");
    }
    assert_eq!(ask(STRANGER, "127.0.0.1", "1080"), "closed");
    assert_eq!(ask(STRANGER, "::1", "1081"), "closed");
    assert_eq!(python(net, STRANGER, CLIENT, &["udp", "5300", "2"]), "silence");
    // The file's mode keeps others out, and who gets past it is asked who it is.
    assert_eq!(ask(STRANGER, "unix", socket), "denied");
    fs::set_permissions(Path::new(socket), fs::Permissions::from_mode(0o666)).expect("other permissions");
    assert_eq!(ask(STRANGER, "unix", socket), "closed");

    // A socket that was closed meanwhile is reported as root's.
    python(net, STRANGER, BLIND, &[]);
    // What comes after them is served after them.
    let stream = Via::Socks(LISTENER).connect(&net.client, "page.inner.test", WEB);
    assert_eq!(
        page(&stream.expect("a connection"), "/hello").expect("a page"),
        HELLO
    );
    let asked = ends.inner.names.asked();
    assert!(asked.iter().all(|name| !name.contains("blind")), "{asked:?}");
    ends.tunnel.end(Signal::SIGTERM);
}

#[test]
fn strangers_are_told_without_netlink_too() {
    let net = Net::new("no-netlink");
    let _inner = Inner::start(&net.inner);
    let server = Server::start(&net, Options::default());
    let profile = net.write("client.ovpn", &server.profile(""));
    // Puts the program into the test's folder.
    let _plain = net.tunless(&net.client, Confinement::Unprivileged);
    let mut command = net.confined(&net.client, Confinement::Unprivileged);
    command.args(["/usr/bin/python3", "-I", "-c", WITHOUT_NETLINK]);
    command.arg(net.dir().join("tunless"));
    command
        .args(["-D", "1080", "-L", "5300:10.88.0.2:53/udp"])
        .arg(profile);
    let mut tunnel = Tunnel::start(&net, &mut command);
    assert_eq!(tunnel.process.status_field("Seccomp"), "2");
    for user in [OWN, ROOT] {
        assert_eq!(
            python(&net, user, CLIENT, &["127.0.0.1", "1080"]),
            "0500",
            "uid {user}"
        );
        assert_eq!(
            python(&net, user, CLIENT, &["udp", "5300", "20"]),
            "1234",
            "uid {user}"
        );
    }
    assert_eq!(python(&net, STRANGER, CLIENT, &["127.0.0.1", "1080"]), "closed");
    assert_eq!(python(&net, STRANGER, CLIENT, &["udp", "5300", "2"]), "silence");
    tunnel.end(Signal::SIGTERM);
}

#[test]
fn other_users_are_served_when_that_is_asked_for() {
    let mut ends = start("other-users", &["--allow-other-users"]);
    for user in [OWN, ROOT, STRANGER] {
        let ask = |kind, place: &str| python(&ends.net, user, CLIENT, &[kind, place, "20"]);
        assert_eq!(ask("127.0.0.1", "1080"), "0500", "uid {user}");
        assert_eq!(ask("unix", &ends.socket), "0500", "uid {user}");
        assert_eq!(ask("udp", "5300"), "1234", "uid {user}");
    }
    ends.tunnel.end(Signal::SIGTERM);
}
