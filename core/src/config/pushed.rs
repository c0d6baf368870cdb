//! What the server pushed: gathered from messages, filtered, typed and merged with the client's own
//! configuration.
//!
//! An option that is not known, not pushable or cannot be read is left out and named in [`Pushed::ignored`];
//! only what makes the tunnel unusable is an error.

use std::net::{Ipv4Addr, Ipv6Addr};

use sha2::{Digest as _, Sha256};

use super::{
    client::{ClientConfig, PullAction, Remote},
    common, directive, dns, lex,
    network::{DnsSettings, InnerV4, InnerV6, Network, Redirect, Route4, Route6},
    options::{Timers, Transport},
    read::{BadValue, number},
};
use crate::{data::Cipher, secret::SecretString};

/// Options of one push, over all its messages; ours, room for the longest lists of routes.
pub const MAX_OPTIONS: usize = 16_384;
/// Bytes of one push, over all its messages; ours.
pub const MAX_BYTES: usize = 1 << 20;
/// Bytes of one option; a longer one is left out.
pub const MAX_OPTION_BYTES: usize = 255;
/// Lines about options that were left out.
const MAX_IGNORED: usize = 256;
/// Options whose change needs no new device.
const NOT_IN_DIGEST: [&str; 9] = [
    "peer-id",
    "auth-token",
    "auth-token-user",
    "protocol-flags",
    "key-derivation",
    "explicit-exit-notify",
    "ping",
    "ping-restart",
    "ping-timer-rem",
];

/// Why a push cannot be used; the session starts again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The message is no `PUSH_REPLY`.
    #[error("message is no PUSH_REPLY")]
    NotAReply,
    /// More options than [`MAX_OPTIONS`].
    #[error("server pushed more than {MAX_OPTIONS} options")]
    TooManyOptions,
    /// More bytes than [`MAX_BYTES`].
    #[error("server pushed more than {MAX_BYTES} bytes of options")]
    TooManyBytes,
    /// A `pull-filter reject` matched.
    #[error("server pushed {0:?}, which a pull-filter rejects")]
    Rejected(String),
    /// Compression that changes every data packet.
    #[error(
        "server wants {0:?}, and compression is not spoken; the server has to switch it off, or to push \"compress stub-v2\""
    )]
    Compression(String),
    /// A resolver without an address.
    #[error("server pushed resolver {0} without an address")]
    NoResolverAddress(i8),
    /// An address that cannot be used.
    #[error("server pushed an ifconfig that cannot be used: it {0}")]
    Ifconfig(#[from] BadValue),
}

/// What a message brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assembled {
    /// Others belong to it (`push-continuation 2`).
    More,
    /// All options are here, in order.
    Complete(Vec<String>),
}

/// Joins the messages of one push.
#[derive(Default)]
pub struct PushAssembler {
    options: Vec<String>,
    bytes: usize,
}

impl std::fmt::Debug for PushAssembler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Options may hold a token.
        f.debug_struct("PushAssembler")
            .field("options", &self.options.len())
            .finish_non_exhaustive()
    }
}

impl PushAssembler {
    /// Takes the text of one message, `PUSH_REPLY` included. After an error it starts anew.
    pub fn add(&mut self, message: &str) -> Result<Assembled, PushError> {
        let added = self.gather(message);
        match added {
            Ok(true) => Ok(Assembled::More),
            Ok(false) => {
                self.bytes = 0;
                Ok(Assembled::Complete(std::mem::take(&mut self.options)))
            }
            Err(error) => {
                *self = Self::default();
                Err(error)
            }
        }
    }

    /// Adds the options of one message; tells whether others follow.
    fn gather(&mut self, message: &str) -> Result<bool, PushError> {
        let rest = message.strip_prefix("PUSH_REPLY").ok_or(PushError::NotAReply)?;
        if !rest.is_empty() && !rest.starts_with(',') {
            return Err(PushError::NotAReply);
        }
        self.bytes += rest.len();
        if self.bytes > MAX_BYTES {
            return Err(PushError::TooManyBytes);
        }
        let mut more = false;
        for option in rest.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            match option.strip_prefix("push-continuation ") {
                Some(value) => more = value.trim() == "2",
                None if self.options.len() == MAX_OPTIONS => return Err(PushError::TooManyOptions),
                None => self.options.push(option.to_owned()),
            }
        }
        Ok(more)
    }
}

/// Words of `protocol-flags` (and `key-derivation tls-ekm`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one word of the option, independent of the others"
)]
pub struct ProtocolFlags {
    /// The end is announced by an EXIT message.
    pub cc_exit: bool,
    /// Data keys come from the TLS exporter.
    pub tls_ekm: bool,
    /// Renegotiations are wrapped with a key from the exporter.
    pub dyn_tls_crypt: bool,
    /// Data packets have the epoch format.
    pub aead_epoch: bool,
}

/// What client and server agreed on: the client's own values overridden by those of the server.
#[derive(Debug, Clone, Default)]
pub struct Pushed {
    /// Our inner IPv4 address.
    pub ifconfig: Option<InnerV4>,
    /// Our inner IPv6 address.
    pub ifconfig_ipv6: Option<InnerV6>,
    /// Gateway of IPv4 routes: `route-gateway`, or the peer of a point-to-point address.
    pub route_gateway: Option<Ipv4Addr>,
    /// Gateway of IPv6 routes: `route-ipv6-gateway`, or the server's inner address.
    pub route_ipv6_gateway: Option<Ipv6Addr>,
    /// IPv4 routes: the profile's, then the server's.
    pub routes: Vec<Route4>,
    /// IPv6 routes: the profile's, then the server's.
    pub routes6: Vec<Route6>,
    /// Whether the default routes go into the tunnel.
    pub redirect: Redirect,
    /// Resolvers and domains.
    pub dns: DnsSettings,
    /// Drop inner IPv6.
    pub block_ipv6: bool,
    /// Ping and idle timers.
    pub timers: Timers,
    /// How often the end is announced.
    pub explicit_exit_notify: Option<u32>,
    /// Our id in data packets; `None` means packets without one.
    pub peer_id: Option<u32>,
    /// Name of the pushed cipher as written: negotiation decides whether it is allowed.
    pub cipher_name: Option<String>,
    /// The pushed cipher, if it is one that we know.
    pub cipher: Option<Cipher>,
    /// What else changes on the wire.
    pub protocol_flags: ProtocolFlags,
    /// Whether `protocol-flags` or `key-derivation` was pushed at all.
    pub protocol_flags_pushed: bool,
    /// MTU of the inside.
    pub tun_mtu: u16,
    /// `compress stub-v2` framing: an escape before packets that begin with 0x50.
    pub stub_v2: bool,
    /// Password for later handshakes.
    pub auth_token: Option<SecretString>,
    /// User name for later handshakes.
    pub auth_token_user: Option<String>,
    /// Options that were left out and why, for the log.
    pub ignored: Vec<String>,
    /// SHA-256 over the options that matter to a device: equal after a reconnect means nothing has to change.
    pub digest: [u8; 32],
}

impl Pushed {
    /// Puts the options of one push over the client's own configuration.
    ///
    /// # Errors
    /// What makes the tunnel unusable; everything else is left out and named in `ignored`.
    pub fn merge(config: &ClientConfig, remote: &Remote, options: &[String]) -> Result<Self, PushError> {
        let mut pull = Pull::new(config, remote);
        for option in options {
            if pull.passes(option)? {
                pull.take(option)?;
            }
        }
        pull.finish()
    }
}

/// A push while it is read.
struct Pull<'a> {
    config: &'a ClientConfig,
    remote: &'a Remote,
    network: Network,
    pushed: Pushed,
    digest: Sha256,
}

impl<'a> Pull<'a> {
    fn new(config: &'a ClientConfig, remote: &'a Remote) -> Self {
        let pushed = Pushed {
            timers: config.timers,
            explicit_exit_notify: remote.explicit_exit_notify,
            tun_mtu: remote.tun_mtu,
            stub_v2: config.stub_v2,
            ..Pushed::default()
        };
        Self {
            config,
            remote,
            network: Network::default(),
            pushed,
            digest: Sha256::new(),
        }
    }

    /// Applies the pull filters.
    fn passes(&mut self, option: &str) -> Result<bool, PushError> {
        let filters = &self.config.pull_filters;
        match filters
            .iter()
            .find(|filter| option.starts_with(&filter.text))
            .map(|filter| filter.action)
        {
            None | Some(PullAction::Accept) => Ok(true),
            Some(PullAction::Ignore) => {
                self.ignore(option, "a pull-filter ignores it");
                Ok(false)
            }
            Some(PullAction::Reject) => Err(PushError::Rejected(shown(option))),
        }
    }

    fn ignore(&mut self, option: &str, why: &str) {
        if self.pushed.ignored.len() < MAX_IGNORED {
            self.pushed.ignored.push(format!("{:?}: {why}", shown(option)));
        }
    }

    /// Reads one option.
    fn take(&mut self, option: &str) -> Result<(), PushError> {
        if option.len() > MAX_OPTION_BYTES {
            self.ignore(option, "it is longer than 255 bytes");
            return Ok(());
        }
        let words = match lex::parameters(option) {
            Ok(words) => words,
            Err(error) => {
                self.ignore(option, &error.to_string());
                return Ok(());
            }
        };
        let Some((name, args)) = words.split_first() else {
            return Ok(());
        };
        self.count(option, name);
        let Some(spec) = directive::find(name).filter(|spec| spec.pushable) else {
            self.ignore(option, "it cannot be pushed to this client");
            return Ok(());
        };
        if args.len() < usize::from(spec.min) || args.len() > usize::from(spec.max) {
            self.ignore(option, "it has too few or too many parameters");
            return Ok(());
        }
        if self.config.route_nopull && is_route(spec.name) {
            self.ignore(option, "route-nopull is set");
            return Ok(());
        }
        match self.apply(spec.name, args, option)? {
            Ok(true) => {}
            Ok(false) => self.skip(spec.status, option),
            Err(bad) => self.ignore(option, &bad.to_string()),
        }
        Ok(())
    }

    /// Adds the option to the digest, unless it is one that may change freely.
    fn count(&mut self, option: &str, name: &str) {
        let free = NOT_IN_DIGEST.contains(&name) || (name == "cipher" && self.remote.tun_mtu_explicit);
        if !free {
            self.digest.update(option.as_bytes());
            self.digest.update([0]);
        }
    }

    /// Names an option that has no effect here, unless everybody pushes it.
    fn skip(&mut self, status: directive::Status, option: &str) {
        match status {
            directive::Status::Ignored(_) if option == "tun-ipv6" => {}
            directive::Status::Ignored(why) => self.ignore(option, why),
            directive::Status::Applied | directive::Status::Refused(_) => {
                self.ignore(option, "it has no effect here");
            }
        }
    }

    /// Gives the option to whom it concerns; `Ok(false)` if that is nobody.
    fn apply(
        &mut self,
        name: &str,
        args: &[String],
        option: &str,
    ) -> Result<Result<bool, BadValue>, PushError> {
        if matches!(name, "compress" | "comp-lzo") {
            if name == "compress" && args.first().map(String::as_str) == Some("stub-v2") {
                self.pushed.stub_v2 = true;
                return Ok(Ok(true));
            }
            return Err(PushError::Compression(shown(option)));
        }
        let applied = self
            .network
            .apply(name, args)
            .or_else(|| common::apply_timer(&mut self.pushed.timers, name, args))
            .or_else(|| self.pushed.apply(name, args, self.remote));
        Ok(applied.map_or(Ok(false), |result| result.map(|()| true)))
    }

    /// Merges with the client's own options.
    fn finish(self) -> Result<Pushed, PushError> {
        let Self {
            config,
            network,
            mut pushed,
            digest,
            ..
        } = self;
        let network = network.over(&config.network).with_default_metric();
        pushed.ifconfig = network.inner_v4()?;
        pushed.ifconfig_ipv6 = network.ifconfig_ipv6;
        pushed.route_gateway = network.gateway_v4();
        let own = network.ifconfig_ipv6.map(|inner| inner.remote);
        pushed.route_ipv6_gateway = network.route_ipv6_gateway.or(own);
        pushed.redirect = network.redirect;
        pushed.block_ipv6 = network.block_ipv6;
        pushed.dns = dns::finish(network.dns, network.dhcp_dns);
        if let Some(empty) = pushed
            .dns
            .servers
            .iter()
            .find(|server| server.addresses.is_empty())
        {
            return Err(PushError::NoResolverAddress(empty.priority));
        }
        pushed.routes = network.routes;
        pushed.routes6 = network.routes6;
        pushed.digest = digest.finalize().into();
        Ok(pushed)
    }
}

impl Pushed {
    /// Takes options of the session itself; `None` if it is none of them.
    fn apply(&mut self, name: &str, args: &[String], remote: &Remote) -> Option<Result<(), BadValue>> {
        let first = args.first().map(String::as_str);
        let text = first.unwrap_or_default();
        match name {
            "peer-id" => {
                let read = number(0, 0x00ff_ffff)(text);
                self.peer_id = read.or(self.peer_id);
                return Some(
                    read.map(|_| ())
                        .ok_or_else(|| BadValue::new("a number up to 16777215", text)),
                );
            }
            "cipher" => {
                self.cipher_name = Some(text.to_owned());
                self.cipher = text.parse().ok();
            }
            "protocol-flags" => return Some(self.flags(args)),
            "key-derivation" if text == "tls-ekm" => {
                self.protocol_flags.tls_ekm = true;
                self.protocol_flags_pushed = true;
            }
            "key-derivation" => {
                self.protocol_flags_pushed = true;
                return Some(Err(BadValue::new("tls-ekm", text)));
            }
            "tun-mtu" => return Some(self.mtu(text, remote.tun_mtu_max)),
            "explicit-exit-notify" => {
                let count = first.map_or(Some(1), number(0, 1000));
                let udp = remote.proto.transport == Transport::Udp;
                match count {
                    Some(count) => self.explicit_exit_notify = Some(count).filter(|count| *count > 0 && udp),
                    None => return Some(Err(BadValue::new("a number", text))),
                }
            }
            "auth-token" => self.auth_token = Some(text.into()),
            "auth-token-user" => return Some(self.token_user(text)),
            // The level of the log is the user's.
            "verb" => {}
            _ => return None,
        }
        Some(Ok(()))
    }

    /// Takes the words that are known; the others are told.
    fn flags(&mut self, words: &[String]) -> Result<(), BadValue> {
        self.protocol_flags_pushed = true;
        let mut unknown = Ok(());
        for word in words {
            match word.as_str() {
                "cc-exit" => self.protocol_flags.cc_exit = true,
                "tls-ekm" => self.protocol_flags.tls_ekm = true,
                "dyn-tls-crypt" => self.protocol_flags.dyn_tls_crypt = true,
                "aead-epoch" => self.protocol_flags.aead_epoch = true,
                word => {
                    unknown = Err(BadValue::new(
                        "cc-exit, tls-ekm, dyn-tls-crypt or aead-epoch",
                        word,
                    ));
                }
            }
        }
        unknown
    }

    /// Takes the MTU, brought within the limits.
    fn mtu(&mut self, text: &str, max: u16) -> Result<(), BadValue> {
        let wants = "a number from 100 up to tun-mtu-max";
        let mtu: u32 = number(0, u32::MAX)(text).ok_or_else(|| BadValue::new(wants, text))?;
        let fits = u16::try_from(mtu)
            .unwrap_or(u16::MAX)
            .clamp(common::TUN_MTU_MIN, max.max(common::TUN_MTU_MIN));
        self.tun_mtu = fits;
        if u32::from(fits) == mtu {
            Ok(())
        } else {
            Err(BadValue::new(wants, text))
        }
    }

    fn token_user(&mut self, text: &str) -> Result<(), BadValue> {
        let user = decode_token_user(text);
        self.auth_token_user = Some(user.ok_or_else(|| BadValue::new("a name in base64", "something else"))?);
        Ok(())
    }
}

/// Reads the parameter of `auth-token-user`; `None` if it is no name in base64.
pub fn decode_token_user(text: &str) -> Option<String> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    String::from_utf8(bytes).ok()
}

/// Options that `route-nopull` keeps out.
fn is_route(name: &str) -> bool {
    let dns = name == "dns" || name == "dhcp-option" || name == "block-outside-dns";
    let route = matches!(
        name,
        "route" | "route-ipv6" | "route-metric" | "redirect-gateway" | "redirect-private" | "block-ipv6"
    );
    dns || route
}

/// An option fit for a log: without tokens, control characters and excess length.
fn shown(option: &str) -> String {
    let option = if option.trim_start().starts_with("auth-token") {
        "auth-token …"
    } else {
        option
    };
    option.chars().filter(|c| !c.is_control()).take(120).collect()
}
