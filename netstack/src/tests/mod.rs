//! Scenarios: a stack and an exit in one loop on a thread, joined by an in-memory link; hosts are real sockets.

mod flows;
mod hostile;
mod listen;
mod names;
mod outage;
mod pair;
mod refusal;
mod session;

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::device::DeviceName;
use crate::exit::Redirect;
use crate::rng::Rng;
use crate::{
    Exit, ExitConfig, ExitLimits, ExitPolicy, Flow, FlowError, Limits, LocalSocket, Network, RelayEnd,
    ResolverGroup, Stack, StackConfig, StackHandle, StackStats, Target,
};

pub(super) const CLIENT: &str = "10.8.0.2/24";
pub(super) const CLIENT_V6: &str = "fd00::2/64";
const WAKER: mio::Token = mio::Token(0);
const STACK_TOKENS: usize = 16;
const EXIT_TOKENS: usize = 1 << 20;
/// No test waits longer for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

type Order = Box<dyn FnOnce(&mut Stack, &mut Exit, Instant) + Send>;

/// How the world is made.
pub(super) struct Options {
    pub(super) network: Option<Network>,
    pub(super) limits: Limits,
    pub(super) redirects: Vec<Redirect>,
    /// Packets lost, in thousandths, each way.
    pub(super) loss_permille: u64,
    /// Whether waiting for timers takes no real time.
    pub(super) skips_time: bool,
}

impl Options {
    pub(super) fn new() -> Self {
        Self {
            network: Some(network()),
            limits: Limits::default(),
            redirects: Vec::new(),
            loss_permille: 0,
            skips_time: false,
        }
    }

    pub(super) fn redirect(mut self, inner: &str, host: SocketAddr) -> Self {
        self.redirects.push(Redirect {
            inner: inner.parse().unwrap(),
            host,
        });
        self
    }
}

pub(super) fn network() -> Network {
    Network {
        addresses: vec![CLIENT.parse().unwrap(), CLIENT_V6.parse().unwrap()],
        mtu_bytes: 1400,
        resolvers: vec![ResolverGroup::general(["10.8.0.53:53".parse().unwrap()])],
        search_domains: vec!["corp.example".to_owned()],
    }
}

pub(super) struct World {
    pub(super) handle: StackHandle,
    orders: mpsc::Sender<Option<Order>>,
    waker: Arc<mio::Waker>,
    thread: Option<JoinHandle<()>>,
    runtime: tokio::runtime::Runtime,
}

impl World {
    pub(super) fn start(options: Options) -> Self {
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(mio::Waker::new(poll.registry(), WAKER).unwrap());
        let (orders, inbox) = mpsc::channel();
        let now = Instant::now();
        let config = StackConfig {
            name: DeviceName::netstack(0),
            network: options.network,
            limits: options.limits,
            seed: 1,
        };
        let registry = poll.registry().try_clone().unwrap();
        let (stack, handle) = Stack::new(now, config, registry, Arc::clone(&waker), STACK_TOKENS);
        let policy = ExitPolicy {
            redirects: options.redirects,
            ..ExitPolicy::default()
        };
        let config = ExitConfig {
            addresses: vec!["10.8.0.1/24".parse().unwrap(), "fd00::1/64".parse().unwrap()],
            mtu_bytes: 1400,
            policy,
            limits: ExitLimits::default(),
            seed: 2,
        };
        let exit = Exit::new(now, config, poll.registry().try_clone().unwrap(), EXIT_TOKENS);
        let link = Link {
            up: VecDeque::new(),
            down: VecDeque::new(),
            loss: options.loss_permille,
            rng: Rng::new(3),
        };
        let skips_time = options.skips_time;
        let thread = std::thread::spawn(move || run(poll, stack, exit, link, &inbox, skips_time));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        Self {
            handle,
            orders,
            waker,
            thread: Some(thread),
            runtime,
        }
    }

    /// Runs something on the loop's thread and waits for it.
    pub(super) fn order<T: Send + 'static>(
        &self,
        order: impl FnOnce(&mut Stack, &mut Exit, Instant) -> T + Send + 'static,
    ) -> T {
        let (done, result) = mpsc::channel();
        let order: Order = Box::new(move |stack, exit, now| done.send(order(stack, exit, now)).unwrap());
        self.orders.send(Some(order)).unwrap();
        self.waker.wake().unwrap();
        result.recv_timeout(PATIENCE).unwrap()
    }

    pub(super) fn stats(&self) -> (StackStats, StackStats) {
        self.order(|stack, exit, _| (stack.stats(), exit.stats()))
    }

    /// Waits for a future, but not for ever.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, future).await })
            .expect("waited too long")
    }

    pub(super) fn connect(&self, target: &str) -> Result<Flow, FlowError> {
        self.wait(self.handle.connect(Target::Address(address(target))))
    }

    /// Opens a flow and joins it to one end of a local connection; the other end and the relay's end are given.
    pub(super) fn open(&self, target: &str) -> (TcpStream, mpsc::Receiver<RelayEnd>) {
        let flow = self.connect(target).unwrap();
        join(flow)
    }
}

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().expect("a test names an address")
}

/// Joins a flow to one end of a local connection; the other end and the relay's end are given.
pub(super) fn join(flow: Flow) -> (TcpStream, mpsc::Receiver<RelayEnd>) {
    let (ours, local) = tcp_pair();
    (ours, relay(flow, LocalSocket::Tcp(local), Vec::new()))
}

/// Runs a relay on a thread of its own, so that a test may block meanwhile.
pub(super) fn relay(flow: Flow, local: LocalSocket, early: Vec<u8>) -> mpsc::Receiver<RelayEnd> {
    let (done, end) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let end = runtime.block_on(flow.relay(local, early));
        done.send(end).ok();
    });
    end
}

impl Drop for World {
    fn drop(&mut self) {
        self.orders.send(None).ok();
        self.waker.wake().ok();
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            assert!(outcome.is_ok() || std::thread::panicking(), "the loop panicked");
        }
    }
}

struct Link {
    up: VecDeque<Vec<u8>>,
    down: VecDeque<Vec<u8>>,
    loss: u64,
    rng: Rng,
}

impl Link {
    fn carry(queue: &mut VecDeque<Vec<u8>>, loss: u64, rng: &mut Rng, packet: &[u8]) -> bool {
        // A short queue, so that refusing is exercised, too.
        if queue.len() >= 64 {
            return false;
        }
        if loss == 0 || rng.next_u64() % 1000 >= loss {
            queue.push_back(packet.to_vec());
        }
        true
    }
}

fn run(
    mut poll: mio::Poll,
    mut stack: Stack,
    mut exit: Exit,
    mut link: Link,
    orders: &mpsc::Receiver<Option<Order>>,
    skips_time: bool,
) {
    let mut events = mio::Events::with_capacity(256);
    let mut skipped = Duration::ZERO;
    let mut is_busy = true;
    let mut idle_turns = 0;
    loop {
        let now = Instant::now() + skipped;
        let due = [stack.poll_timeout(), exit.poll_timeout()]
            .into_iter()
            .flatten()
            .min();
        let wait = due.map_or(PATIENCE, |due| due.saturating_duration_since(now));
        let wait = if is_busy { Duration::ZERO } else { wait };
        let wait = if skips_time {
            wait.min(Duration::from_millis(2))
        } else {
            wait
        };
        poll.poll(&mut events, Some(wait)).unwrap();
        idle_turns = if is_busy || !events.is_empty() {
            0
        } else {
            idle_turns + 1
        };
        if skips_time && let Some(due) = due {
            // A retransmission timer, at most a minute; long ones only once the hosts must have finished.
            let ahead = due.saturating_duration_since(Instant::now() + skipped);
            let is_short = idle_turns > 0 && ahead < Duration::from_secs(5);
            if is_short || (idle_turns > 50 && ahead < Duration::from_secs(62)) {
                skipped += ahead;
            }
        }
        let now = Instant::now() + skipped;
        for event in &events {
            match event.token().0 {
                0 => {
                    if obey(orders, &mut stack, &mut exit, now) {
                        return;
                    }
                    stack.handle_commands(now);
                }
                token if token >= EXIT_TOKENS => exit.handle_ready(now, event),
                _ => stack.handle_ready(now, event),
            }
        }
        for mut packet in std::mem::take(&mut link.up) {
            exit.handle_packet(now, &mut packet);
        }
        for mut packet in std::mem::take(&mut link.down) {
            stack.handle_packet(now, &mut packet);
        }
        stack.handle_timeout(now);
        exit.handle_timeout(now);
        let Link { up, down, loss, rng } = &mut link;
        is_busy = stack.transmit(now, 64, &mut |packet| Link::carry(up, *loss, rng, packet));
        is_busy |= exit.transmit(now, 64, &mut |packet| Link::carry(down, *loss, rng, packet));
        is_busy |= !up.is_empty() || !down.is_empty();
    }
}

/// Carries out what a test ordered. Returns whether it is over.
fn obey(orders: &mpsc::Receiver<Option<Order>>, stack: &mut Stack, exit: &mut Exit, now: Instant) -> bool {
    for order in orders.try_iter() {
        let Some(order) = order else { return true };
        order(stack, exit, now);
    }
    false
}

pub(super) fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (local, _) = listener.accept().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    ours.set_write_timeout(Some(PATIENCE)).unwrap();
    (ours, local)
}

/// A host that serves each connection on a thread of its own.
pub(super) fn serve(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Bytes that differ at every position.
pub(super) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend(rng.next_u64().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub(super) fn shared<T>(value: T) -> Arc<Mutex<T>> {
    Arc::new(Mutex::new(value))
}
