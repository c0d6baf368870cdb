//! A certificate authority for tests: good certificates and, on demand, every kind of bad one.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use sha2::Digest as _;

use crate::{secret::SecretBytes, tls::TlsSettings, wire::Role};

/// A time at which certificates of [`Validity::Current`] are valid: 2026-06-01T00:00:00Z.
pub const NOW: Duration = Duration::from_hours(494_520);

/// A certificate authority with one server and one client certificate.
#[derive(Debug)]
pub struct TestPki {
    /// The authority's certificate, in PEM.
    pub ca: String,
    /// A server's certificate, with the common name `server`.
    pub server: Identity,
    /// A client's certificate, with the common name `client`.
    pub client: Identity,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate, in PEM.
    pub cert: String,
    /// The private key, in PEM (PKCS#8).
    pub key: String,
    /// The certificate, in DER.
    pub der: Vec<u8>,
}

/// What a certificate is to look like.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// Common name.
    pub common_name: String,
    /// What it is meant for.
    pub usage: LeafUsage,
    /// Kind of its key.
    pub key: KeyKind,
    /// When it is valid.
    pub validity: Validity,
}

/// Kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
    /// Ed25519.
    Ed25519,
    /// RSA of 2048 bits.
    Rsa2048,
}

/// What a certificate is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeafUsage {
    /// Extended key usage `serverAuth`, with a key usage.
    Server,
    /// Extended key usage `clientAuth`, with a key usage.
    Client,
    /// Neither extension.
    Unstated,
}

/// When a certificate is valid, seen from [`NOW`] and from today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// From 2000 to 2099.
    Current,
    /// From 2000 to 2010.
    Past,
    /// From 2090 to 2099.
    Future,
}

impl Leaf {
    /// A valid certificate with a P-256 key.
    pub fn new(common_name: &str, usage: LeafUsage) -> Self {
        Self {
            common_name: common_name.to_owned(),
            usage,
            key: KeyKind::P256,
            validity: Validity::Current,
        }
    }

    /// The same with another kind of key.
    #[must_use]
    pub fn with_key(self, key: KeyKind) -> Self {
        Self { key, ..self }
    }

    /// The same with other dates.
    #[must_use]
    pub fn with_validity(self, validity: Validity) -> Self {
        Self { validity, ..self }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(&self.common_name);
        (params.not_before, params.not_after) = match self.validity {
            Validity::Current => (date_time_ymd(2000, 1, 1), date_time_ymd(2099, 1, 1)),
            Validity::Past => (date_time_ymd(2000, 1, 1), date_time_ymd(2010, 1, 1)),
            Validity::Future => (date_time_ymd(2090, 1, 1), date_time_ymd(2099, 1, 1)),
        };
        let purpose = match self.usage {
            LeafUsage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            LeafUsage::Client => ExtendedKeyUsagePurpose::ClientAuth,
            LeafUsage::Unstated => return params,
        };
        params.extended_key_usages = vec![purpose];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyAgreement];
        params
    }
}

impl TestPki {
    /// An authority, a server and a client with P-256 keys, valid today.
    #[expect(clippy::new_without_default, reason = "it draws keys")]
    pub fn new() -> Self {
        Self::with_ca("Test CA", Validity::Current)
    }

    /// The same with another name and other dates of the authority.
    pub fn with_ca(common_name: &str, validity: Validity) -> Self {
        let key = KeyKind::P256.generate();
        let params = ca_params(common_name, validity);
        let ca = params.self_signed(&key).expect("CA parameters are sound").pem();
        Self::from_issuer(ca, Issuer::new(params, key))
    }

    /// An authority between this one and certificates; its `ca` belongs into a peer's `extra-certs`.
    #[must_use]
    pub fn intermediate(&self, common_name: &str) -> Self {
        let key = KeyKind::P256.generate();
        let params = ca_params(common_name, Validity::Current);
        let ca = params
            .signed_by(&key, &self.issuer)
            .expect("CA parameters are sound")
            .pem();
        Self::from_issuer(ca, Issuer::new(params, key))
    }

    fn from_issuer(ca: String, issuer: Issuer<'static, KeyPair>) -> Self {
        let server = issue(&Leaf::new("server", LeafUsage::Server), &issuer);
        let client = issue(&Leaf::new("client", LeafUsage::Client), &issuer);
        Self {
            ca,
            server,
            client,
            issuer,
        }
    }

    /// Issues a certificate.
    pub fn issue(&self, leaf: &Leaf) -> Identity {
        issue(leaf, &self.issuer)
    }

    /// Makes a revocation list, in PEM, that names `revoked` and was renewed in 2025 until `validity` ends.
    pub fn crl(&self, revoked: &[&Identity], validity: Validity) -> String {
        let (this_update, next_update) = match validity {
            Validity::Current | Validity::Future => (date_time_ymd(2025, 1, 1), date_time_ymd(2099, 1, 1)),
            Validity::Past => (date_time_ymd(2005, 1, 1), date_time_ymd(2010, 1, 1)),
        };
        let entry = |identity: &&Identity| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&identity.serial()),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("CRL parameters are sound");
        list.pem().expect("a CRL can be written")
    }

    /// Settings of a client with this authority and the client's certificate.
    pub fn client_settings(&self) -> TlsSettings {
        self.settings(Role::Client, &self.client)
    }

    /// Settings of a server with this authority and the server's certificate.
    pub fn server_settings(&self) -> TlsSettings {
        self.settings(Role::Server, &self.server)
    }

    /// Settings of either role with this authority and `identity`.
    pub fn settings(&self, role: Role, identity: &Identity) -> TlsSettings {
        let mut settings = TlsSettings::new(role);
        settings.ca = Some(self.ca.clone().into_bytes());
        identity.install(&mut settings);
        settings
    }
}

impl Identity {
    /// A certificate that signs itself and is marked as an authority, as `openssl req -x509` makes it.
    pub fn self_signed(leaf: &Leaf) -> Self {
        let key = leaf.key.generate();
        let mut params = leaf.params();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params
            .self_signed(&key)
            .expect("certificate parameters are sound");
        Self::new(&certificate, &key)
    }

    fn new(certificate: &rcgen::Certificate, key: &KeyPair) -> Self {
        Self {
            cert: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
        }
    }

    /// SHA-256 of the certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        sha2::Sha256::digest(&self.der).into()
    }

    /// Puts certificate and key into `settings`.
    pub fn install(&self, settings: &mut TlsSettings) {
        settings.cert = Some(self.cert.clone().into_bytes());
        settings.key = Some(SecretBytes::new(self.key.clone().into_bytes()));
    }

    fn serial(&self) -> Vec<u8> {
        let parsed = x509_parser::parse_x509_certificate(&self.der);
        let (_, certificate) = parsed.expect("rcgen writes certificates");
        certificate.raw_serial().to_vec()
    }
}

impl KeyKind {
    fn generate(self) -> KeyPair {
        let algorithm = match self {
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::P521 => &rcgen::PKCS_ECDSA_P521_SHA512,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
            Self::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
        };
        KeyPair::generate_for(algorithm).expect("the provider makes these keys")
    }
}

fn issue(leaf: &Leaf, issuer: &Issuer<'static, KeyPair>) -> Identity {
    let key = leaf.key.generate();
    let certificate = leaf.params().signed_by(&key, issuer);
    Identity::new(&certificate.expect("certificate parameters are sound"), &key)
}

fn ca_params(common_name: &str, validity: Validity) -> CertificateParams {
    let leaf = Leaf::new(common_name, LeafUsage::Unstated).with_validity(validity);
    let mut params = leaf.params();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// `C=KG, ST=NA, O=Tunless Test, CN=…`
fn subject(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CountryName, "KG");
    name.push(DnType::StateOrProvinceName, "NA");
    name.push(DnType::OrganizationName, "Tunless Test");
    name.push(DnType::CommonName, common_name);
    name
}
