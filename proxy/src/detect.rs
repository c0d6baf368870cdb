//! The first byte decides which protocol is spoken: 5 SOCKS5, 4 SOCKS4, a letter HTTP.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::connect::{ConnectError, Target};
use crate::connections::ConnectionKind;
use crate::error::{Rejected, RequestError};
use crate::incoming::Incoming;
use crate::serve::Settings;
use crate::stats::{Counter, Stats};
use crate::{http, socks};

/// What a client asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A connection.
    Connect(Request),
    /// A port for datagrams (SOCKS5 UDP ASSOCIATE).
    Associate,
    /// Something in HTTP, of which nothing has been taken yet.
    Http,
}

/// A connection to open, and the protocol to answer in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) protocol: Protocol,
    pub(crate) target: Target,
}

/// The protocols in which a connection can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Socks4,
    Socks5,
    HttpConnect,
}

impl Protocol {
    /// How it is called where connections are listed.
    pub(crate) fn kind(self) -> ConnectionKind {
        match self {
            Self::Socks4 => ConnectionKind::Socks4,
            Self::Socks5 => ConnectionKind::Socks5,
            Self::HttpConnect => ConnectionKind::HttpConnect,
        }
    }

    /// The answer to an open flow, whose own address is `bound`.
    pub(crate) fn success(self, bound: SocketAddr) -> Vec<u8> {
        match self {
            Self::Socks4 => socks::v4::success(bound),
            Self::Socks5 => socks::v5::success(bound),
            Self::HttpConnect => http::connect::SUCCESS.to_vec(),
        }
    }

    /// The answer to a flow that could not be opened.
    pub(crate) fn failure(self, target: &Target, error: ConnectError) -> Vec<u8> {
        match self {
            Self::Socks4 => socks::v4::failure(),
            Self::Socks5 => socks::v5::failure(error),
            Self::HttpConnect => http::connect::failure(target, error),
        }
    }

    pub(crate) fn count(self, stats: &Stats) -> &Counter {
        match self {
            Self::Socks4 => &stats.socks4,
            Self::Socks5 => &stats.socks5,
            Self::HttpConnect => &stats.http_connect,
        }
    }
}

/// Reads one request. Bytes behind it are left waiting in `incoming`.
pub(crate) async fn read_request<S>(
    incoming: &mut Incoming<S>,
    settings: &Settings,
) -> Result<Asked, Rejected>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let credentials = settings.credentials.as_ref();
    match incoming.first().await.map_err(RequestError::Io)? {
        None => Err(RequestError::Closed.into()),
        Some(socks::v5::VERSION) => socks::v5::read_request(incoming, credentials).await,
        Some(socks::v4::VERSION) => socks::v4::read_request(incoming, credentials).await,
        Some(first) if first.is_ascii_alphabetic() => Ok(Asked::Http),
        Some(first) => Err(RequestError::UnknownProtocol { first }.into()),
    }
}
