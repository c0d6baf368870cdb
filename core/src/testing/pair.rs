//! A client and a server endpoint joined by two links, in virtual time.

use std::{
    collections::VecDeque,
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    client::{self, Client, CloseReason, Connected, Credentials, Setup},
    config::ServerConfig,
    server::{self, DenyReason, Endpoint, Verdict},
    testing::{Link, SeededRng},
    tunnel::{PacketSink, Sent, Tunnel, WallClock, WireSink},
    wire::SessionId,
};

/// Steps that a run may take; beyond it the two peers are stuck in a loop.
const MAX_STEPS: u32 = 200_000;

/// A client and a server, the links between them, and what they reported.
#[derive(Debug)]
pub struct Pair {
    /// The virtual time.
    pub now: Instant,
    /// The client.
    pub client: Client,
    /// The server.
    pub server: Endpoint,
    /// From client to server.
    pub up: Link,
    /// From server to client.
    pub down: Link,
    /// What the client got out of the tunnel.
    pub client_received: VecDeque<Vec<u8>>,
    /// What the server got out of the tunnel.
    pub server_received: VecDeque<Vec<u8>>,
    /// Options of the established connection.
    pub connected: Option<Box<Connected>>,
    /// How the client's connection ended.
    pub closed: Option<CloseReason>,
    /// Clients that the server let in.
    pub established: Vec<server::Established>,
    /// Clients that the server lost, with the reason as text.
    pub gone: Vec<String>,
    /// What the server asked while it decided.
    pub pending: Vec<client::PendingRequest>,
    /// Renegotiations that the client completed.
    pub renewals: u32,
    /// The token that the server pushed last.
    pub token: Option<Credentials>,
    /// Refuse whoever asks to be let in, with this text for the client.
    pub deny: Option<String>,
    client_address: SocketAddr,
    server_address: SocketAddr,
}

/// A run that did not come to its end.
#[derive(Debug)]
pub struct Stuck {
    /// Virtual time that passed.
    pub after: Duration,
    /// State of the two sides.
    pub state: String,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stuck after {:?}: {}", self.after, self.state)
    }
}

/// Puts sealed datagrams on a link.
struct ToLink<'a> {
    link: &'a mut Link,
    now: Instant,
    slot: Vec<u8>,
}

impl WireSink for ToLink<'_> {
    fn reserve(&mut self, _to: SocketAddr, len: usize) -> Option<&mut [u8]> {
        self.slot = vec![0; len];
        Some(&mut self.slot)
    }

    fn commit(&mut self, len: usize) {
        self.slot.truncate(len);
        self.link.send(self.now, &self.slot);
    }
}

/// Collects inner packets.
struct Collect<'a>(&'a mut VecDeque<Vec<u8>>);

impl PacketSink for Collect<'_> {
    fn deliver(&mut self, packet: &mut [u8]) {
        self.0.push_back(packet.to_vec());
    }
}

impl Pair {
    /// A client and a server over UDP with these links; `start` is any instant, the virtual time's origin.
    ///
    /// # Panics
    /// If the configurations cannot be used.
    pub fn new(
        (start, unix): (Instant, Duration),
        setup: Arc<Setup>,
        config: Arc<ServerConfig>,
        credentials: Option<Credentials>,
        (up, down): (Link, Link),
        seed: u64,
    ) -> Self {
        let clock = WallClock::new(start, unix);
        let server_address = SocketAddr::from(([192, 0, 2, 1], 1194));
        let rng = |salt| Box::new(SeededRng::new(seed.wrapping_mul(31).wrapping_add(salt)));
        #[expect(
            clippy::expect_used,
            reason = "a test double: a configuration that cannot be used is the test's fault"
        )]
        let client = Client::new(start, clock, rng(1), setup, (0, server_address), credentials)
            .expect("the test's client configuration");
        #[expect(
            clippy::expect_used,
            reason = "a test double: a configuration that cannot be used is the test's fault"
        )]
        let server = Endpoint::new(start, clock, rng(2), config).expect("the test's server configuration");
        Self {
            now: start,
            client,
            server,
            up,
            down,
            client_received: VecDeque::new(),
            server_received: VecDeque::new(),
            connected: None,
            closed: None,
            established: Vec::new(),
            gone: Vec::new(),
            pending: Vec::new(),
            renewals: 0,
            token: None,
            deny: None,
            client_address: SocketAddr::from(([192, 0, 2, 2], 40_000)),
            server_address,
        }
    }

    /// Whether both sides have each other.
    pub fn both_established(&self) -> bool {
        self.connected.is_some() && !self.established.is_empty()
    }

    /// The client's outer address changes, as after a change of networks.
    pub fn roam(&mut self, to: SocketAddr) {
        self.client_address = to;
    }

    /// The session ids as they stand in packets to the server and to the client.
    ///
    /// # Panics
    /// If the client has not heard of the server yet.
    pub fn session_ids(&self) -> (SessionId, SessionId) {
        #[expect(
            clippy::expect_used,
            reason = "a test double: asked too early is the test's fault"
        )]
        self.client.session_ids().expect("a session of both sides")
    }

    /// Sends an inner packet from the client.
    pub fn send_up(&mut self, packet: &mut [u8]) -> Sent {
        let mut sink = ToLink {
            link: &mut self.up,
            now: self.now,
            slot: Vec::new(),
        };
        self.client.handle_packet(self.now, packet, &mut sink)
    }

    /// Sends an inner packet from the server's side.
    pub fn send_down(&mut self, packet: &mut [u8]) -> Sent {
        let mut sink = ToLink {
            link: &mut self.down,
            now: self.now,
            slot: Vec::new(),
        };
        self.server.handle_packet(self.now, packet, &mut sink)
    }

    /// Runs until `done`, at most `limit` of virtual time; returns how much passed.
    ///
    /// # Errors
    /// `done` did not become true.
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Result<Duration, Stuck> {
        let start = self.now;
        for _step in 0..MAX_STEPS {
            self.drain();
            if done(self) {
                return Ok(self.now - start);
            }
            let Some(next) = self.next_instant() else {
                break;
            };
            if next > start + limit {
                break;
            }
            self.now = self.now.max(next);
            self.deliver();
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
        }
        let state = format!(
            "client connected {}, closed {:?}, server has {} clients, gone {:?}",
            self.connected.is_some(),
            self.closed,
            self.server.len(),
            self.gone
        );
        Err(Stuck {
            after: self.now - start,
            state,
        })
    }

    /// Lets `time` pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        let _timed_out = self.run_until(time, |_pair| false);
        self.now = self.now.max(end);
        self.client.handle_timeout(self.now);
        self.server.handle_timeout(self.now);
        self.drain();
    }

    fn next_instant(&self) -> Option<Instant> {
        let client = self.client.poll_timeout().map(|(at, _)| at);
        let server = self.server.poll_timeout().map(|(at, _)| at);
        [client, server, self.up.next_arrival(), self.down.next_arrival()]
            .into_iter()
            .flatten()
            .min()
    }

    fn deliver(&mut self) {
        while let Some(mut packet) = self.up.receive(self.now) {
            let mut sink = Collect(&mut self.server_received);
            self.server
                .handle_datagram(self.now, self.client_address, &mut packet, &mut sink);
        }
        while let Some(mut packet) = self.down.receive(self.now) {
            let mut sink = Collect(&mut self.client_received);
            self.client
                .handle_datagram(self.now, self.server_address, &mut packet, &mut sink);
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.server.poll_event() {
            self.on_server_event(event);
        }
        while let Some(event) = self.client.poll_event() {
            match event {
                client::Event::Connected(connected) => self.connected = Some(connected),
                client::Event::Closed(reason) => self.closed = Some(reason),
                client::Event::Renewed { .. } => self.renewals += 1,
                client::Event::Token(token) => self.token = Some(token),
                client::Event::Pending(request) => self.pending.push(request),
                client::Event::State(_) | client::Event::Info(_) => {}
            }
        }
        while let Some(transmit) = self.client.poll_transmit(self.now) {
            self.up.send(self.now, &transmit.bytes);
        }
        while let Some(transmit) = self.server.poll_transmit(self.now) {
            if transmit.to == self.client_address {
                self.down.send(self.now, &transmit.bytes);
            }
        }
    }

    fn on_server_event(&mut self, event: server::Event) {
        match event {
            server::Event::Client { cid, kid, .. } => {
                let verdict = match &self.deny {
                    Some(text) => {
                        let reason = DenyReason {
                            log: "test".to_owned(),
                            client: text.clone(),
                        };
                        Verdict::Deny { reason }
                    }
                    None => Verdict::Accept { push: Vec::new() },
                };
                self.server.decide(self.now, cid, kid, verdict);
            }
            server::Event::Established(established) => self.established.push(*established),
            server::Event::Gone { reason, .. } => self.gone.push(reason.to_string()),
            server::Event::Floated { .. } | server::Event::CloseStream(_) | server::Event::Closed => {}
        }
    }
}
