//! Signature algorithms that `tls-cert-profile` admits, in certificates and in handshakes.

use aws_lc_rs::signature;
use rustls::{
    SignatureScheme,
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id},
};
use webpki::aws_lc_rs as algs;

use super::CertProfile;

/// What `profile` admits.
///
/// Handshakes with an RSA key below 2048 bits verify in TLS 1.2 with PKCS#1 v1.5 only: TLS 1.3 wants PSS,
/// which the provider checks from 2048 bits.
pub(super) const fn admitted(profile: CertProfile) -> WebPkiSupportedAlgorithms {
    match profile {
        CertProfile::Legacy | CertProfile::Insecure => LEGACY,
        CertProfile::Preferred => PREFERRED,
        CertProfile::Suiteb => SUITE_B,
    }
}

/// RSA PKCS#1 v1.5 with keys from 1024 bits.
#[derive(Debug)]
struct ShortRsa {
    signature: AlgorithmIdentifier,
    verification: &'static signature::RsaParameters,
}

impl SignatureVerificationAlgorithm for ShortRsa {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        signature::UnparsedPublicKey::new(self.verification, public_key)
            .verify(message, signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

/// `sha1WithRSAEncryption` with absent-as-NULL parameters (RFC 4055 §5).
const RSA_PKCS1_SHA1_ID: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(&[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05, 0x05, 0x00,
]);

static SHORT_RSA_SHA1: &dyn SignatureVerificationAlgorithm = &ShortRsa {
    signature: RSA_PKCS1_SHA1_ID,
    verification: &signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
};
static SHORT_RSA_SHA256: &dyn SignatureVerificationAlgorithm = &ShortRsa {
    signature: alg_id::RSA_PKCS1_SHA256,
    verification: &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
};
static SHORT_RSA_SHA512: &dyn SignatureVerificationAlgorithm = &ShortRsa {
    signature: alg_id::RSA_PKCS1_SHA512,
    verification: &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
};

static LEGACY: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        algs::ECDSA_P256_SHA256,
        algs::ECDSA_P256_SHA384,
        algs::ECDSA_P256_SHA512,
        algs::ECDSA_P384_SHA256,
        algs::ECDSA_P384_SHA384,
        algs::ECDSA_P384_SHA512,
        algs::ECDSA_P521_SHA256,
        algs::ECDSA_P521_SHA384,
        algs::ECDSA_P521_SHA512,
        algs::ED25519,
        algs::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        algs::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        algs::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        SHORT_RSA_SHA256,
        algs::RSA_PKCS1_2048_8192_SHA384,
        SHORT_RSA_SHA512,
        SHORT_RSA_SHA1,
        algs::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
        algs::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
        algs::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ],
    mapping: &[
        ECDSA_P384,
        ECDSA_P256,
        ECDSA_P521,
        ED25519,
        PSS_SHA512,
        PSS_SHA384,
        PSS_SHA256,
        (SignatureScheme::RSA_PKCS1_SHA512, &[SHORT_RSA_SHA512]),
        PKCS1_SHA384,
        (SignatureScheme::RSA_PKCS1_SHA256, &[SHORT_RSA_SHA256]),
    ],
};

static PREFERRED: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        algs::ECDSA_P256_SHA256,
        algs::ECDSA_P256_SHA384,
        algs::ECDSA_P256_SHA512,
        algs::ECDSA_P384_SHA256,
        algs::ECDSA_P384_SHA384,
        algs::ECDSA_P384_SHA512,
        algs::ECDSA_P521_SHA256,
        algs::ECDSA_P521_SHA384,
        algs::ECDSA_P521_SHA512,
        algs::ED25519,
        algs::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        algs::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        algs::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        algs::RSA_PKCS1_2048_8192_SHA256,
        algs::RSA_PKCS1_2048_8192_SHA384,
        algs::RSA_PKCS1_2048_8192_SHA512,
        algs::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
        algs::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
        algs::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ],
    mapping: &[
        ECDSA_P384,
        ECDSA_P256,
        ECDSA_P521,
        ED25519,
        PSS_SHA512,
        PSS_SHA384,
        PSS_SHA256,
        (
            SignatureScheme::RSA_PKCS1_SHA512,
            &[algs::RSA_PKCS1_2048_8192_SHA512],
        ),
        PKCS1_SHA384,
        (
            SignatureScheme::RSA_PKCS1_SHA256,
            &[algs::RSA_PKCS1_2048_8192_SHA256],
        ),
    ],
};

static SUITE_B: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        algs::ECDSA_P256_SHA256,
        algs::ECDSA_P256_SHA384,
        algs::ECDSA_P384_SHA256,
        algs::ECDSA_P384_SHA384,
    ],
    mapping: &[
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            &[algs::ECDSA_P384_SHA384, algs::ECDSA_P256_SHA384],
        ),
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[algs::ECDSA_P256_SHA256, algs::ECDSA_P384_SHA256],
        ),
    ],
};

/// A scheme of TLS and the algorithms that may verify it: TLS 1.3 takes the first alone, since it ties
/// the curve to the scheme.
type Scheme = (
    SignatureScheme,
    &'static [&'static dyn SignatureVerificationAlgorithm],
);

const ECDSA_P256: Scheme = (
    SignatureScheme::ECDSA_NISTP256_SHA256,
    &[
        algs::ECDSA_P256_SHA256,
        algs::ECDSA_P384_SHA256,
        algs::ECDSA_P521_SHA256,
    ],
);
const ECDSA_P384: Scheme = (
    SignatureScheme::ECDSA_NISTP384_SHA384,
    &[
        algs::ECDSA_P384_SHA384,
        algs::ECDSA_P256_SHA384,
        algs::ECDSA_P521_SHA384,
    ],
);
const ECDSA_P521: Scheme = (
    SignatureScheme::ECDSA_NISTP521_SHA512,
    &[
        algs::ECDSA_P521_SHA512,
        algs::ECDSA_P384_SHA512,
        algs::ECDSA_P256_SHA512,
    ],
);
const ED25519: Scheme = (SignatureScheme::ED25519, &[algs::ED25519]);
const PSS_SHA256: Scheme = (
    SignatureScheme::RSA_PSS_SHA256,
    &[algs::RSA_PSS_2048_8192_SHA256_LEGACY_KEY],
);
const PSS_SHA384: Scheme = (
    SignatureScheme::RSA_PSS_SHA384,
    &[algs::RSA_PSS_2048_8192_SHA384_LEGACY_KEY],
);
const PSS_SHA512: Scheme = (
    SignatureScheme::RSA_PSS_SHA512,
    &[algs::RSA_PSS_2048_8192_SHA512_LEGACY_KEY],
);
const PKCS1_SHA384: Scheme = (
    SignatureScheme::RSA_PKCS1_SHA384,
    &[algs::RSA_PKCS1_2048_8192_SHA384],
);
