//! HTTP without a network.

mod codec;
mod conversation;
mod lab;
mod own;
mod requests;
mod responses;

use super::*;
use crate::connect::{ConnectError, Target};
use crate::credentials::Credentials;

fn known() -> Credentials {
    Credentials::new("Aladdin", "open:sesame").unwrap()
}

/// base64 of what is known.
const RIGHT: &str = "Basic QWxhZGRpbjpvcGVuOnNlc2FtZQ==";

/// Status line and fields are as the answer's own length says, and the connection is announced to end.
fn status_of(answer: &str) -> &str {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())),
        "{answer}"
    );
    assert!(head.ends_with("\r\nConnection: close"), "{answer}");
    head.split(' ').nth(1).unwrap()
}

#[test]
fn each_failure_has_a_status_and_a_remedy() {
    use ConnectError as E;
    let target = Target::parse("db.corp.example", 443).unwrap();
    for (error, status, kind) in [
        (E::Refused, "502", "connection_refused"),
        (E::Reset, "502", "connection_terminated"),
        (E::HostUnreachable, "502", "destination_ip_unroutable"),
        (E::NetworkUnreachable, "502", "destination_ip_unroutable"),
        (E::NameNotFound, "502", "dns_error"),
        (E::NoResolver, "502", "dns_error"),
        (E::ResolverFailed, "502", "dns_error"),
        (E::TimedOut, "504", "connection_timeout"),
        (E::TunnelDown, "503", "destination_unavailable"),
        (E::NotAllowed, "403", "http_request_denied"),
        (E::TooManyConnections, "503", "connection_limit_reached"),
    ] {
        let answer = String::from_utf8(connect::failure(&target, error)).unwrap();
        assert_eq!(status_of(&answer), status, "{error}");
        assert!(
            answer.contains(&format!("\r\nProxy-Status: tunless; error={kind}")),
            "{answer}"
        );
        assert!(
            answer.contains(&format!("tunless: db.corp.example:443: {error}\n")),
            "{answer}"
        );
        assert_eq!(answer.contains("\r\nRetry-After: "), status == "503", "{answer}");
    }
}
