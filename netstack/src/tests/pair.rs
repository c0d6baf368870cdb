//! Two stacks joined by a link that can be cut, in one thread and in virtual time: a turn is a millisecond.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::address;
use crate::device::DeviceName;
use crate::{
    Flow, FlowError, InnerListener, Limits, LocalSocket, Network, RelayEnd, Stack, StackConfig, StackHandle,
    Target,
};

const NEAR_WAKER: mio::Token = mio::Token(0);
const NEAR_TOKENS: usize = 16;
const FAR_TOKENS: usize = 1 << 20;
pub(super) const NEAR: &str = "10.8.0.2/24";
pub(super) const NEAR_V6: &str = "fd00::2/64";
const FAR: &str = "10.8.0.3/24";
const FAR_V6: &str = "fd00::3/64";
/// Turns until a test gives up; virtual milliseconds.
const MAX_TURNS: usize = 200_000;

pub(super) fn network(addresses: &[&str]) -> Network {
    Network {
        addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
        mtu_bytes: 1400,
        resolvers: Vec::new(),
        search_domains: Vec::new(),
    }
}

pub(super) struct Pair {
    poll: mio::Poll,
    pub(super) near: Stack,
    pub(super) far: Stack,
    pub(super) near_handle: StackHandle,
    pub(super) far_handle: StackHandle,
    pub(super) now: Instant,
    /// Nothing arrives, either way.
    pub(super) is_cut: bool,
    to_far: Vec<Vec<u8>>,
    to_near: Vec<Vec<u8>>,
}

impl Pair {
    pub(super) fn new(limits: &Limits) -> Self {
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(mio::Waker::new(poll.registry(), NEAR_WAKER).unwrap());
        let now = Instant::now();
        let stack = |addresses: &[&str], first_token, limits: &Limits| {
            let config = StackConfig {
                name: DeviceName::netstack(0),
                network: Some(network(addresses)),
                limits: limits.clone(),
                seed: first_token as u64,
            };
            let registry = poll.registry().try_clone().unwrap();
            Stack::new(now, config, registry, Arc::clone(&waker), first_token)
        };
        let (near, near_handle) = stack(&[NEAR, NEAR_V6], NEAR_TOKENS, limits);
        let (far, far_handle) = stack(&[FAR, FAR_V6], FAR_TOKENS, &Limits::default());
        Self {
            poll,
            near,
            far,
            near_handle,
            far_handle,
            now,
            is_cut: false,
            to_far: Vec::new(),
            to_near: Vec::new(),
        }
    }

    pub(super) fn turn(&mut self) {
        self.now += Duration::from_millis(1);
        let now = self.now;
        let mut events = mio::Events::with_capacity(256);
        self.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        for event in &events {
            match event.token().0 {
                token if token >= FAR_TOKENS => self.far.handle_ready(now, event),
                _ => self.near.handle_ready(now, event),
            }
        }
        self.near.handle_commands(now);
        self.far.handle_commands(now);
        let (to_far, to_near) = (
            std::mem::take(&mut self.to_far),
            std::mem::take(&mut self.to_near),
        );
        if !self.is_cut {
            for mut packet in to_far {
                self.far.handle_packet(now, &mut packet);
            }
            for mut packet in to_near {
                self.near.handle_packet(now, &mut packet);
            }
        }
        self.near.handle_timeout(now);
        self.far.handle_timeout(now);
        let Self {
            near,
            far,
            to_far,
            to_near,
            ..
        } = self;
        near.transmit(now, 64, &mut |packet| {
            to_far.push(packet.to_vec());
            true
        });
        far.transmit(now, 64, &mut |packet| {
            to_near.push(packet.to_vec());
            true
        });
    }

    /// What the next turn brings to the far end.
    pub(super) fn under_way_to_far(&self) -> &[Vec<u8>] {
        &self.to_far
    }

    /// Gives a packet to the near end, as the far side might.
    pub(super) fn inject(&mut self, mut packet: Vec<u8>) {
        self.near.handle_packet(self.now, &mut packet);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.turn();
        }
    }

    pub(super) fn wait<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        for _ in 0..MAX_TURNS {
            if let Poll::Ready(value) = poll_once(future.as_mut()) {
                return value;
            }
            self.turn();
        }
        panic!("waited too long");
    }

    /// Turns until `is_done`, and says how long that took.
    pub(super) fn until(&mut self, mut is_done: impl FnMut(&mut Self) -> bool) -> Duration {
        let begun = self.now;
        for _ in 0..MAX_TURNS {
            if is_done(self) {
                return self.now - begun;
            }
            self.turn();
        }
        panic!("waited too long");
    }

    pub(super) fn listen(&mut self, port: u16) -> Result<InnerListener, FlowError> {
        let handle = self.near_handle.clone();
        self.wait(async move { handle.listen(port).await })
    }

    pub(super) fn connect_from_far(&mut self, to: &str) -> Result<Flow, FlowError> {
        let (handle, to) = (self.far_handle.clone(), address(to));
        self.wait(async move { handle.connect(Target::Address(to)).await })
    }

    /// A flow between two local sockets: ours at the near end, ours at the far end.
    pub(super) fn joined(&mut self) -> (End, End) {
        let mut listener = self.listen(7).unwrap();
        let far = self.connect_from_far("10.8.0.2:7").unwrap();
        let near = self.wait(listener.accept()).unwrap();
        (End::new(near), End::new(far))
    }
}

fn poll_once<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A program's side of a relay, and the relay.
pub(super) struct End {
    pub(super) socket: UnixStream,
    relay: Option<Pin<Box<dyn Future<Output = RelayEnd>>>>,
}

impl End {
    pub(super) fn new(flow: Flow) -> Self {
        let (socket, local) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut relay: Pin<Box<dyn Future<Output = RelayEnd>>> =
            Box::pin(flow.relay(LocalSocket::Unix(local), Vec::new()));
        assert!(poll_once(relay.as_mut()).is_pending());
        Self {
            socket,
            relay: Some(relay),
        }
    }

    /// Writes what the socket takes.
    pub(super) fn fill(&mut self) {
        while matches!(self.socket.write(&[7; 16 * 1024]), Ok(1..)) {}
    }

    /// Reads what is there.
    pub(super) fn drain(&mut self) -> usize {
        let mut total = 0;
        let mut buf = [0; 16 * 1024];
        while let Ok(read @ 1..) = self.socket.read(&mut buf) {
            total += read;
        }
        total
    }

    /// How reading ends: nothing yet, in order, or by an error.
    pub(super) fn ending(&mut self) -> Option<Result<(), ErrorKind>> {
        match self.socket.read(&mut [0]) {
            Ok(0) => Some(Ok(())),
            Ok(_) => None,
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(error.kind())),
        }
    }

    pub(super) fn relay_end(&mut self) -> Option<RelayEnd> {
        match poll_once(self.relay.as_mut()?.as_mut()) {
            Poll::Ready(end) => {
                self.relay = None;
                Some(end)
            }
            Poll::Pending => None,
        }
    }

    pub(super) fn drop_relay(&mut self) {
        self.relay = None;
    }
}
