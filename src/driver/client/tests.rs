//! A tunnel's commands in each of its phases, against a server in the same process.

use std::net::{TcpListener, UdpSocket};

use tokio::{sync::broadcast::Receiver, time::timeout};
use tunless_core::{
    config::{ClientConfig, Directives, ServerConfig},
    testing::certs::{Identity, TestPki},
};
use tunless_netstack::ExitPolicy;

use super::*;
use crate::{driver::server, server::CertificateOnly};

/// Longest wait for what has to come.
const SOON: Duration = Duration::from_secs(20);

/// A tunnel, what it reports, and the runtime to wait on.
struct Bench {
    runtime: tokio::runtime::Runtime,
    running: Running,
    events: Receiver<Event>,
}

fn blocks(pki: &TestPki, own: &Identity) -> String {
    format!(
        "<ca>\n{}</ca>\n<cert>\n{}</cert>\n<key>\n{}</key>\n",
        pki.ca, own.cert, own.key
    )
}

fn setup(pki: &TestPki, head: &str) -> Arc<Setup> {
    let text = format!("client\ndev tun\nnobind\n{head}\n{}", blocks(pki, &pki.client));
    let directives = Directives::parse("client.ovpn", &text).unwrap();
    let config = ClientConfig::resolve(&directives, &mut |_| Err("no files".into())).unwrap();
    Arc::new(Setup::new(config.0).unwrap())
}

fn serve(pki: &TestPki) -> server::Running {
    let text = format!(
        "server 10.99.0.0 255.255.255.0\ntopology subnet\ndev tun\ndh none\nproto udp4\nlocal 127.0.0.1\n\
         keepalive 10 60\n{}",
        blocks(pki, &pki.server)
    );
    let directives = Directives::parse("server.conf", &text).unwrap();
    let mut config = ServerConfig::resolve(&directives, &mut |_| Err("no files".into()))
        .unwrap()
        .0;
    config.port = 0;
    let options = server::Options {
        config: Arc::new(config),
        policy: ExitPolicy::default(),
        decider: Box::new(CertificateOnly),
    };
    server::start(options).unwrap()
}

impl Bench {
    fn start(setup: Arc<Setup>) -> Self {
        let options = Options {
            setup,
            credentials: None,
            dns: Vec::new(),
            limits: Limits::default(),
            fallback_dns: Vec::new(),
            connect_timeout: None,
        };
        let mut events = None;
        let running = start(options, |handle| events = Some(handle.events())).unwrap();
        Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            running,
            events: events.unwrap(),
        }
    }

    fn send(&self, command: Command) {
        assert!(self.running.handle.send(command));
    }

    /// The next event that `wanted` takes; all before it are given too.
    fn wait(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut seen = Vec::new();
        loop {
            let next = self
                .runtime
                .block_on(async { timeout(SOON, self.events.recv()).await });
            let event = next
                .unwrap_or_else(|_late| panic!("no {what}; seen: {seen:?}"))
                .unwrap();
            let found = wanted(&event);
            seen.push(event);
            if found {
                return seen;
            }
        }
    }

    fn wait_state(&mut self, wanted: State) -> Vec<Event> {
        self.wait(&wanted.to_string(), |event| is_state(event, wanted))
    }

    fn pause_and_resume(&mut self) {
        self.send(Command::Pause);
        self.wait_state(State::Paused);
        assert_eq!(self.running.handle.snapshot().state, Some(State::Paused));
        // Neither counts while it is paused; were one of them heard, it would show before the resumption.
        self.send(Command::Pause);
        self.send(Command::Restart);
        self.send(Command::Resume);
        let seen = self.wait_state(State::Connecting);
        assert_eq!(seen.len(), 1, "{seen:?}");
    }

    fn end(mut self) -> End {
        self.send(Command::Disconnect);
        self.wait("end", |event| matches!(event, Event::Ended(_)));
        self.running.join()
    }
}

fn is_state(event: &Event, wanted: State) -> bool {
    matches!(event, Event::State { state, .. } if *state == wanted)
}

fn is_waiting(event: &Event) -> bool {
    is_state(event, State::Session(client::State::Wait))
}

#[test]
fn a_connection_is_paused_and_resumed_again_and_again() {
    let pki = TestPki::new();
    let server = serve(&pki);
    let mut bench = Bench::start(setup(
        &pki,
        &format!("proto udp4\nremote 127.0.0.1 {}", server.local.port()),
    ));
    for round in 1..4 {
        bench.wait_state(State::Connected);
        bench.wait("connection", |event| matches!(event, Event::Connected(_)));
        assert_eq!(bench.running.handle.snapshot().attempts, round);
        bench.pause_and_resume();
    }
    assert_eq!(bench.end().kind, ExitKind::Done);
    server.stopper().stop();
    assert_eq!(server.join(), None);
}

#[test]
fn a_resumption_that_overtakes_its_pause_connects_anew() {
    let pki = TestPki::new();
    let server = serve(&pki);
    let mut bench = Bench::start(setup(
        &pki,
        &format!("proto udp4\nremote 127.0.0.1 {}", server.local.port()),
    ));
    bench.wait("connection", |event| matches!(event, Event::Connected(_)));
    bench.send(Command::Pause);
    bench.send(Command::Resume);
    let seen = bench.wait("connection", |event| matches!(event, Event::Connected(_)));
    assert!(
        !seen.iter().any(|event| is_state(event, State::Paused)),
        "{seen:?}"
    );
    bench.end();
}

#[test]
fn a_server_that_does_not_answer_can_be_paused_away_from() {
    let pki = TestPki::new();
    let mute = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = mute.local_addr().unwrap().port();
    let mut bench = Bench::start(setup(&pki, &format!("proto udp4\nremote 127.0.0.1 {port}")));
    for _ in 0..3 {
        bench.wait("attempt", is_waiting);
        bench.pause_and_resume();
    }
    bench.wait("attempt", is_waiting);
    bench.end();
}

#[test]
fn a_pause_between_attempts_is_shown_and_can_be_paused_and_cut_short() {
    let pki = TestPki::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let text = format!("proto tcp4-client\nconnect-retry 300 300\nremote 127.0.0.1 {port}");
    let mut bench = Bench::start(setup(&pki, &text));
    for _ in 0..3 {
        let seen = bench.wait("retry", |event| matches!(event, Event::Retry { .. }));
        let Some(Event::Retry { wait, .. }) = seen.last() else {
            panic!("{seen:?}");
        };
        assert_eq!(*wait, Duration::from_mins(5));
        bench.pause_and_resume();
        bench.wait_state(State::TcpConnect);
    }
    bench.wait("retry", |event| matches!(event, Event::Retry { .. }));
    bench.send(Command::Restart);
    bench.wait_state(State::TcpConnect);
    bench.end();
}

#[test]
fn a_question_is_void_with_the_pause_and_put_again_afterwards() {
    let pki = TestPki::new();
    let mut bench = Bench::start(setup(&pki, "proto udp4\nauth-user-pass\nremote 127.0.0.1 9"));
    for round in 1..4 {
        let seen = bench.wait("question", |event| matches!(event, Event::Question(_)));
        let Some(Event::Question(question)) = seen.last() else {
            panic!("{seen:?}");
        };
        assert_eq!(question.id, round);
        bench.send(Command::Pause);
        let seen = bench.wait_state(State::Paused);
        assert!(
            seen.iter()
                .any(|event| matches!(event, Event::QuestionGone(id) if *id == round)),
            "{seen:?}"
        );
        bench.send(Command::Resume);
    }
    bench.end();
}

#[test]
fn nothing_takes_the_end_back() {
    let pki = TestPki::new();
    let server = serve(&pki);
    let mut bench = Bench::start(setup(
        &pki,
        &format!("proto udp4\nremote 127.0.0.1 {}", server.local.port()),
    ));
    bench.wait("connection", |event| matches!(event, Event::Connected(_)));
    bench.send(Command::Disconnect);
    for late in [Command::Restart, Command::Pause, Command::Resume] {
        bench.send(late);
    }
    bench.wait("end", |event| matches!(event, Event::Ended(_)));
    assert_eq!(bench.running.join().kind, ExitKind::Done);
}

#[test]
fn another_profile_takes_over_from_one_that_leads_nowhere_also_while_paused() {
    let pki = TestPki::new();
    let server = serve(&pki);
    let good = setup(
        &pki,
        &format!("proto udp4\nremote 127.0.0.1 {}", server.local.port()),
    );
    let mute = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = mute.local_addr().unwrap().port();
    let bad = setup(
        &pki,
        &format!("proto udp4\nremote 127.0.0.1 {port}\nremote 127.0.0.1 {port}"),
    );
    let reload = |setup: &Arc<Setup>| Command::Reload {
        setup: Arc::clone(setup),
        credentials: None,
    };
    let mut bench = Bench::start(Arc::clone(&bad));
    bench.wait("attempt", is_waiting);
    bench.send(reload(&good));
    bench.wait("connection", |event| matches!(event, Event::Connected(_)));
    bench.send(reload(&bad));
    bench.wait_state(State::Reconnecting);
    bench.wait("attempt", is_waiting);
    bench.send(Command::Pause);
    bench.wait_state(State::Paused);
    bench.send(reload(&good));
    bench.send(Command::Resume);
    bench.wait("connection", |event| matches!(event, Event::Connected(_)));
    assert_eq!(bench.running.handle.snapshot().connections, 2);
    bench.end();
}
