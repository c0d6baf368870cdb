//! What the program offers besides one proxy: forwards in ssh's words, Unix sockets, several listeners.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::fetch::{Via, curl, page};
use crate::inner::{HELLO, Inner, WEB, write_pattern};
use crate::netns::{INNER, Net, run};
use crate::process::Process;
use crate::runner::Confinement;
use crate::server::{Options, SOON, Server};
use crate::tunnel::{LISTENER, Tunnel};

/// Longest wait for a datagram.
const ANSWER: Duration = Duration::from_secs(10);

/// A folder in which the program may make sockets.
pub(crate) fn folder_of_program(net: &Net) -> PathBuf {
    let folder = net.dir().join("own");
    fs::create_dir(&folder).expect("a folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("its permissions");
    folder
}

/// A question for the address of `name` (RFC 1035 §4).
pub(crate) fn question(name: &str) -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).expect("a label"));
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    query
}

/// A lab whose client was started with `arguments` in front of the profile.
fn start(net: &Net, server: &Server, arguments: &[&str]) -> Tunnel {
    let profile = net.write("client.ovpn", &server.profile(""));
    let mut command = net.tunless(&net.client, Confinement::Unprivileged);
    Tunnel::start(net, command.args(arguments).arg(profile))
}

fn direct(net: &Net, port: u16) -> TcpStream {
    Via::Direct
        .connect(&net.client, "127.0.0.1", port)
        .expect("a local connection")
}

fn curl_hello(net: &Net, arguments: &[&str]) -> String {
    run(curl(&net.client, 20, arguments).arg("http://page.inner.test/hello"))
}

fn assert_is_private_socket(path: &Path) {
    let file = fs::symlink_metadata(path).expect("the socket's file");
    assert!(file.file_type().is_socket());
    assert_eq!(
        (file.mode() & 0o7777, file.uid()),
        (0o600, 65534),
        "{}",
        path.display()
    );
}

#[test]
fn forwards_and_listeners_of_every_kind_work_side_by_side() {
    let net = Net::new("forwards");
    let inner = Inner::start(&net.inner);
    let server = Server::start(&net, Options::default());
    let own = folder_of_program(&net);
    let (web, proxy) = (own.join("web"), own.join("proxy"));
    // What a program that was killed leaves behind.
    drop(UnixListener::bind(&proxy).expect("a stale socket"));
    chown(&proxy, Some(65534), Some(65534)).expect("its owner");
    let to_web = format!("{}:10.88.0.2:80", web.display());
    let mut tunnel = start(
        &net,
        &server,
        &[
            "-D",
            "1080,127.0.0.1:1090",
            "-D",
            proxy.to_str().expect("a path in UTF-8"),
            "-L",
            "8080:page.inner.test:80",
            "-L",
            &to_web,
            "-L",
            "5300:10.88.0.2:53/udp",
            "-L",
            "9009:10.88.0.2:9",
        ],
    );
    for line in [
        "listening on 127.0.0.1:1090".to_owned(),
        format!("listening on {}", proxy.display()),
        "forwarding 127.0.0.1:8080 to page.inner.test:80 (tcp)".to_owned(),
        "forwarding 127.0.0.1:5300 to 10.88.0.2:53 (udp)".to_owned(),
    ] {
        tunnel.process.wait_for(&line, SOON);
    }
    for path in [&web, &proxy] {
        assert_is_private_socket(path);
    }

    assert_eq!(page(&direct(&net, 8080), "/hello").expect("a page"), HELLO);
    assert!(
        inner
            .names
            .asked()
            .iter()
            .any(|asked| asked == "udp page.inner.test")
    );
    for listener in [LISTENER, SocketAddr::from(([127, 0, 0, 1], 1090))] {
        let stream = Via::Socks(listener).connect(&net.client, "10.88.0.2", WEB);
        assert_eq!(
            page(&stream.expect("a connection"), "/hello").expect("a page"),
            HELLO
        );
    }
    assert_eq!(
        curl_hello(&net, &["--unix-socket", web.to_str().expect("UTF-8")]),
        HELLO
    );
    let by_socket = format!("socks5h://localhost{}", proxy.display());
    assert_eq!(curl_hello(&net, &["--proxy", &by_socket]), HELLO);

    let answer = net.client.enter(|| {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(ANSWER))?;
        socket.send_to(&question("page.inner.test"), "127.0.0.1:5300")?;
        let mut buf = [0; 512];
        let len = socket.recv(&mut buf)?;
        Ok::<_, std::io::Error>(buf[..len].to_vec())
    });
    let answer = answer.expect("an answer through the forward");
    assert!(
        answer.ends_with(&[10, 88, 0, 2]) && answer.starts_with(&[0x12, 0x34]),
        "{answer:?}"
    );

    let refused = page(&direct(&net, 9009), "/").expect_err("nothing listens there");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionReset, "{refused}");

    // Open connections do not hold the end up, and nothing is left behind.
    let open = [direct(&net, 8080), direct(&net, 1090)];
    tunnel.end(Signal::SIGTERM);
    drop(open);
    assert!(!web.exists() && !proxy.exists());
}

#[test]
fn a_socket_in_use_and_a_file_of_somebody_else_are_left_alone() {
    let net = Net::new("taken");
    let own = folder_of_program(&net);
    let authority = crate::pki::Authority::new("authority");
    let identity = authority.issue("client", crate::pki::Purpose::Client);
    let mut text = "client\ndev tun\nremote 10.77.0.2 1194\n".to_owned();
    crate::server::inline(&mut text, "ca", &authority.certificate);
    crate::server::inline(&mut text, "cert", &identity.certificate);
    crate::server::inline(&mut text, "key", &identity.key);
    let profile = net.write("client.ovpn", &text);
    let (live, file, foreign) = (own.join("live"), own.join("file"), own.join("foreign"));
    drop(UnixListener::bind(&foreign).expect("a socket of root's"));
    let _listener = UnixListener::bind(&live).expect("a live socket");
    fs::set_permissions(&live, fs::Permissions::from_mode(0o777)).expect("its permissions");
    fs::write(&file, "precious").expect("a file");
    let long = own.join("x".repeat(120));
    for (path, words) in [
        (&live, "another program listens"),
        (&file, "no socket"),
        (&foreign, "another user's socket"),
        (&long, "107 bytes"),
    ] {
        let mut command = net.tunless(&net.client, Confinement::Unprivileged);
        command.arg("-D").arg(path).arg(&profile);
        let finished = crate::process::finish(net.dir(), "taken", &mut command, SOON);
        assert_eq!(finished.status, Some(1), "{}", finished.stderr);
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    }
    assert_eq!(fs::read_to_string(&file).expect("the file"), "precious");
    assert!(live.exists() && foreign.exists());
}

/// Runs `tunless -W` to its end with `input` in a file; gives status, standard output and error.
fn stdio(
    net: &Net,
    profile: &Path,
    target: &str,
    input: &[u8],
    more: &[&str],
) -> (Option<i32>, Vec<u8>, String) {
    let file = |name: &str| net.dir().join(name);
    fs::write(file("input"), input).expect("the input");
    let mut command: Command = net.tunless(&net.client, Confinement::Unprivileged);
    let child = command
        .args(["-W", target])
        .arg(profile)
        .args(more)
        .stdin(File::open(file("input")).expect("the input"))
        .stdout(File::create(file("output")).expect("the output"))
        .stderr(File::create(file("errors")).expect("the errors"))
        .spawn();
    let mut child = child.expect("the program");
    let deadline = std::time::Instant::now() + Duration::from_secs(40);
    let status = loop {
        if let Some(status) = child.try_wait().expect("its state") {
            break status;
        }
        if std::time::Instant::now() > deadline {
            drop(child.kill());
            panic!(
                "still runs: {}",
                fs::read_to_string(file("errors")).expect("errors")
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let output = fs::read(file("output")).expect("the output");
    (
        status.code(),
        output,
        fs::read_to_string(file("errors")).expect("the errors"),
    )
}

#[test]
fn standard_input_and_output_carry_one_connection_and_nothing_else() {
    let net = Net::new("stdio");
    let _inner = Inner::start(&net.inner);
    let server = Server::start(&net, Options::default());
    let profile = net.write("client.ovpn", &server.profile(""));
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: inner\r\n\r\n").into_bytes();

    let len = 3_000_000;
    let mut expected =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n").into_bytes();
    write_pattern(&mut expected, len).expect("a pattern");
    let (status, output, errors) = stdio(
        &net,
        &profile,
        "page.inner.test:80",
        &request("/bytes/3000000"),
        &[],
    );
    assert_eq!(status, Some(0), "{errors}");
    assert_eq!(output.len(), expected.len(), "{errors}");
    assert!(output == expected, "other bytes");
    assert!(
        errors.contains("connected to ") && !errors.contains("listening on "),
        "{errors}"
    );

    // JSON goes aside, too, and the end of the input reaches the echo server as such.
    let (status, output, errors) = stdio(
        &net,
        &profile,
        "10.88.0.2:7",
        b"there and back",
        &["--json", "-D", "1080"],
    );
    assert_eq!(
        (status, output.as_slice()),
        (Some(0), &b"there and back"[..]),
        "{errors}"
    );
    assert!(errors.contains("\"event\":\"listening\""), "{errors}");

    let (status, output, errors) = stdio(&net, &profile, &format!("{INNER}:9"), b"", &[]);
    assert_eq!((status, output.len()), (Some(1), 0), "{errors}");
    assert!(errors.contains("cannot connect to 10.88.0.2:9"), "{errors}");
    for wrong in ["10.88.0.2", "a:b", ":80"] {
        let (status, output, errors) = stdio(&net, &profile, wrong, b"", &[]);
        assert_eq!((status, output.len()), (Some(2), 0), "{errors}");
        assert!(errors.contains("HOST:PORT"), "{errors}");
    }
}

#[test]
fn a_reader_that_has_gone_ends_a_single_connection() {
    let net = Net::new("stdio-gone");
    let _inner = Inner::start(&net.inner);
    let server = Server::start(&net, Options::default());
    let profile = net.write("client.ovpn", &server.profile(""));
    let mut shell = net.client.command("/bin/sh");
    let tunless = net.tunless(&net.client, Confinement::Unprivileged);
    let words: Vec<_> = std::iter::once(tunless.get_program())
        .chain(tunless.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let script = format!(
        "printf 'GET /bytes/100000000 HTTP/1.1\\r\\n\\r\\n' | {} -W 10.88.0.2:80 {} | head -c 5; echo; echo gone",
        words.join(" "),
        profile.display()
    );
    let mut process = Process::start(net.dir(), "reader", shell.args(["-c", &script]));
    process.wait_for("HTTP/", SOON);
    process.wait_for("gone", SOON);
    assert!(process.wait(SOON).0.success());
}
