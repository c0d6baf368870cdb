//! Forwards over loopback sockets, with sockets in the tunnel's place.

use std::future::pending;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::connect::{
    ConnectError, Connector, Datagrams, Flow, HostName, LocalSocket, Meter, RelayEnd, RelayReason, Target,
};
use crate::connections::ConnectionKind;
use crate::serve::{Drained, Settings};

/// Longest wait for anything.
const SOON: Duration = Duration::from_secs(20);

/// Connects addresses as such; names resolve to the loopback, and `hang.test` never answers.
#[derive(Clone, Debug)]
struct Loopback;

#[derive(Debug)]
struct NoMeter;

impl Meter for NoMeter {
    fn up_bytes(&self) -> u64 {
        0
    }

    fn down_bytes(&self) -> u64 {
        0
    }
}

impl Connector for Loopback {
    type Flow = TcpFlow;
    type Datagrams = Port;

    async fn connect(&self, target: Target) -> Result<TcpFlow, ConnectError> {
        let address = match target {
            Target::Address(address) => address,
            Target::Name(..) => return pending().await,
        };
        let far = TcpStream::connect(address).await;
        far.map(TcpFlow).map_err(|_| ConnectError::Refused)
    }

    async fn datagrams(&self) -> Result<Port, ConnectError> {
        Ok(Port(UdpSocket::bind("127.0.0.1:0").await.unwrap()))
    }
}

#[derive(Debug)]
struct TcpFlow(TcpStream);

impl Flow for TcpFlow {
    fn bound(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn meter(&self) -> Arc<dyn Meter> {
        Arc::new(NoMeter)
    }

    async fn relay(mut self, local: LocalSocket, early: Vec<u8>) -> RelayEnd {
        self.0.write_all(&early).await.unwrap();
        let copied = match local {
            LocalSocket::Tcp(local) => {
                copy_bidirectional(&mut TcpStream::from_std(local).unwrap(), &mut self.0).await
            }
            LocalSocket::Unix(local) => {
                copy_bidirectional(&mut UnixStream::from_std(local).unwrap(), &mut self.0).await
            }
        };
        let (up_bytes, down_bytes) = copied.unwrap_or_default();
        RelayEnd {
            up_bytes,
            down_bytes,
            reason: RelayReason::Finished,
        }
    }
}

#[derive(Debug)]
struct Port(UdpSocket);

impl Datagrams for Port {
    async fn send_to(&self, payload: Vec<u8>, to: Target) -> Result<(), ConnectError> {
        let Target::Address(to) = to else {
            return Err(ConnectError::NoResolver);
        };
        self.0.send_to(&payload, to).await.unwrap();
        Ok(())
    }

    async fn recv_from(&self) -> Option<(Vec<u8>, SocketAddr)> {
        let mut buf = vec![0; 2048];
        let (len, from) = self.0.recv_from(&mut buf).await.ok()?;
        buf.truncate(len);
        Some((buf, from))
    }

    async fn resolve(&self, _name: &HostName) -> Result<IpAddr, ConnectError> {
        Ok(Ipv4Addr::LOCALHOST.into())
    }
}

/// A far end that sends back one connection's bytes after another's, upper case.
async fn shouting() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap_or_default();
            all.make_ascii_uppercase();
            stream.write_all(&all).await.unwrap_or_default();
        }
    });
    address
}

fn hang() -> Target {
    Target::parse("hang.test", 80).unwrap()
}

/// Lets the other tasks run until `done`.
async fn until(done: impl Fn() -> bool) {
    let look = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(SOON, look).await.expect("comes to pass");
}

/// Writes, ends its direction and reads the answer.
async fn say<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(mut client: S, text: &[u8]) -> Vec<u8> {
    client.write_all(text).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn connections_by_tcp_and_unix_socket_reach_the_target() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let target = Target::Address(shouting().await);
    let (settings, shutdown) = (Settings::default(), CancellationToken::new());
    let unix = UnixListener::bind(&path).unwrap();
    let tasks = [
        tokio::spawn(stream(
            tcp,
            target.clone(),
            Loopback,
            settings.clone(),
            shutdown.clone(),
        )),
        tokio::spawn(stream(unix, target, Loopback, settings.clone(), shutdown.clone())),
    ];
    assert_eq!(
        say(TcpStream::connect(address).await.unwrap(), b"by tcp").await,
        b"BY TCP"
    );
    assert_eq!(
        say(UnixStream::connect(path).await.unwrap(), b"by file").await,
        b"BY FILE"
    );
    shutdown.cancel();
    for task in tasks {
        assert_eq!(task.await.unwrap().cut, 0);
    }
    let counts = settings.stats.snapshot();
    assert_eq!((counts.forwards, counts.opened, counts.active), (2, 2, 0));
}

#[tokio::test]
async fn a_connection_that_cannot_be_opened_is_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // A port that was free a moment ago, so that nothing listens there.
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let (settings, shutdown) = (Settings::default(), CancellationToken::new());
    tokio::spawn(stream(
        listener,
        Target::Address(closed),
        Loopback,
        settings,
        shutdown,
    ));
    let mut client = TcpStream::connect(address).await.unwrap();
    let error = client.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

/// A forward to a target that never answers.
fn hanging(listener: impl Into<crate::Listener> + Send + 'static) -> Settings {
    let settings = Settings::default();
    let shutdown = CancellationToken::new();
    tokio::spawn(stream(listener, hang(), Loopback, settings.clone(), shutdown));
    settings
}

#[tokio::test]
async fn an_attempt_is_given_up_when_its_client_has_gone() {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let settings = hanging(tcp);
    let count = || settings.stats.snapshot().abandoned;

    // Closed in order, which looks like the end of one direction.
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"early").await.unwrap();
    until(|| settings.connections.count() == 1).await;
    drop(client);
    until(|| count() == 1).await;

    let client = TcpStream::connect(address).await.unwrap();
    until(|| settings.connections.count() == 1).await;
    client.set_zero_linger().unwrap();
    drop(client);
    until(|| count() == 2).await;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let settings = hanging(UnixListener::bind(&path).unwrap());
    let mut client = UnixStream::connect(path).await.unwrap();
    client.write_all(b"early").await.unwrap();
    until(|| settings.connections.count() == 1).await;
    drop(client);
    until(|| settings.stats.snapshot().abandoned == 1).await;
}

#[tokio::test]
async fn a_client_that_only_ended_its_direction_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let (by_tcp, by_file) = (hanging(tcp), hanging(UnixListener::bind(&path).unwrap()));
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let mut unix = UnixStream::connect(path).await.unwrap();
    tcp.shutdown().await.unwrap();
    unix.shutdown().await.unwrap();
    // Longer than the first looks at it; what stays must not happen, so that there is nothing to wait for.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for settings in [by_tcp, by_file] {
        assert_eq!(settings.connections.count(), 1);
        assert_eq!(settings.stats.snapshot().abandoned, 0);
    }
}

#[tokio::test]
async fn listed_forwards_can_be_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = hanging(listener);
    let mut client = TcpStream::connect(address).await.unwrap();
    until(|| settings.connections.count() == 1).await;
    let listed = settings.connections.list();
    assert_eq!(
        (listed[0].kind, listed[0].target.as_str()),
        (ConnectionKind::Forward, "hang.test:80")
    );
    assert!(settings.connections.close(listed[0].id));
    assert!(client.read(&mut [0]).await.is_err());
}

#[tokio::test]
async fn datagrams_go_to_the_target_and_only_its_answers_come_back() {
    let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let target = Target::parse("far.test", far.local_addr().unwrap().port()).unwrap();
    let (settings, shutdown) = (Settings::default(), CancellationToken::new());
    let task = tokio::spawn(datagrams(
        socket,
        target,
        Loopback,
        settings.clone(),
        shutdown.clone(),
    ));

    let clients = [
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
    ];
    let mut buf = [0; 64];
    let mut ports = Vec::new();
    for (client, text) in clients.iter().zip([&b"one"[..], b"two"]) {
        client.send_to(text, address).await.unwrap();
        let (len, port) = far.recv_from(&mut buf).await.unwrap();
        assert_eq!(&buf[..len], text);
        ports.push(port);
    }
    assert_ne!(ports[0], ports[1], "each source has a port of its own");
    assert_eq!(settings.connections.count(), 2);
    for (client, port) in clients.iter().zip(ports).rev() {
        stranger.send_to(b"lies", port).await.unwrap();
        far.send_to(b"answer", port).await.unwrap();
        let (len, from) = client.recv_from(&mut buf).await.unwrap();
        assert_eq!((&buf[..len], from), (&b"answer"[..], address));
    }
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), Drained { finished: 2, cut: 0 });
    assert_eq!(settings.connections.count(), 0);
}

#[tokio::test]
async fn the_table_of_datagram_sources_is_bounded() {
    let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (settings, shutdown) = (Settings::default(), CancellationToken::new());
    let target = Target::Address(far.local_addr().unwrap());
    tokio::spawn(datagrams(socket, target, Loopback, settings.clone(), shutdown));
    let mut clients = Vec::new();
    let mut buf = [0; 8];
    for _ in 0..260 {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(b"x", address).await.unwrap();
        far.recv_from(&mut buf).await.unwrap();
        clients.push(client);
    }
    until(|| settings.connections.count() == 256).await;
    let first = clients[0].local_addr().unwrap().to_string();
    assert!(
        settings
            .connections
            .list()
            .iter()
            .all(|line| line.client != first)
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_datagram_source_is_forgotten() {
    let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (settings, shutdown) = (Settings::default(), CancellationToken::new());
    let target = Target::Address(far.local_addr().unwrap());
    tokio::spawn(datagrams(socket, target, Loopback, settings.clone(), shutdown));
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(b"x", address).await.unwrap();
    far.recv_from(&mut [0; 8]).await.unwrap();
    while settings.connections.count() > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let began = settings.stats.snapshot();
    assert_eq!((began.forwards, began.up_bytes, began.active), (1, 1, 0));
}

#[tokio::test]
async fn a_single_connection_carries_one_socket() {
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    std::io::Write::write_all(&mut ours, b"quiet").unwrap();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    let target = Target::Address(shouting().await);
    let settings = Settings::default();
    let end = single(theirs, "stdio", target, &Loopback, &settings)
        .await
        .unwrap();
    assert_eq!((end.up_bytes, end.down_bytes), (5, 5));
    let mut answer = String::new();
    ours.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "QUIET");
}
