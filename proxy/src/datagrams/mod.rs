//! An association for datagrams (SOCKS5 UDP ASSOCIATE, RFC 1928 §7): a local UDP socket on one side, a port inside the
//! tunnel on the other, and the connection that it was asked for on as its lifeline.
//!
//! The local socket is bound beside the control connection and talks to one client only, whose port is the one of the
//! first valid datagram. It never goes anywhere else; what cannot enter the tunnel is lost. Everything runs in the one
//! task of the connection, but for lookups of names.

mod client;
mod names;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UdpSocket;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, trace, warn};

use self::client::Client;
use self::names::{Asked, Names};
use crate::connect::{ConnectError, Connector, Datagrams, Meter, RelayReason, Target};
use crate::connections::{ConnectionKind, Tracked};
use crate::incoming::{Incoming, Local};
use crate::owner::{self, Users};
use crate::serve::Settings;
use crate::socks::{header, v5};
use crate::stats::Stats;

/// Room for the longest datagram there is.
const DATAGRAM_BYTES: usize = 64 * 1024;
/// Datagrams of one direction before the other has its turn.
const BATCH: usize = 64;
/// Bytes that a client may send on the control connection, where nothing is awaited any more.
const CONTROL_BYTES: usize = 64 * 1024;

/// Opens an association, answers, and carries datagrams until it ends.
pub(crate) async fn serve<C: Connector, S: Local>(
    connector: &C,
    settings: &Settings,
    shutdown: &CancellationToken,
    mut incoming: Incoming<S>,
    peer: String,
) {
    let stats = &settings.stats;
    let socket = match bind(incoming.stream().own_address()).await {
        Ok(socket) => socket,
        Err(error) => {
            stats.failed.one();
            warn!(%error, "cannot open a local port for datagrams");
            let answer = v5::failure(ConnectError::TooManyConnections);
            return incoming.answer_and_close(&answer).await;
        }
    };
    let (socket, ours) = socket;
    let kind = ConnectionKind::Socks5Udp;
    let tracked = settings
        .connections
        .add(kind, peer, format!("datagrams by {ours}"));
    stats.socks5_udp.one();
    let attempt = timeout(connector.connect_timeout(), connector.datagrams());
    let opened = tokio::select! {
        biased;
        () = shutdown.cancelled() => Err(ConnectError::TunnelDown),
        () = tracked.closed() => return,
        opened = attempt => opened.unwrap_or(Err(ConnectError::TimedOut)),
    };
    let port = match opened {
        Ok(port) => port,
        Err(error) => {
            stats.failed.one();
            debug!(%error, "no port for datagrams");
            return incoming.answer_and_close(&v5::failure(error)).await;
        }
    };
    stats.opened.one();
    let control = incoming
        .stream()
        .peer_address()
        .zip(incoming.stream().own_address());
    let peer_ip = control.map_or_else(|| ours.ip(), |(peer, _)| peer.ip());
    // A password, or leave for every user, opens the control connection; its datagrams are still one user's own.
    let users = match (&settings.users, control) {
        (users @ (Users::Everybody | Users::Listed(_)), Some((peer, own)))
            if peer.ip().to_canonical().is_loopback() =>
        {
            owner::user_of(peer, own)
                .await
                .map_or_else(|| users.clone(), Users::Only)
        }
        (users, _) => users.clone(),
    };
    let association = Association {
        socket,
        port: Arc::new(port),
        client: Client::new(peer_ip, ours, users),
        carried: Arc::default(),
        activity: Activity::new(),
        stats,
    };
    let carried = Arc::clone(&association.carried);
    tracked.on_open(Arc::clone(&carried) as Arc<dyn Meter>);
    if let Err(error) = incoming.write_all(&v5::success(ours)).await {
        debug!(%error, "client gone before its answer");
        return;
    }
    let reason = association
        .run(&mut incoming, &tracked, shutdown, settings.limits.datagrams_idle)
        .await;
    let (up, down) = (carried.up_bytes(), carried.down_bytes());
    stats.up_bytes.add(up);
    stats.down_bytes.add(down);
    debug!(
        up,
        down,
        reason = reason.map(tracing::field::display),
        "association ended"
    );
}

/// A port of the system's choice on the address that the client has reached; on the loopback if that was no address.
async fn bind(own: Option<SocketAddr>) -> io::Result<(UdpSocket, SocketAddr)> {
    let mut address = match own {
        // The scope of a link-local address is kept.
        Some(SocketAddr::V6(own)) if own.ip().to_ipv4_mapped().is_none() => own.into(),
        Some(own) => SocketAddr::new(own.ip().to_canonical(), 0),
        None => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    };
    address.set_port(0);
    let socket = UdpSocket::bind(address).await?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

/// An open association.
#[derive(Debug)]
struct Association<'a, D> {
    socket: UdpSocket,
    port: Arc<D>,
    client: Client,
    carried: Arc<Carried>,
    activity: Activity,
    stats: &'a Stats,
}

impl<D: Datagrams> Association<'_, D> {
    /// Runs until somebody or something ends it; no reason where that is this side's wish.
    async fn run<S: Local>(
        &self,
        control: &mut Incoming<S>,
        tracked: &Tracked,
        shutdown: &CancellationToken,
        idle: Duration,
    ) -> Option<RelayReason> {
        tokio::select! {
            () = shutdown.cancelled() => None,
            () = tracked.closed() => None,
            reason = wait_for_end(control) => Some(reason),
            reason = self.up() => Some(reason),
            reason = self.down() => Some(reason),
            () = self.activity.end(idle) => Some(RelayReason::Idle),
        }
    }

    /// From the client into the tunnel.
    async fn up(&self) -> RelayReason {
        let mut names = Names::new(Arc::clone(&self.port));
        let mut buf = Vec::with_capacity(DATAGRAM_BYTES);
        loop {
            let ready = tokio::select! {
                found = names.found() => {
                    for (payload, to) in found.sendable {
                        self.count(self.send(payload, to, true).await);
                    }
                    self.stats.datagrams_dropped.add(found.lost);
                    continue;
                }
                ready = self.socket.readable() => ready,
            };
            let taken = match ready {
                Ok(()) => self.take(&mut buf, &mut names).await,
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                debug!(%error, "the local port for datagrams failed");
                return RelayReason::LocalReset;
            }
        }
    }

    /// Takes what waits in the local socket.
    async fn take(&self, buf: &mut Vec<u8>, names: &mut Names<D>) -> io::Result<()> {
        for _ in 0..BATCH {
            buf.clear();
            match self.socket.try_recv_buf_from(buf) {
                Ok((_, from)) => self.count(self.forward(buf, from, names).await),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        yield_now().await;
        Ok(())
    }

    /// Sends one datagram on its way; false if it went nowhere.
    async fn forward(&self, datagram: &[u8], from: SocketAddr, names: &mut Names<D>) -> bool {
        if !self.client.may_be(from) {
            return false;
        }
        let Some((destination, payload)) = header::decode(datagram) else {
            return false;
        };
        if !self.client.is(from).await {
            return false;
        }
        match destination {
            header::Destination::Address(to) => self.send(payload.to_vec(), to, false).await,
            header::Destination::Name(name, port) => match names.ask(name, port, payload) {
                Asked::Known(to) => self.send(payload.to_vec(), to, true).await,
                Asked::Waits => true,
                Asked::Refused => false,
            },
        }
    }

    /// Into the tunnel; `is_resolved` where a name stood in the datagram.
    async fn send(&self, payload: Vec<u8>, to: SocketAddr, is_resolved: bool) -> bool {
        let bytes = payload.len();
        let sent = if is_resolved {
            self.port.send_resolved(payload, to).await
        } else {
            self.port.send_to(payload, Target::Address(to)).await
        };
        match sent {
            Ok(()) => {
                add(&self.carried.up, bytes);
                self.activity.note();
                true
            }
            Err(error) => {
                trace!(%to, %error, "datagram lost");
                false
            }
        }
    }

    fn count(&self, is_on_its_way: bool) {
        if !is_on_its_way {
            self.stats.datagrams_dropped.one();
        }
    }

    /// Out of the tunnel to the client.
    async fn down(&self) -> RelayReason {
        let mut datagram = Vec::new();
        loop {
            for _ in 0..BATCH {
                let Some((payload, from)) = self.port.recv_from().await else {
                    return RelayReason::TunnelDown;
                };
                // Nobody has been heard of who could want it.
                let Some(client) = self.client.known() else {
                    continue;
                };
                header::encode(&mut datagram, from, &payload);
                match self.socket.send_to(&datagram, client).await {
                    Ok(_) => {
                        add(&self.carried.down, payload.len());
                        self.activity.note();
                    }
                    Err(error) => trace!(%client, %error, "datagram lost"),
                }
            }
            yield_now().await;
        }
    }
}

/// Waits for the control connection to end; whatever the client says on it means nothing.
async fn wait_for_end<S: Local>(control: &mut Incoming<S>) -> RelayReason {
    let mut ignored: usize = 0;
    loop {
        let waiting = control.waiting().len();
        control.consume(waiting);
        ignored = ignored.saturating_add(waiting);
        if ignored > CONTROL_BYTES {
            return RelayReason::LocalReset;
        }
        match control.fill(CONTROL_BYTES).await {
            Ok(0) => return RelayReason::Finished,
            Ok(_) => {}
            Err(_) => return RelayReason::LocalReset,
        }
    }
}

/// Payload bytes so far.
#[derive(Debug, Default)]
struct Carried {
    up: AtomicU64,
    down: AtomicU64,
}

impl Meter for Carried {
    fn up_bytes(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    fn down_bytes(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }
}

fn add(count: &AtomicU64, bytes: usize) {
    // A datagram's length fits.
    count.fetch_add(u64::try_from(bytes).unwrap_or_default(), Ordering::Relaxed);
}

/// When something last moved.
#[derive(Debug)]
struct Activity {
    start: Instant,
    /// Milliseconds after the start.
    last: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    fn note(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Waits until nothing has moved for `idle`.
    async fn end(&self, idle: Duration) {
        loop {
            let due = self.start + Duration::from_millis(self.last.load(Ordering::Relaxed)) + idle;
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }
}
