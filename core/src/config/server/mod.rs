//! A server's configuration that can be run.

mod resolve;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use ipnet::{Ipv4Net, Ipv6Net};

use super::{
    error::{ConfigErrors, Note},
    options::{Limits, MssFix, Proto, Renegotiation, ReplayWindow, Timers, TlsOptions, WrapKey},
    raw::Directives,
    read::{ReadFile, Values},
};
use crate::{data::Cipher, wire::Role, wrap::Digest};

/// Whether clients need a certificate (`verify-client-cert`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCert {
    /// They do.
    #[default]
    Require,
    /// One that is shown must be good.
    Optional,
    /// None is asked for.
    None,
}

/// So many in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how long.
    pub per: Duration,
}

/// IPv6 inside (`server-ipv6`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerV6 {
    /// The network.
    pub net: Ipv6Net,
    /// The server's own inner address.
    pub addr: Ipv6Addr,
    /// First address for clients; the n-th client gets the n-th from here.
    pub pool_first: Ipv6Addr,
}

/// A server's configuration that can be run.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct ServerConfig {
    /// Outer address to listen on; `None` is every address.
    pub local: Option<IpAddr>,
    /// Outer port.
    pub port: u16,
    /// Transport and family.
    pub proto: Proto,
    /// How control packets are wrapped.
    pub wrap: WrapKey,
    /// TLS; the identity is always there.
    pub tls: TlsOptions,
    /// The inner network (`server`).
    pub net: Ipv4Net,
    /// The server's own inner address.
    pub addr: Ipv4Addr,
    /// First address for clients.
    pub pool_first: Ipv4Addr,
    /// Last address for clients.
    pub pool_last: Ipv4Addr,
    /// IPv6 inside.
    pub ipv6: Option<ServerV6>,
    /// Options for every client, in the order in which they are sent; without those of one client alone
    /// (`ifconfig`, `peer-id`, `cipher`, …).
    pub push: Vec<String>,
    /// Ping and idle timers of the server's side.
    pub timers: Timers,
    /// Time limits of the control channel.
    pub limits: Limits,
    /// When keys are renewed.
    pub renegotiation: Renegotiation,
    /// Replay window.
    pub replay_window: ReplayWindow,
    /// Ciphers that may be negotiated, in order of preference; never empty.
    pub ciphers: Vec<Cipher>,
    /// Name that the options string shows (`cipher`), canonical.
    pub cipher_name: Option<String>,
    /// Cipher for a client that says nothing (`data-ciphers-fallback`).
    pub fallback: Option<Cipher>,
    /// Digest of the options string and of tls-auth (`auth`).
    pub auth: Digest,
    /// Clients at once.
    pub max_clients: u32,
    /// Several clients may have the same common name.
    pub duplicate_cn: bool,
    /// Whether clients need a certificate.
    pub client_cert: ClientCert,
    /// A client is known by its user name.
    pub username_as_common_name: bool,
    /// Clients reach each other.
    pub client_to_client: bool,
    /// How inner TCP segments are kept small.
    pub mssfix: MssFix,
    /// MTU of the inside (`tun-mtu`).
    pub tun_mtu: u16,
    /// Largest packet of the control channel, header included (`max-packet-size`), 154 to 2048.
    pub max_packet_size: u16,
    /// `compress stub-v2`: an escape before packets that begin with 0x50.
    pub stub_v2: bool,
    /// Announce the end: 1 as a restart, 2 as "try the next server".
    pub explicit_exit_notify: Option<u32>,
    /// New clients per time (`connect-freq`).
    pub connect_freq: Option<Rate>,
    /// First packets that are answered per time (`connect-freq-initial`).
    pub connect_freq_initial: Rate,
    /// Log level, 0 to 11 (`verb`).
    pub verbosity: u8,
}

impl ServerConfig {
    /// Makes a configuration that can be run. `files` reads what it names; names are relative to
    /// [`Directives::directory`], or else to the configuration's folder.
    ///
    /// # Errors
    /// Everything that is wrong, in order of the lines.
    pub fn resolve(
        directives: &Directives,
        files: &mut ReadFile<'_>,
    ) -> Result<(Self, Vec<Note>), ConfigErrors> {
        let mut values = Values::new(directives, files);
        if !values.expect_role(Role::Server) {
            return values.finish(None);
        }
        let config = resolve::read(&mut values);
        values.finish(config)
    }
}
