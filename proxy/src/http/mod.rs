//! HTTP/1.x on the local port: CONNECT opens a tunnel, a URL is fetched through the VPN, a path is about the port.
//!
//! | module | owns |
//! |---|---|
//! | `conversation` | the requests of one connection, one after the other |
//! | `exchange` | one request and its response over two connections |
//! | `upstream` | a connection to a far end, kept for the next request |
//! | `share` | the client's socket for both directions at once |
//! | `wire` | reading and writing with bounds |
//! | `head` | heads as bytes, strictly |
//! | `request` | what a request asks for |
//! | `fields` | which fields are passed on |
//! | `body`, `chunked` | how long a body is, and the chunked coding |
//! | `connect` | CONNECT |
//! | `site` | what the port says about itself |
//! | `answer`, `auth` | this port's own answers, and signing in |

mod answer;
mod auth;
mod body;
mod chunked;
pub(crate) mod connect;
mod conversation;
mod exchange;
mod fields;
mod head;
mod request;
mod share;
mod site;
mod upstream;
mod wire;

#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzz;

pub(crate) use self::conversation::{Port, converse};
pub(crate) use self::request::HeadError;
use crate::error::{Rejected, RequestError};

/// Longest request line and header fields together.
const REQUEST_BYTES: usize = 16 * 1024;

/// The answer to a head that did not arrive in time.
pub(crate) fn too_slow() -> Rejected {
    let answer = answer::Answer::new(408, "the request did not arrive in time, send it again").to_bytes();
    Rejected {
        why: RequestError::TooSlow,
        answer,
    }
}

#[cfg(test)]
mod tests;
