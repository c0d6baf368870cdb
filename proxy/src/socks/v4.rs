//! SOCKS4 is refused with the answer of its own protocol, so that clients report a refusal and not a broken server.

use crate::error::{Rejected, RequestError};

/// First byte of a SOCKS4 request.
pub(crate) const VERSION: u8 = 4;
/// "Request rejected or failed", with nothing in the fields that a client must ignore then (SOCKS4, CONNECT).
const REJECTED: [u8; 8] = [0, 91, 0, 0, 0, 0, 0, 0];

/// The answer to whatever a SOCKS4 client asks.
pub(crate) fn refusal() -> Rejected {
    Rejected {
        why: RequestError::Socks4,
        answer: REJECTED.to_vec(),
    }
}
