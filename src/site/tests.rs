//! The pages of a tunnel that never connects, asked as the listener would ask.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use ipnet::IpNet;
use serde_json::Value;
use tunless_netstack::{Limits, Stack, StackConfig};
use tunless_proxy::ConnectionKind;

use super::*;
use crate::driver::{NameLock, State, clock};

/// A site whose tunnel has a stack that takes commands, but no network: nothing is ever answered through it.
struct Bench {
    site: StatusSite,
    shared: Arc<crate::driver::Shared>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.end();
    }
}

impl Bench {
    fn new() -> Self {
        let mut poll = mio::Poll::new().unwrap();
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(1)).unwrap());
        let (handle, shared) = Handle::new(Arc::clone(&waker));
        let config = StackConfig {
            name: NameLock::acquire().unwrap().name().clone(),
            network: None,
            limits: Limits::default(),
            seed: 1,
        };
        let registry = poll.registry().try_clone().unwrap();
        let (mut stack, stack_handle) = Stack::new(clock::now(), config, registry, waker, 1 << 24);
        let site = StatusSite::new(Sources {
            handle,
            stack: stack_handle,
            connections: Arc::default(),
            stats: Arc::default(),
            rules: Arc::new(Rules::new(vec!["=direct.test=direct".parse().unwrap()]).unwrap()),
            listening: Some(SocketAddr::from(([127, 0, 0, 1], 1080))),
        });
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut events = mio::Events::with_capacity(8);
            while !stopped.load(Ordering::Relaxed) {
                poll.poll(&mut events, Some(Duration::from_millis(5))).unwrap();
                stack.handle_commands(clock::now());
            }
        });
        Self {
            site,
            shared,
            stop,
            thread: Some(thread),
        }
    }

    /// Ends the stack's thread, as a fault in it would.
    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    async fn get(&self, path: &str) -> SiteResponse {
        self.ask(path, true, false).await
    }

    async fn ask(&self, path: &str, signed_in: bool, is_cross_site: bool) -> SiteResponse {
        let request = SiteRequest {
            path: path.into(),
            query: None,
            host: Some("127.0.0.1:1080".into()),
            signed_in,
            is_cross_site,
        };
        let answered = self.site.respond(request);
        timeout(Duration::from_secs(20), answered).await.unwrap()
    }
}

fn up() -> Up {
    Up {
        host: "vpn.test".into(),
        address: "192.0.2.1:1194".parse().unwrap(),
        through: None,
        carrier: "udp",
        device: "netstack0".into(),
        inner: vec!["10.99.0.6/24".parse().unwrap()],
        dns: vec!["10.88.0.2:53".parse().unwrap()],
        mtu_bytes: 1500,
        cipher: "AES-256-GCM".into(),
        tls: "TLSv1.3".into(),
        ignored: Vec::new(),
        redirects: (false, false),
        routes: vec!["10.88.0.0/24".parse().unwrap()],
        domains: vec!["inner.test".into()],
        since: clock::now(),
    }
}

fn body(response: &SiteResponse) -> String {
    String::from_utf8(response.body.clone()).unwrap()
}

#[tokio::test]
async fn with_a_password_only_what_says_little_is_open() {
    let bench = Bench::new();
    for (path, status) in [
        ("/", 401),
        ("/status.json", 401),
        ("/metrics", 401),
        ("/proxy.pac", 200),
        ("/wpad.dat", 200),
        ("/healthz", 200),
        ("/readyz", 503),
        ("/other", 404),
    ] {
        let response = bench.ask(path, false, false).await;
        assert_eq!(response.status, status, "{path}");
        let challenged = response
            .fields
            .iter()
            .any(|(name, _)| *name == "WWW-Authenticate");
        assert_eq!(challenged, status == 401, "{path}");
    }
    assert_eq!(body(&bench.ask("/readyz", false, false).await), "not ready\n");
}

#[tokio::test]
async fn other_sites_scripts_get_no_data_but_a_link_to_the_page_works() {
    let bench = Bench::new();
    for (path, status) in [
        ("/", 200),
        ("/proxy.pac", 200),
        ("/status.json", 403),
        ("/metrics", 403),
        ("/readyz", 403),
    ] {
        assert_eq!(bench.ask(path, true, true).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn no_field_of_an_answer_holds_a_line_end() {
    let bench = Bench::new();
    for path in [
        "/",
        "/status.json",
        "/metrics",
        "/proxy.pac",
        "/healthz",
        "/readyz",
        "/other",
    ] {
        let response = bench.get(path).await;
        let lines = response
            .fields
            .iter()
            .any(|(_, value)| value.contains(['\r', '\n']));
        assert!(!lines, "{path}");
    }
}

#[tokio::test]
async fn the_pac_file_follows_the_session() {
    let bench = Bench::new();
    let before = bench.get("/proxy.pac").await;
    assert_eq!(before.content_type, "application/x-ns-proxy-autoconfig");
    assert!(body(&before).contains("otherwise = true;"));
    bench.shared.emit(Event::Connected(Arc::new(up())));
    let after = body(&bench.get("/proxy.pac").await);
    assert!(after.contains("otherwise = false;"), "{after}");
    for part in [
        "[false, \"exact\", \"direct.test\"]",
        "[true, \"tree\", \"inner.test\"]",
        "\"PROXY 127.0.0.1:1080\"",
    ] {
        assert!(after.contains(part), "no {part} in {after}");
    }
    let resolver = u32::from(std::net::Ipv4Addr::new(10, 88, 0, 2));
    assert!(after.contains(&format!("\"net4\", {resolver}, 32")));
    assert_eq!(after, body(&bench.get("/wpad.dat").await));
    let redirected = Up {
        redirects: (false, true),
        ..up()
    };
    bench.shared.emit(Event::Connected(Arc::new(redirected)));
    assert!(body(&bench.get("/proxy.pac").await).contains("otherwise = true;"));
}

#[tokio::test]
async fn the_data_tells_the_state_and_what_is_open() {
    let bench = Bench::new();
    let shutdown = CancellationToken::new();
    let watching = tokio::spawn(
        bench
            .site
            .watch(bench.site.sources.handle.events(), shutdown.clone()),
    );
    bench.shared.emit(Event::Connected(Arc::new(up())));
    bench.shared.update(|snapshot| {
        snapshot.state = Some(State::Connected);
        snapshot.device.bytes_out = 1234;
    });
    let name = "</script><b>.test:80";
    let held = bench
        .site
        .sources
        .connections
        .add(ConnectionKind::Http, "127.0.0.1:9".into(), name.into());
    while bench.site.watch.memory().connects == 0 {
        tokio::task::yield_now().await;
    }
    let response = bench.get("/status.json").await;
    let json: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(json["state"]["level"], "up");
    assert_eq!(json["session"]["inner"][0], "10.99.0.6/24");
    assert_eq!(json["traffic"]["up_bytes"], 1234);
    assert_eq!(json["connections"]["rows"][0]["target"], name);
    assert_eq!(json["rules"][0], "=direct.test=direct");
    assert_eq!(json["connects"], 1);
    assert!(json["history"]["up"].is_array() && json["log"].is_array());
    drop(held);
    shutdown.cancel();
    watching.await.unwrap();
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let bench = Bench::new();
    let response = bench.get("/metrics").await;
    assert_eq!(response.content_type, metrics::CONTENT_TYPE);
    let text = body(&response);
    metrics::tests::check(&text);
    assert!(text.contains("\ntunless_up 0\n"));
    bench
        .shared
        .update(|snapshot| snapshot.state = Some(State::Connected));
    let text = body(&bench.get("/metrics").await);
    metrics::tests::check(&text);
    for line in [
        "tunless_up 1",
        "tunless_state{tunless_state=\"CONNECTED\"} 1",
        "tunless_state{tunless_state=\"WAIT\"} 0",
        "tunless_device_bytes_total{direction=\"down\"} 0",
        "tunless_proxy_connections{kind=\"socks5-udp\"} 0",
        "tunless_proxy_accepted_total 0",
        "tunless_proxy_active 0",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "no {line} in\n{text}");
    }
}

#[tokio::test]
async fn readiness_is_an_answer_through_the_tunnel_and_health_is_not() {
    let mut bench = Bench::new();
    let early = bench.get("/readyz").await;
    assert_eq!(
        (early.status, body(&early).as_str()),
        (503, "not connected (not started)\n")
    );
    bench
        .shared
        .update(|snapshot| snapshot.state = Some(State::Connected));
    bench.shared.emit(Event::Connected(Arc::new(up())));
    // The stack has no network, so nothing comes back.
    let silent = bench.get("/readyz").await;
    assert_eq!(silent.status, 503);
    assert_eq!(body(&silent), "nothing came back through the tunnel within 2 s\n");
    assert_eq!(bench.get("/healthz").await.status, 200);
    bench.end();
    let dead = bench.get("/healthz").await;
    assert_eq!(
        (dead.status, body(&dead).as_str()),
        (503, "the tunnel has ended\n")
    );
}

#[test]
fn facts_are_networks_resolvers_and_domains() {
    let facts = facts(&up());
    let wanted: Vec<IpNet> = ["10.88.0.0/24", "10.99.0.6/24", "10.88.0.2/32"]
        .map(|net| net.parse().unwrap())
        .into();
    assert_eq!((facts.networks, facts.is_default_route), (wanted, false));
}
