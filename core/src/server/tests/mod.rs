//! Admission without state, leases, and what several clients see of each other.

mod room;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    config::{Directives, Rate, ServerConfig},
    rng::Rng as _,
    server::{
        admit::{Admission, Admitter},
        pool::Pool,
    },
    testing::{SeededRng, certs::TestPki},
    wire::{Acks, Body, Header, KeyId, Opcode, PacketId, Role, SessionId},
    wrap::{StaticKey, WrapKey},
};

const WINDOW: Duration = Duration::from_mins(1);
const CLIENT: SessionId = SessionId([7; 8]);

#[expect(
    clippy::disallowed_methods,
    reason = "the origin of virtual time: any instant will do"
)]
fn start() -> Instant {
    Instant::now()
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 9], port))
}

fn admitter(now: Instant, wrap: WrapKey, resets: u32) -> Admitter {
    let rate = Rate {
        count: resets,
        per: Duration::from_secs(10),
    };
    Admitter::new(now, &mut SeededRng::new(1), wrap, WINDOW, rate, None)
}

fn packet(opcode: Opcode, id: u32, cookie: Option<SessionId>, wrap: &WrapKey) -> Vec<u8> {
    let acks: Acks = cookie.map(|_| PacketId(0)).into_iter().collect();
    let mut body = Vec::new();
    let id = Some(PacketId(id)).filter(|_| opcode != Opcode::Ack);
    Body {
        acks,
        remote: cookie,
        id,
        payload: &[],
    }
    .encode(&mut body);
    let mut out = Vec::new();
    let header = Header {
        opcode,
        key_id: KeyId::FIRST,
        session: CLIENT,
    };
    wrap.context(Role::Client)
        .seal(1_767_225_600, header, &body, &mut out)
        .unwrap();
    out
}

fn judge(admitter: &mut Admitter, now: Instant, from: SocketAddr, packet: &[u8]) -> Admission {
    admitter.judge(now, 1_767_225_600, from, &mut packet.to_vec())
}

fn cookie_of(answer: &Admission, wrap: &WrapKey) -> SessionId {
    let Admission::Answer(bytes) = answer else {
        panic!("{answer:?}");
    };
    let mut bytes = bytes.clone();
    let context = wrap.context(Role::Client);
    let (header, body) = context.authenticate(&mut bytes).unwrap();
    let body = Body::decode(header.opcode, body).unwrap();
    assert_eq!(header.opcode, Opcode::HardResetServerV2);
    assert_eq!(body.remote, Some(CLIENT));
    header.session
}

#[test]
fn a_session_is_made_only_for_an_address_that_returns_its_cookie() {
    let now = start();
    let keys = [
        WrapKey::None,
        WrapKey::TlsCrypt {
            key: StaticKey::generate(&mut SeededRng::new(3)),
        },
    ];
    for wrap in keys {
        let mut admitter = admitter(now, wrap.clone(), 100);
        let reset = packet(Opcode::HardResetClientV2, 0, None, &wrap);
        let cookie = cookie_of(&judge(&mut admitter, now, address(1), &reset), &wrap);
        let good = packet(Opcode::Control, 1, Some(cookie), &wrap);
        assert_eq!(
            judge(&mut admitter, now, address(1), &good),
            Admission::Create(cookie, CLIENT)
        );
        assert_eq!(
            judge(&mut admitter, now, address(2), &good),
            Admission::Drop,
            "another port"
        );
        let late = packet(Opcode::Control, 2, Some(cookie), &wrap);
        assert_eq!(
            judge(&mut admitter, now, address(1), &late),
            Admission::Drop,
            "not the first message"
        );
        let forged = packet(Opcode::Ack, 0, Some(SessionId([9; 8])), &wrap);
        assert_eq!(judge(&mut admitter, now, address(1), &forged), Admission::Drop);
        let none = packet(Opcode::Control, 1, None, &wrap);
        assert_eq!(judge(&mut admitter, now, address(1), &none), Admission::Drop);
    }
}

#[test]
fn a_cookie_is_good_for_a_handshake_window_and_then_no_more() {
    let now = start();
    let mut admitter = admitter(now, WrapKey::None, 100);
    let reset = packet(Opcode::HardResetClientV2, 0, None, &WrapKey::None);
    let cookie = cookie_of(&judge(&mut admitter, now, address(1), &reset), &WrapKey::None);
    let back = packet(Opcode::Ack, 0, Some(cookie), &WrapKey::None);
    let at = |seconds| now + Duration::from_secs(seconds);
    assert_eq!(
        judge(&mut admitter, at(59), address(1), &back),
        Admission::Create(cookie, CLIENT)
    );
    assert_eq!(judge(&mut admitter, at(120), address(1), &back), Admission::Drop);
}

#[test]
fn resets_are_answered_at_a_bounded_rate_that_honest_clients_give_back() {
    let now = start();
    let mut admitter = admitter(now, WrapKey::None, 3);
    let reset = packet(Opcode::HardResetClientV2, 0, None, &WrapKey::None);
    let mut answered = 0;
    for port in 1..=10 {
        answered += u32::from(judge(&mut admitter, now, address(port), &reset) != Admission::Drop);
    }
    assert_eq!(answered, 3);
    let later = now + Duration::from_secs(10);
    for port in 1..=10 {
        let answer = judge(&mut admitter, later, address(port), &reset);
        let cookie = cookie_of(&answer, &WrapKey::None);
        let back = packet(Opcode::Ack, 0, Some(cookie), &WrapKey::None);
        assert_ne!(judge(&mut admitter, later, address(port), &back), Admission::Drop);
    }
}

fn config(extra: &str) -> ServerConfig {
    let pki = TestPki::new();
    let text = format!(
        "server 10.8.0.0 255.255.255.248\nserver-ipv6 fd00::/64\ntopology subnet\n{extra}<ca>\n{}</ca>\n\
         <cert>\n{}</cert>\n<key>\n{}</key>\n",
        pki.ca, pki.server.cert, pki.server.key
    );
    let directives = Directives::parse("server.conf", &text).unwrap();
    let mut no_files = |path: &str| Err(path.to_owned());
    ServerConfig::resolve(&directives, &mut no_files).unwrap().0
}

#[test]
fn a_name_gets_its_address_back_while_it_is_free() {
    let mut pool = Pool::new(&config(""));
    let alice = pool.lease("alice").unwrap();
    let bob = pool.lease("bob").unwrap();
    assert_eq!(alice.v4.to_string(), "10.8.0.2");
    assert_eq!(bob.v4.to_string(), "10.8.0.3");
    assert_ne!(alice.v6, bob.v6);
    pool.release(alice);
    let carol = pool.lease("carol").unwrap();
    assert_ne!(carol.v4, alice.v4);
    assert_eq!(pool.lease("alice").unwrap(), alice);
}

#[test]
fn a_pool_never_leases_an_address_twice_and_runs_dry_cleanly() {
    let mut pool = Pool::new(&config(""));
    let mut rng = SeededRng::new(5);
    let mut held = Vec::new();
    for step in 0..2000 {
        if rng.below(2) == 0 && !held.is_empty() {
            let index = rng.below(u32::try_from(held.len()).unwrap()) as usize;
            pool.release(held.swap_remove(index));
        } else if let Some(lease) = pool.lease(&format!("user {}", rng.below(9))) {
            assert!(!held.contains(&lease), "step {step}: {lease:?} twice");
            held.push(lease);
        } else {
            assert_eq!(held.len(), 5, "step {step}: refused with addresses free");
        }
    }
}
