//! A client's configuration that can be run.

pub(super) mod remotes;
mod resolve;

use std::{net::IpAddr, time::Duration};

use super::{
    error::{ConfigErrors, Note},
    network::Network,
    options::{Limits, MssFix, Proto, Renegotiation, ReplayWindow, Timers, TlsOptions, WrapKey},
    raw::Directives,
    read::{ReadFile, Values},
    upstream::UpstreamProxy,
};
use crate::{data::Cipher, secret::SecretString, wire::Role, wrap::Digest};

/// One place to connect to, with everything that may differ from one place to the next.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Transport and family.
    pub proto: Proto,
    /// The proxy that the way leads through; without it, nothing connects to `host` itself. Always `None` over UDP.
    pub proxy: Option<UpstreamProxy>,
    /// How control packets are wrapped.
    pub wrap: WrapKey,
    /// Time for connecting, up to the server's first valid packet (`connect-timeout`).
    pub connect_timeout: Duration,
    /// How often the end is announced; `None` not at all. Always `None` over TCP.
    pub explicit_exit_notify: Option<u32>,
    /// How inner TCP segments are kept small.
    pub mssfix: MssFix,
    /// MTU of the inside (`tun-mtu`).
    pub tun_mtu: u16,
    /// Whether `tun-mtu` was written, not assumed.
    pub tun_mtu_explicit: bool,
    /// Largest MTU that a push may set (`tun-mtu-max`).
    pub tun_mtu_max: u16,
    /// Largest packet of the control channel, header included (`max-packet-size`), 154 to 2048.
    pub max_packet_size: u16,
    /// Outer address to send from (`local`).
    pub local: Option<IpAddr>,
    /// Outer port to send from (`lport`).
    pub local_port: Option<u16>,
    /// Line of the profile that names this remote.
    pub line: u32,
}

/// Pause before another attempt (`connect-retry`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectRetry {
    /// First pause.
    pub wait: Duration,
    /// Longest pause.
    pub max: Duration,
}

/// How long a name is asked for again (`resolv-retry`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolvRetry {
    /// Until it resolves.
    Infinite,
    /// This long.
    For(Duration),
}

/// Where user name and password come from (`auth-user-pass`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// Ask for both.
    Prompt,
    /// The name is known, ask for the password.
    PromptPassword {
        /// The user's name.
        username: String,
    },
    /// Both are known.
    Given {
        /// The user's name.
        username: String,
        /// The user's password.
        password: SecretString,
    },
}

/// What a person is asked beside the password, and how the answer travels (`static-challenge`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticChallenge {
    /// The question.
    pub text: String,
    /// Whether the answer may be seen while it is typed.
    pub echo: bool,
    /// How it goes into the password.
    pub format: ChallengeFormat,
}

/// How the answer to a static challenge goes into the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChallengeFormat {
    /// `SCRV1:` and both in base64.
    #[default]
    Scrv1,
    /// Right behind the password.
    Concat,
}

/// What to do when the server refuses the credentials (`auth-retry`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthRetry {
    /// Give up.
    #[default]
    None,
    /// Try the same again.
    NoInteract,
    /// Ask again.
    Interact,
}

/// What a pull filter does with a matching option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullAction {
    /// Take it.
    Accept,
    /// Leave it out.
    Ignore,
    /// Restart the session.
    Reject,
}

/// One `pull-filter`; the first whose text begins the option decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullFilter {
    /// What to do.
    pub action: PullAction,
    /// Beginning of the option.
    pub text: String,
}

/// A client's configuration that can be run.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct ClientConfig {
    /// Places to connect to in order; never empty.
    pub remotes: Vec<Remote>,
    /// Shuffle the remotes once at the start.
    pub remote_random: bool,
    /// Put a random label before host names (`remote-random-hostname`).
    pub remote_random_hostname: bool,
    /// Pauses between attempts.
    pub connect_retry: ConnectRetry,
    /// Rounds through all remotes before giving up; `None` never.
    pub connect_retry_max: Option<u32>,
    /// How long names are asked for again.
    pub resolv_retry: ResolvRetry,
    /// TLS.
    pub tls: TlsOptions,
    /// User name and password, if the profile asks for them.
    pub credentials: Option<CredentialSource>,
    /// What is asked beside the password.
    pub static_challenge: Option<StaticChallenge>,
    /// What to do when they are refused.
    pub auth_retry: AuthRetry,
    /// Forget them after use.
    pub auth_nocache: bool,
    /// Ciphers that may be negotiated, in order of preference (`data-ciphers`); never empty.
    pub ciphers: Vec<Cipher>,
    /// Name that the options string shows (`cipher`), canonical; `None` when the profile names none.
    pub cipher_name: Option<String>,
    /// Cipher for a server that says nothing (`data-ciphers-fallback`).
    pub fallback: Option<Cipher>,
    /// Digest of the options string and of tls-auth (`auth`).
    pub auth: Digest,
    /// Ping and idle timers, before the push.
    pub timers: Timers,
    /// Time limits of the control channel.
    pub limits: Limits,
    /// When keys are renewed.
    pub renegotiation: Renegotiation,
    /// Replay window.
    pub replay_window: ReplayWindow,
    /// Which pushed options are taken.
    pub pull_filters: Vec<PullFilter>,
    /// Take no routes and no DNS from the server.
    pub route_nopull: bool,
    /// The profile's own addresses, routes and resolvers.
    pub network: Network,
    /// `compress stub-v2`: an escape before packets that begin with 0x50.
    pub stub_v2: bool,
    /// Announce no more than a client of release 2.5 does (`compat-mode` below 2.6.0): keys come from the PRF.
    pub before_2_6: bool,
    /// Variables for the peer info: `UV_…` or `IV_…` and their values, in order (`setenv`).
    pub peer_info_vars: Vec<(String, String)>,
    /// Send all details in the peer info (`push-peer-info`).
    pub push_peer_info: bool,
    /// End after a TLS failure in place of trying again (`tls-exit`).
    pub tls_exit: bool,
    /// Allow inner packets to the server's own outer address (`allow-recursive-routing`).
    pub allow_recursive_routing: bool,
    /// Log level, 0 to 11 (`verb`).
    pub verbosity: u8,
    /// Name of the interface as written (`dev`).
    pub dev: Option<String>,
}

impl ClientConfig {
    /// Makes a configuration that can be run. `files` reads what the profile names; names are relative to
    /// [`Directives::directory`], or else to the profile's folder.
    ///
    /// # Errors
    /// Everything that is wrong, in order of the lines.
    pub fn resolve(
        directives: &Directives,
        files: &mut ReadFile<'_>,
    ) -> Result<(Self, Vec<Note>), ConfigErrors> {
        let mut values = Values::new(directives, files);
        if !values.expect_role(Role::Client) {
            return values.finish(None);
        }
        let config = resolve::read(&mut values);
        values.finish(Some(config))
    }
}
