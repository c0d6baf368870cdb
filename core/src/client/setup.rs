//! What all attempts of a client share: the configuration, TLS built once, and what is said of this end.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    config::{self, ClientConfig, Remote, Transport},
    rng::Rng,
    secret::SecretString,
    session::{Hello, SessionError, SessionSettings, Timing},
    tls::{self, ClientTls, PumpFactory, TlsError, TlsSettings},
    wire::{ClientInfo, IvProto, Role, occ},
    wrap::WrapKey,
};

/// `IV_VER`: the release whose behaviour towards servers this client has.
const PEER_VERSION: &str = "2.6.14";

/// What a pull client announces: all that is built here of what 2.6 announces.
const PROTO: IvProto = IvProto::DATA_V2
    .with(IvProto::REQUEST_PUSH)
    .with(IvProto::TLS_KEY_EXPORT)
    .with(IvProto::AUTH_PENDING_KW)
    .with(IvProto::DNS_OPTION)
    .with(IvProto::CC_EXIT_NOTIFY)
    .with(IvProto::AUTH_FAIL_TEMP)
    .with(IvProto::DYN_TLS_CRYPT)
    .with(IvProto::DNS_OPTION_V2);

/// What a server may ask while it decides (`IV_SSO`; reference section 7.5).
const SSO: &str = "webauth,openurl,crtext";

/// What a client of release 2.5 announces (`compat-mode` below 2.6.0): keys come from the PRF.
const PROTO_2_5: IvProto = IvProto::DATA_V2.with(IvProto::REQUEST_PUSH);

/// A user's name and password, or the token that stands for the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// The password, or the token.
    pub password: SecretString,
    /// Whether `password` is a token that a server pushed.
    pub is_token: bool,
}

/// Why a connection could not even be started.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Certificates, keys or TLS options that cannot be used.
    #[error("the profile's certificates and keys cannot be used")]
    Tls(#[from] TlsError),
    /// The session could not be started.
    #[error("the session cannot be started")]
    Session(#[from] SessionError),
    /// A remote that the configuration does not have.
    #[error("the profile has no remote number {0}")]
    NoRemote(usize),
}

/// What all attempts of a client share.
#[derive(Debug)]
pub struct Setup {
    config: ClientConfig,
    /// `None` while the private key is locked.
    tls: Option<Arc<dyn PumpFactory>>,
}

impl Setup {
    /// Takes the configuration over and builds TLS from it. Where the private key is encrypted and its passphrase
    /// not known, that is left for [`Setup::unlock`].
    ///
    /// # Errors
    /// Certificates, keys or TLS options that cannot be used.
    pub fn new(config: ClientConfig) -> Result<Self, SetupError> {
        match ClientTls::new(&tls_settings(Role::Client, &config.tls)) {
            Ok(tls) => Ok(Self::with_tls(config, Arc::new(tls))),
            Err(TlsError::NeedsPassphrase) => Ok(Self { config, tls: None }),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the configuration over and uses `tls` for its handshakes (keys that live elsewhere).
    pub fn with_tls(config: ClientConfig, tls: Arc<dyn PumpFactory>) -> Self {
        Self {
            config,
            tls: Some(tls),
        }
    }

    /// Whether the passphrase of the private key has to be given before anything can be connected.
    pub fn needs_passphrase(&self) -> bool {
        self.tls.is_none()
    }

    /// The same with the private key opened by `passphrase`.
    ///
    /// # Errors
    /// [`TlsError::WrongPassphrase`], or whatever else is wrong with keys and certificates.
    pub fn unlock(&self, passphrase: SecretString) -> Result<Self, SetupError> {
        let mut config = self.config.clone();
        if let Some(identity) = &mut config.tls.identity {
            identity.passphrase = Some(passphrase);
        }
        Self::new(config)
    }

    /// The configuration.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Remote number `index`.
    ///
    /// # Errors
    /// There is no such remote.
    pub fn remote(&self, index: usize) -> Result<&Remote, SetupError> {
        self.config.remotes.get(index).ok_or(SetupError::NoRemote(index))
    }

    pub(super) fn session_settings(
        &self,
        remote: &Remote,
        address: SocketAddr,
        mut rng: Box<dyn Rng>,
    ) -> Result<(Arc<SessionSettings>, Box<dyn Rng>), SetupError> {
        let config = &self.config;
        let tls = self.tls.as_ref().ok_or(TlsError::NeedsPassphrase)?;
        let renegotiate_after = config.renegotiation.after.map(|(earliest, latest)| {
            let spread = u32::try_from(latest.saturating_sub(earliest).as_secs()).unwrap_or(u32::MAX);
            earliest + std::time::Duration::from_secs(rng.below(spread.saturating_add(1)).into())
        });
        let settings = SessionSettings {
            role: Role::Client,
            wrap: remote.wrap.clone(),
            tls: Arc::clone(tls),
            stream: remote.proto.transport == Transport::Tcp,
            outer_header_bytes: outer_header_bytes(address),
            max_packet_bytes: remote.max_packet_size.into(),
            replay: config.replay_window.into(),
            timing: Timing {
                handshake_window: config.limits.handshake_window,
                retransmit: config.limits.tls_timeout,
                transition_window: config.limits.transition_window,
                renegotiate_after,
                renegotiate_bytes: config.renegotiation.bytes,
                renegotiate_packets: config.renegotiation.packets,
            },
        };
        Ok((Arc::new(settings), rng))
    }

    pub(super) fn hello(&self, remote: &Remote, credentials: Option<&Credentials>) -> Hello {
        let config = &self.config;
        let options = occ::Options {
            role: Role::Client,
            tcp: remote.proto.transport == Transport::Tcp,
            tap: false,
            tun_mtu: remote.tun_mtu,
            cipher: config
                .ciphers
                .first()
                .copied()
                .unwrap_or(crate::data::Cipher::Aes256Gcm),
            tls_auth: match &remote.wrap {
                WrapKey::TlsAuth { direction, .. } => Some(*direction),
                WrapKey::None | WrapKey::TlsCrypt { .. } => None,
            },
        };
        let mut extra = config.peer_info_vars.clone();
        if !config.before_2_6 && !extra.iter().any(|(name, _)| name == "IV_SSO") {
            extra.push(("IV_SSO".to_owned(), SSO.to_owned()));
        }
        let info = ClientInfo {
            version: PEER_VERSION,
            platform: platform(),
            mtu: remote.tun_mtu_max,
            ciphers: &config.ciphers,
            proto: if config.before_2_6 { PROTO_2_5 } else { PROTO },
            extra: &extra,
        };
        Hello {
            options: options.to_text(),
            username: credentials.map(|known| SecretString::new(known.username.clone())),
            password: credentials.map(|known| known.password.clone()),
            peer_info: info.to_text(),
        }
    }
}

/// What TLS is built from, out of a configuration's options.
pub(crate) fn tls_settings(role: Role, options: &config::TlsOptions) -> TlsSettings {
    TlsSettings {
        ca: options.ca.clone(),
        cert: options.identity.as_ref().map(|identity| identity.certs.clone()),
        key: options.identity.as_ref().map(|identity| identity.key.clone()),
        passphrase: options
            .identity
            .as_ref()
            .and_then(|identity| identity.passphrase.clone()),
        crl: options.crl.clone(),
        peer_fingerprints: options.peer_fingerprints.clone(),
        remote_usage: options.remote_usage,
        remote_eku: options.remote_eku.clone(),
        remote_ku: options
            .remote_ku
            .iter()
            .map(|mask| if *mask == 0 { tls::KEY_USAGE_PRESENT } else { *mask })
            .collect(),
        verify_name: options
            .verify_name
            .as_ref()
            .map(|verify| (verify.rule, verify.name.clone())),
        version_min: options.version_min,
        version_max: options.version_max,
        profile: options.profile,
        // As OpenSSL does, and as a client needs that trusts one authority for servers and clients alike.
        strict_purpose: true,
        tls12_ciphers: options.tls12_ciphers.clone(),
        tls13_ciphersuites: options.tls13_ciphersuites.clone(),
        ..TlsSettings::new(role)
    }
}

/// `IV_PLAT` for where this runs.
fn platform() -> &'static str {
    match std::env::consts::OS {
        "macos" => "mac",
        "windows" => "win",
        other => other,
    }
}

/// Bytes of IP and UDP header towards `address`; the reference counts the same for TCP.
pub(crate) fn outer_header_bytes(address: SocketAddr) -> usize {
    if address.is_ipv4() { 28 } else { 48 }
}
