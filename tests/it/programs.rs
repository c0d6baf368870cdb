//! The programs of everyday life through the proxy, unmodified: curl by every kind of proxy, git, ssh, python with
//! `PySocks`, web sockets, QUIC. What they serve themselves from runs on the host behind the server.
//!
//! During each test the outer link is watched: nothing may leave it but the tunnel.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fetch::{Via, curl};
use crate::inner::{HELLO, Inner, pattern_sha256};
use crate::netns::{Net, run};
use crate::process::Process;
use crate::runner::Confinement;
use crate::server::{Options, SOON, Server};
use crate::tunnel::{LISTENER, Tunnel};

/// The interpreter that sees Debian's packages.
const PYTHON: &str = "/usr/bin/python3";
/// Where `tests/run` puts the one Python package that Debian 12 does not have.
const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers");
/// The inner host's name that everything is asked for by.
const NAME: &str = "page.inner.test";
/// Its address.
const ADDRESS: &str = "10.88.0.2";

/// A lab whose outer link is watched, with a connected client.
struct Watched {
    _tunnel: Tunnel,
    server: Server,
    net: Net,
}

impl Watched {
    fn new(test: &str) -> Self {
        let net = Net::new(test);
        Inner::start(&net.inner);
        let server = Server::start(&net, Options::default());
        net.client.watch_outer_link(server.address().port());
        let tunnel = Tunnel::connect(&net, Confinement::Unprivileged, &server.profile(""));
        Self {
            _tunnel: tunnel,
            server,
            net,
        }
    }

    /// Nothing left outside the tunnel, and the server has nothing to complain about.
    fn assert_clean(&self) {
        assert_eq!(self.net.client.stray_packets(), 0);
        self.server.assert_no_errors();
    }

    /// Runs a Python program of this folder on the client host and gives what it printed.
    fn python(&self, program: &str, text: &str, arguments: &[&str]) -> String {
        let path = self.net.write_program(program, text);
        run(self
            .net
            .client
            .command("timeout")
            .args(["120", PYTHON])
            .arg(path)
            .args(arguments)
            .env("PYTHONPATH", PEERS))
    }

    /// Starts a Python program of this folder on the inner host and waits until it serves.
    fn python_server(&self, program: &str, text: &str, arguments: &[&str]) -> Process {
        let path = self.net.write_program(program, text);
        let mut command = self.net.inner.command(PYTHON);
        command.arg(path).args(arguments).env("PYTHONPATH", PEERS);
        let mut process = Process::start(self.net.dir(), program, &mut command);
        process.wait_for("serving", SOON);
        process
    }
}

/// A certificate for [`NAME`] that is its own authority, and its key.
fn certificate(net: &Net) -> (PathBuf, PathBuf) {
    let (certificate, key) = (net.dir().join("inner.pem"), net.dir().join("inner.key"));
    run(Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
        ])
        .args([
            "-subj",
            &format!("/CN={NAME}"),
            "-addext",
            &format!("subjectAltName=DNS:{NAME}"),
        ])
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key));
    (certificate, key)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a readable path")
}

#[test]
fn curl_works_by_every_kind_of_proxy() {
    let lab = Watched::new("programs-curl");
    let url = format!("http://{NAME}/hello");
    let by_address = format!("http://{ADDRESS}/hello");
    for (kind, url) in [
        ("http", &url),
        ("socks4", &by_address),
        ("socks4a", &url),
        ("socks5", &by_address),
        ("socks5h", &url),
    ] {
        let proxy = format!("{kind}://{LISTENER}");
        assert_eq!(
            run(&mut curl(&lab.net.client, 20, &["--proxy", &proxy, url])),
            HELLO,
            "{kind}"
        );
        let tunnelled = ["--proxy", &proxy, "--proxytunnel", url];
        assert_eq!(run(&mut curl(&lab.net.client, 20, &tunnelled)), HELLO, "{kind}");
        let body = lab.net.dir().join("body");
        let big = format!("{}/bytes/5000000", url.trim_end_matches("/hello"));
        run(&mut curl(
            &lab.net.client,
            60,
            &["--proxy", &proxy, "-o", text(&body), &big],
        ));
        let sum = run(Command::new("sha256sum").arg(&body));
        assert!(sum.starts_with(&pattern_sha256(5_000_000)), "{kind}: {sum}");
        let upload = format!("{}/upload", url.trim_end_matches("/hello"));
        let verdict = run(&mut curl(
            &lab.net.client,
            60,
            &[
                "--proxy",
                &proxy,
                "-H",
                "Expect: 100-continue",
                "--data-binary",
                &format!("@{}", text(&body)),
                &upload,
            ],
        ));
        assert_eq!(verdict, "5000000 bytes as expected\n", "{kind}");
    }
    lab.assert_clean();
}

#[test]
fn curl_speaks_http_2_through_the_tunnel() {
    let lab = Watched::new("programs-http2");
    let (certificate, key) = certificate(&lab.net);
    let root = lab.net.dir().join("root");
    fs::create_dir(&root).expect("a folder");
    fs::write(root.join("page.txt"), "over two streams\n").expect("a file");
    let mut command = lab.net.inner.command("nghttpd");
    command
        .args(["-a", ADDRESS, "-d", text(&root), "443"])
        .arg(&key)
        .arg(&certificate);
    let mut server = Process::start(lab.net.dir(), "nghttpd", command.arg("--verbose"));
    server.wait_for("listen", SOON);
    for kind in ["http", "socks5h"] {
        let proxy = format!("{kind}://{LISTENER}");
        let url = format!("https://{NAME}/page.txt");
        let got = run(&mut curl(
            &lab.net.client,
            20,
            &[
                "--proxy",
                &proxy,
                "--http2",
                "--cacert",
                text(&certificate),
                "-w",
                "%{http_version}",
                &url,
                &url,
            ],
        ));
        assert_eq!(got, "over two streams\n2over two streams\n2", "{kind}");
    }
    lab.assert_clean();
}

#[test]
fn git_clones_and_pushes_nothing_outside() {
    let lab = Watched::new("programs-git");
    let (work, bare) = (lab.net.dir().join("work"), lab.net.dir().join("served/repo.git"));
    let git = |arguments: &[&str]| {
        run(Command::new("git")
            .args([
                "-c",
                "user.name=lab",
                "-c",
                "user.email=lab@inner.test",
                "-C",
                text(lab.net.dir()),
            ])
            .args(arguments))
    };
    git(&["init", "-q", text(&work)]);
    fs::write(work.join("file.txt"), "kept\n").expect("a file");
    git(&["-C", text(&work), "add", "."]);
    git(&["-C", text(&work), "commit", "-q", "-m", "one"]);
    git(&["clone", "-q", "--bare", text(&work), text(&bare)]);
    git(&["-C", text(&bare), "update-server-info"]);
    let mut command = lab.net.inner.command(PYTHON);
    command.args(["-u", "-m", "http.server", "--bind", ADDRESS, "--directory"]);
    let served = lab.net.dir().join("served");
    let mut server = Process::start(lab.net.dir(), "http-server", command.arg(&served).arg("8081"));
    server.wait_for("Serving", SOON);
    for kind in ["socks5h", "http"] {
        let into = lab.net.dir().join(format!("clone-{kind}"));
        let proxy = format!("http.proxy={kind}://{LISTENER}");
        run(lab
            .net
            .client
            .command("git")
            .args([
                "-c",
                &proxy,
                "clone",
                "-q",
                &format!("http://{NAME}:8081/repo.git"),
            ])
            .arg(&into));
        assert_eq!(
            fs::read_to_string(into.join("file.txt")).expect("the file"),
            "kept\n",
            "{kind}"
        );
    }
    lab.assert_clean();
}

#[test]
fn ssh_gets_in_by_a_proxy_command() {
    let net = Net::new("programs-ssh");
    Inner::start(&net.inner);
    let server = Server::start(&net, Options::default());
    net.client.watch_outer_link(server.address().port());
    let profile = net.write("client.ovpn", &server.profile(""));
    // Puts the program where every user can run it.
    drop(net.tunless(&net.client, Confinement::Unprivileged));
    let path = |name: &str| net.dir().join(name);
    for name in ["host_key", "user_key"] {
        run(Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(path(name)));
    }
    fs::create_dir_all("/run/sshd").expect("sshd's folder");
    let config = format!(
        "ListenAddress {ADDRESS}:22\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
         PermitRootLogin yes\nPidFile none\n",
        path("host_key").display(),
        path("user_key.pub").display()
    );
    let config = net.write("sshd.conf", &config);
    let mut command = net.inner.command("/usr/sbin/sshd");
    let mut sshd = Process::start(net.dir(), "sshd", command.args(["-D", "-e", "-f"]).arg(config));
    sshd.wait_for("Server listening", SOON);
    let body = path("body");
    let mut bytes = Vec::new();
    crate::inner::write_pattern(&mut bytes, 4_000_000).expect("the pattern");
    fs::write(&body, bytes).expect("a file");
    let proxy = format!(
        "ProxyCommand=setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs {} -W %h:%p {}",
        path("tunless").display(),
        profile.display()
    );
    let mut ssh = net.client.command("timeout");
    ssh.args([
        "60",
        "ssh",
        "-F",
        "/dev/null",
        "-o",
        &proxy,
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "BatchMode=yes",
    ])
    .args([
        "-o",
        &format!("UserKnownHostsFile={}", path("known_hosts").display()),
        "-i",
    ])
    .arg(path("user_key"))
    .args([&format!("root@{NAME}"), "sha256sum; echo from $SSH_CONNECTION"])
    .stdin(fs::File::open(&body).expect("the file"));
    let said = run(&mut ssh);
    assert!(said.starts_with(&pattern_sha256(4_000_000)), "{said}");
    assert!(said.contains("from 10.99.0."), "{said}");
    assert_eq!(net.client.stray_packets(), 0);
}

#[test]
fn python_requests_works_with_pysocks() {
    let lab = Watched::new("programs-requests");
    let said = lab.python(
        "requests_client.py",
        include_str!("programs/requests_client.py"),
        &[&LISTENER.port().to_string(), &format!("http://{NAME}")],
    );
    assert_eq!(said.matches(&pattern_sha256(3_000_000)).count(), 3, "{said}");
    lab.assert_clean();
}

#[test]
fn websockets_work_by_every_way() {
    let lab = Watched::new("programs-websocket");
    let _server = lab.python_server(
        "websocket_server.py",
        include_str!("programs/websocket_server.py"),
        &[ADDRESS, "8765"],
    );
    let said = lab.python(
        "websocket_client.py",
        include_str!("programs/websocket_client.py"),
        &[&LISTENER.port().to_string(), NAME, "8765"],
    );
    assert_eq!(said, "websockets work\n");
    lab.assert_clean();
}

#[test]
fn quic_works_by_udp_associate() {
    assert!(
        Path::new(PEERS).join("aioquic").exists(),
        "aioquic is missing in target/peers: `tests/run` puts it there"
    );
    let lab = Watched::new("programs-quic");
    let (certificate, key) = certificate(&lab.net);
    let _server = lab.python_server(
        "quic_server.py",
        include_str!("programs/quic_server.py"),
        &[ADDRESS, "4433", text(&certificate), text(&key)],
    );
    let said = lab.python(
        "quic_client.py",
        include_str!("programs/quic_client.py"),
        &[&LISTENER.port().to_string(), NAME, "4433", text(&certificate)],
    );
    assert_eq!(said, "QUIC works\n");
    lab.assert_clean();
}

#[test]
fn names_are_asked_for_over_tcp_through_the_proxy() {
    let lab = Watched::new("programs-dns-tcp");
    for via in [Via::Socks(LISTENER), Via::Http(LISTENER)] {
        let mut stream = via
            .connect(&lab.net.client, NAME, 53)
            .expect("a connection to the name server");
        // One question for an address, length first (RFC 1035 §4.2.2).
        let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in NAME.split('.') {
            query.push(u8::try_from(label.len()).expect("a short label"));
            query.extend(label.as_bytes());
        }
        query.extend([0, 0, 1, 0, 1]);
        let length = u16::try_from(query.len()).expect("a short query").to_be_bytes();
        stream
            .write_all(&[&length[..], &query].concat())
            .expect("a query");
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("a length");
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer[..2], query[..2]);
        assert!(answer.ends_with(&[10, 88, 0, 2]), "{answer:?}");
    }
    lab.assert_clean();
}
