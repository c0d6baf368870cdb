//! What a certificate says: subject in OpenVPN's form, names, validity, fingerprints.

use std::{fmt::Write as _, time::Duration};

use sha2::{Digest as _, Sha256};
use x509_parser::{
    asn1_rs::Tag,
    certificate::X509Certificate,
    time::ASN1Time,
    x509::{AttributeTypeAndValue, X509Name},
};

use super::TlsError;

/// Longest common name that is accepted (`TLS_USERNAME_LEN`).
const COMMON_NAME_LIMIT_BYTES: usize = 64;

const COMMON_NAME_OID: &str = "2.5.4.3";

/// Short names of subject fields, as OpenSSL prints them; others show their object identifier.
const SHORT_NAMES: &[(&str, &str)] = &[
    (COMMON_NAME_OID, "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.45", "x500UniqueIdentifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.97", "organizationIdentifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("1.2.840.113549.1.9.2", "unstructuredName"),
];

/// Who a peer proved to be with its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Last common name of the subject, at most 64 bytes.
    pub common_name: Option<String>,
    /// Subject in OpenVPN's form: `C=KG, ST=NA, O=OpenVPN-TEST, CN=client`.
    pub subject: String,
    /// Issuer in the same form.
    pub issuer: String,
    /// SHA-256 of the certificate in DER.
    pub fingerprint: [u8; 32],
    /// SHA-256 over the fingerprints of all certificates the peer sent, in order; must not change when a
    /// session is renegotiated.
    pub chain_digest: [u8; 32],
    /// Serial number: big endian, without leading zeros.
    pub serial: Vec<u8>,
    /// Begin of validity, since 1970-01-01T00:00:00Z.
    pub not_before: Duration,
    /// End of validity, since 1970-01-01T00:00:00Z.
    pub not_after: Duration,
    /// The certificates that the peer sent, in DER, its own first.
    pub chain: Vec<Vec<u8>>,
}

impl PeerIdentity {
    /// Serial number as `0a:1b:2c`.
    pub fn serial_hex(&self) -> String {
        hex_colons(&self.serial)
    }

    /// Fingerprint as `0A:1B:…`, the form that `peer-fingerprint` takes.
    pub fn fingerprint_hex(&self) -> String {
        hex_colons(&self.fingerprint).to_uppercase()
    }

    /// Reads the certificates that a peer sent, its own first; all but that one are taken unread.
    ///
    /// # Errors
    /// [`TlsError::PeerCertificate`] when the first is no certificate or bears too long a name.
    pub(super) fn read<'a>(chain: impl Iterator<Item = &'a [u8]>) -> Result<Self, TlsError> {
        let chain: Vec<Vec<u8>> = chain.map(<[u8]>::to_vec).collect();
        let leaf = chain.first().map(Vec::as_slice).unwrap_or_default();
        let certificate = parse(leaf)?;
        let subject = name_text(certificate.subject());
        let common_name = common_name(certificate.subject());
        if common_name
            .as_ref()
            .is_some_and(|name| name.len() > COMMON_NAME_LIMIT_BYTES)
        {
            let problem = format!("its common name is longer than {COMMON_NAME_LIMIT_BYTES} bytes");
            return Err(TlsError::PeerCertificate { subject, problem });
        }
        let mut all = Sha256::new();
        for der in &chain {
            all.update(Sha256::digest(der));
        }
        Ok(Self {
            common_name,
            subject,
            issuer: name_text(certificate.issuer()),
            fingerprint: Sha256::digest(leaf).into(),
            chain_digest: all.finalize().into(),
            serial: serial(&certificate),
            not_before: since_epoch(certificate.validity().not_before),
            not_after: since_epoch(certificate.validity().not_after),
            chain,
        })
    }
}

/// Reads one certificate of a peer.
pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, TlsError> {
    let refused = |problem: String| TlsError::PeerCertificate {
        subject: String::new(),
        problem,
    };
    match x509_parser::parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(refused("something follows it".to_owned())),
        Err(error) => Err(refused(format!("it cannot be read: {error}"))),
    }
}

/// Serial number, big endian, without leading zeros.
pub(super) fn serial(certificate: &X509Certificate<'_>) -> Vec<u8> {
    let zeros = certificate
        .raw_serial()
        .iter()
        .take_while(|byte| **byte == 0)
        .count();
    certificate.raw_serial().get(zeros..).unwrap_or_default().to_vec()
}

/// A time of a certificate since 1970; earlier ones count as 1970.
pub(super) fn since_epoch(time: ASN1Time) -> Duration {
    Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

/// Writes a subject as OpenVPN shows and compares it: `C=KG, ST=NA, O=…, CN=client`, multi-valued
/// parts joined by ` + `, control characters as `\0A`, a backslash doubled.
pub(super) fn name_text(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    for part in name.iter() {
        for (index, field) in part.iter().enumerate() {
            if !text.is_empty() {
                text.push_str(if index == 0 { ", " } else { " + " });
            }
            push_field(&mut text, field);
        }
    }
    text
}

fn push_field(text: &mut String, field: &AttributeTypeAndValue<'_>) {
    let oid = field.attr_type().to_id_string();
    let short = SHORT_NAMES.iter().find(|(known, _)| *known == oid);
    text.push_str(short.map_or(oid.as_str(), |(_, short)| short));
    text.push('=');
    for character in value_text(field).chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\0'..='\x1f' | '\x7f' => {
                // Writing to a String cannot fail.
                let _infallible = write!(text, "\\{:02X}", u32::from(character));
            }
            other => text.push(other),
        }
    }
}

/// Text of a subject field in whichever string type it is encoded.
fn value_text(field: &AttributeTypeAndValue<'_>) -> String {
    let bytes = field.as_slice();
    match field.attr_value().tag() {
        Tag::BmpString => {
            let units = bytes.chunks_exact(2).map(|pair| match pair {
                [high, low] => u16::from_be_bytes([*high, *low]),
                _ => 0,
            });
            char::decode_utf16(units)
                .map(|unit| unit.unwrap_or('\u{fffd}'))
                .collect()
        }
        Tag::T61String => bytes.iter().copied().map(char::from).collect(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// The last common name of a subject.
fn common_name(name: &X509Name<'_>) -> Option<String> {
    name.iter_attributes()
        .filter(|field| field.attr_type().to_id_string() == COMMON_NAME_OID)
        .last()
        .map(value_text)
}

/// Writes bytes as `0a:1b:2c`.
pub(super) fn hex_colons(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}
