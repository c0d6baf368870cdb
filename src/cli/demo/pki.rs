//! Keys and certificates that exist in memory only, and the two configurations that hold them.

use std::net::SocketAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tunless_core::wrap::StaticKey;
use zeroize::Zeroizing;

use super::{NAME, RESOLVER};
use crate::driver::SystemRng;

/// One authority, a server, a client and a tls-crypt key.
pub(super) struct Pki {
    ca: String,
    server: Identity,
    client: Identity,
    tls_crypt: Zeroizing<String>,
}

struct Identity {
    cert: String,
    key: Zeroizing<String>,
}

impl Pki {
    pub(super) fn make() -> Result<Self, rcgen::Error> {
        let ca_key = KeyPair::generate()?;
        let mut params = named("tunless demo CA")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = params.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(params, ca_key);
        Ok(Self {
            ca,
            server: identity(
                "tunless-demo-server",
                ExtendedKeyUsagePurpose::ServerAuth,
                &issuer,
            )?,
            client: identity(
                "tunless-demo-client",
                ExtendedKeyUsagePurpose::ClientAuth,
                &issuer,
            )?,
            tls_crypt: StaticKey::generate(&mut SystemRng::default()).to_text(),
        })
    }

    pub(super) fn server_config(&self) -> Zeroizing<String> {
        let domain = NAME.split_once('.').map(|(_, domain)| domain).unwrap_or_default();
        let head = format!(
            "server 10.99.0.0 255.255.255.0\ntopology subnet\ndev tun\ndh none\nproto udp4\nlocal 127.0.0.1\n\
             keepalive 10 60\nexplicit-exit-notify 1\npush \"dhcp-option DNS {}\"\n\
             push \"dhcp-option DOMAIN {domain}\"\n",
            RESOLVER.ip()
        );
        self.with_blocks(&head, &self.server)
    }

    pub(super) fn client_profile(&self, server: SocketAddr) -> Zeroizing<String> {
        let head = format!(
            "client\ndev tun\nnobind\nproto udp4\nremote {} {}\nremote-cert-tls server\n\
             verify-x509-name tunless-demo-server name\n",
            server.ip(),
            server.port()
        );
        self.with_blocks(&head, &self.client)
    }

    fn with_blocks(&self, head: &str, identity: &Identity) -> Zeroizing<String> {
        Zeroizing::new(format!(
            "{head}<ca>\n{}</ca>\n<cert>\n{}</cert>\n<key>\n{}</key>\n<tls-crypt>\n{}</tls-crypt>\n",
            self.ca,
            identity.cert,
            identity.key.as_str(),
            self.tls_crypt.as_str()
        ))
    }
}

fn named(name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn identity(
    name: &str,
    usage: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<Identity, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = named(name)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    Ok(Identity {
        cert: params.signed_by(&key, issuer)?.pem(),
        key: Zeroizing::new(key.serialize_pem()),
    })
}
