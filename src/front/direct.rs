//! Connections outside the tunnel, which the user asked for by a rule that says `direct`, and for nothing else.
//!
//! A `Direct` exists only where such a rule does: without one there is no value that could dial, resolve by the host
//! or send a datagram. The host's resolver runs on threads of its own, a few at a time, each wait has a limit.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket, UnixStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};
use tunless_proxy::{self as proxy, ConnectError, RelayEnd, RelayReason, rules::Rules};

use crate::driver::clock;

/// Names that the host's resolver is asked for at a time; further ones wait.
const LOOKUPS: usize = 16;
/// Longest time for one name, the wait for a free lookup included.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(12);
/// Longest time for one address.
const DIAL_TIMEOUT: Duration = Duration::from_secs(15);
/// Time without a byte in either direction after which a connection is ended, as inside the tunnel.
const IDLE_TIMEOUT: Duration = Duration::from_hours(2);
/// Bytes that a direction holds at a time.
const BUFFER_BYTES: usize = 32 * 1024;
/// Far ends that one port for datagrams talks to.
const MAX_PEERS: usize = 1024;
/// Largest datagram.
const DATAGRAM_BYTES: usize = 65_535;

/// The way round the tunnel. It is made by [`Direct::by`] alone, and everything that leaves needs one.
#[derive(Debug, Clone)]
pub(super) struct Direct {
    lookups: Arc<Semaphore>,
}

impl Direct {
    /// The way round, if any rule says `direct`.
    pub(super) fn by(rules: &Rules) -> Option<Self> {
        rules.has_direct().then(|| Self {
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        })
    }

    /// Asks the host's resolver.
    pub(super) async fn resolve(&self, name: &proxy::HostName) -> Result<Vec<IpAddr>, ConnectError> {
        let lookup = async {
            let permit = Arc::clone(&self.lookups).acquire_owned().await;
            let permit = permit.map_err(|_closed| ConnectError::ResolverFailed)?;
            let answer = look_up(name.as_str().to_owned(), permit)?;
            answer.await.unwrap_or(Err(ConnectError::ResolverFailed))
        };
        timeout(LOOKUP_TIMEOUT, lookup)
            .await
            .unwrap_or(Err(ConnectError::ResolverFailed))
    }

    /// Connects to one address.
    pub(super) async fn dial(&self, address: SocketAddr) -> Result<DirectFlow, ConnectError> {
        let connected = timeout(DIAL_TIMEOUT, TcpStream::connect(address)).await;
        let stream = connected
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| dial_error(&error))?;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot turn off delays");
        }
        let bound = stream.local_addr().map_err(|error| dial_error(&error))?;
        Ok(DirectFlow {
            stream,
            bound,
            meter: Arc::default(),
        })
    }
}

/// Starts a lookup on a thread that nobody has to wait for at the end; it gives its permit back when it is done.
fn look_up(
    name: String,
    permit: OwnedSemaphorePermit,
) -> Result<oneshot::Receiver<Result<Vec<IpAddr>, ConnectError>>, ConnectError> {
    let (reply, answer) = oneshot::channel();
    let work = move || {
        let found = (name.as_str(), 0).to_socket_addrs();
        let found = found.map(|all| all.map(|address| address.ip().to_canonical()).collect::<Vec<_>>());
        let result = match found {
            Ok(all) if !all.is_empty() => Ok(all),
            Ok(_) | Err(_) => Err(ConnectError::NameNotFound),
        };
        // Whoever asked may have given up.
        drop(reply.send(result));
        drop(permit);
    };
    let spawned = std::thread::Builder::new()
        .name("tunless-lookup".into())
        .spawn(work);
    match spawned {
        Ok(_detached) => Ok(answer),
        Err(error) => {
            tracing::warn!(%error, "cannot start a lookup");
            Err(ConnectError::ResolverFailed)
        }
    }
}

fn dial_error(error: &io::Error) -> ConnectError {
    const TABLE: [(io::ErrorKind, ConnectError); 6] = [
        (io::ErrorKind::ConnectionRefused, ConnectError::Refused),
        (io::ErrorKind::ConnectionReset, ConnectError::Reset),
        (io::ErrorKind::ConnectionAborted, ConnectError::Reset),
        (io::ErrorKind::TimedOut, ConnectError::TimedOut),
        (io::ErrorKind::PermissionDenied, ConnectError::NotAllowed),
        (io::ErrorKind::HostUnreachable, ConnectError::HostUnreachable),
    ];
    if error.raw_os_error() == Some(nix::errno::Errno::EMFILE as i32) {
        return ConnectError::TooManyConnections;
    }
    let known = TABLE.iter().find(|(kind, _)| *kind == error.kind());
    known.map_or(ConnectError::NetworkUnreachable, |(_, told)| *told)
}

/// What a direct connection has carried.
#[derive(Debug, Default)]
struct DirectMeter {
    up_bytes: AtomicU64,
    down_bytes: AtomicU64,
}

impl proxy::Meter for DirectMeter {
    fn up_bytes(&self) -> u64 {
        self.up_bytes.load(Ordering::Relaxed)
    }

    fn down_bytes(&self) -> u64 {
        self.down_bytes.load(Ordering::Relaxed)
    }
}

/// A connection outside the tunnel that waits for its local socket.
#[derive(Debug)]
pub struct DirectFlow {
    stream: TcpStream,
    bound: SocketAddr,
    meter: Arc<DirectMeter>,
}

impl proxy::Flow for DirectFlow {
    fn bound(&self) -> SocketAddr {
        self.bound
    }

    fn meter(&self) -> Arc<dyn proxy::Meter> {
        Arc::clone(&self.meter) as Arc<dyn proxy::Meter>
    }

    async fn relay(self, local: proxy::LocalSocket, early: Vec<u8>) -> RelayEnd {
        let meter = Arc::clone(&self.meter);
        let reason = match local {
            proxy::LocalSocket::Tcp(local) => match TcpStream::from_std(local) {
                Ok(mut local) => {
                    resets_when_dropped(&SockRef::from(&local), true);
                    let reason = self.carry(&mut local, &early).await;
                    resets_when_dropped(&SockRef::from(&local), reason != RelayReason::Finished);
                    reason
                }
                Err(_) => RelayReason::LocalReset,
            },
            proxy::LocalSocket::Unix(local) => match UnixStream::from_std(local) {
                Ok(mut local) => self.carry(&mut local, &early).await,
                Err(_) => RelayReason::LocalReset,
            },
        };
        RelayEnd {
            up_bytes: meter.up_bytes.load(Ordering::Relaxed),
            down_bytes: meter.down_bytes.load(Ordering::Relaxed),
            reason,
        }
    }
}

/// Whether closing the socket resets the connection: the far end must not take a cut for an orderly end.
fn resets_when_dropped(socket: &SockRef<'_>, resets: bool) {
    if let Err(error) = socket.set_linger(resets.then_some(Duration::ZERO)) {
        tracing::debug!(%error, "cannot choose how a socket closes");
    }
}

/// Which side failed.
#[derive(Debug)]
enum Side {
    Reading,
    Writing,
}

impl DirectFlow {
    async fn carry<L>(mut self, local: &mut L, early: &[u8]) -> RelayReason
    where
        L: AsyncRead + AsyncWrite + Unpin + Send,
    {
        resets_when_dropped(&SockRef::from(&self.stream), true);
        if self.stream.write_all(early).await.is_err() {
            return RelayReason::RemoteReset;
        }
        self.meter
            .up_bytes
            .fetch_add(early.len() as u64, Ordering::Relaxed);
        let (mut local_in, mut local_out) = tokio::io::split(local);
        let (mut far_in, mut far_out) = self.stream.split();
        let meter = &self.meter;
        let up = async {
            let ended = copy(&mut local_in, &mut far_out, &meter.up_bytes).await;
            ended.map_err(|side| match side {
                Side::Reading => RelayReason::LocalReset,
                Side::Writing => RelayReason::RemoteReset,
            })
        };
        let down = async {
            let ended = copy(&mut far_in, &mut local_out, &meter.down_bytes).await;
            ended.map_err(|side| match side {
                Side::Reading => RelayReason::RemoteReset,
                Side::Writing => RelayReason::LocalReset,
            })
        };
        let both = async { tokio::try_join!(up, down) };
        let reason = tokio::select! {
            ended = both => ended.err().unwrap_or(RelayReason::Finished),
            () = idle(meter) => RelayReason::Idle,
        };
        resets_when_dropped(&SockRef::from(&self.stream), reason != RelayReason::Finished);
        reason
    }
}

/// Copies until the end, which it passes on.
async fn copy<R, W>(from: &mut R, to: &mut W, count: &AtomicU64) -> Result<(), Side>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buf = vec![0; BUFFER_BYTES];
    loop {
        let len = from.read(&mut buf).await.map_err(|_| Side::Reading)?;
        let Some(bytes) = buf.get(..len).filter(|bytes| !bytes.is_empty()) else {
            return to.shutdown().await.map_err(|_| Side::Writing);
        };
        to.write_all(bytes).await.map_err(|_| Side::Writing)?;
        count.fetch_add(len as u64, Ordering::Relaxed);
    }
}

/// Ends when nothing has moved for [`IDLE_TIMEOUT`], give or take a half.
async fn idle(meter: &DirectMeter) {
    let total = || meter.up_bytes.load(Ordering::Relaxed) + meter.down_bytes.load(Ordering::Relaxed);
    let (mut before, mut since) = (total(), clock::now());
    loop {
        tokio::time::sleep(IDLE_TIMEOUT / 4).await;
        let now = total();
        if now != before {
            (before, since) = (now, clock::now());
        } else if clock::now().duration_since(since) >= IDLE_TIMEOUT {
            return;
        }
    }
}

/// A port for datagrams outside the tunnel; its sockets are opened by the first datagram that goes there.
#[derive(Debug)]
pub(super) struct DirectDatagrams {
    pub(super) direct: Direct,
    sockets: OnceLock<Sockets>,
    opened: Notify,
    /// Where something was sent: answers come from nowhere else.
    peers: Mutex<BTreeSet<SocketAddr>>,
}

#[derive(Debug)]
struct Sockets {
    v4: UdpSocket,
    /// Not every host has IPv6.
    v6: Option<UdpSocket>,
}

impl DirectDatagrams {
    pub(super) fn new(direct: Direct) -> Self {
        Self {
            direct,
            sockets: OnceLock::new(),
            opened: Notify::new(),
            peers: Mutex::default(),
        }
    }

    pub(super) async fn send_to(&self, payload: &[u8], to: SocketAddr) -> Result<(), ConnectError> {
        let sockets = self.open().await?;
        {
            let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
            if !peers.contains(&to) && peers.len() >= MAX_PEERS {
                return Err(ConnectError::TooManyConnections);
            }
            peers.insert(to);
        }
        let socket = match to {
            SocketAddr::V4(_) => Some(&sockets.v4),
            SocketAddr::V6(_) => sockets.v6.as_ref(),
        };
        let socket = socket.ok_or(ConnectError::NetworkUnreachable)?;
        socket
            .send_to(payload, to)
            .await
            .map(|_sent| ())
            .map_err(|error| dial_error(&error))
    }

    /// Waits for the next datagram from a far end that something was sent to. Cancel-safe.
    pub(super) async fn recv_from(&self) -> (Vec<u8>, SocketAddr) {
        let sockets = loop {
            let opened = self.opened.notified();
            if let Some(sockets) = self.sockets.get() {
                break sockets;
            }
            opened.await;
        };
        loop {
            let (payload, from) = tokio::select! {
                got = receive(Some(&sockets.v4)) => got,
                got = receive(sockets.v6.as_ref()) => got,
            };
            let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
            if peers.contains(&from) {
                return (payload, from);
            }
        }
    }

    async fn open(&self) -> Result<&Sockets, ConnectError> {
        if let Some(sockets) = self.sockets.get() {
            return Ok(sockets);
        }
        let v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await;
        let v4 = v4.map_err(|error| dial_error(&error))?;
        let v6 = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await.ok();
        let sockets = self.sockets.get_or_init(|| Sockets { v4, v6 });
        self.opened.notify_waiters();
        Ok(sockets)
    }
}

/// Waits for a datagram; for ever where there is no socket or it has failed.
async fn receive(socket: Option<&UdpSocket>) -> (Vec<u8>, SocketAddr) {
    let Some(socket) = socket else {
        return std::future::pending().await;
    };
    let mut buf = vec![0; DATAGRAM_BYTES];
    match socket.recv_from(&mut buf).await {
        Ok((len, from)) => {
            buf.truncate(len);
            (buf, from)
        }
        Err(error) => {
            tracing::debug!(%error, "a direct port for datagrams failed");
            std::future::pending().await
        }
    }
}
