//! What can go wrong on the local side, and what a failed connection looks like to either kind of client.
//!
//! One table turns a [`ConnectError`] into both answers. SOCKS5 has nine reply codes (RFC 1928 §6) for more causes;
//! the five that users must tell apart have one each:
//!
//! | cause | SOCKS5 | HTTP, and `Proxy-Status` (RFC 9209 §2.3) |
//! |---|---|---|
//! | refused, reset | 5 connection refused | 502 `connection_refused`, `connection_terminated` |
//! | host or network unreachable | 3 network unreachable | 502 `destination_ip_unroutable` |
//! | name not found, resolver failed | 4 host unreachable | 502 `dns_error` |
//! | timed out | 6 TTL expired | 504 `connection_timeout` |
//! | tunnel down, too many connections | 1 general failure | 503 `destination_unavailable`, `connection_limit_reached` |
//! | not allowed | 2 not allowed by ruleset | 403 `http_request_denied` |
//! | no resolver | 8 address type not supported | 502 `dns_error` |
//!
//! SOCKS4 has one code for everything, 91.
//!
//! Code 4 goes to names, as Tor and most SOCKS servers have it; code 3 is then what is left for routers' answers.

use std::io;

use socks5_server::proto::{ProtocolError, Reply};

use crate::connect::{ConnectError, InvalidTarget};
use crate::http::HeadError;
use crate::stats::{Counter, Stats};

/// Why a client's request was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("closed before the request was complete")]
    Closed,
    #[error("the client's socket failed")]
    Io(#[source] io::Error),
    #[error("the request did not arrive in time")]
    TooSlow,
    #[error("the first byte {first:#04x} is neither SOCKS nor HTTP")]
    UnknownProtocol { first: u8 },
    #[error(
        "SOCKS4 cannot carry the password that is asked for here, use SOCKS5 (socks5h://) or HTTP CONNECT"
    )]
    Socks4Password,
    #[error("the SOCKS4 {field} is longer than {limit} bytes")]
    Socks4TooLong { field: &'static str, limit: usize },
    #[error("malformed SOCKS5 request")]
    Socks5(#[source] ProtocolError),
    #[error("the client offers no SOCKS5 sign-in method that is served here")]
    Method,
    #[error("SOCKS5 sign-in version {version:#04x}, 0x01 is the only one")]
    SignInVersion { version: u8 },
    #[error("SOCKS command that is not served")]
    Command,
    #[error("wrong or missing user name or password")]
    Credentials,
    #[error("impossible destination")]
    Target(#[from] InvalidTarget),
    #[error("HTTP request not served")]
    Http(#[from] HeadError),
}

impl RequestError {
    /// Where it is counted.
    pub(crate) fn count<'a>(&self, stats: &'a Stats) -> &'a Counter {
        match self {
            Self::TooSlow => &stats.head_timeouts,
            Self::Credentials | Self::Socks4Password => &stats.auth_failures,
            Self::Closed
            | Self::Io(_)
            | Self::UnknownProtocol { .. }
            | Self::Socks4TooLong { .. }
            | Self::Socks5(_)
            | Self::Method
            | Self::SignInVersion { .. }
            | Self::Command
            | Self::Target(_)
            | Self::Http(_) => &stats.bad_requests,
        }
    }
}

impl From<io::Error> for RequestError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Closed
        } else {
            Self::Io(error)
        }
    }
}

/// A request that was not taken, and the last bytes the client gets.
#[derive(Debug)]
pub(crate) struct Rejected {
    pub(crate) why: RequestError,
    /// Empty where the protocol has no answer for it.
    pub(crate) answer: Vec<u8>,
}

impl<E: Into<RequestError>> From<E> for Rejected {
    fn from(why: E) -> Self {
        Self {
            why: why.into(),
            answer: Vec::new(),
        }
    }
}

/// One line of the table: what clients hear of a [`ConnectError`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    /// SOCKS5 reply.
    pub(crate) socks5: Reply,
    /// HTTP status.
    pub(crate) status: u16,
    /// RFC 9209 error type, and its parameters.
    pub(crate) proxy_status: &'static str,
    /// What a person can do about it.
    pub(crate) remedy: &'static str,
}

/// The table.
pub(crate) fn failure(error: ConnectError) -> Failure {
    use ConnectError as E;
    let (socks5, status, proxy_status, remedy) = match error {
        E::Refused => (
            Reply::ConnectionRefused,
            502,
            "connection_refused",
            "check that the service runs and that the port is right",
        ),
        E::Reset => (
            Reply::ConnectionRefused,
            502,
            "connection_terminated",
            "a firewall on the way may be cutting it; check that the port is right",
        ),
        E::HostUnreachable => (
            Reply::NetworkUnreachable,
            502,
            "destination_ip_unroutable; details=\"host unreachable\"",
            "check that the host is up and that the address is right",
        ),
        E::NetworkUnreachable => (
            Reply::NetworkUnreachable,
            502,
            "destination_ip_unroutable; details=\"network unreachable\"",
            "the VPN does not lead to this network; check the address and its family (IPv4, IPv6)",
        ),
        E::NameNotFound => (
            Reply::HostUnreachable,
            502,
            "dns_error; rcode=\"NXDOMAIN\"",
            "check the spelling; names are looked up inside the VPN, never outside",
        ),
        E::NoResolver => (
            Reply::AddressTypeNotSupported,
            502,
            "dns_error; details=\"no resolver\"",
            "the server pushed none; use an address, or name a resolver inside the VPN with --dns",
        ),
        E::ResolverFailed => (
            Reply::HostUnreachable,
            502,
            "dns_error",
            "try again; if it stays so, name another resolver inside the VPN with --dns",
        ),
        E::TimedOut => (
            Reply::TtlExpired,
            504,
            "connection_timeout",
            "the host may be down, or a firewall may be dropping the packets",
        ),
        E::TunnelDown => (
            Reply::GeneralFailure,
            503,
            "destination_unavailable; details=\"tunnel down\"",
            "nothing is sent outside the VPN; wait until it is connected again",
        ),
        E::NotAllowed => (
            Reply::ConnectionNotAllowed,
            403,
            "http_request_denied",
            "a rule of this proxy or of the VPN forbids it",
        ),
        E::TooManyConnections => (
            Reply::GeneralFailure,
            503,
            "connection_limit_reached",
            "close some connections and try again",
        ),
    };
    Failure {
        socks5,
        status,
        proxy_status,
        remedy,
    }
}
