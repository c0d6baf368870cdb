//! The options pushed to one client, and the texts that carry them (reference sections 6.2, 6.5, 7.2).

use crate::{
    config::ServerConfig,
    data::Cipher,
    server::pool::Lease,
    wire::{IvProto, KeyMethod, PeerId, PeerInfo, occ},
};

/// A text is closed before it would reach this length (bundle of 1024, 84 kept free).
const MAX_REPLY_BYTES: usize = 940;
/// An option this long fits into no text.
const MAX_OPTION_BYTES: usize = 930;

/// What a client's program can do, from its peer info and options string.
#[derive(Debug, Clone, Default)]
pub(super) struct ClientCaps {
    pub(super) proto: IvProto,
    ciphers: Vec<String>,
    negotiates: bool,
    occ_cipher: Option<String>,
    mtu: bool,
}

impl ClientCaps {
    pub(super) fn of(message: &KeyMethod) -> Self {
        let info = PeerInfo::parse(message.peer_info.as_str());
        let listed = info
            .ciphers()
            .map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>());
        let ncp = info.ncp() >= 2;
        Self {
            proto: info.proto(),
            negotiates: listed.is_some() || ncp,
            ciphers: match (listed, ncp) {
                (Some(listed), _) => listed,
                (None, true) => ["AES-256-GCM", "AES-128-GCM"].map(str::to_owned).to_vec(),
                (None, false) => Vec::new(),
            },
            occ_cipher: occ::cipher(&message.options).map(str::to_owned),
            mtu: info.mtu().is_some(),
        }
    }

    /// The cipher for this client: the first of ours that it can do.
    pub(super) fn choose_cipher(&self, config: &ServerConfig) -> Option<Cipher> {
        let by_list = config.ciphers.iter().copied().find(|cipher| {
            self.ciphers.iter().any(|name| name == cipher.name())
                || (self.ciphers.is_empty() && self.occ_cipher.as_deref() == Some(cipher.name()))
        });
        let silent = self.ciphers.is_empty() && self.occ_cipher.is_none();
        by_list.or_else(|| config.fallback.filter(|_| silent))
    }

    pub(super) fn peer_id(&self, slot: u32) -> Option<PeerId> {
        PeerId::new(slot).filter(|_| self.proto.contains(IvProto::DATA_V2))
    }

    pub(super) fn exporter(&self) -> bool {
        self.proto.contains(IvProto::TLS_KEY_EXPORT)
    }

    pub(super) fn dynamic_wrap(&self) -> bool {
        self.proto.contains(IvProto::DYN_TLS_CRYPT)
    }
}

/// The texts that carry all options of one client, in the reference's order.
pub(super) fn replies(
    config: &ServerConfig,
    caps: &ClientCaps,
    lease: Lease,
    slot: u32,
    cipher: Cipher,
    extra: &[String],
) -> Vec<String> {
    let mut options: Vec<String> = config.push.iter().chain(extra).cloned().collect();
    if let (Some(v6), Some(server)) = (lease.v6, config.ipv6) {
        options.push(format!(
            "ifconfig-ipv6 {v6}/{} {}",
            server.net.prefix_len(),
            server.addr
        ));
    }
    options.push(format!("ifconfig {} {}", lease.v4, config.net.netmask()));
    if let Some(peer_id) = caps.peer_id(slot) {
        options.push(format!("peer-id {}", peer_id.value()));
    }
    if caps.negotiates {
        options.push(format!("cipher {cipher}"));
    }
    let flags = [
        (IvProto::CC_EXIT_NOTIFY, " cc-exit"),
        (IvProto::TLS_KEY_EXPORT, " tls-ekm"),
        (IvProto::DYN_TLS_CRYPT, " dyn-tls-crypt"),
    ];
    let understands_flags = caps.proto.contains(IvProto::CC_EXIT_NOTIFY);
    let words: String = flags
        .into_iter()
        .filter(|(bit, _)| caps.proto.contains(*bit))
        .filter(|(bit, _)| *bit != IvProto::TLS_KEY_EXPORT || understands_flags)
        .map(|(_, word)| word)
        .collect();
    if caps.exporter() && !understands_flags {
        options.push("key-derivation tls-ekm".to_owned());
    }
    if !words.is_empty() {
        options.push(format!("protocol-flags{words}"));
    }
    if caps.mtu {
        options.push(format!("tun-mtu {}", config.tun_mtu));
    }
    bundle(&options)
}

/// Packs options into as few texts as their limit allows.
fn bundle(options: &[String]) -> Vec<String> {
    let mut texts = vec![String::from("PUSH_REPLY")];
    for option in options.iter().filter(|option| option.len() < MAX_OPTION_BYTES) {
        if let Some(text) = texts.last_mut()
            && text.len() + 1 + option.len() >= MAX_REPLY_BYTES
        {
            text.push_str(",push-continuation 2");
            texts.push(String::from("PUSH_REPLY"));
        }
        if let Some(text) = texts.last_mut() {
            text.push(',');
            text.push_str(option);
        }
    }
    if texts.len() > 1
        && let Some(text) = texts.last_mut()
    {
        text.push_str(",push-continuation 1");
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_beyond_one_text_are_continued() {
        let options: Vec<String> = (0..60).map(|n| format!("route 10.{n}.0.0 255.255.0.0")).collect();
        let texts = bundle(&options);
        assert!(texts.len() > 1);
        assert!(texts.iter().all(|text| text.len() < 1024));
        let (last, rest) = texts.split_last().unwrap();
        assert!(last.ends_with(",push-continuation 1"));
        assert!(rest.iter().all(|text| text.ends_with(",push-continuation 2")));
        let joined = texts.join(",");
        assert!(options.iter().all(|option| joined.contains(option.as_str())));
    }

    #[test]
    fn a_client_that_says_nothing_gets_the_bare_word() {
        assert_eq!(bundle(&[]), ["PUSH_REPLY"]);
    }
}
