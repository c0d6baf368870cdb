//! What the data channel will use: cipher, key derivation, peer id, MSS (reference sections 5.11, 6.3, 6.5).

use std::net::SocketAddr;

use crate::{
    client::{Client, CloseReason, close::NegotiationError},
    config::{self, pushed::Pushed},
    data::{self, Cipher},
    session::DataParameters,
    wire::{PeerId, occ},
};

/// Bytes that sealing adds: opcode and key id, peer id, packet id, tag.
const OVERHEAD_BYTES: (usize, usize) = (21, 24);

/// The MSS that inner TCP connections are held to, for IPv4 inside.
pub(crate) fn mss(setting: config::MssFix, tcp: bool, outer: SocketAddr, with_peer_id: bool) -> Option<u16> {
    let (bare, with_id) = OVERHEAD_BYTES;
    let overhead_bytes = if with_peer_id { with_id } else { bare };
    data::mss_for(
        setting,
        data::Outer {
            tcp,
            ipv6: outer.is_ipv6(),
            overhead_bytes,
        },
    )
}

impl Client {
    pub(super) fn negotiate(&self, pushed: &Pushed) -> Result<DataParameters, CloseReason> {
        let cipher = self.choose_cipher(pushed)?;
        let peer_id = match pushed.peer_id {
            Some(id) => Some(PeerId::new(id).ok_or(NegotiationError::PeerId(id))?),
            None => None,
        };
        if pushed.protocol_flags.aead_epoch {
            return Err(NegotiationError::Epoch.into());
        }
        let mss = match self.setup.remote(self.remote) {
            Ok(remote) => mss(remote.mssfix, self.stream, self.address, peer_id.is_some()),
            Err(_gone) => None,
        };
        Ok(DataParameters {
            cipher,
            peer_id,
            exporter: pushed.protocol_flags.tls_ekm,
            dynamic_wrap: pushed.protocol_flags.dyn_tls_crypt,
            mss,
        })
    }

    fn choose_cipher(&self, pushed: &Pushed) -> Result<Cipher, NegotiationError> {
        let config = self.setup.config();
        let ours = || {
            config
                .ciphers
                .iter()
                .map(|cipher| cipher.name())
                .collect::<Vec<_>>()
                .join(":")
        };
        if let Some(name) = &pushed.cipher_name {
            let allowed = pushed
                .cipher
                .filter(|cipher| config.ciphers.contains(cipher) || config.fallback == Some(*cipher));
            return allowed.ok_or_else(|| NegotiationError::Cipher {
                theirs: name.clone(),
                ours: ours(),
            });
        }
        if let Some(name) = occ::cipher(&self.server_options) {
            let known = config
                .ciphers
                .iter()
                .copied()
                .find(|cipher| cipher.name() == name);
            return known.ok_or_else(|| NegotiationError::Cipher {
                theirs: name.to_owned(),
                ours: ours(),
            });
        }
        config
            .fallback
            .ok_or_else(|| NegotiationError::NoCipher { ours: ours() })
    }
}
