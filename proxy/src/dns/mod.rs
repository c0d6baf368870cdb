//! A name service for local programs: DNS over UDP and TCP (RFC 1035 §4.2, RFC 7766) in front of a [`Resolve`].
//!
//! It never asks anybody itself: what it cannot answer from the query alone goes to the resolver, which is inside the
//! tunnel, and when that has no answer the client is told so.
//!
//! | module | owns |
//! |---|---|
//! | `message` | reading queries, answers that are made here |
//! | `local` | names that no server is asked about (RFC 6761) |
//! | `service` | the two sockets: who may ask, limits, time-outs |

mod local;
pub(crate) mod message;
mod service;

pub use service::{Limits, serve};

/// Why a resolver has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The tunnel is not up and did not come up in time.
    #[error("tunnel down")]
    TunnelDown,
    /// There is nobody to ask inside the tunnel.
    #[error("the tunnel brought no name server; name one to ask through the tunnel")]
    NoServer,
    /// Those who were asked gave no usable answer.
    #[error("the name servers inside the tunnel gave no usable answer")]
    Failed,
    /// Those who were asked gave none at all.
    #[error("the name servers inside the tunnel did not answer in time")]
    TimedOut,
    /// Too much is being asked at once.
    #[error("too many queries at once")]
    Overloaded,
    /// The resolver does not take such a query.
    #[error("the query cannot be read")]
    Malformed,
}

/// Who answers what is not answered here.
pub trait Resolve: Clone + Send + Sync + 'static {
    /// Answers a whole query message by a whole answer message with the same id and question.
    fn query(&self, message: Vec<u8>) -> impl Future<Output = Result<Vec<u8>, ResolveError>> + Send;
}
