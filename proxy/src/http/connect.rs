//! CONNECT (RFC 9110 §9.3.6): its target, and the answers to it.

use super::answer::Answer;
use crate::connect::{ConnectError, InvalidTarget, Target};
use crate::error;

/// The answer to an open flow; the bytes behind it are the tunnel's (no `Content-Length`, RFC 9110 §8.6).
pub(crate) const SUCCESS: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
/// Seconds after which a client may try again while the tunnel is down: about the time a reconnect takes.
const RETRY_AFTER_SECONDS: &str = "5";

/// Reads the authority form, `host:port` or `[v6]:port`. The port is a must.
pub(super) fn target(authority: &str) -> Result<Target, InvalidTarget> {
    let (host, port) = authority.rsplit_once(':').ok_or(InvalidTarget::Port)?;
    // `u16` would take a sign.
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidTarget::Port);
    }
    let port = port.parse().map_err(|_| InvalidTarget::Port)?;
    if host.contains(':') && !host.starts_with('[') {
        return Err(InvalidTarget::NameByte { byte: b':' });
    }
    Target::parse(host, port)
}

/// The last answer on a connection whose flow could not be opened.
pub(crate) fn failure(target: &Target, error: ConnectError) -> Vec<u8> {
    failure_answer(target, error).to_bytes()
}

/// The answer to a flow that could not be opened, or that failed.
pub(super) fn failure_answer(target: &Target, error: ConnectError) -> Answer {
    let failure = error::failure(error);
    let text = format!("tunless: {target}: {error}\n{}", failure.remedy);
    let mut answer = Answer::new(failure.status, text).field(
        "Proxy-Status",
        &format!("tunless; error={}", failure.proxy_status),
    );
    if failure.status == 503 {
        answer = answer.field("Retry-After", RETRY_AFTER_SECONDS);
    }
    answer
}
