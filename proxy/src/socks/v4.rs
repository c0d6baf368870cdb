//! SOCKS4 and 4a: CONNECT, by address and by name. BIND is rejected.
//!
//! The texts are "SOCKS: A protocol for TCP proxy across firewalls" and "SOCKS 4A: A Simple Extension to SOCKS 4
//! Protocol". The user id proves nothing and is thrown away; a port that asks for a password rejects everybody here,
//! since there is no place to put one.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use crate::connect::{InvalidTarget, Target};
use crate::credentials::Credentials;
use crate::detect::{Asked, Protocol, Request};
use crate::error::{Rejected, RequestError};
use crate::incoming::Incoming;

/// First byte of a SOCKS4 request.
pub(crate) const VERSION: u8 = 4;
/// First byte of a reply.
const REPLY_VERSION: u8 = 0;
const COMMAND_CONNECT: u8 = 1;
const GRANTED: u8 = 90;
/// "Request rejected or failed"; the codes 92 and 93 are about identd, which is not asked.
const REJECTED: u8 = 91;
/// Longest user id and longest name; the texts set no limit, this is what SOCKS5 can carry.
const FIELD_BYTES: usize = 255;

/// Reads the request.
pub(crate) async fn read_request<S>(
    incoming: &mut Incoming<S>,
    credentials: Option<&Credentials>,
) -> Result<Asked, Rejected>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = [0; 8];
    incoming.read_exact(&mut head).await?;
    let [_version, command, port @ .., a, b, c, d] = head;
    let (port, address) = (u16::from_be_bytes(port), Ipv4Addr::new(a, b, c, d));
    read_field(incoming, "user id").await?;
    // 4a: an impossible address says that a name follows.
    let name = match address.octets() {
        [0, 0, 0, 1..=255] => Some(read_field(incoming, "host name").await?),
        _ => None,
    };
    if command != COMMAND_CONNECT {
        return Err(rejected(RequestError::Command));
    }
    if credentials.is_some() {
        return Err(rejected(RequestError::Socks4Password));
    }
    let target = match name {
        Some(name) => Target::from_bytes(&name, port),
        None if address.is_unspecified() => Err(InvalidTarget::NoHost),
        None => Target::address(SocketAddrV4::new(address, port).into()),
    };
    match target {
        Ok(target) => Ok(Asked::Connect(Request {
            protocol: Protocol::Socks4,
            target,
        })),
        Err(invalid) => Err(rejected(invalid.into())),
    }
}

/// Reads a field up to the zero byte that ends it.
async fn read_field<S>(incoming: &mut Incoming<S>, field: &'static str) -> Result<Vec<u8>, Rejected>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = Vec::new();
    loop {
        match incoming.read_u8().await? {
            0 => return Ok(bytes),
            _ if bytes.len() >= FIELD_BYTES => {
                let limit = FIELD_BYTES;
                return Err(rejected(RequestError::Socks4TooLong { field, limit }));
            }
            byte => bytes.push(byte),
        }
    }
}

/// The reply to an open flow, with the address it has inside the tunnel where SOCKS4 can say it.
pub(crate) fn success(bound: SocketAddr) -> Vec<u8> {
    let ip = match bound {
        SocketAddr::V4(bound) => *bound.ip(),
        SocketAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    let mut bytes = vec![REPLY_VERSION, GRANTED];
    bytes.extend(bound.port().to_be_bytes());
    bytes.extend(ip.octets());
    bytes
}

/// The reply to everything that does not come to be, whatever the reason: SOCKS4 has one code for all.
pub(crate) fn failure() -> Vec<u8> {
    vec![REPLY_VERSION, REJECTED, 0, 0, 0, 0, 0, 0]
}

fn rejected(why: RequestError) -> Rejected {
    Rejected {
        why,
        answer: failure(),
    }
}
