//! Bodies of the fuzz targets for everything that comes off the wire. None may panic on any input.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    data::{Cipher, DataKeys, ReplayConfig, clamp_mss},
    keys::Key2,
    session::split_messages,
    testing::SeededRng,
    wire::{Body, Framer, Header, Inner, KeyId, KeyMethod, Opcode, PeerInfo, Role},
    wrap::{Digest, KeyDirection, StaticKey, WrapKey},
};

/// Control packets: unwrapped, and behind tls-auth and tls-crypt with a fixed key.
pub fn control(data: &[u8]) {
    if let Ok((header, body)) = Header::decode(data) {
        let _parsed = Body::decode(header.opcode, body);
    }
    let key = StaticKey::generate(&mut SeededRng::new(1));
    let auth = WrapKey::TlsAuth {
        key: key.clone(),
        digest: Digest::Sha256,
        direction: KeyDirection::Normal,
    };
    for wrap in [WrapKey::None, auth, WrapKey::TlsCrypt { key }] {
        let mut packet = data.to_vec();
        let _opened = wrap.context(Role::Server).authenticate(&mut packet);
    }
}

/// Key-method-2 messages of both roles, and the peer info in them.
pub fn key_method(data: &[u8]) {
    for sender in [Role::Client, Role::Server] {
        let _len = KeyMethod::complete_len(sender, data);
        if let Ok(message) = KeyMethod::decode(sender, data) {
            let info = PeerInfo::parse(message.peer_info.as_str());
            let _values = (info.ciphers(), info.ncp(), info.proto(), info.mtu());
        }
    }
}

/// Data packets, and inner packets on their way through.
pub fn data(data: &[u8]) {
    let key2 = Key2::from_exporter(&[7; 256]);
    let replay = ReplayConfig {
        packets: 64,
        time: Duration::from_secs(15),
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do for a replay window"
    )]
    let now = Instant::now();
    if let Ok(mut keys) = DataKeys::new(Cipher::Aes256Gcm, &key2, Role::Client, KeyId::FIRST, None, replay) {
        let mut packet = data.to_vec();
        let _opened = keys.open(now, &mut packet);
    }
    let mut inner = data.to_vec();
    let before = inner.len();
    clamp_mss(&mut inner, 1300);
    assert_eq!(inner.len(), before, "clamping changes no length");
    let _header = Inner::decode(&inner);
    let _opcode = data.first().map(|first| Opcode::decode_byte(*first));
}

/// The framing of TCP: whatever comes out is within the limit.
pub fn stream(data: &[u8]) {
    const LIMIT: usize = 2048;
    let mut framer = Framer::new(LIMIT);
    let mut rest = data;
    for _round in 0..=data.len() {
        let taken = framer.feed(rest);
        rest = rest.get(taken..).unwrap_or_default();
        loop {
            match framer.next_packet() {
                Ok(Some(packet)) => assert!((1..=LIMIT).contains(&packet.len())),
                Ok(None) => break,
                Err(_out_of_step) => return,
            }
        }
        if rest.is_empty() {
            return;
        }
    }
}

/// Texts of the control channel.
pub fn messages(data: &[u8]) {
    let mut texts = Vec::new();
    let used = split_messages(data, &mut texts);
    assert!(used <= data.len(), "no more is used up than there is");
    for text in texts {
        let _printed = text.to_string();
    }
}

/// A whole session: datagrams (each behind a length byte) to a fresh client session and its stateless server.
pub fn datagrams(data: &[u8]) {
    let from = SocketAddr::from(([192, 0, 2, 9], 1194));
    let mut admitter = crate::server::fuzz_admitter();
    let mut rest = data;
    while let Some((len, tail)) = rest.split_first() {
        let (packet, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        admitter(from, &mut packet.to_vec());
        rest = tail;
    }
}
