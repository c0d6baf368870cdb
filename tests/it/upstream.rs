//! The way to the server leads through a proxy, and no packet takes another: the client host can send to the
//! proxy's port alone, cannot resolve the server's name, and everything else that it tries is counted.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::fetch::{Via, download, page};
use crate::inner::{HELLO, Inner, WEB};
use crate::names::Names;
use crate::netns::{Net, run};
use crate::process::{Finished, Process};
use crate::questions::OnTerminal;
use crate::runner::Confinement;
use crate::server::{Options, PORT, SOON, Server, Transport};
use crate::tunnel::{LISTENER, Tunnel, finish_client};

/// The proxy's port.
const GATE: u16 = 3128;
/// The proxy's name, which the client's host can resolve, and the server's, which the proxy can.
const GATE_NAME: &str = "gate.outer.test";
const SERVER_NAME: &str = "vpn.outer.test";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// Whom the proxies with a password let in.
const LOGIN: &str = "login=carol:open sesame";
/// Longest run of a client that is bound to fail.
const LIMIT: Duration = Duration::from_secs(30);
/// Who the program under test runs as.
const OURS: u32 = 65534;

/// A server behind a proxy.
#[derive(Debug)]
struct Lab {
    proxy: Process,
    server: Server,
    resolver: Names,
    net: Net,
}

impl Lab {
    /// A proxy that speaks `language`, set up by `words`.
    fn new(test: &str, language: &str, words: &[&str]) -> Self {
        let net = Net::new(test);
        Inner::start(&net.inner);
        let options = Options {
            transport: Transport::Tcp4,
            ..Options::default()
        };
        let server = Server::start(&net, options);
        let script = net.write("upstream_proxy.py", include_str!("programs/upstream_proxy.py"));
        let mut command = net.server.command("/usr/bin/python3");
        command
            .arg("-I")
            .arg(script)
            .args([language, "10.77.0.2", &GATE.to_string()]);
        command.arg(format!("name={SERVER_NAME}:127.0.0.1")).args(words);
        let mut proxy = Process::start(net.dir(), "proxy", &mut command);
        proxy.wait_for("serving", SOON);
        net.client.resolve_by("127.0.0.53");
        let entries = [(GATE_NAME, Some(IpAddr::V4(ADDRESS)), None)];
        let resolver = Names::start(
            &net.client,
            "127.0.0.53:53".parse().expect("an address"),
            &entries,
        );
        net.client.watch_outer_link(GATE);
        // Behind the watch: what goes astray is counted, and does not arrive.
        let rules = format!(
            "add chain inet watch only {{ type filter hook output priority 10; }}
             add rule inet watch only oifname \"wan\" meta l4proto {{ tcp, udp }} th dport != {GATE} drop"
        );
        run(net.client.command("nft").arg(rules));
        Self {
            proxy,
            server,
            resolver,
            net,
        }
    }

    /// The profile with the server's name in place of its address.
    fn profile(&self, extra: &str) -> String {
        let direct = format!("remote {ADDRESS} {PORT}\n");
        let profile = self.server.profile(extra);
        assert!(profile.contains(&direct));
        profile.replace(
            &direct,
            &format!("remote {SERVER_NAME} {PORT}\nconnect-retry-max 1\n"),
        )
    }

    fn write(&self, extra: &str) -> PathBuf {
        self.net.write("client.ovpn", &self.profile(extra))
    }

    /// Connects and gets pages; gives what the proxy printed.
    fn carries(&mut self, extra: &str) -> String {
        let profile = self.profile(extra);
        let mut tunnel = Tunnel::connect(&self.net, Confinement::Unprivileged, &profile);
        let connected = tunnel.process.wait_for("connected to ", SOON);
        assert!(
            connected.contains(&format!(" proxy {GATE_NAME}:{GATE} (10.77.0.2:{GATE}/tcp")),
            "{connected}"
        );
        let get = || {
            Via::Socks(LISTENER)
                .connect(&self.net.client, "page.inner.test", WEB)
                .expect("a connection")
        };
        assert_eq!(page(&get(), "/hello").expect("a page"), HELLO);
        download(&get(), 3_000_000).expect("the right bytes");
        tunnel.end(Signal::SIGTERM);
        let log = tunnel.process.log();
        assert!(!log.contains("open sesame"), "{log}");
        self.server.assert_no_errors();
        self.nothing_went_beside();
        self.proxy.log()
    }

    /// Runs the client, which has to fail.
    fn fails(&self, extra: &str) -> Finished {
        let ended = finish_client(&self.net, &self.write(extra), LIMIT);
        self.nothing_went_beside();
        ended
    }

    /// Only the proxy was spoken to, and only the proxy's name was asked for.
    fn nothing_went_beside(&self) {
        assert_eq!(self.net.client.stray_packets(), 0, "packets beside the proxy");
        let asked = self.resolver.asked();
        let wanted = format!("udp {GATE_NAME}");
        assert!(asked.iter().all(|question| *question == wanted), "{asked:?}");
    }
}

/// Lines of a profile that lead through the lab's HTTP proxy.
fn http(rest: &str) -> String {
    format!("http-proxy {GATE_NAME} {GATE} {rest}\n")
}

#[test]
fn an_http_proxy_without_a_login_is_told_the_servers_name() {
    let mut lab = Lab::new("upstream-http", "http", &[]);
    let extra = "http-proxy-option VERSION 1.1\nhttp-proxy-option AGENT \"a browser\"\n\
                 http-proxy-option CUSTOM-HEADER X-Gate 7\n";
    let log = lab.carries(&format!("{}{extra}", http("")));
    for line in [
        &format!("CONNECT {SERVER_NAME}:{PORT} HTTP/1.1 by nobody"),
        "User-Agent is a browser",
        "X-Gate is 7",
    ] {
        assert!(log.contains(line), "no {line:?} in {log}");
    }
    // The watch itself works: what goes to the server without the proxy is counted, and does not arrive.
    let sent = lab.net.client.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.send_to(b"x", (ADDRESS, PORT))
    });
    assert!(sent.is_err());
    assert!(lab.net.client.stray_packets() > 0);
}

#[test]
fn the_profiles_credentials_are_sent_at_once_or_when_the_proxy_asks() {
    let mut lab = Lab::new("upstream-basic", "http", &[LOGIN]);
    let file = lab.net.write("gate.txt", "carol\nopen sesame\n");
    let asked = format!("CONNECT {SERVER_NAME}:{PORT} HTTP/1.0 by nobody");
    let log = lab.carries(&http(&format!("{} basic", file.display())));
    assert!(log.contains("by carol") && !log.contains(&asked), "{log}");
    let block = "<http-proxy-user-pass>\ncarol\nopen sesame\n</http-proxy-user-pass>\n";
    let log = lab.carries(&format!("{}{block}", http("auto")));
    assert!(
        log.find(&asked) < log.rfind("by carol") && log.contains(&asked),
        "{log}"
    );
}

#[test]
fn a_login_that_nobody_knows_is_asked_for_on_the_terminal() {
    let lab = Lab::new("upstream-ask", "http", &[LOGIN]);
    let path = lab.write(&http(""));
    let mut command = lab.net.tunless(&lab.net.client, Confinement::Unprivileged);
    let mut screen = OnTerminal::start(&lab.net, command.arg(path));
    let user = format!("User name at the proxy {GATE_NAME}:{GATE}: ");
    screen.wait_for(&user);
    screen.answer("carol");
    screen.wait_for("Password of carol at the proxy: ");
    screen.answer("a wrong one");
    screen.wait_for(&format!(
        "the proxy {GATE_NAME}:{GATE} refused the user name and the password"
    ));
    screen.wait_for(&user);
    screen.answer("carol");
    screen.wait_for("Password of carol at the proxy: ");
    screen.answer("open sesame");
    screen.wait_for("connected to ");
    let text = screen.text();
    assert!(
        !text.contains("open sesame") && !text.contains("a wrong one"),
        "{text}"
    );
    lab.nothing_went_beside();
}

#[test]
fn a_login_is_shown_as_a_question_and_answered_from_elsewhere() {
    let lab = Lab::new("upstream-answer", "http", &[LOGIN]);
    let runtime = lab.net.dir().join("runtime");
    fs::create_dir(&runtime).expect("a runtime folder");
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).expect("its mode");
    chown(&runtime, Some(OURS), Some(OURS)).expect("its owner");
    let tunless = |arguments: &[&str]| -> Command {
        let mut command = lab.net.tunless(&lab.net.client, Confinement::Unprivileged);
        command
            .env("XDG_RUNTIME_DIR", &runtime)
            .env("TMPDIR", &runtime)
            .args(arguments);
        command
    };
    let path = lab.write(&http("auto"));
    let mut screen = OnTerminal::start(&lab.net, &tunless(&[&path.display().to_string()]));
    screen.wait_for("User name at the proxy ");
    let status: serde_json::Value =
        serde_json::from_str(&run(&mut tunless(&["--json", "status"]))).expect("the status");
    let question = &status["questions"][0];
    assert_eq!(question["kind"], "proxy-credentials", "{status}");
    assert_eq!(question["proxy"], format!("{GATE_NAME}:{GATE}"));
    assert_eq!(question["refused"], false);
    let mut child = tunless(&["ctl", "answer", "--stdin"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(b"carol\nopen sesame\n").expect("the answer");
    drop(stdin);
    assert!(child.wait().expect("its end").success());
    screen.wait_for("connected to ");
    let status = run(&mut tunless(&["status"]));
    assert!(
        status.contains(&format!(
            "{SERVER_NAME} through the HTTP proxy {GATE_NAME}:{GATE}"
        )),
        "{status}"
    );
    // What was typed is good for the next connection, too, and sent at once.
    run(&mut tunless(&["ctl", "reconnect"]));
    screen.wait_for("connected to ");
    let log = lab.proxy.log();
    assert_eq!(
        (
            log.matches(" by nobody").count(),
            log.matches(" by carol").count()
        ),
        (1, 2),
        "{log}"
    );
    lab.nothing_went_beside();
}

#[test]
fn wrong_credentials_with_nobody_to_ask_end_the_program_with_status_3() {
    let lab = Lab::new("upstream-wrong", "http", &[LOGIN]);
    let file = lab.net.write("gate.txt", "carol\nsesame open\n");
    let wrong = lab.fails(&http(&file.display().to_string()));
    assert_eq!(wrong.status, Some(3), "{}", wrong.stderr);
    assert!(
        wrong.stderr.contains(&format!(
            "the proxy {GATE_NAME}:{GATE} refused the user name and the password"
        )),
        "{}",
        wrong.stderr
    );
    assert!(!wrong.stderr.contains("sesame open"), "{}", wrong.stderr);
    let unknown = lab.fails(&http(""));
    assert_eq!(unknown.status, Some(3), "{}", unknown.stderr);
    assert!(
        unknown.stderr.contains("wants a user name and a password"),
        "{}",
        unknown.stderr
    );
    let forbidden = lab.fails(&http("auto-nct"));
    assert_eq!(forbidden.status, Some(1), "{}", forbidden.stderr);
    assert!(
        forbidden.stderr.contains("`auto-nct` forbids"),
        "{}",
        forbidden.stderr
    );
}

#[test]
fn what_a_proxy_refuses_is_told_with_what_to_do() {
    let lab = Lab::new("upstream-refused", "http", &["refuse=403"]);
    let refused = lab.fails(&http(""));
    assert_eq!(refused.status, Some(1), "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("refuses to connect to the server (403 Not for you)"),
        "{}",
        refused.stderr
    );
    // A proxy of the other kind, and none at all.
    let other = lab.fails(&format!("socks-proxy {GATE_NAME} {GATE}\nconnect-timeout 3\n"));
    assert_eq!(other.status, Some(1), "{}", other.stderr);
    assert!(
        other
            .stderr
            .contains(&format!("the SOCKS proxy {GATE_NAME}:{GATE}")),
        "{}",
        other.stderr
    );
    drop(lab);
    let lab = Lab::new(
        "upstream-ntlm",
        "http",
        &[LOGIN, "offer=NTLM;Digest realm=\"x, Basic\""],
    );
    let method = lab.fails(&http("auto"));
    assert_eq!(method.status, Some(1), "{}", method.stderr);
    assert!(
        method
            .stderr
            .contains("wants a login by NTLM or Digest, of which only Basic is spoken"),
        "{}",
        method.stderr
    );
    drop(lab);
    let mut lab = Lab::new("upstream-gone", "http", &[]);
    lab.proxy.signal(Signal::SIGTERM);
    lab.proxy.wait(SOON);
    let gone = lab.fails(&http(""));
    assert_eq!(gone.status, Some(1), "{}", gone.stderr);
    assert!(
        gone.stderr
            .contains(&format!("the HTTP proxy {GATE_NAME}:{GATE}: ")),
        "{}",
        gone.stderr
    );
}

#[test]
fn a_socks_proxy_opens_the_way_with_and_without_a_login() {
    let mut lab = Lab::new("upstream-socks", "socks", &[]);
    let log = lab.carries(&format!("socks-proxy {GATE_NAME} {GATE}\n"));
    assert!(
        log.contains(&format!("SOCKS {SERVER_NAME}:{PORT} by nobody")),
        "{log}"
    );
    let other = lab.fails(&http("\nconnect-timeout 3"));
    assert_eq!(other.status, Some(1), "{}", other.stderr);
    drop(lab);
    let mut lab = Lab::new("upstream-socks-login", "socks", &[LOGIN]);
    let file = lab.net.write("gate.txt", "carol\nopen sesame\n");
    let log = lab.carries(&format!("socks-proxy {GATE_NAME} {GATE} {}\n", file.display()));
    assert!(
        log.contains(&format!("SOCKS {SERVER_NAME}:{PORT} by carol")),
        "{log}"
    );
    let file = lab.net.write("gate.txt", "carol\nsesame open\n");
    for rest in [format!(" {}", file.display()), String::new()] {
        let ended = lab.fails(&format!("socks-proxy {GATE_NAME} {GATE}{rest}\n"));
        assert_eq!(ended.status, Some(3), "{}", ended.stderr);
        assert!(
            ended.stderr.contains(&format!("the proxy {GATE_NAME}:{GATE} ")),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn the_stock_client_gets_through_the_same_proxies() {
    for language in ["http", "socks"] {
        let lab = Lab::new(&format!("upstream-stock-{language}"), language, &[LOGIN]);
        let file = lab.net.write("gate.txt", "carol\nopen sesame\n");
        let line = format!("{language}-proxy {GATE_NAME} {GATE} {}\n", file.display());
        let _client = crate::stock::connect(&lab.net, &lab.profile(&line));
        let stream = Via::Direct
            .connect(&lab.net.client, "10.88.0.2", WEB)
            .expect("a connection");
        assert_eq!(page(&stream, "/hello").expect("a page"), HELLO);
        assert!(lab.proxy.log().contains(" by carol"), "{}", lab.proxy.log());
    }
}
