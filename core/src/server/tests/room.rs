//! Several clients at one endpoint, joined by links without delay: what they see of each other.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    client::{self, Client, Setup},
    config::{ClientConfig, Directives, ServerConfig},
    server::{Endpoint, Event, Verdict},
    testing::{
        SeededRng,
        certs::{Identity, Leaf, LeafUsage, TestPki},
    },
    tunnel::{PacketSink, Tunnel, WallClock, WireSink},
};

const UNIX: Duration = Duration::from_hours(490_896);
const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 1194);

struct Guest {
    address: SocketAddr,
    client: Client,
    inner: [u8; 4],
    received: Vec<Vec<u8>>,
}

struct Room {
    now: Instant,
    server: Endpoint,
    guests: Vec<Guest>,
    behind: Vec<Vec<u8>>,
    gone: Vec<String>,
}

/// Collects inner packets.
struct Collect<'a>(&'a mut Vec<Vec<u8>>);

impl PacketSink for Collect<'_> {
    fn deliver(&mut self, packet: &mut [u8]) {
        self.0.push(packet.to_vec());
    }
}

/// Collects one sealed datagram.
#[derive(Default)]
struct Slot(Vec<u8>);

impl WireSink for Slot {
    fn reserve(&mut self, _to: SocketAddr, len: usize) -> Option<&mut [u8]> {
        self.0 = vec![0; len];
        Some(&mut self.0)
    }

    fn commit(&mut self, len: usize) {
        self.0.truncate(len);
    }
}

fn no_files(path: &str) -> Result<Vec<u8>, String> {
    Err(path.to_owned())
}

fn inline(pki: &TestPki, own: &Identity) -> String {
    format!(
        "<ca>\n{}</ca>\n<cert>\n{}</cert>\n<key>\n{}</key>\n",
        pki.ca, own.cert, own.key
    )
}

impl Room {
    /// A server with `extra` options and one client for each name.
    fn new(extra: &str, names: &[&str]) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the origin of virtual time: any instant will do"
        )]
        let now = Instant::now();
        let clock = WallClock::new(now, UNIX);
        let pki = TestPki::new();
        let text = format!(
            "server 10.8.0.0 255.255.255.0\ntopology subnet\n{extra}{}",
            inline(&pki, &pki.server)
        );
        let directives = Directives::parse("server.conf", &text).unwrap();
        let config = ServerConfig::resolve(&directives, &mut no_files).unwrap().0;
        let server = Endpoint::new(now, clock, Box::new(SeededRng::new(1)), Arc::new(config)).unwrap();
        let mut room = Self {
            now,
            server,
            guests: Vec::new(),
            behind: Vec::new(),
            gone: Vec::new(),
        };
        for (port, name) in (5001..).zip(names) {
            let own = pki.issue(&Leaf::new(name, LeafUsage::Client));
            let text = format!("client\nremote 192.0.2.1\n{}", inline(&pki, &own));
            let directives = Directives::parse("client.ovpn", &text).unwrap();
            let config = ClientConfig::resolve(&directives, &mut no_files).unwrap().0;
            let setup = Arc::new(Setup::new(config).unwrap());
            let rng = Box::new(SeededRng::new(port.into()));
            let client = Client::new(now, clock, rng, setup, (0, SERVER), None).unwrap();
            let address = SocketAddr::from(([192, 0, 2, 77], port));
            room.guests.push(Guest {
                address,
                client,
                inner: [0; 4],
                received: Vec::new(),
            });
            room.settle();
        }
        room
    }

    /// Carries packets until nobody has anything to say.
    fn settle(&mut self) {
        for _round in 0..200 {
            let mut quiet = true;
            for index in 0..self.guests.len() {
                let (address, now) = (self.guests[index].address, self.now);
                while let Some(transmit) = self.guests[index].client.poll_transmit(now) {
                    quiet = false;
                    self.arrive(address, transmit.bytes);
                }
            }
            while let Some(transmit) = self.server.poll_transmit(self.now) {
                quiet = false;
                self.carry_down(transmit.to, transmit.bytes);
            }
            if quiet {
                return;
            }
        }
        panic!("they never stop talking");
    }

    /// A datagram reaches the server, from wherever it claims to come.
    fn arrive(&mut self, from: SocketAddr, mut bytes: Vec<u8>) {
        self.server
            .handle_datagram(self.now, from, &mut bytes, &mut Collect(&mut self.behind));
        while let Some(event) = self.server.poll_event() {
            match event {
                Event::Client { cid, kid, .. } => {
                    self.server
                        .decide(self.now, cid, kid, Verdict::Accept { push: Vec::new() });
                }
                Event::Gone { reason, .. } => self.gone.push(reason.to_string()),
                Event::Established(_) | Event::Floated { .. } | Event::CloseStream(_) | Event::Closed => {}
            }
        }
    }

    fn carry_down(&mut self, to: SocketAddr, mut bytes: Vec<u8>) {
        let now = self.now;
        let Some(guest) = self.guests.iter_mut().find(|guest| guest.address == to) else {
            return;
        };
        guest
            .client
            .handle_datagram(now, SERVER, &mut bytes, &mut Collect(&mut guest.received));
        while let Some(event) = guest.client.poll_event() {
            if let client::Event::Connected(connected) = event {
                guest.inner = connected.pushed.ifconfig.unwrap().addr.octets();
            }
        }
    }

    /// An inner packet of guest `from`, sealed.
    fn sealed(&mut self, from: usize, to: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        packet[3] = 40;
        packet[9] = 17;
        packet[12..16].copy_from_slice(&self.guests[from].inner);
        packet[16..20].copy_from_slice(&to);
        let mut slot = Slot::default();
        self.guests[from]
            .client
            .handle_packet(self.now, &mut packet, &mut slot);
        slot.0
    }

    fn send(&mut self, from: usize, to: [u8; 4]) {
        let bytes = self.sealed(from, to);
        self.arrive(self.guests[from].address, bytes);
        self.settle();
    }
}

#[test]
fn clients_reach_each_other_only_where_that_is_configured() {
    for (extra, wanted) in [("client-to-client\n", 1), ("", 0)] {
        let mut room = Room::new(extra, &["alice", "bob"]);
        let bob = room.guests[1].inner;
        assert_ne!(bob, [0; 4], "bob is in");
        room.send(0, bob);
        assert_eq!(room.guests[1].received.len(), wanted, "{extra:?}");
        assert!(room.behind.is_empty(), "{extra:?}: it is not for the device");
        room.send(0, [203, 0, 113, 5]);
        assert_eq!(room.behind.len(), 1);
    }
}

/// A client that sends one good packet from another client's address (sources can be forged) once ended the other's
/// session.
#[test]
fn a_forged_source_address_moves_nobody_onto_another_client() {
    let mut room = Room::new("", &["alice", "mallory"]);
    let alice = room.guests[0].address;
    let forged = room.sealed(1, [203, 0, 113, 5]);
    room.arrive(alice, forged);
    assert!(room.gone.is_empty(), "{:?}", room.gone);
    room.behind.clear();
    room.send(0, [203, 0, 113, 6]);
    assert_eq!(room.behind.len(), 1, "alice is still in");
}

#[test]
fn the_same_name_replaces_its_older_session_unless_told_otherwise() {
    let mut room = Room::new("", &["alice", "alice"]);
    assert_eq!(room.gone, ["replaced by a newer session"]);
    room.send(1, [203, 0, 113, 5]);
    assert_eq!(room.behind.len(), 1);
    let room = Room::new("duplicate-cn\n", &["alice", "alice"]);
    assert!(room.gone.is_empty());
    assert_ne!(room.guests[0].inner, room.guests[1].inner);
}

#[test]
fn clients_beyond_the_limit_are_not_answered() {
    let room = Room::new("max-clients 2\n", &["alice", "bob", "carol"]);
    assert_eq!(room.guests[2].inner, [0; 4]);
    assert!(room.guests[0].inner != [0; 4] && room.guests[1].inner != [0; 4]);
}
