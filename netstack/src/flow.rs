//! One TCP flow: access to its rings and its end. The only place, with `engine.rs`, that knows whose TCP it is.

use std::time::Duration;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};

use crate::sequence::SentEnd;

/// Size class of a flow's buffers; the pool's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizeClass(pub(crate) usize);

/// A flow with its rings, in a socket set of its own, so that looking it up costs nothing.
#[derive(Debug)]
pub(crate) struct TcpFlow {
    pub(crate) sockets: SocketSet<'static>,
    handle: SocketHandle,
    pub(crate) class: SizeClass,
    pub(crate) sent_end: SentEnd,
    /// Most bytes that may wait for an acknowledgement; the ring may be larger.
    send_limit_bytes: usize,
    /// How far the flow's clock is ahead of ours: smoltcp's timers can only be hurried by the time that they see.
    pub(crate) ahead: Duration,
}

/// Where a flow is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlowState {
    /// Not both ends agree yet.
    Opening,
    /// Open in at least one direction.
    Open,
    /// Both directions were closed in order; only stray segments are still answered.
    TimeWait,
    /// A reset is still to be sent.
    Aborting,
    /// Nothing is left.
    Gone,
}

impl TcpFlow {
    pub(crate) fn new(class: SizeClass, receive_bytes: usize, transmit_bytes: usize) -> Self {
        let mut socket = Socket::new(
            SocketBuffer::new(vec![0; receive_bytes]),
            SocketBuffer::new(vec![0; transmit_bytes]),
        );
        socket.set_nagle_enabled(false);
        // One acknowledgement a batch: the batch itself is the delay.
        socket.set_ack_delay(None);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Self {
            sockets,
            handle,
            class,
            sent_end: SentEnd::default(),
            send_limit_bytes: usize::MAX,
            ahead: Duration::ZERO,
        }
    }

    pub(crate) fn socket(&self) -> &Socket<'static> {
        self.sockets.get(self.handle)
    }

    pub(crate) fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// Forgets the congestion state of a former use; opening resets the rest.
    pub(crate) fn refresh(&mut self) {
        self.sent_end = SentEnd::default();
        self.send_limit_bytes = usize::MAX;
        self.ahead = Duration::ZERO;
        self.socket_mut().set_congestion_control(CongestionControl::Cubic);
    }

    pub(crate) fn state(&self) -> FlowState {
        let socket = self.socket();
        match socket.state() {
            State::Closed if socket.local_endpoint().is_some() => FlowState::Aborting,
            // A flow that was accepted falls back to listening when its peer resets it.
            State::Closed | State::Listen => FlowState::Gone,
            State::SynSent | State::SynReceived => FlowState::Opening,
            State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck => FlowState::Open,
            State::TimeWait => FlowState::TimeWait,
        }
    }

    /// Bytes that the far end sent and nobody took.
    pub(crate) fn readable_bytes(&self) -> usize {
        match self.state() {
            FlowState::Open | FlowState::TimeWait => self.socket().recv_queue(),
            FlowState::Opening | FlowState::Aborting | FlowState::Gone => 0,
        }
    }

    /// Shows the next received bytes in one piece; what `take` says that it used is removed.
    pub(crate) fn consume(&mut self, take: impl FnOnce(&[u8]) -> usize) -> usize {
        let taken = self.socket_mut().recv(|bytes| {
            let used = take(bytes).min(bytes.len());
            (used, used)
        });
        taken.unwrap_or(0)
    }

    /// Whether the far end has closed and everything that it sent was taken.
    pub(crate) fn is_at_end(&self) -> bool {
        let socket = self.socket();
        let is_closed = matches!(
            socket.state(),
            State::CloseWait | State::Closing | State::LastAck | State::TimeWait
        );
        is_closed && socket.recv_queue() == 0
    }

    /// Limits what may wait for an acknowledgement from now on.
    pub(crate) fn limit_sending(&mut self, bytes: usize) {
        self.send_limit_bytes = bytes;
    }

    /// Whether the far end has closed while bytes of it still wait: closing our side, too, would let the flow end
    /// before they are taken.
    pub(crate) fn would_lose_bytes_by_close(&self) -> bool {
        let socket = self.socket();
        socket.state() == State::CloseWait && socket.recv_queue() > 0
    }

    /// Room for bytes to be sent: whole segments, and none until it is worth a read and a train.
    pub(crate) fn space_bytes(&self) -> usize {
        let socket = self.socket();
        if !socket.may_send() {
            return 0;
        }
        let limit = self.send_limit_bytes.min(socket.send_capacity());
        let space = limit.saturating_sub(socket.send_queue());
        if space < limit / 4 {
            return 0;
        }
        let segment = self.sent_end.segment_bytes();
        if space > segment {
            space - space % segment.max(1)
        } else {
            space
        }
    }

    /// Shows the next free room in one piece; what `fill` says that it wrote is sent.
    pub(crate) fn commit(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) -> usize {
        let space = self.space_bytes();
        let filled = self.socket_mut().send(|room| {
            let len = room.len().min(space);
            let room = room.get_mut(..len).unwrap_or_default();
            let used = fill(room).min(room.len());
            (used, used)
        });
        filled.unwrap_or(0)
    }

    /// Bytes that were not acknowledged yet.
    pub(crate) fn unacknowledged_bytes(&self) -> usize {
        self.socket().send_queue()
    }

    /// No more bytes will be committed.
    pub(crate) fn close(&mut self) {
        self.socket_mut().close();
    }

    /// Ends the flow with a reset.
    pub(crate) fn abort(&mut self) {
        self.socket_mut().abort();
    }
}
