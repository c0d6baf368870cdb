//! The control plane's view of a stack: a handle that any thread may hold, flows and UDP sockets.
//!
//! Commands go over a bounded queue and a waker; answers come back over one-shot channels. Nothing here touches
//! a packet of a TCP flow: bytes move only on the stack's own thread.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::error::{EndReason, FlowError};
use crate::slab::Id;
use crate::udp::Inbox;

/// Requests that may wait for the stack's thread.
const MAX_WAITING_REQUESTS: usize = 8192;
/// Longest name that is taken into the queue at all (RFC 1035 §2.3.4, with a trailing dot).
const MAX_NAME_BYTES: usize = 254;
/// Most bytes that may have been read from a local socket before it is handed over.
pub const MAX_EARLY_BYTES: usize = 256 * 1024;

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
    Attach {
        id: Id,
        local: LocalSocket,
        early: Vec<u8>,
        done: oneshot::Sender<RelayEnd>,
    },
    Abandon(Id),
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
        std::mem::take(&mut self.lock().commands)
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
    shared: Option<Arc<Shared>>,
}

impl Flow {
    pub(crate) fn new(id: Id, local: SocketAddr, remote: SocketAddr, shared: Arc<Shared>) -> Self {
        Self {
            local,
            remote,
            id,
            shared: Some(shared),
        }
    }

    /// Hands the local socket over and waits until both directions have ended. `early` is what was already read
    /// from it, at most [`MAX_EARLY_BYTES`].
    ///
    /// Dropping the returned future does not end the relay.
    pub async fn relay(mut self, local: LocalSocket, early: Vec<u8>) -> RelayEnd {
        let (done, end) = oneshot::channel();
        let Some(shared) = self.shared.take() else {
            return RelayEnd::nothing(EndReason::Closed);
        };
        if early.len() > MAX_EARLY_BYTES {
            shared.must(Command::Abandon(self.id));
            return RelayEnd::nothing(EndReason::LocalReset);
        }
        shared.must(Command::Attach {
            id: self.id,
            local,
            early,
            done,
        });
        drop(shared);
        end.await.unwrap_or_else(|_| RelayEnd::nothing(EndReason::Closed))
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.must(Command::Abandon(self.id));
        }
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
        self.shared.request(Command::SendUdp {
            id: self.id,
            to,
            payload,
        })
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
