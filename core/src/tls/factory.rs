//! Checks settings once and makes a pump for each session from them.

use std::{sync::Arc, time::Duration};

use rustls::{
    ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection, SupportedProtocolVersion,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{ServerName, UnixTime},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
    time_provider::TimeProvider,
};

use super::{
    ClientCertificate, OwnFile, Pump, PumpFactory, TlsError, TlsSettings,
    ciphers::Offer,
    files,
    pump::RustlsPump,
    reason,
    rules::Rules,
    verifier::{Verdict, Verifier},
};
use crate::wire::Role;

/// Name that rustls wants for a client session; it is neither sent nor compared with anything.
const PLACEHOLDER_NAME: &str = "openvpn.invalid";

/// TLS settings of a client that have been checked.
#[derive(Debug, Clone)]
pub struct ClientTls(Arc<Parts>);

/// TLS settings of a server that have been checked.
#[derive(Debug, Clone)]
pub struct ServerTls(Arc<Parts>);

impl ClientTls {
    /// Checks `settings` (of role client) and reads their files.
    ///
    /// # Errors
    /// The file or option that cannot be used.
    pub fn new(settings: &TlsSettings) -> Result<Self, TlsError> {
        let parts = Parts::new(settings, Role::Client)?;
        if parts.rules.trust_nothing() {
            return Err(TlsError::NoTrust);
        }
        Ok(Self(Arc::new(parts)))
    }
}

impl ServerTls {
    /// Checks `settings` (of role server) and reads their files.
    ///
    /// # Errors
    /// The file or option that cannot be used.
    pub fn new(settings: &TlsSettings) -> Result<Self, TlsError> {
        let parts = Parts::new(settings, Role::Server)?;
        if parts.own.is_none() {
            let problem = "it is missing; a server needs `cert` and `key`".to_owned();
            return Err(TlsError::BadCertificate {
                file: OwnFile::Cert,
                problem,
            });
        }
        if parts.rules.trust_nothing() && parts.request != ClientCertificate::None {
            return Err(TlsError::NoTrust);
        }
        Ok(Self(Arc::new(parts)))
    }
}

impl PumpFactory for ClientTls {
    fn pump(&self, now_unix: Duration) -> Result<Box<dyn Pump>, TlsError> {
        let (verifier, verdict) = self.0.verifier();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.0.provider))
            .with_protocol_versions(&self.0.versions)
            .map_err(|error| reason::settings(&error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &self.0.own {
            Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(own)))),
            None => builder.with_no_client_auth(),
        };
        config.time_provider = Arc::new(FixedTime(now_unix));
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        config.require_ems = false;
        let name =
            ServerName::try_from(PLACEHOLDER_NAME).map_err(|error| TlsError::Settings(error.to_string()))?;
        let connection =
            ClientConnection::new(Arc::new(config), name).map_err(|error| reason::settings(&error))?;
        Ok(Box::new(RustlsPump::new(Connection::Client(connection), verdict)))
    }
}

impl PumpFactory for ServerTls {
    fn pump(&self, now_unix: Duration) -> Result<Box<dyn Pump>, TlsError> {
        let (verifier, verdict) = self.0.verifier();
        let Some(own) = &self.0.own else {
            return Err(TlsError::NoCertificate);
        };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.0.provider))
            .with_protocol_versions(&self.0.versions)
            .map_err(|error| reason::settings(&error))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(own))));
        config.time_provider = Arc::new(FixedTime(now_unix));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.require_ems = false;
        let connection = ServerConnection::new(Arc::new(config)).map_err(|error| reason::settings(&error))?;
        Ok(Box::new(RustlsPump::new(Connection::Server(connection), verdict)))
    }
}

/// Settings of either role, read and checked.
#[derive(Debug)]
struct Parts {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    rules: Arc<Rules>,
    own: Option<Arc<CertifiedKey>>,
    request: ClientCertificate,
}

impl Parts {
    fn new(settings: &TlsSettings, role: Role) -> Result<Self, TlsError> {
        if settings.role != role {
            let problem = format!("they are for the role {:?}, not {role:?}", settings.role);
            return Err(TlsError::Settings(problem));
        }
        let offer = Offer::new(settings)?;
        // Passed to every builder, so that no default of the process can take its place.
        let provider = CryptoProvider {
            cipher_suites: offer.suites,
            ..aws_lc_rs::default_provider()
        };
        Ok(Self {
            own: files::own_key(settings, &provider)?,
            provider: Arc::new(provider),
            versions: offer.versions,
            rules: Arc::new(Rules::new(settings)?),
            request: settings.client_certificate,
        })
    }

    /// A verifier for one session and where it leaves its reason.
    fn verifier(&self) -> (Arc<Verifier>, Verdict) {
        let verdict = Verdict::default();
        let verifier = Verifier {
            rules: Arc::clone(&self.rules),
            verdict: Arc::clone(&verdict),
            request: self.request,
        };
        (Arc::new(verifier), verdict)
    }
}

/// The time at which certificates are judged, for the whole session.
#[derive(Debug)]
struct FixedTime(Duration);

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0))
    }
}
