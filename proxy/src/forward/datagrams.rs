//! A UDP socket all of whose datagrams go to one target.
//!
//! Each local source has a port of its own inside the tunnel and a task that serves it, so that answers find their
//! way back. Datagrams are dropped, never kept: when a source's queue is full, its port not open yet, or its user not
//! allowed. The table of sources is bounded; the one that has been idle for longest goes first.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, debug_span, trace};

use crate::connect::{ConnectError, Connector, Datagrams as _, Meter, Target};
use crate::connections::{ConnectionKind, Tracked};
use crate::owner::{self, Transport};
use crate::serve::{Drained, Settings, drain, note_panic};
use crate::stats::Active;

/// Sources at once.
const MAX_SOURCES: usize = 256;
/// Datagrams of one source that wait for its task.
const MAX_WAITING: usize = 64;
/// Longest time without a datagram in either direction (RFC 4787 §4.3, REQ-5).
const IDLE: Duration = Duration::from_mins(2);
/// For this long an answer to "whose source is it" holds.
const OWNER_HOLDS: Duration = Duration::from_secs(1);
/// Longest datagram.
const MAX_BYTES: usize = 65_535;
/// Pause after a failed receive, which is either about one datagram or about memory.
const RECEIVE_PAUSE: Duration = Duration::from_millis(20);

/// Serves `socket` until `shutdown` is cancelled: what arrives from a source goes to `target`, and what `target`
/// answers goes back to that source. All tasks have ended when it returns.
pub async fn datagrams<C: Connector>(
    socket: UdpSocket,
    target: Target,
    connector: C,
    settings: Settings,
    shutdown: CancellationToken,
) -> Drained {
    let forward = Forward {
        socket: Arc::new(socket),
        target,
        connector,
        settings: Arc::new(settings),
    };
    let mut table = Table::default();
    let mut tasks = JoinSet::new();
    let mut buf = vec![0; MAX_BYTES];
    loop {
        let received = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = tasks.join_next() => {
                note_panic(ended);
                continue;
            }
            received = forward.socket.recv_from(&mut buf) => received,
        };
        match received {
            Ok((len, source)) => {
                let payload = buf.get(..len).unwrap_or_default();
                if forward.is_allowed(&mut table, source).await {
                    forward.pass(&mut table, &mut tasks, source, payload);
                }
            }
            Err(error) => {
                forward.settings.stats.accept_errors.one();
                trace!(%error, "cannot receive");
                tokio::time::sleep(RECEIVE_PAUSE).await;
            }
        }
    }
    // Datagrams have no end to wait for.
    drop(table);
    drain(tasks, forward.settings.limits.drain).await
}

/// Where datagrams come from.
#[derive(Debug)]
struct Source {
    queue: mpsc::Sender<Vec<u8>>,
    last: Arc<LastActive>,
    /// When its user was last found to be allowed.
    checked: Instant,
}

/// The sources, and the last one that was refused.
#[derive(Debug, Default)]
struct Table {
    sources: BTreeMap<SocketAddr, Source>,
    refused: Option<(SocketAddr, Instant)>,
}

impl Table {
    /// Makes room for one more.
    fn make_room(&mut self) {
        self.sources.retain(|_, source| !source.queue.is_closed());
        if self.sources.len() < MAX_SOURCES {
            return;
        }
        let idle = self.sources.iter().min_by_key(|(_, source)| source.last.at());
        if let Some(address) = idle.map(|(address, _)| *address) {
            debug!(source = %address, limit = MAX_SOURCES, "too many sources, the idlest is dropped");
            // Its task ends with its queue.
            self.sources.remove(&address);
        }
    }
}

/// When a source last sent or was sent something.
#[derive(Debug)]
struct LastActive(Mutex<Instant>);

impl LastActive {
    fn at(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// What a source has carried.
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

/// What every source's task knows.
#[derive(Clone)]
struct Forward<C> {
    socket: Arc<UdpSocket>,
    target: Target,
    connector: C,
    settings: Arc<Settings>,
}

impl<C: Connector> Forward<C> {
    /// Tells whether the user behind a source may; asked anew now and then, since ports pass from user to user.
    async fn is_allowed(&self, table: &mut Table, address: SocketAddr) -> bool {
        let now = Instant::now();
        let holds = |since: Instant| now.saturating_duration_since(since) < OWNER_HOLDS;
        if table
            .sources
            .get(&address)
            .is_some_and(|source| holds(source.checked))
        {
            return true;
        }
        let stats = &self.settings.stats;
        let is_known_bad = table
            .refused
            .is_some_and(|(refused, since)| refused == address && holds(since));
        let ours = self.socket.local_addr();
        if !is_known_bad
            && let Ok(ours) = ours
            && owner::is_allowed(&self.settings.users, Transport::Udp, address, ours).await
        {
            if let Some(source) = table.sources.get_mut(&address) {
                source.checked = now;
            }
            return true;
        }
        stats.other_users.one();
        if !is_known_bad {
            debug!(source = %address, "of another user, dropped");
            table.refused = Some((address, now));
            table.sources.remove(&address);
        }
        false
    }

    /// Hands a datagram to its source's task, which is started if there is none.
    fn pass(&self, table: &mut Table, tasks: &mut JoinSet<()>, source: SocketAddr, payload: &[u8]) {
        let known = table.sources.get(&source).map(|known| known.queue.clone());
        let queue = match known.filter(|queue| !queue.is_closed()) {
            Some(queue) => queue,
            None => self.start(table, tasks, source),
        };
        match queue.try_send(payload.to_vec()) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => trace!(%source, "datagram dropped"),
        }
    }

    fn start(&self, table: &mut Table, tasks: &mut JoinSet<()>, source: SocketAddr) -> mpsc::Sender<Vec<u8>> {
        table.make_room();
        let now = Instant::now();
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        let last = Arc::new(LastActive(Mutex::new(now)));
        let entry = Source {
            queue: queue.clone(),
            last: Arc::clone(&last),
            checked: now,
        };
        table.sources.insert(source, entry);
        let span = debug_span!("datagrams", %source);
        let forward = self.clone();
        tasks.spawn(async move { forward.serve(source, waiting, last).await }.instrument(span));
        queue
    }

    async fn serve(self, source: SocketAddr, waiting: mpsc::Receiver<Vec<u8>>, last: Arc<LastActive>) {
        let stats = &self.settings.stats;
        let _active = Active::new(&stats.active);
        stats.forwards.one();
        let tracked = self.settings.connections.add(
            ConnectionKind::Forward,
            source.to_string(),
            format!("{}/udp", self.target),
        );
        let attempt = timeout(self.connector.connect_timeout(), self.port());
        let opened = tokio::select! {
            () = tracked.closed() => return,
            opened = attempt => opened.unwrap_or(Err(ConnectError::TimedOut)),
        };
        match opened {
            Ok((port, target)) => {
                stats.opened.one();
                self.carry(source, (port, target), waiting, &tracked, &last).await;
            }
            Err(error) => {
                stats.failed.one();
                debug!(target = %self.target, %error, "no port in the tunnel");
            }
        }
    }

    /// A port inside the tunnel, and the address to which it talks.
    async fn port(&self) -> Result<(C::Datagrams, SocketAddr), ConnectError> {
        let ours = self.connector.datagrams().await?;
        let address = match &self.target {
            Target::Address(address) => *address,
            Target::Name(name, port) => SocketAddr::new(ours.resolve(name).await?, *port),
        };
        Ok((ours, address))
    }

    async fn carry(
        &self,
        source: SocketAddr,
        (port, target): (C::Datagrams, SocketAddr),
        mut waiting: mpsc::Receiver<Vec<u8>>,
        tracked: &Tracked,
        last: &LastActive,
    ) {
        let carried = Arc::new(Carried::default());
        tracked.on_open(Arc::clone(&carried) as Arc<dyn Meter>);
        let count = |counter: &AtomicU64, bytes: usize| {
            counter.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
            last.now();
        };
        loop {
            tokio::select! {
                () = tracked.closed() => break,
                () = sleep_until(last.at() + IDLE) => break,
                payload = waiting.recv() => {
                    let Some(payload) = payload else { break };
                    count(&carried.up, payload.len());
                    if let Err(error) = port.send_resolved(payload, target).await {
                        trace!(%error, "datagram dropped");
                    }
                }
                answer = port.recv_from() => {
                    let Some((payload, from)) = answer else { break };
                    if SocketAddr::new(from.ip().to_canonical(), from.port()) != target {
                        trace!(%from, "datagram of somebody else dropped");
                        continue;
                    }
                    count(&carried.down, payload.len());
                    if let Err(error) = self.socket.send_to(&payload, source).await {
                        trace!(%error, "answer dropped");
                    }
                }
            }
        }
        self.settings.stats.up_bytes.add(carried.up_bytes());
        self.settings.stats.down_bytes.add(carried.down_bytes());
    }
}
