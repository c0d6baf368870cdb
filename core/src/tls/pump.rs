//! A pump over rustls for keys in memory.

use std::{
    fmt,
    io::{BufRead as _, Write as _},
};

use rustls::{Connection, ProtocolVersion, pki_types::CertificateDer};
use zeroize::{Zeroize as _, Zeroizing};

use super::{BUFFER_LIMIT_BYTES, PeerIdentity, Pump, TlsError, reason, verifier::Verdict};

/// A TLS session whose keys are in memory.
pub(super) struct RustlsPump {
    connection: Connection,
    /// Ciphertext that was not taken yet.
    cipher: Vec<u8>,
    /// Decrypted bytes that were not taken yet; they may hold a password.
    plain: Zeroizing<Vec<u8>>,
    peer: Option<PeerIdentity>,
    /// Whether the end of the handshake was seen and `peer` filled.
    established: bool,
    closed_by_peer: bool,
    failure: Option<TlsError>,
    /// Why our rules refused the peer's certificate.
    verdict: Verdict,
}

impl RustlsPump {
    /// Wraps a connection that has not exchanged anything yet.
    pub(super) fn new(mut connection: Connection, verdict: Verdict) -> Self {
        // Everything is moved out after each step; this is the second fence.
        connection.set_buffer_limit(Some(BUFFER_LIMIT_BYTES));
        let mut pump = Self {
            connection,
            cipher: Vec::new(),
            plain: Zeroizing::new(Vec::new()),
            peer: None,
            established: false,
            closed_by_peer: false,
            failure: None,
            verdict,
        };
        pump.collect_cipher();
        pump
    }

    /// Feeds `bytes` to rustls and moves out what comes of them.
    fn advance(&mut self, mut bytes: &[u8]) -> Result<(), TlsError> {
        while !bytes.is_empty() && !self.closed_by_peer {
            let before = bytes.len();
            self.connection
                .read_tls(&mut bytes)
                .map_err(|error| TlsError::Protocol(error.to_string()))?;
            let outcome = self.connection.process_new_packets();
            // Also after an error: what came before it is authentic.
            self.collect_plain()?;
            self.collect_cipher();
            let state = outcome.map_err(|error| self.reason(&error))?;
            self.closed_by_peer |= state.peer_has_closed();
            self.note_peer()?;
            if self.cipher.len() > BUFFER_LIMIT_BYTES || bytes.len() == before {
                return Err(TlsError::BufferFull {
                    limit: BUFFER_LIMIT_BYTES,
                });
            }
        }
        Ok(())
    }

    fn reason(&self, error: &rustls::Error) -> TlsError {
        let refused = matches!(error, rustls::Error::InvalidCertificate(_));
        let verdict = self.verdict.get().filter(|_| refused);
        verdict.cloned().unwrap_or_else(|| reason::session(error))
    }

    fn collect_plain(&mut self) -> Result<(), TlsError> {
        let mut reader = self.connection.reader();
        // An error means that nothing waits, or that the peer cut the stream: both end the loop.
        while let Ok(chunk) = reader.fill_buf() {
            let count = chunk.len();
            if count == 0 {
                break;
            }
            if self.plain.len() + count > BUFFER_LIMIT_BYTES {
                return Err(TlsError::BufferFull {
                    limit: BUFFER_LIMIT_BYTES,
                });
            }
            self.plain.extend_from_slice(chunk);
            reader.consume(count);
        }
        Ok(())
    }

    fn collect_cipher(&mut self) {
        while self.connection.wants_write() {
            // Writing to a vector cannot fail; nothing written means nothing is left.
            if !matches!(self.connection.write_tls(&mut self.cipher), Ok(1..)) {
                return;
            }
        }
    }

    /// Keeps who the peer is once the handshake is finished.
    fn note_peer(&mut self) -> Result<(), TlsError> {
        if self.established || self.connection.is_handshaking() {
            return Ok(());
        }
        self.established = true;
        if let Some(chain) = self.connection.peer_certificates() {
            self.peer = Some(PeerIdentity::read(chain.iter().map(CertificateDer::as_ref))?);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TlsError> {
        self.failure.clone().map_or(Ok(()), Err)
    }
}

impl Pump for RustlsPump {
    fn read_tls(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        self.check()?;
        let outcome = self.advance(bytes);
        if let Err(error) = &outcome {
            self.collect_cipher();
            self.failure = Some(error.clone());
        }
        outcome
    }

    fn write_tls(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.cipher);
    }

    fn read_plain(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        if self.plain.is_empty() {
            self.check()?;
            if self.closed_by_peer {
                return Err(TlsError::Closed);
            }
        }
        out.extend_from_slice(&self.plain);
        self.plain.zeroize();
        Ok(())
    }

    fn write_plain(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        self.check()?;
        if self.connection.is_handshaking() {
            return Err(TlsError::NotReady);
        }
        let full = TlsError::BufferFull {
            limit: BUFFER_LIMIT_BYTES,
        };
        if self.cipher.len().saturating_add(bytes.len()) > BUFFER_LIMIT_BYTES {
            return Err(full);
        }
        let outcome = self.connection.writer().write_all(bytes);
        self.collect_cipher();
        outcome.map_err(|_| full)
    }

    fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    fn export(&self, label: &[u8], out: &mut [u8]) -> Result<(), TlsError> {
        self.check()?;
        self.connection
            .export_keying_material(out, label, None)
            .map(|_| ())
            .map_err(|error| TlsError::Export(error.to_string()))
    }

    fn peer(&self) -> Option<&PeerIdentity> {
        self.peer.as_ref()
    }

    fn describe(&self) -> Option<String> {
        let version = if self.connection.protocol_version()? == ProtocolVersion::TLSv1_3 {
            "TLSv1.3"
        } else {
            "TLSv1.2"
        };
        let suite = self.connection.negotiated_cipher_suite()?.suite();
        let name = format!("{suite:?}").replacen("TLS13_", "TLS_", 1);
        Some(format!("{version}, {name}"))
    }
}

impl fmt::Debug for RustlsPump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RustlsPump")
            .field("handshaking", &self.connection.is_handshaking())
            .field("cipher_bytes", &self.cipher.len())
            .field("plain_bytes", &self.plain.len())
            .field("peer", &self.peer.as_ref().map(|peer| &peer.subject))
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}
