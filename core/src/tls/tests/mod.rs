//! Two pumps joined in memory.

mod failures;
mod files;
mod names;
mod sessions;

use super::{ClientTls, Pump, PumpFactory, ServerTls, TlsError, TlsSettings};
use crate::testing::certs::NOW;

/// More rounds than any handshake needs.
const ROUNDS: usize = 20;

/// Both ends of a session and how each of them failed.
struct Joined {
    client: Box<dyn Pump>,
    server: Box<dyn Pump>,
    client_outcome: Result<(), TlsError>,
    server_outcome: Result<(), TlsError>,
}

impl Joined {
    fn new(client: &TlsSettings, server: &TlsSettings) -> Self {
        Self {
            client: ClientTls::new(client).unwrap().pump(NOW).unwrap(),
            server: ServerTls::new(server).unwrap().pump(NOW).unwrap(),
            client_outcome: Ok(()),
            server_outcome: Ok(()),
        }
    }

    /// Runs the handshake to its end, whatever that is.
    fn run(client: &TlsSettings, server: &TlsSettings) -> Self {
        let mut joined = Self::new(client, server);
        joined.exchange(usize::MAX);
        joined
    }

    /// Runs a handshake that must succeed.
    fn established(client: &TlsSettings, server: &TlsSettings) -> Self {
        let joined = Self::run(client, server);
        assert_eq!(
            (&joined.client_outcome, &joined.server_outcome),
            (&Ok(()), &Ok(()))
        );
        assert!(!joined.client.is_handshaking() && !joined.server.is_handshaking());
        joined
    }

    /// Passes bytes in pieces of at most `piece` until neither end has more to say.
    fn exchange(&mut self, piece: usize) {
        for _ in 0..ROUNDS {
            let mut out = Vec::new();
            self.client.write_tls(&mut out);
            let mut back = Vec::new();
            self.server.write_tls(&mut back);
            if out.is_empty() && back.is_empty() {
                return;
            }
            pass(&out, piece, self.server.as_mut(), &mut self.server_outcome);
            pass(&back, piece, self.client.as_mut(), &mut self.client_outcome);
        }
        panic!("the handshake does not come to an end");
    }

    /// How the client and the server failed; both must have.
    fn failures(self) -> (TlsError, TlsError) {
        (self.client_outcome.unwrap_err(), self.server_outcome.unwrap_err())
    }
}

fn pass(bytes: &[u8], piece: usize, to: &mut dyn Pump, outcome: &mut Result<(), TlsError>) {
    for chunk in bytes.chunks(piece.min(bytes.len()).max(1)) {
        if outcome.is_ok() {
            *outcome = to.read_tls(chunk);
        }
    }
}

fn plain(pump: &mut dyn Pump) -> Vec<u8> {
    let mut out = Vec::new();
    pump.read_plain(&mut out).unwrap();
    out
}
