//! The name service on real loopback sockets, in front of a resolver that behaves by the name it is asked for.

use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;

/// Answers each query by itself with the response bit, `silent.` never, `down.` with a failure, `long.` at length.
#[derive(Clone)]
struct Double;

impl Resolve for Double {
    async fn query(&self, mut message: Vec<u8>) -> Result<Vec<u8>, ResolveError> {
        let name = message.get(13..).unwrap_or_default();
        if name.starts_with(b"silent") {
            std::future::pending::<()>().await;
        }
        if name.starts_with(b"down") {
            return Err(ResolveError::TunnelDown);
        }
        let is_long = name.starts_with(b"long");
        message[2] |= 0x80;
        if is_long {
            message.resize(3000, 0);
        }
        Ok(message)
    }
}

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(limits: Limits) -> Running {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    // The test's two sockets need not have the same port.
    let address = tcp.local_addr().unwrap();
    let asked = udp.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve(udp, tcp, Double, limits, shutdown.clone()));
    PORT.with(|port| port.set(asked.port()));
    Running {
        address,
        shutdown,
        task,
    }
}

thread_local! {
    static PORT: std::cell::Cell<u16> = const { std::cell::Cell::new(0) };
}

fn query(name: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
    let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    if let Some(size) = edns {
        message.extend([0, 0, 41]);
        message.extend(size.to_be_bytes());
        message.extend([0; 6]);
    }
    message
}

async fn ask(message: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], PORT.with(std::cell::Cell::get)));
    socket.send_to(message, to).await.unwrap();
    let mut buf = vec![0; 4096];
    let received = timeout(Duration::from_secs(20), socket.recv_from(&mut buf)).await;
    let (length, _) = received.expect("an answer").unwrap();
    buf.truncate(length);
    buf
}

fn code(answer: &[u8]) -> u8 {
    assert_eq!(answer[2] & 0x80, 0x80);
    answer[3] & 15
}

#[tokio::test]
async fn questions_go_to_the_resolver_and_the_rest_is_refused() {
    let running = start(Limits::default()).await;
    let answer = ask(&query("host.example", 1, None)).await;
    assert_eq!((&answer[..2], code(&answer)), (&[0xab, 0xcd][..], 0));
    let mut notify = query("host.example", 6, None);
    notify[2] = 0x20;
    let mut two = query("host.example", 1, None);
    two[5] = 2;
    let mut chaos = query("version.bind", 16, None);
    let last = chaos.len() - 1;
    chaos[last] = 3;
    let mut version = query("host.example", 1, Some(1232));
    let at = version.len() - 5;
    version[at] = 1;
    let cut = &query("host.example", 1, None)[..20];
    for (message, wanted) in [
        (&notify[..], 4),
        (&two, 1),
        (cut, 1),
        (&chaos, 5),
        (&query("example", 252, None), 5),
        (&query("example", 251, None), 5),
        (&version, 0),
    ] {
        assert_eq!(code(&ask(message).await), wanted, "{message:?}");
    }
    // The upper bits of BADVERS are in the OPT record.
    let bad_version = ask(&version).await;
    assert_eq!(bad_version[bad_version.len() - 6], 1);
    let any = ask(&query("host.example", 255, None)).await;
    assert!(any.ends_with(b"\x07RFC8482\0"));
    running.shutdown.cancel();
    running.task.await.unwrap();
}

#[tokio::test]
async fn answers_are_not_answered() {
    let _running = start(Limits::default()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], PORT.with(std::cell::Cell::get)));
    let mut response = query("host.example", 1, None);
    response[2] |= 0x80;
    socket.send_to(&response, to).await.unwrap();
    socket.send_to(&[1, 2, 3], to).await.unwrap();
    // The first thing that comes back belongs to what was asked last.
    let mut last = query("host.example", 1, None);
    last[0] = 0x77;
    socket.send_to(&last, to).await.unwrap();
    let mut buf = [0; 512];
    timeout(Duration::from_secs(20), socket.recv(&mut buf))
        .await
        .expect("an answer")
        .unwrap();
    assert_eq!(buf[0], 0x77);
}

#[tokio::test]
async fn this_hosts_own_names_never_leave() {
    let _running = start(Limits::default()).await;
    let end = |answer: &[u8], length: usize| answer[answer.len() - length..].to_vec();
    assert_eq!(end(&ask(&query("LocalHost", 1, None)).await, 4), [127, 0, 0, 1]);
    assert_eq!(end(&ask(&query("a.localhost", 28, None)).await, 16)[15], 1);
    let none = ask(&query("localhost", 16, None)).await;
    assert_eq!((code(&none), none[7]), (0, 0));
    assert_eq!(
        end(&ask(&query("1.0.0.127.in-addr.arpa", 12, None)).await, 11),
        b"\x09localhost\0"
    );
    let six = format!("1.{}ip6.arpa", "0.".repeat(31));
    assert_eq!(end(&ask(&query(&six, 12, None)).await, 11), b"\x09localhost\0");
    assert_eq!(code(&ask(&query("a.invalid", 1, None)).await), 3);
}

#[tokio::test]
async fn a_failure_says_why_to_those_who_can_read_it() {
    let _running = start(Limits::default()).await;
    let plain = ask(&query("down", 1, None)).await;
    assert_eq!((code(&plain), plain.len()), (2, query("down", 1, None).len()));
    let extended = ask(&query("down", 1, Some(1232))).await;
    assert_eq!(code(&extended), 2);
    assert!(
        extended.ends_with(b"\x00\x0f\x00\x0d\x00\x17tunnel down"),
        "{extended:?}"
    );
}

#[tokio::test]
async fn an_answer_too_long_for_udp_is_cut_and_whole_over_tcp() {
    let running = start(Limits::default()).await;
    for size in [None, Some(512), Some(4096)] {
        let short = ask(&query("long.example", 16, size)).await;
        assert!(short.len() <= 512 && short[2] & 2 != 0, "{size:?}");
        assert_eq!(short[7], 0);
    }
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let message = query("long.example", 16, None);
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    // Both at once, in pieces that are no messages.
    let both = [&length[..], &message, &length, &message].concat();
    stream.write_all(&both[..7]).await.unwrap();
    stream.write_all(&both[7..]).await.unwrap();
    for _ in 0..2 {
        assert_eq!(stream.read_u16().await.unwrap(), 3000);
        let mut answer = vec![0; 3000];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer[12..message.len()], &message[12..]);
    }
}

#[tokio::test]
async fn too_many_queries_and_connections_are_turned_away() {
    let limits = Limits {
        queries: 1,
        connections: 1,
        ..Limits::default()
    };
    let running = start(limits).await;
    let mut first = TcpStream::connect(running.address).await.unwrap();
    let message = query("silent.example", 1, None);
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    first.write_all(&[&length[..], &message].concat()).await.unwrap();
    let other = query("host.example", 1, None);
    let length = u16::try_from(other.len()).unwrap().to_be_bytes();
    first.write_all(&[&length[..], &other].concat()).await.unwrap();
    // The first is still under way, so that the second fails.
    let mut answer = vec![0; usize::from(first.read_u16().await.unwrap())];
    first.read_exact(&mut answer).await.unwrap();
    assert_eq!(code(&answer), 2);
    assert_eq!(code(&ask(&other).await), 2);
    let mut second = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(second.read(&mut [0]).await.unwrap_or(0), 0);
    running.shutdown.cancel();
    running.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_never_answers_is_a_failure_after_a_while() {
    let service = Service {
        resolver: Double,
        limits: Limits::default(),
        queries: Arc::new(Semaphore::new(1)),
    };
    let message = query("silent.example", 1, None);
    let Incoming::Ask(request) = read(&message) else {
        panic!("no question")
    };
    let permit = Arc::clone(&service.queries).try_acquire_owned().unwrap();
    assert_eq!(code(&service.answer(&request, message, permit).await), 2);
    assert_eq!(service.queries.available_permits(), 1);
}

#[test]
fn who_looks_like_ourselves_is_not_answered() {
    let own: SocketAddr = "127.0.0.1:53".parse().unwrap();
    assert!(!may_ask(own, Some(own)));
    assert!(!may_ask("127.0.0.1:0".parse().unwrap(), Some(own)));
    assert!(may_ask("127.0.0.1:5353".parse().unwrap(), Some(own)));
}
