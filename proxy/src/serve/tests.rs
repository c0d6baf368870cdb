//! Whole connections over loopback sockets, with a script in the tunnel's place.

mod conformance;
mod datagrams;
mod double;

use std::io;
use std::net::{Shutdown, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use self::double::{Fate, Script, counter, echo, far_end};
use super::accept::{accept_until_shutdown, admit, is_about_one_connection};
use super::*;
use crate::connect::ConnectError;
use crate::http;
use crate::incoming::{Incoming, Local as _};
use crate::listener::{Accept, Peer};

const BOUND: [u8; 10] = [5, 0, 0, 1, 10, 8, 0, 2, 192, 0];

/// A running server.
struct Running {
    address: SocketAddr,
    script: Script,
    stats: Arc<Stats>,
    connections: Arc<Connections>,
    shutdown: CancellationToken,
    task: JoinHandle<Drained>,
}

impl Running {
    async fn start(fates: &[(&str, Fate)], change: impl FnOnce(&mut Settings)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Script::new(fates);
        let mut settings = Settings::default();
        change(&mut settings);
        let stats = settings.stats.clone();
        let connections = settings.connections.clone();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(listener, script.clone(), settings, shutdown.clone()));
        Self {
            address,
            script,
            stats,
            connections,
            shutdown,
            task,
        }
    }

    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `bytes` and reads until the server ends the connection.
    async fn ask(&self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        let mut client = self.client().await;
        client.write_all(bytes.as_ref()).await.unwrap();
        rest(&mut client).await
    }

    async fn stop(self) -> Drained {
        self.shutdown.cancel();
        self.task.await.unwrap()
    }
}

/// Lets the other tasks run until `done`.
async fn until(done: impl Fn() -> bool) {
    for _ in 0..1_000_000 {
        if done() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("does not come to pass");
}

async fn rest(client: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    all
}

async fn read<const N: usize>(client: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes).await.unwrap();
    bytes
}

fn socks5_request(name: &str) -> Vec<u8> {
    [
        &[5, 1, 0, 3, u8::try_from(name.len()).unwrap()],
        name.as_bytes(),
        &[0, 80],
    ]
    .concat()
}

/// A client whose connection to `name`:80 is open.
async fn socks5(server: &Running, name: &str) -> TcpStream {
    let mut client = server.client().await;
    client.write_all(&[5, 1, 0]).await.unwrap();
    assert_eq!(read(&mut client).await, [5, 0]);
    client.write_all(&socks5_request(name)).await.unwrap();
    assert_eq!(read(&mut client).await, BOUND);
    client
}

/// The same by HTTP.
async fn http(server: &Running, authority: &str) -> TcpStream {
    let mut client = server.client().await;
    client
        .write_all(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    assert_eq!(
        &read::<39>(&mut client).await,
        b"HTTP/1.1 200 Connection established\r\n\r\n"
    );
    client
}

async fn says_back(mut client: TcpStream, text: &[u8]) {
    client.write_all(text).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, text);
}

#[tokio::test]
async fn both_protocols_carry_bytes_to_names_and_addresses() {
    let open = Fate::Open(echo().await);
    let fates = [
        ("inner.example:80", open),
        ("192.0.2.1:80", open),
        ("[2001:db8::1]:80", open),
    ];
    let server = Running::start(&fates, |_| {}).await;
    for name in ["inner.example", "192.0.2.1", "2001:db8::1"] {
        says_back(socks5(&server, name).await, b"by SOCKS5").await;
    }
    for authority in ["inner.example:80", "192.0.2.1:80", "[2001:db8::1]:80"] {
        says_back(http(&server, authority).await, b"by HTTP").await;
    }
    for address in [
        &[1, 192, 0, 2, 1][..],
        &[4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    ] {
        let mut client = server.client().await;
        client
            .write_all(&[&[5, 1, 0, 5, 1, 0], address, &[0, 80]].concat())
            .await
            .unwrap();
        assert_eq!(read(&mut client).await, [5, 0]);
        assert_eq!(read(&mut client).await, BOUND);
        says_back(client, b"by address").await;
    }
    let stats = server.stats.clone();
    assert_eq!(server.stop().await.cut, 0);
    let counts = stats.snapshot();
    assert_eq!(
        (counts.socks5, counts.http_connect, counts.opened, counts.active),
        (5, 3, 8, 0)
    );
    assert_eq!((counts.up_bytes, counts.down_bytes), (27 + 21 + 20, 27 + 21 + 20));
}

#[tokio::test]
async fn bytes_behind_the_request_reach_the_flow() {
    let fates = [("inner.example:80", Fate::Open(echo().await))];
    let server = Running::start(&fates, |_| {}).await;
    let mut client = server.client().await;
    client
        .write_all(&[&[5, 1, 0], &socks5_request("inner.example")[..], b"early"].concat())
        .await
        .unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, [&[5, 0], &BOUND[..], b"early"].concat());

    let mut client = server.client().await;
    client
        .write_all(b"CONNECT inner.example:80 HTTP/1.1\r\n\r\nearly\r\n\r\n")
        .await
        .unwrap();
    client.shutdown().await.unwrap();
    assert!(rest(&mut client).await.ends_with(b"\r\n\r\nearly\r\n\r\n"));
    assert_eq!(server.script.early(), [&b"early"[..], b"early\r\n\r\n"]);
}

#[tokio::test]
async fn requests_may_arrive_byte_by_byte() {
    let fates = [("inner.example:80", Fate::Open(echo().await))];
    let server = Running::start(&fates, |_| {}).await;
    let socks5 = [&[5, 1, 0], &socks5_request("inner.example")[..]].concat();
    let http = b"CONNECT inner.example:80 HTTP/1.1\r\nHost: inner.example:80\r\n\r\n".to_vec();
    for (request, answer_bytes) in [(socks5, 12), (http, 39)] {
        let mut client = server.client().await;
        client.set_nodelay(true).unwrap();
        for byte in request {
            client.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = vec![0; answer_bytes];
        client.read_exact(&mut answer).await.unwrap();
        says_back(client, b"whole").await;
    }
}

#[tokio::test]
async fn each_side_may_end_its_direction_first() {
    let (told, heard) = oneshot::channel();
    let told = std::sync::Mutex::new(Some(told));
    let ends_first = far_end(move |mut stream| {
        let told = told.lock().unwrap().take();
        async move {
            stream.write_all(b"farewell").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            told.unwrap().send(all).unwrap();
        }
    })
    .await;
    let fates = [
        ("counter:80", Fate::Open(counter().await)),
        ("first:80", Fate::Open(ends_first)),
    ];
    let server = Running::start(&fates, |_| {}).await;

    let mut client = socks5(&server, "counter").await;
    client.write_all(&vec![7; 100_000]).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, b"100000 bytes");

    let mut client = http(&server, "first:80").await;
    assert_eq!(rest(&mut client).await, b"farewell");
    client.write_all(b"still here").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(heard.await.unwrap(), b"still here");
}

#[tokio::test]
async fn each_failure_has_its_reply() {
    use ConnectError as E;
    for (error, code, status) in [
        (E::Refused, 5, "502"),
        (E::Reset, 5, "502"),
        (E::HostUnreachable, 3, "502"),
        (E::NetworkUnreachable, 3, "502"),
        (E::NameNotFound, 4, "502"),
        (E::NoResolver, 8, "502"),
        (E::ResolverFailed, 4, "502"),
        (E::TimedOut, 6, "504"),
        (E::TunnelDown, 1, "503"),
        (E::NotAllowed, 2, "403"),
        (E::TooManyConnections, 1, "503"),
    ] {
        let server = Running::start(&[("a:80", Fate::Fail(error))], |_| {}).await;
        let answer = server.ask([&[5, 1, 0], &socks5_request("a")[..]].concat()).await;
        assert_eq!(answer, [5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0], "{error}");
        let answer = server.ask("CONNECT a:80 HTTP/1.1\r\n\r\nearly").await;
        assert!(
            answer.starts_with(format!("HTTP/1.1 {status} ").as_bytes()),
            "{error}"
        );
        assert_eq!(server.stats.snapshot().failed, 2);
    }
}

#[tokio::test]
async fn the_five_causes_that_users_must_tell_apart_differ_in_both_protocols() {
    use ConnectError as E;
    let causes = [
        E::Refused,
        E::HostUnreachable,
        E::NameNotFound,
        E::TimedOut,
        E::TunnelDown,
    ];
    let codes: std::collections::BTreeSet<_> = causes
        .iter()
        .map(|cause| u8::from(crate::error::failure(*cause).socks5))
        .collect();
    let types: std::collections::BTreeSet<_> = causes
        .iter()
        .map(|cause| crate::error::failure(*cause).proxy_status)
        .collect();
    assert_eq!((codes.len(), types.len()), (5, 5));
}

#[tokio::test]
async fn a_password_is_asked_for_in_both_protocols() {
    let fates = [("a:80", Fate::Open(echo().await))];
    let credentials = Credentials::new("Aladdin", "open:sesame").unwrap();
    let server = Running::start(&fates, |settings| settings.credentials = Some(credentials)).await;

    assert_eq!(server.ask([5, 1, 0]).await, [5, 255]);
    assert_eq!(
        server.ask(b"\x05\x01\x02\x01\x07Aladdin\x04wish").await,
        [5, 2, 1, 255]
    );
    assert!(
        server
            .ask("CONNECT a:80 HTTP/1.1\r\nConnection: close\r\n\r\n")
            .await
            .starts_with(b"HTTP/1.1 407 ")
    );
    let counts = server.stats.snapshot();
    assert_eq!(
        (counts.auth_failures, counts.bad_requests, counts.opened),
        (2, 1, 0)
    );

    let mut client = server.client().await;
    client
        .write_all(b"\x05\x02\x00\x02\x01\x07Aladdin\x0bopen:sesame")
        .await
        .unwrap();
    assert_eq!(read(&mut client).await, [5, 2, 1, 0]);
    client.write_all(&socks5_request("a")).await.unwrap();
    assert_eq!(read(&mut client).await, BOUND);
    says_back(client, b"let in").await;

    let head = "CONNECT a:80 HTTP/1.1\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuOnNlc2FtZQ==\r\n\r\n";
    let mut client = server.client().await;
    client.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read::<39>(&mut client).await[..12], *b"HTTP/1.1 200");
    says_back(client, b"let in").await;
}

#[tokio::test]
async fn what_is_no_proxy_protocol_is_closed() {
    let server = Running::start(&[], |_| {}).await;
    // A TLS greeting, zeroes, a blank line.
    for garbage in [&[0x16, 3, 1, 2, 0][..], &[0; 64], b"\r\n", &[0xff; 3000]] {
        assert_eq!(server.ask(garbage).await, b"");
    }
    assert_eq!(server.stats.snapshot().bad_requests, 4);
}

#[tokio::test]
async fn a_browser_pointed_at_the_port_gets_an_explanation() {
    let server = Running::start(&[], |_| {}).await;
    let page = server
        .ask("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert!(page.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

/// Answers each head on its connection with what `answer` says, and ends the connection behind one that says so.
async fn web(answer: &'static str) -> SocketAddr {
    far_end(move |mut stream| async move {
        let mut got = Vec::new();
        let mut byte = [0];
        while let Ok(1) = stream.read(&mut byte).await {
            got.push(byte[0]);
            if got.ends_with(b"\r\n\r\n") {
                got.clear();
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn plain_requests_share_a_connection_and_a_tunnel_may_follow() {
    let web = web("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let fates = [("a:80", Fate::Open(web)), ("b:80", Fate::Open(echo().await))];
    let server = Running::start(&fates, |_| {}).await;
    let mut client = server.client().await;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVia: 1.1 tunless\r\n\r\nok";
    for _ in 0..3 {
        client
            .write_all(b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(read::<58>(&mut client).await, *answer);
    }
    client.write_all(b"CONNECT b:80 HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(
        &read::<39>(&mut client).await,
        b"HTTP/1.1 200 Connection established\r\n\r\n"
    );
    says_back(client, b"through the tunnel").await;
    let stats = server.stats.clone();
    assert_eq!(server.stop().await.cut, 0);
    let counts = stats.snapshot();
    assert_eq!(
        (
            counts.http_plain,
            counts.http_connect,
            counts.opened,
            counts.active
        ),
        (3, 1, 2, 0)
    );
    let tunnelled = 18;
    assert!(
        counts.up_bytes > tunnelled && counts.down_bytes == 3 * 40 + tunnelled,
        "{counts:?}"
    );
}

#[tokio::test]
async fn an_answer_without_a_length_that_was_cut_off_does_not_look_whole() {
    let read_by_client = Arc::new(tokio::sync::Notify::new());
    let may_reset = read_by_client.clone();
    let cut = far_end(move |mut stream| {
        let may_reset = may_reset.clone();
        async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nshort").await.unwrap();
            may_reset.notified().await;
            stream.set_zero_linger().unwrap();
        }
    })
    .await;
    let server = Running::start(&[("a:80", Fate::Open(cut))], |_| {}).await;
    let old = b"HTTP/1.1 200 OK\r\nConnection: close\r\nVia: 1.1 tunless\r\n\r\nshort";
    let mut client = server.client().await;
    client.write_all(b"GET http://a/ HTTP/1.0\r\n\r\n").await.unwrap();
    assert_eq!(read::<61>(&mut client).await, *old);
    read_by_client.notify_one();
    let error = client.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_ends_is_cut_off() {
    let server = Running::start(&[], |_| {}).await;
    for (start, answer) in [
        (&b""[..], &b""[..]),
        (b"\x05", b""),
        (b"\x05\x01\x00\x05\x01\x00\x03", b"\x05\x00"),
        (
            b"CONNECT a:80 HTTP/1.1\r\nX:",
            b"HTTP/1.1 408 Request Timeout\r\n",
        ),
    ] {
        let began = tokio::time::Instant::now();
        let got = server.ask(start).await;
        assert_eq!(&got[..answer.len()], answer);
        assert!(
            began.elapsed() >= Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
    assert_eq!(server.stats.snapshot().head_timeouts, 4);
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_never_answers_is_timed_out() {
    let server = Running::start(&[("a:80", Fate::Hang)], |_| {}).await;
    let answer = server.ask([&[5, 1, 0], &socks5_request("a")[..]].concat()).await;
    assert_eq!(answer[..4], [5, 0, 5, 6]);
    assert!(
        server
            .ask("CONNECT a:80 HTTP/1.1\r\n\r\n")
            .await
            .starts_with(b"HTTP/1.1 504 ")
    );
}

#[tokio::test]
async fn connections_above_the_limit_are_closed_at_once() {
    let fates = [("a:80", Fate::Open(echo().await))];
    let server = Running::start(&fates, |settings| settings.limits.connections = 2).await;
    let first = socks5(&server, "a").await;
    let second = socks5(&server, "a").await;
    assert_eq!(rest(&mut server.client().await).await, b"");
    assert_eq!(server.stats.snapshot().over_limit, 1);

    says_back(first, b"bye").await;
    // The place is free once the server has seen the end, which its count tells.
    until(|| server.stats.snapshot().active <= 1).await;
    says_back(socks5(&server, "a").await, b"next").await;
    says_back(second, b"bye").await;
}

#[tokio::test]
async fn shutdown_lets_open_connections_end() {
    let fates = [("a:80", Fate::Open(echo().await))];
    let server = Running::start(&fates, |settings| settings.limits.drain = Duration::from_mins(1)).await;
    let client = socks5(&server, "a").await;
    let address = server.address;
    server.shutdown.cancel();
    // The listener goes first: its port is free for another one while the connection lives on.
    until(|| std::net::TcpListener::bind(address).is_ok()).await;
    says_back(client, b"last words").await;
    assert_eq!(server.stop().await, Drained { finished: 1, cut: 0 });
}

#[tokio::test(start_paused = true)]
async fn shutdown_cuts_off_what_does_not_end() {
    let fates = [("a:80", Fate::Open(echo().await)), ("hang:80", Fate::Hang)];
    let server = Running::start(&fates, |_| {}).await;
    let mut open = socks5(&server, "a").await;
    let mut connecting = server.client().await;
    connecting
        .write_all(&[&[5, 1, 0], &socks5_request("hang")[..]].concat())
        .await
        .unwrap();
    assert_eq!(read(&mut connecting).await, [5, 0]);
    until(|| server.stats.snapshot().socks5 >= 2).await;
    let mut silent = server.client().await;
    until(|| server.stats.snapshot().active >= 3).await;

    let stats = server.stats.clone();
    let began = tokio::time::Instant::now();
    let drained = server.stop().await;
    assert_eq!(drained.finished + drained.cut, 3);
    assert!(drained.cut >= 1, "the open one does not end by itself");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(stats.snapshot().active, 0);
    assert_eq!(
        rest(&mut connecting).await[..2],
        [5, 1],
        "told that the tunnel is down"
    );
    assert_eq!(rest(&mut silent).await, b"");
    let mut byte = [0];
    assert!(matches!(open.read(&mut byte).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_client_that_resets_leaves_nothing_behind() {
    let fates = [("a:80", Fate::Open(echo().await))];
    let server = Running::start(&fates, |_| {}).await;
    for _ in 0..20 {
        let client = socks5(&server, "a").await.into_std().unwrap();
        // Closing with unread bytes resets.
        client.shutdown(Shutdown::Read).unwrap();
        drop(client);
        drop(server.client().await);
    }
    until(|| server.stats.snapshot().active == 0 && server.stats.snapshot().accepted >= 40).await;
}

fn proxy(shutdown: CancellationToken) -> Proxy<Script> {
    Proxy {
        connector: Script::default(),
        settings: Arc::default(),
        shutdown,
    }
}

#[tokio::test]
async fn a_connection_takes_little_memory_of_its_own() {
    let (ours, _theirs) = tokio::net::UnixStream::pair().unwrap();
    let peer = Peer::User { uid: None };
    let task_bytes = size_of_val(&admit(
        proxy(CancellationToken::new()),
        ours,
        peer,
        Arc::default(),
    ));
    assert!(task_bytes < 2560, "{task_bytes}");

    let (ours, _theirs) = tokio::net::UnixStream::pair().unwrap();
    let (connector, settings, shutdown) = (Script::default(), Settings::default(), CancellationToken::new());
    let port = http::Port {
        connector: &connector,
        settings: &settings,
        shutdown: &shutdown,
    };
    let deadline = tokio::time::Instant::now();
    let idle_bytes = size_of_val(&http::converse(
        Incoming::new(ours),
        String::new(),
        port,
        deadline,
    ));
    assert!(idle_bytes < 4096, "{idle_bytes}");
}

#[tokio::test]
async fn a_unix_socket_is_handed_over_as_one() {
    let (ours, _theirs) = tokio::net::UnixStream::pair().unwrap();
    assert!(matches!(ours.hand_over().unwrap(), crate::LocalSocket::Unix(_)));
}

/// A listener whose process is out of descriptors.
struct Exhausted(Arc<std::sync::Mutex<u32>>);

impl Accept for Exhausted {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Peer)> {
        *self.0.lock().unwrap() += 1;
        // EMFILE (Linux).
        Err(io::Error::from_raw_os_error(24))
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_out_of_descriptors_does_not_spin() {
    let calls = Arc::new(std::sync::Mutex::new(0));
    let shutdown = CancellationToken::new();
    let proxy = proxy(shutdown.clone());
    let listener = Exhausted(calls.clone());
    let ends = shutdown.clone();
    let accepting = tokio::spawn(async move {
        accept_until_shutdown(listener, proxy, &Arc::default(), &ends)
            .await
            .len()
    });
    sleep(Duration::from_secs(30)).await;
    shutdown.cancel();
    assert_eq!(accepting.await.unwrap(), 0);
    let calls = *calls.lock().unwrap();
    assert!((30..40).contains(&calls), "{calls} calls in 30 s");
}

#[test]
fn only_failures_of_this_process_make_the_accept_loop_pause() {
    // EMFILE, ENFILE, ENOBUFS, ENOMEM; then ECONNABORTED, EINTR (Linux).
    for code in [24, 23, 105, 12] {
        assert!(
            !is_about_one_connection(&io::Error::from_raw_os_error(code)),
            "{code}"
        );
    }
    for kind in [io::ErrorKind::ConnectionAborted, io::ErrorKind::Interrupted] {
        assert!(is_about_one_connection(&kind.into()), "{kind}");
    }
}

#[tokio::test]
async fn an_attempt_is_dropped_when_its_client_has_gone_and_not_before() {
    let server = Running::start(&[("hang:80", Fate::Hang)], |_| {}).await;
    let mut client = server.client().await;
    client
        .write_all(&[&[5, 1, 0], &socks5_request("hang")[..]].concat())
        .await
        .unwrap();
    assert_eq!(read(&mut client).await, [5, 0]);
    // It has sent all that it has, and waits for the answer.
    client.shutdown().await.unwrap();
    until(|| server.stats.snapshot().socks5 >= 1).await;
    assert_eq!(server.stats.snapshot().abandoned, 0);
    drop(client);
    let gone = async {
        while server.stats.snapshot().abandoned == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
}
