//! What browsers see: Debian's Chromium by the PAC file and on the status page, and the port's other pages.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::fetch::{curl, download};
use crate::inner::{WEB, serve_pages};
use crate::netns::{Net, SERVER, run};
use crate::process::finish;
use crate::server::{Options, SOON, TUNNEL_PREFIX, TUNNEL_PREFIX_V6};
use crate::tunnel::{LISTENER, Lab};

/// Longest run of a browser: its first start on a busy machine takes a while.
const BROWSER: Duration = Duration::from_secs(50);
/// How much of its own time a page gets, in milliseconds.
const BUDGET: &str = "--virtual-time-budget=5000";
/// Bytes that are downloaded to have something to show.
const BYTES: u64 = 3_000_000;

/// Runs a new browser on the client host with `arguments`, and gives what it prints.
fn browse(net: &Net, name: &str, arguments: &[&str]) -> String {
    let profile = net.dir().join(name);
    std::fs::create_dir(&profile).expect("a folder for the browser");
    let mut command = net.client.command("chromium");
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(arguments)
        .env("HOME", &profile)
        .env("XDG_RUNTIME_DIR", &profile);
    let finished = finish(net.dir(), name, &mut command, BROWSER);
    assert_eq!(finished.status, Some(0), "{name}: {}", finished.stderr);
    finished.stdout
}

fn url(path: &str) -> String {
    format!("http://{LISTENER}{path}")
}

/// Status and body of a page of the port.
fn get(net: &Net, path: &str, more: &[&str]) -> (String, String) {
    let mut command = net.client.command("curl");
    command.args([
        "-sS",
        "--noproxy",
        "*",
        "--max-time",
        "20",
        "-w",
        "\n%{http_code}",
    ]);
    let output = run(command.args(more).arg(url(path)));
    let (body, status) = output.rsplit_once('\n').expect("a status behind the body");
    (status.to_owned(), body.to_owned())
}

fn status(net: &Net) -> Value {
    let (code, body) = get(net, "/status.json", &[]);
    assert_eq!(code, "200", "{body}");
    serde_json::from_str(&body).expect("JSON")
}

/// Bytes that came down, as the graph has them.
fn carried(net: &Net) -> u64 {
    let json = status(net);
    let down = json["history"]["down"].as_array().expect("a history");
    down.iter().filter_map(Value::as_u64).sum()
}

/// A lab with a browser in it, which looks about on the network by itself, whatever its settings say.
fn lab(test: &str) -> Lab {
    let mut lab = Lab::new(test, Options::default());
    lab.goes_beside = true;
    lab
}

#[test]
fn a_browser_with_the_pac_file_takes_the_tunnel_for_what_is_behind_it() {
    let lab = lab("browser-pac");
    serve_pages(&lab.net.server, SocketAddr::new(SERVER, WEB));
    let pac = format!("--proxy-pac-url={}", url("/proxy.pac"));
    for (name, host, wanted) in [
        ("inner-name", "six.inner.test".to_owned(), TUNNEL_PREFIX_V6),
        ("inner-address", "10.88.0.2".to_owned(), TUNNEL_PREFIX),
        ("outer-address", SERVER.to_string(), "10.77.0.1"),
    ] {
        let page = format!("http://{host}/whoami");
        let dom = browse(&lab.net, name, &[&pac, "--dump-dom", &page]);
        assert!(
            dom.contains(&format!(">{wanted}")),
            "{host}: not from {wanted}:\n{dom}"
        );
    }
}

#[test]
fn the_status_page_shows_what_the_tunnel_does() {
    let lab = lab("browser-page");
    let before = browse(&lab.net, "before", &[BUDGET, "--dump-dom", &url("/")]);
    for text in [
        ">Connected<",
        "CONNECTED since",
        "10.77.0.2",
        "netstack",
        "inner.test",
        "/proxy.pac",
        "No program is connected",
    ] {
        assert!(before.contains(text), "no {text:?} in\n{before}");
    }
    let held = lab.http("page.inner.test", WEB);
    download(&lab.socks("10.88.0.2", WEB), BYTES).expect("a download");
    // The sample that holds the last of it is taken within a second, on a machine that is not too busy.
    let deadline = Instant::now() + BROWSER;
    while carried(&lab.net) < BYTES {
        assert!(
            Instant::now() < deadline,
            "{} bytes in the history",
            carried(&lab.net)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let curve = |dom: &str| {
        let (_, rest) = dom.split_once("id=\"line-down\"").expect("a graph");
        rest.split_once(" d=\"")
            .expect("a curve")
            .1
            .split('"')
            .next()
            .map(str::to_owned)
    };
    let after = browse(&lab.net, "after", &[BUDGET, "--dump-dom", &url("/")]);
    assert_ne!(curve(&before), curve(&after), "the graph stands still");
    assert!(
        after.contains("page.inner.test:80") && after.contains("http-connect"),
        "{after}"
    );
    let json = status(&lab.net);
    assert!(json["traffic"]["down_bytes"].as_u64() >= Some(BYTES));
    drop(held);
    for (name, size) in [("desktop", "1280,900"), ("phone", "390,844")] {
        let picture = lab.net.dir().join(format!("{name}.png"));
        browse(
            &lab.net,
            name,
            &[
                BUDGET,
                "--hide-scrollbars",
                &format!("--window-size={size}"),
                &format!("--screenshot={}", picture.display()),
                &url("/"),
            ],
        );
        assert_is_picture(&picture);
    }
}

fn assert_is_picture(path: &Path) {
    let bytes = std::fs::read(path).expect("a screenshot");
    assert!(
        bytes.starts_with(b"\x89PNG\r\n") && bytes.len() > 20_000,
        "{} bytes",
        bytes.len()
    );
}

#[test]
fn a_page_from_elsewhere_cannot_read_the_data() {
    let lab = lab("browser-cross");
    let script = format!(
        "<!doctype html><p id=told>waits</p><script>\nconst told = document.getElementById('told');\n\
         fetch('{}').then(r => r.text()).then(t => told.textContent = 'read ' + t.length, \
         () => told.textContent = 'refused');\n</script>",
        url("/status.json")
    );
    let page = lab.net.write("elsewhere.html", &script);
    let dom = browse(
        &lab.net,
        "elsewhere",
        &[BUDGET, "--dump-dom", &format!("file://{}", page.display())],
    );
    assert!(dom.contains(">refused<"), "{dom}");
    let cross = ["-H", "Sec-Fetch-Site: cross-site"];
    for (path, code) in [("/status.json", "403"), ("/metrics", "403"), ("/", "200")] {
        assert_eq!(get(&lab.net, path, &cross).0, code, "{path}");
    }
}

#[test]
fn readiness_asks_through_the_tunnel_and_health_asks_the_process() {
    let mut lab = Lab::new("browser-ready", Options::default());
    let (code, body) = get(&lab.net, "/readyz", &[]);
    assert_eq!(code, "200", "{body}");
    assert_eq!(get(&lab.net, "/healthz", &[]).0, "200");
    let (code, body) = get(&lab.net, "/metrics", &[]);
    assert_eq!(code, "200");
    assert!(
        body.contains("\ntunless_up 1\n") && body.ends_with("# EOF\n"),
        "{body}"
    );
    // A server that is silent: the session still stands, but nothing goes through.
    lab.server.process.signal(Signal::SIGSTOP);
    let silent = Instant::now();
    let body = loop {
        let (code, body) = get(&lab.net, "/readyz", &[]);
        if code == "503" {
            break body;
        }
        assert!(silent.elapsed() < SOON, "still ready: {body}");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert!(body.contains("nothing came back"), "{body}");
    assert_eq!(status(&lab.net)["state"]["name"], "CONNECTED");
    assert_eq!(get(&lab.net, "/healthz", &[]).0, "200");
    lab.server.process.signal(Signal::SIGCONT);
    lab.tunnel.end(Signal::SIGTERM);
}

#[test]
fn the_command_names_its_pages() {
    let lab = Lab::new("browser-lines", Options::default());
    let log = lab.tunnel.process.log();
    assert!(log.contains(&format!("PAC {}", url("/proxy.pac"))), "{log}");
    assert!(log.contains(&format!("status page {}", url("/"))), "{log}");
    let pac = run(curl(&lab.net.client, 10, &["--noproxy", "*"]).arg(url("/proxy.pac")));
    assert!(
        pac.contains("function FindProxyForURL") && pac.contains("\"inner.test\""),
        "{pac}"
    );
}
