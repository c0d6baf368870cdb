//! The control plane's view of a stack: a handle that any thread may hold, flows and UDP sockets.
//!
//! Commands go over a bounded queue and a waker; answers come back over one-shot channels. Nothing here touches
//! a packet of a TCP flow: bytes move only on the stack's own thread.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};

use crate::error::{EndReason, FlowError, QueryError};
use crate::slab::Id;
use crate::udp::Inbox;

/// Requests that may wait for the stack's thread.
const MAX_WAITING_REQUESTS: usize = 8192;
/// Datagrams that may wait for the stack's thread, and their bytes: little enough that they never take the place of
/// requests. The newest is dropped.
const MAX_WAITING_DATAGRAMS: usize = 1024;
const MAX_WAITING_DATAGRAM_BYTES: usize = 4 * 1024 * 1024;
/// Longest name that is taken into the queue at all (RFC 1035 §2.3.4, with a trailing dot).
const MAX_NAME_BYTES: usize = 254;
/// Most bytes that may have been read from a local socket before it is handed over.
pub const MAX_EARLY_BYTES: usize = 256 * 1024;

/// Flows of one inner port that wait to be accepted, unfinished handshakes included.
pub(crate) const LISTEN_BACKLOG: usize = 64;

/// Where a flow goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An address inside the tunnel.
    Address(SocketAddr),
    /// A name, resolved inside the tunnel, and a port.
    Name(String, u16),
}

/// A local connection that is handed over to the stack's thread.
#[derive(Debug)]
pub enum LocalSocket {
    /// A TCP connection.
    Tcp(TcpStream),
    /// A connection of a Unix socket.
    Unix(UnixStream),
}

/// What a relay carried and why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayEnd {
    /// Bytes taken from the local socket, early ones included.
    pub up_bytes: u64,
    /// Bytes written to the local socket.
    pub down_bytes: u64,
    /// Why it ended.
    pub reason: EndReason,
}

impl RelayEnd {
    /// An end at which nothing had been carried.
    pub(crate) fn nothing(reason: EndReason) -> Self {
        Self {
            up_bytes: 0,
            down_bytes: 0,
            reason,
        }
    }
}

/// Bytes that a flow has carried so far; anybody may read it while the relay runs.
#[derive(Debug, Default)]
pub struct Meter {
    up: AtomicU64,
    down: AtomicU64,
}

impl Meter {
    /// Bytes taken from the local socket, early ones included.
    pub fn up_bytes(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    /// Bytes written to the local socket.
    pub fn down_bytes(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }

    /// Takes the counts of a turn. One thread writes, so the two need not agree to the byte.
    pub(crate) fn set(&self, up_bytes: u64, down_bytes: u64) {
        self.up.store(up_bytes, Ordering::Relaxed);
        self.down.store(down_bytes, Ordering::Relaxed);
    }
}

/// What the control plane asks of the stack's thread.
#[derive(Debug)]
pub(crate) enum Command {
    Connect {
        target: Target,
        reply: oneshot::Sender<Result<Flow, FlowError>>,
    },
    Resolve {
        name: String,
        reply: oneshot::Sender<Result<Vec<IpAddr>, FlowError>>,
    },
    Query {
        message: Vec<u8>,
        reply: oneshot::Sender<Result<Vec<u8>, QueryError>>,
    },
    Attach {
        id: Id,
        local: LocalSocket,
        early: Vec<u8>,
        meter: Arc<Meter>,
        done: oneshot::Sender<RelayEnd>,
    },
    Abandon(Id),
    Listen {
        port: u16,
        reply: oneshot::Sender<Result<InnerListener, FlowError>>,
    },
    Unlisten(u16),
    BindUdp {
        reply: oneshot::Sender<Result<UdpSocket, FlowError>>,
    },
    SendUdp {
        id: Id,
        to: SocketAddr,
        payload: Vec<u8>,
    },
    CloseUdp(Id),
}

#[derive(Debug, Default)]
struct Queue {
    commands: VecDeque<Command>,
    closed: bool,
    datagrams: usize,
    datagram_bytes: usize,
}

impl Command {
    /// Whether whoever asked does not wait any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        match self {
            Self::Connect { reply, .. } => reply.is_closed(),
            Self::Resolve { reply, .. } => reply.is_closed(),
            Self::Query { reply, .. } => reply.is_closed(),
            Self::Listen { reply, .. } => reply.is_closed(),
            Self::BindUdp { reply } => reply.is_closed(),
            Self::Attach { .. }
            | Self::Abandon(_)
            | Self::Unlisten(_)
            | Self::SendUdp { .. }
            | Self::CloseUdp(_) => false,
        }
    }
}

/// The queue between the handles and the stack.
#[derive(Debug)]
pub(crate) struct Shared {
    queue: Mutex<Queue>,
    waker: Arc<mio::Waker>,
}

impl Shared {
    pub(crate) fn new(waker: Arc<mio::Waker>) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::default(),
            waker,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a request, unless too many wait already.
    fn request(&self, command: Command) -> Result<(), FlowError> {
        let queue = self.lock();
        if queue.closed {
            return Err(FlowError::Closed);
        }
        if queue.commands.len() >= MAX_WAITING_REQUESTS {
            return Err(FlowError::TooManyFlows);
        }
        self.push(queue, command);
        Ok(())
    }

    /// Queues a datagram, unless too many wait already.
    fn datagram(&self, id: Id, to: SocketAddr, payload: Vec<u8>) -> Result<(), FlowError> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(FlowError::Closed);
        }
        let bytes = queue.datagram_bytes + payload.len();
        if queue.datagrams >= MAX_WAITING_DATAGRAMS || bytes > MAX_WAITING_DATAGRAM_BYTES {
            return Err(FlowError::TooManyFlows);
        }
        queue.datagrams += 1;
        queue.datagram_bytes = bytes;
        self.push(queue, Command::SendUdp { id, to, payload });
        Ok(())
    }

    /// Queues what must not be lost; its number is bounded by the flows and sockets that exist.
    fn must(&self, command: Command) {
        let queue = self.lock();
        if !queue.closed {
            self.push(queue, command);
        }
    }

    fn push(&self, mut queue: MutexGuard<'_, Queue>, command: Command) {
        let was_empty = queue.commands.is_empty();
        queue.commands.push_back(command);
        drop(queue);
        if was_empty && let Err(error) = self.waker.wake() {
            tracing::debug!(%error, "waking the stack failed");
        }
    }

    /// Everything that was queued, in order.
    pub(crate) fn take(&self) -> VecDeque<Command> {
        let mut queue = self.lock();
        (queue.datagrams, queue.datagram_bytes) = (0, 0);
        std::mem::take(&mut queue.commands)
    }

    /// Refuses from now on; what waited is dropped, which its askers see as [`FlowError::Closed`].
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        let commands = std::mem::take(&mut queue.commands);
        drop(queue);
        drop(commands);
    }
}

/// The handle of a stack.
#[derive(Clone, Debug)]
pub struct StackHandle {
    shared: Arc<Shared>,
}

impl StackHandle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Opens a flow; a name is resolved inside the tunnel and its addresses are tried in turn.
    ///
    /// # Errors
    /// See [`FlowError`].
    pub async fn connect(&self, target: Target) -> Result<Flow, FlowError> {
        if let Target::Name(name, _) = &target
            && name.len() > MAX_NAME_BYTES
        {
            return Err(FlowError::NameNotFound);
        }
        let (reply, answer) = oneshot::channel();
        self.shared.request(Command::Connect { target, reply })?;
        answer.await.unwrap_or(Err(FlowError::Closed))
    }

    /// Resolves a name inside the tunnel. The list is never empty.
    ///
    /// # Errors
    /// See [`FlowError`].
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, FlowError> {
        if name.len() > MAX_NAME_BYTES {
            return Err(FlowError::NameNotFound);
        }
        let (reply, answer) = oneshot::channel();
        self.shared.request(Command::Resolve {
            name: name.to_owned(),
            reply,
        })?;
        answer.await.unwrap_or(Err(FlowError::Closed))
    }

    /// Listens for connections from inside the tunnel, on that port of all inner addresses; port 0 takes a free one.
    /// The port stays open while the tunnel is down.
    ///
    /// # Errors
    /// [`FlowError::PortInUse`], [`FlowError::TooManyFlows`], [`FlowError::Closed`].
    pub async fn listen(&self, port: u16) -> Result<InnerListener, FlowError> {
        let (reply, answer) = oneshot::channel();
        self.shared.request(Command::Listen { port, reply })?;
        answer.await.unwrap_or(Err(FlowError::Closed))
    }

    /// Forwards a whole DNS query of any type to the name servers inside the tunnel, and gives the whole answer, however
    /// long it is, with the query's id. Waits for a tunnel that is down like a connection does.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn query(&self, message: Vec<u8>) -> Result<Vec<u8>, QueryError> {
        if message.len() > usize::from(u16::MAX) {
            return Err(QueryError::Malformed);
        }
        let (reply, answer) = oneshot::channel();
        self.shared.request(Command::Query { message, reply })?;
        answer.await.unwrap_or(Err(QueryError::Failed(FlowError::Closed)))
    }

    /// Opens a UDP socket on a free port of the inner addresses.
    ///
    /// # Errors
    /// See [`FlowError`].
    pub async fn bind_udp(&self) -> Result<UdpSocket, FlowError> {
        let (reply, answer) = oneshot::channel();
        self.shared.request(Command::BindUdp { reply })?;
        answer.await.unwrap_or(Err(FlowError::Closed))
    }
}

/// An open flow that no local socket is attached to yet. Dropping it resets the flow.
#[derive(Debug)]
pub struct Flow {
    /// The inner address and port of this end.
    pub local: SocketAddr,
    /// The address and port of the far end.
    pub remote: SocketAddr,
    id: Id,
    meter: Arc<Meter>,
    shared: Option<Arc<Shared>>,
}

impl Flow {
    pub(crate) fn new(id: Id, local: SocketAddr, remote: SocketAddr, shared: Arc<Shared>) -> Self {
        Self {
            local,
            remote,
            id,
            meter: Arc::default(),
            shared: Some(shared),
        }
    }

    /// What counts this flow's bytes, before and while it is relayed.
    pub fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// Hands the local socket over and waits until both directions have ended. `early` is what was already read
    /// from it, at most [`MAX_EARLY_BYTES`].
    ///
    /// Dropping the returned future resets both sides.
    pub async fn relay(mut self, local: LocalSocket, early: Vec<u8>) -> RelayEnd {
        let (done, end) = oneshot::channel();
        if early.len() > MAX_EARLY_BYTES {
            return RelayEnd::nothing(EndReason::LocalReset);
        }
        if let Some(shared) = &self.shared {
            shared.must(Command::Attach {
                id: self.id,
                local,
                early,
                meter: Arc::clone(&self.meter),
                done,
            });
        }
        // Until the end is known, dropping the flow is what resets both.
        let end = end.await;
        self.shared = None;
        end.unwrap_or_else(|_| RelayEnd::nothing(EndReason::Closed))
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.must(Command::Abandon(self.id));
        }
    }
}

/// A port that listens inside the tunnel. Dropping it closes the port and resets what was not accepted.
#[derive(Debug)]
pub struct InnerListener {
    port: u16,
    flows: mpsc::Receiver<Flow>,
    shared: Arc<Shared>,
}

impl InnerListener {
    pub(crate) fn new(port: u16, flows: mpsc::Receiver<Flow>, shared: Arc<Shared>) -> Self {
        Self { port, flows, shared }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for the next connection, whose `remote` is the peer; `None` once the stack has gone. It has to be
    /// taken and relayed within half a minute.
    ///
    /// Dropping the future loses nothing.
    pub async fn accept(&mut self) -> Option<Flow> {
        self.flows.recv().await
    }
}

impl Drop for InnerListener {
    fn drop(&mut self) {
        self.shared.must(Command::Unlisten(self.port));
    }
}

/// A UDP socket inside the tunnel. Dropping it closes it.
#[derive(Debug)]
pub struct UdpSocket {
    /// The port, the same for both families.
    pub port: u16,
    id: Id,
    inbox: Arc<Inbox>,
    shared: Arc<Shared>,
}

impl UdpSocket {
    pub(crate) fn new(port: u16, id: Id, inbox: Arc<Inbox>, shared: Arc<Shared>) -> Self {
        Self {
            port,
            id,
            inbox,
            shared,
        }
    }

    /// Sends a datagram; like any datagram it may be lost, here if the tunnel is down or its queue full.
    ///
    /// # Errors
    /// [`FlowError::TooManyFlows`] if the queue to the stack is full, [`FlowError::Closed`] if it has gone.
    pub fn send_to(&self, payload: Vec<u8>, to: SocketAddr) -> Result<(), FlowError> {
        self.shared.datagram(self.id, to, payload)
    }

    /// Waits for the next datagram and its source; `None` once the stack has gone.
    pub async fn recv_from(&self) -> Option<(Vec<u8>, SocketAddr)> {
        std::future::poll_fn(|context| self.inbox.poll_take(context)).await
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.shared.must(Command::CloseUdp(self.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Slab;

    #[test]
    fn datagrams_never_take_the_place_of_requests() {
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let shared = Shared::new(waker);
        let id = Slab::new(1).insert(()).unwrap();
        let socket = UdpSocket::new(
            5000,
            id,
            Arc::new(Inbox::new(crate::udp::InboxBytes::default())),
            Arc::clone(&shared),
        );
        let to = "10.8.0.1:53".parse().unwrap();
        let full = Err(FlowError::TooManyFlows);
        for (bytes, room) in [
            (1, MAX_WAITING_DATAGRAMS),
            (65_507, MAX_WAITING_DATAGRAM_BYTES / 65_507),
        ] {
            for number in 0..room {
                assert_eq!(socket.send_to(vec![0; bytes], to), Ok(()), "{number}");
            }
            assert_eq!(socket.send_to(vec![0; bytes], to), full);
            let (reply, _answer) = oneshot::channel();
            shared.request(Command::BindUdp { reply }).unwrap();
            assert_eq!(shared.take().len(), room + 1);
        }
    }
}
