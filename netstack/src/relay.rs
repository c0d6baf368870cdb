//! A host socket and a flow joined: bytes go straight between the socket and the flow's rings.
//!
//! Back-pressure is the rings': a full send ring stops the reading, a full socket stops the taking, which closes the
//! window. Each direction closes on its own; a reset on one side becomes a reset on the other.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::{Interest, Registry, Token};
use tokio::sync::oneshot;

use crate::error::EndReason;
use crate::flow::{FlowState, TcpFlow};
use crate::handle::{LocalSocket, Meter, RelayEnd};

/// Bytes that one relay moves in each direction before others have their turn.
const TURN_BYTES: usize = 128 * 1024;

/// The host's side of a relay.
#[derive(Debug)]
pub(crate) enum HostSocket {
    Tcp(mio::net::TcpStream),
    Unix(mio::net::UnixStream),
    /// Both directions were closed in order, and the descriptor was let go of.
    Closed,
}

impl HostSocket {
    /// Takes over a socket that was handed over, non-blocking and without Nagle's delay.
    pub(crate) fn adopt(local: LocalSocket) -> io::Result<Self> {
        match local {
            LocalSocket::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(mio::net::TcpStream::from_std(stream)))
            }
            LocalSocket::Unix(stream) => {
                stream.set_nonblocking(true)?;
                Ok(Self::Unix(mio::net::UnixStream::from_std(stream)))
            }
        }
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(stream) => registry.register(stream, token, interest),
            Self::Unix(stream) => registry.register(stream, token, interest),
            Self::Closed => Ok(()),
        }
    }

    fn deregister(&mut self, registry: &Registry) {
        let outcome = match self {
            Self::Tcp(stream) => registry.deregister(stream),
            Self::Unix(stream) => registry.deregister(stream),
            Self::Closed => Ok(()),
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "host socket was not registered");
        }
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buf),
            Self::Unix(stream) => stream.read(buf),
            Self::Closed => Ok(0),
        }
    }

    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buf),
            Self::Unix(stream) => stream.write(buf),
            Self::Closed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn shut_write(&self) {
        let outcome = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Closed => Ok(()),
        };
        if let Err(error) = outcome {
            tracing::trace!(%error, "host socket had gone before its end was written");
        }
    }

    fn has_failed(&self) -> bool {
        let error = match self {
            Self::Tcp(stream) => stream.take_error(),
            Self::Unix(stream) => stream.take_error(),
            Self::Closed => Ok(None),
        };
        !matches!(error, Ok(None))
    }

    /// Makes the close a reset, where the protocol has one.
    fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self
            && let Err(error) = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))
        {
            tracing::trace!(%error, "host socket cannot be reset");
        }
    }
}

/// What a turn of a relay came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing more can be moved now.
    Waiting,
    /// The turn's budget is used up.
    Again,
    /// The relay is over.
    Ended(EndReason),
}

/// A host socket joined to a flow.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts about two directions, each of which holds by itself"
)]
pub(crate) struct Relay {
    socket: HostSocket,
    early: Vec<u8>,
    early_sent: usize,
    readable: bool,
    writable: bool,
    /// The kernel said that the peer has closed: a short read is no proof that nothing follows.
    read_closed: bool,
    failed: bool,
    host_at_end: bool,
    flow_closed: bool,
    host_shut: bool,
    up_bytes: u64,
    down_bytes: u64,
    /// Who reads the counts, and who waits for the end.
    observer: Option<(Arc<Meter>, oneshot::Sender<RelayEnd>)>,
}

impl Relay {
    /// Joins a registered socket; `early` is what was already read from it.
    pub(crate) fn new(
        socket: HostSocket,
        early: Vec<u8>,
        observer: Option<(Arc<Meter>, oneshot::Sender<RelayEnd>)>,
    ) -> Self {
        Self {
            socket,
            early,
            early_sent: 0,
            readable: true,
            writable: true,
            read_closed: false,
            failed: false,
            host_at_end: false,
            flow_closed: false,
            host_shut: false,
            up_bytes: 0,
            down_bytes: 0,
            observer,
        }
    }

    /// Takes readiness of the socket.
    pub(crate) fn handle_ready(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_read_closed();
        self.writable |= event.is_writable() || event.is_write_closed();
        self.read_closed |= event.is_read_closed();
        self.failed |= event.is_error() && self.socket.has_failed();
    }

    /// Bytes moved so far, both ways.
    pub(crate) fn moved_bytes(&self) -> u64 {
        self.up_bytes + self.down_bytes
    }

    /// Moves what can be moved.
    pub(crate) fn turn(&mut self, flow: &mut TcpFlow) -> Turn {
        if self.failed {
            return Turn::Ended(EndReason::LocalReset);
        }
        if matches!(flow.state(), FlowState::Gone | FlowState::Aborting) {
            return Turn::Ended(self.end_of_gone_flow());
        }
        let moved = (self.move_up(flow), self.move_down(flow));
        if let Some((meter, _)) = &self.observer {
            meter.set(self.up_bytes, self.down_bytes);
        }
        let (Ok(up_is_spent), Ok(down_is_spent)) = moved else {
            return Turn::Ended(EndReason::LocalReset);
        };
        self.close_flow(flow);
        if self.flow_closed && self.host_shut && flow.state() == FlowState::TimeWait {
            return Turn::Ended(EndReason::Finished);
        }
        if up_is_spent || down_is_spent {
            Turn::Again
        } else {
            Turn::Waiting
        }
    }

    fn end_of_gone_flow(&self) -> EndReason {
        if self.flow_closed && self.host_shut {
            EndReason::Finished
        } else {
            EndReason::RemoteReset
        }
    }

    /// Host to flow. Says whether the budget is spent.
    fn move_up(&mut self, flow: &mut TcpFlow) -> io::Result<bool> {
        let mut budget = TURN_BYTES;
        while self.early_sent < self.early.len() && flow.space_bytes() > 0 {
            let rest = self.early.get(self.early_sent..).unwrap_or_default();
            let copied = flow.commit(|room| copy(rest, room));
            self.early_sent += copied;
            self.up_bytes += copied as u64;
            if self.early_sent >= self.early.len() {
                self.early = Vec::new();
                self.early_sent = 0;
            }
        }
        while self.early.is_empty() && self.readable && flow.space_bytes() > 0 {
            if budget == 0 {
                return Ok(true);
            }
            let read = self.read_into(flow, budget)?;
            budget -= read;
            self.up_bytes += read as u64;
        }
        Ok(false)
    }

    /// Closes the flow once the host has nothing more to send. When the far end closed first, its last
    /// acknowledgement ends the flow with all that it holds: what it sent has to be with the host before that.
    fn close_flow(&mut self, flow: &mut TcpFlow) {
        let is_due = self.host_at_end && self.early.is_empty() && flow.state() == FlowState::Open;
        if is_due && !self.flow_closed && !flow.would_lose_bytes_by_close() {
            self.flow_closed = true;
            flow.close();
        }
    }

    fn read_into(&mut self, flow: &mut TcpFlow, budget: usize) -> io::Result<usize> {
        let mut outcome = Ok(0);
        let mut asked = 0;
        let socket = &mut self.socket;
        flow.commit(|room| {
            let len = room.len().min(budget);
            asked = len;
            outcome = room.get_mut(..len).map_or(Ok(0), |room| socket.read(room));
            outcome.as_ref().map_or(0, |read| *read)
        });
        match outcome {
            Ok(0) => {
                self.readable = false;
                self.host_at_end = true;
                Ok(0)
            }
            Ok(read) => {
                self.readable = read == asked || self.read_closed;
                Ok(read)
            }
            Err(error) => {
                self.readable = !is_would_block(&error)?;
                Ok(0)
            }
        }
    }

    /// Flow to host. Says whether the budget is spent.
    fn move_down(&mut self, flow: &mut TcpFlow) -> io::Result<bool> {
        let mut budget = TURN_BYTES;
        while self.writable && flow.readable_bytes() > 0 {
            if budget == 0 {
                return Ok(true);
            }
            let mut outcome = Ok(0);
            let socket = &mut self.socket;
            let written = flow.consume(|bytes| {
                let len = bytes.len().min(budget);
                outcome = bytes.get(..len).map_or(Ok(0), |bytes| socket.write(bytes));
                outcome.as_ref().map_or(0, |written| *written)
            });
            if let Err(error) = outcome {
                self.writable = !is_would_block(&error)?;
            }
            budget -= written;
            self.down_bytes += written as u64;
        }
        if flow.is_at_end() && !self.host_shut {
            self.host_shut = true;
            self.socket.shut_write();
        }
        Ok(false)
    }

    /// Lets go of a host socket that has nothing more to give or to take, while the flow still waits for the far end.
    pub(crate) fn let_go(&mut self, registry: &Registry) {
        if self.flow_closed && self.host_shut && !matches!(self.socket, HostSocket::Closed) {
            self.socket.deregister(registry);
            self.socket = HostSocket::Closed;
        }
    }

    /// Ends the relay: closes or resets the host socket and tells who waits for it.
    pub(crate) fn finish(mut self, registry: &Registry, reason: EndReason) {
        if reason != EndReason::Finished {
            self.socket.reset_on_close();
        }
        self.socket.deregister(registry);
        let end = RelayEnd {
            up_bytes: self.up_bytes,
            down_bytes: self.down_bytes,
            reason,
        };
        drop(self.socket);
        if self.observer.is_some_and(|(_, done)| done.send(end).is_err()) {
            tracing::trace!("nobody waits for the end of this relay");
        }
    }
}

/// Whether it is no error but a full or empty socket; an interrupted call is tried again.
fn is_would_block(error: &io::Error) -> io::Result<bool> {
    let kind = error.kind();
    if kind == io::ErrorKind::WouldBlock {
        Ok(true)
    } else if kind == io::ErrorKind::Interrupted {
        Ok(false)
    } else {
        Err(kind.into())
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let len = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..len), to.get_mut(..len)) {
        to.copy_from_slice(from);
    }
    len
}
