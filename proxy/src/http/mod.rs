//! HTTP/1.x on the local port: CONNECT opens a tunnel, `GET /` explains what the port is, the rest is told why not.
//!
//! One request a connection: whatever is not a tunnel is answered and closed, so no request can hide behind another.

mod answer;
mod auth;
pub(crate) mod connect;
mod head;

use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use self::head::{HeadError, decode};
use crate::credentials::Credentials;
use crate::detect::Asked;
use crate::error::{Rejected, RequestError};
use crate::incoming::Incoming;

/// Longest request line and header fields together.
const HEAD_BYTES: usize = 16 * 1024;

/// Reads one head. The bytes behind it are left waiting.
pub(crate) async fn read_request<S>(
    incoming: &mut Incoming<S>,
    credentials: Option<&Credentials>,
) -> Result<Asked, Rejected>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut seen = 0;
    loop {
        let waiting = incoming.waiting();
        // A head ends with a line, so only a new line can complete it: parsing is not repeated byte by byte.
        let line_ended = waiting.get(seen..).is_some_and(|fresh| fresh.contains(&b'\n'));
        seen = waiting.len();
        if line_ended && let Some((asked, bytes)) = decode(waiting, credentials)? {
            incoming.consume(bytes);
            return Ok(asked);
        }
        if seen >= HEAD_BYTES {
            return Err(HeadError::TooLarge {
                line: !incoming.waiting().contains(&b'\n'),
            }
            .into_rejected());
        }
        if incoming
            .fill(HEAD_BYTES - seen)
            .await
            .map_err(RequestError::from)?
            == 0
        {
            return Err(RequestError::Closed.into());
        }
    }
}

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
