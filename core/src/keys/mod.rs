//! Data keys: derived from random numbers of both sides, or from the TLS session (reference sections 4.4 to 4.6).

mod prf;

use std::fmt;

use zeroize::Zeroizing;

pub use prf::prf;

use crate::{
    wire::{KeySource, Role, SessionId},
    wrap::{KeyDirection, KeyHalf, StaticKey},
};

/// TLS exporter label of the data keys; no context, 256 bytes.
pub const EXPORTER_DATA_KEYS: &str = "EXPORTER-OpenVPN-datakeys";
/// TLS exporter label of the dynamic tls-crypt key; no context, 256 bytes.
pub const EXPORTER_DYNAMIC_TLS_CRYPT: &str = "EXPORTER-OpenVPN-dynamic-tls-crypt";
/// TLS exporter label of the peer id between equal peers; no context, 3 bytes.
pub const EXPORTER_P2P_PEER_ID: &str = "EXPORTER-OpenVPN-p2p-peerid";
/// Bytes of key material of a key, and of what is exported for one.
pub const KEY2_BYTES: usize = 256;

const MASTER_LABEL: &[u8] = b"OpenVPN master secret";
const EXPANSION_LABEL: &[u8] = b"OpenVPN key expansion";
const MASTER_BYTES: usize = 48;

/// Why no keys could be derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The client's half has no pre-master secret.
    #[error("the client's key material has no pre-master secret")]
    NoPreMaster,
    /// The key derived is all zeros, which no honest derivation gives.
    #[error("the cipher key is all zeros")]
    ZeroKey,
    /// The cryptographic library refused the key.
    #[error("the cryptographic library refused a key for {0}")]
    Refused(crate::data::Cipher),
}

/// Key material of a data key: one half for what the client sends, one for what the server sends.
#[derive(Clone)]
pub struct Key2(StaticKey);

impl Key2 {
    /// Derives the material from the key exchange messages of both sides.
    ///
    /// # Errors
    /// The client's source has no pre-master secret.
    pub fn from_prf(
        client: &KeySource,
        server: &KeySource,
        client_sid: SessionId,
        server_sid: SessionId,
    ) -> Result<Self, KeyError> {
        let pre_master = client.pre_master.as_ref().ok_or(KeyError::NoPreMaster)?;
        let mut master = Zeroizing::new([0; MASTER_BYTES]);
        prf(
            pre_master,
            &[MASTER_LABEL, &client.random1, &server.random1],
            &mut *master,
        );
        let seed = [
            EXPANSION_LABEL,
            &client.random2,
            &server.random2,
            &client_sid.0,
            &server_sid.0,
        ];
        let mut bytes = Zeroizing::new([0; KEY2_BYTES]);
        prf(&*master, &seed, &mut *bytes);
        Ok(Self(StaticKey::from_bytes(&bytes)))
    }

    /// Takes the material that TLS exported for [`EXPORTER_DATA_KEYS`].
    pub fn from_exporter(exported: &[u8; KEY2_BYTES]) -> Self {
        Self(StaticKey::from_bytes(exported))
    }

    /// The half to send with and the half to receive with. (For tls-crypt it is the other way round.)
    pub fn directed(&self, role: Role) -> (&KeyHalf, &KeyHalf) {
        self.0.directed(match role {
            Role::Client => KeyDirection::Normal,
            Role::Server => KeyDirection::Inverse,
        })
    }
}

impl fmt::Debug for Key2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key2([secret])")
    }
}

#[cfg(test)]
pub(crate) mod tests;
