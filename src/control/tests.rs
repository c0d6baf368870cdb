//! Both ends of the control socket, over a tunnel that the test plays.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::spawn_blocking;
use tunless_core::client::ExitKind;
use tunless_proxy::{ConnectionKind, Connections, Stats};

use super::{Client, ClientError, Journal, Request, Server, Subject};
use crate::driver::{Answer, Command, End, Event, Handle, Question, QuestionKind, Shared, State};

/// A control socket over a tunnel that the test plays.
struct Bench {
    server: Server,
    path: PathBuf,
    shared: Arc<Shared>,
    connections: Arc<Connections>,
    journal: Arc<Journal>,
    _poll: mio::Poll,
    folder: TempDir,
}

impl Bench {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let (handle, shared) = Handle::new(waker);
        let connections = Arc::new(Connections::default());
        let journal = Journal::follow(handle.clone(), handle.events());
        let subject = Subject {
            handle,
            journal: Arc::clone(&journal),
            device: "netstack5".into(),
            proxies: vec!["127.0.0.1:1080".into()],
            connections: Arc::clone(&connections),
            stats: Arc::new(Stats::default()),
            notifier: None,
        };
        let server = Server::start_in(folder.path(), subject).unwrap();
        Self {
            server,
            path: folder.path().join("netstack5.sock"),
            shared,
            connections,
            journal,
            _poll: poll,
            folder,
        }
    }

    /// Asks on a connection of its own.
    async fn ask(&self, request: Request) -> Result<Vec<Value>, ClientError> {
        let path = self.path.clone();
        spawn_blocking(move || Client::connect(&path)?.ask(&request))
            .await
            .unwrap()
    }

    /// Sends raw bytes and gives every line until the tunnel closes or `lines` have come.
    async fn raw(&self, bytes: Vec<u8>, lines: usize) -> Vec<Value> {
        let path = self.path.clone();
        spawn_blocking(move || {
            let mut stream = connect(&path);
            // What is too long is cut off while it is written.
            drop(stream.write_all(&bytes));
            let lines = BufReader::new(stream).lines().map_while(Result::ok).take(lines);
            lines.map(|line| serde_json::from_str(&line).unwrap()).collect()
        })
        .await
        .unwrap()
    }

    /// Lets the tunnel tell something and waits until it has arrived.
    async fn tell(&self, event: Event, arrived: impl Fn(&super::Told) -> bool) {
        self.shared.emit(event);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !arrived(&self.journal.told()) {
            assert!(Instant::now() < deadline, "it never arrived");
            tokio::task::yield_now().await;
        }
    }
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn state(state: State, detail: &str) -> Event {
    Event::State {
        state,
        detail: detail.into(),
    }
}

fn question() -> Question {
    Question {
        id: 9,
        kind: QuestionKind::Credentials {
            username: Some("ann".into()),
            refused: None,
        },
        deadline: Instant::now() + Duration::from_mins(1),
    }
}

#[tokio::test]
async fn the_socket_is_private_and_goes_with_the_tunnel() {
    let bench = Bench::start();
    let mode = fs::metadata(&bench.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    bench.server.stop().await;
    assert!(!bench.path.exists());
}

#[tokio::test]
async fn a_left_over_socket_is_replaced_and_one_in_use_is_not() {
    let bench = Bench::start();
    let taken = super::server::listen(&bench.path).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    let old = bench.folder.path().join("old.sock");
    drop(UnixListener::bind(&old).unwrap());
    drop(super::server::listen(&old).unwrap());
    // A file that is none of ours stays.
    let file = bench.folder.path().join("file.sock");
    fs::write(&file, "mine").unwrap();
    assert!(super::server::listen(&file).is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[tokio::test]
async fn the_status_follows_the_events() {
    let bench = Bench::start();
    bench
        .tell(state(State::Resolve, ""), |told| told.state == State::Resolve)
        .await;
    let retry = Event::Retry {
        reason: "no answer".into(),
        wait: Duration::from_mins(1),
        next: "b.test:1194".into(),
    };
    bench.tell(retry, |told| told.retry.is_some()).await;
    bench
        .tell(Event::Question(question()), |told| !told.questions.is_empty())
        .await;
    bench
        .tell(state(State::Reconnecting, "ping-restart"), |told| {
            told.detail == "ping-restart"
        })
        .await;
    let status = bench.ask(Request::Status).await.unwrap().remove(0);
    assert_eq!(status["device"], "netstack5");
    assert_eq!(
        (&status["state"], &status["detail"]),
        (&json!("RECONNECTING"), &json!("ping-restart"))
    );
    assert_eq!(status["retry"]["next"], "b.test:1194");
    assert_eq!(
        (&status["questions"][0]["id"], &status["questions"][0]["username"]),
        (&json!(9), &json!("ann"))
    );
    assert_eq!(
        (&status["proxies"][0], &status["server"]),
        (&json!("127.0.0.1:1080"), &Value::Null)
    );
    bench.tell(state(State::Paused, ""), super::Told::is_paused).await;
    let status = bench.ask(Request::Status).await.unwrap().remove(0);
    assert_eq!(
        (&status["paused"], &status["retry"]),
        (&json!(true), &Value::Null)
    );
}

#[tokio::test]
async fn connections_are_listed_and_closed() {
    let bench = Bench::start();
    assert!(bench.ask(Request::Connections).await.unwrap().is_empty());
    let tracked = bench
        .connections
        .add(ConnectionKind::Socks5, "127.0.0.1:5".into(), "a.test:80".into());
    let list = bench.ask(Request::Connections).await.unwrap();
    assert_eq!((list.len(), &list[0]["target"]), (1, &json!("a.test:80")));
    let id = list[0]["id"].as_u64().unwrap();
    bench.ask(Request::Close { id }).await.unwrap();
    tracked.closed().await;
    let refused = bench.ask(Request::Close { id: id + 1 }).await.unwrap_err();
    assert!(
        matches!(&refused, ClientError::Refused { kind, .. } if kind == "no-such-connection"),
        "{refused}"
    );
}

#[tokio::test]
async fn orders_become_commands() {
    let bench = Bench::start();
    for (request, wanted) in [
        (Request::Pause, "Pause"),
        (Request::Resume, "Resume"),
        (Request::Reconnect, "Restart"),
        (Request::Disconnect, "Disconnect"),
        (
            Request::LogLevel {
                level: "debug".parse().unwrap(),
            },
            "SetVerbosity(4)",
        ),
    ] {
        assert!(bench.ask(request).await.unwrap().is_empty());
        assert_eq!(
            format!("{:?}", bench.shared.take_commands()),
            format!("[{wanted}]")
        );
    }
    // A thread that takes nothing any longer is told about in the end.
    for _ in 0..64 {
        bench.ask(Request::Resume).await.unwrap();
    }
    let busy = bench.ask(Request::Resume).await.unwrap_err();
    assert!(
        matches!(&busy, ClientError::Refused { kind, .. } if kind == "busy"),
        "{busy}"
    );
}

#[tokio::test]
async fn an_open_question_is_answered_once() {
    let bench = Bench::start();
    let answer = |id| Request::Answer {
        id,
        username: None,
        secret: "hunter2".into(),
    };
    let refused = bench.ask(answer(9)).await.unwrap_err();
    assert!(
        matches!(&refused, ClientError::Refused { kind, .. } if kind == "no-such-question"),
        "{refused}"
    );
    bench
        .tell(Event::Question(question()), |told| !told.questions.is_empty())
        .await;
    bench.ask(answer(9)).await.unwrap();
    let commands = bench.shared.take_commands();
    let Some(Command::Answer {
        question: 9,
        answer: Some(Answer::Credentials { username, password }),
    }) = commands.front()
    else {
        panic!("{commands:?}")
    };
    assert_eq!((username.as_str(), password.expose()), ("ann", "hunter2"));
}

#[tokio::test]
async fn events_are_told_from_the_state_on_to_the_end() {
    let bench = Bench::start();
    bench
        .tell(state(State::Resolve, "x"), |told| told.state == State::Resolve)
        .await;
    let path = bench.path.clone();
    let (first, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let listening = spawn_blocking(move || {
        let mut all = Vec::new();
        let client = Client::connect(&path).unwrap();
        client
            .events(|event| {
                all.push(event.clone());
                first.send(()).unwrap();
                true
            })
            .unwrap();
        all
    });
    seen.recv().await.unwrap();
    bench.shared.emit(Event::Renewed);
    bench.shared.emit(Event::Ended(End {
        kind: ExitKind::Done,
        reason: "enough".into(),
    }));
    bench.server.stop().await;
    let all = listening.await.unwrap();
    assert_eq!(
        all,
        [
            json!({ "event": "state", "state": "RESOLVE", "detail": "x" }),
            json!({ "event": "renewed" }),
            json!({ "event": "ended", "kind": "done", "reason": "enough" }),
        ]
    );
}

#[tokio::test]
async fn a_client_that_lags_is_told_how_much_it_missed() {
    let bench = Bench::start();
    let path = bench.path.clone();
    let (sent, ready) = tokio::sync::oneshot::channel();
    let listening = spawn_blocking(move || {
        let mut missed = 0;
        let mut ready = Some(sent);
        let client = Client::connect(&path).unwrap();
        client
            .events(|event| {
                if let Some(ready) = ready.take() {
                    ready.send(()).unwrap();
                }
                missed += event["count"].as_u64().unwrap_or(0);
                event["event"] != "ended"
            })
            .unwrap();
        missed
    });
    ready.await.unwrap();
    // All at once: the conversation's task has no turn meanwhile.
    for _ in 0..300 {
        bench.shared.emit(Event::Renewed);
    }
    bench.shared.emit(Event::Ended(End {
        kind: ExitKind::Done,
        reason: String::new(),
    }));
    assert_eq!(listening.await.unwrap(), 301 - 256);
}

#[tokio::test]
async fn nonsense_is_answered_by_kind_and_a_long_line_ends_the_conversation() {
    let bench = Bench::start();
    let lines = b"nonsense\n{\"request\":\"dance\"}\n{\"request\":\"close\"}\n{\"request\":\"pause\"}\n";
    let got = bench.raw(lines.to_vec(), 5).await;
    let kinds: Vec<_> = got
        .iter()
        .map(|line| line["error"].as_str().unwrap_or("-"))
        .collect();
    assert_eq!(
        kinds,
        ["-", "malformed", "unknown-request", "invalid-request", "-"]
    );
    assert_eq!(got[0]["tunless"], 1);
    assert_eq!(got[4], json!({ "event": "done", "request": "pause" }));
    let got = bench.raw(vec![b'x'; 70_000], 9).await;
    assert_eq!(got.last().unwrap()["error"], "too-long");
    assert_eq!(got.len(), 2);
}

#[tokio::test]
async fn one_client_too_many_is_told_so() {
    let bench = Bench::start();
    let path = bench.path.clone();
    spawn_blocking(move || {
        let greeted = |_| {
            let stream = connect(&path);
            let mut reader = BufReader::new(stream);
            let mut hello = String::new();
            reader.read_line(&mut hello).unwrap();
            assert!(hello.contains("hello"), "{hello}");
            reader
        };
        let clients: Vec<_> = (0..16).map(greeted).collect();
        let refused = Client::connect(&path).unwrap_err();
        assert!(
            matches!(&refused, ClientError::Refused { kind, .. } if kind == "busy"),
            "{refused}"
        );
        drop(clients);
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_is_no_tunnel_is_not_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let served = spawn_blocking(move || {
        for greeting in ["{\"tunless\":2}\n", "HTTP/1.1 400\r\n", ""] {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(greeting.as_bytes()).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            drop(stream.read(&mut [0]));
        }
    });
    let asked = spawn_blocking(move || {
        for _ in 0..3 {
            let refused = Client::connect(&path).unwrap_err();
            assert!(matches!(refused, ClientError::Stranger { .. }), "{refused}");
        }
    });
    asked.await.unwrap();
    served.await.unwrap();
}
