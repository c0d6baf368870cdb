//! Who may come in: deciders that the server's driver asks about each client.
//!
//! Core verifies certificates and holds a client until somebody has decided; what needs files, scripts or
//! people is decided here.

use std::fmt;

use tunless_core::server::{AdmissionRequest, DenyReason, Verdict};

/// Decides about clients.
pub trait Decider: fmt::Debug + Send {
    /// Decides about one client, or one renewal of its keys. Must not block.
    fn decide(&mut self, request: &AdmissionRequest) -> Verdict;
}

/// Lets in whoever has a certificate that the configured authority signed, and nobody else.
#[derive(Debug, Clone, Copy, Default)]
pub struct CertificateOnly;

impl Decider for CertificateOnly {
    fn decide(&mut self, request: &AdmissionRequest) -> Verdict {
        if request.certificate.is_some() {
            return Verdict::Accept { push: Vec::new() };
        }
        let reason = DenyReason {
            log: "it has no certificate, and this server knows no other way to tell who it is".into(),
            client: "this server wants a client certificate".into(),
        };
        Verdict::Deny { reason }
    }
}
