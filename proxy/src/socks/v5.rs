//! SOCKS5: greeting, request, reply (RFC 1928). CONNECT and UDP ASSOCIATE are served; BIND is answered
//! "not supported".
//!
//! The messages are those of `socks5_server::proto`; what it leaves open is closed here: text that is no name, both
//! sign-in methods, an end to failed sign-ins, answers to malformed requests.

use std::net::SocketAddr;

use socks5_server::proto::handshake::Request as Greeting;
use socks5_server::proto::{
    Address, Command, Error, ProtocolError, Reply, Request as Socks5Request, Response,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::auth;
use crate::connect::{ConnectError, InvalidTarget, Target};
use crate::credentials::Credentials;
use crate::detect::{Asked, Protocol, Request};
use crate::error::{self, Rejected, RequestError};
use crate::incoming::Incoming;

/// First byte of a SOCKS5 greeting.
pub(crate) const VERSION: u8 = socks5_server::proto::SOCKS_VERSION;

/// Reads greeting, sign-in and request.
pub(crate) async fn read_request<S>(
    incoming: &mut Incoming<S>,
    credentials: Option<&Credentials>,
) -> Result<Asked, Rejected>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let greeting = Greeting::read_from(incoming).await.map_err(malformed)?;
    auth::sign_in(incoming, &greeting.methods, credentials).await?;
    let request = Socks5Request::read_from(incoming).await.map_err(malformed)?;
    match request.command {
        Command::Connect => {}
        // The address that is announced decides nothing: clients behind a translator do not know theirs.
        Command::Associate => return Ok(Asked::Associate),
        Command::Bind => {
            return Err(refused(RequestError::Command, Reply::CommandNotSupported));
        }
    }
    match target(request.address) {
        Ok(target) => Ok(Asked::Connect(Request {
            protocol: Protocol::Socks5,
            target,
        })),
        Err(invalid) => Err(refused(invalid.into(), reply_to_invalid(invalid))),
    }
}

/// The reply to an open flow, with the address it has inside the tunnel.
pub(crate) fn success(bound: SocketAddr) -> Vec<u8> {
    reply(Reply::Succeeded, Address::SocketAddress(bound))
}

/// The reply to a flow that could not be opened.
pub(crate) fn failure(error: ConnectError) -> Vec<u8> {
    reply(error::failure(error).socks5, Address::unspecified())
}

fn target(address: Address) -> Result<Target, InvalidTarget> {
    match address {
        Address::SocketAddress(address) => Target::address(address),
        Address::DomainAddress(name, port) => Target::from_bytes(&name, port),
    }
}

/// A name that no resolver can know is answered like a name that the resolver does not know.
fn reply_to_invalid(invalid: InvalidTarget) -> Reply {
    match invalid {
        InvalidTarget::NoHost
        | InvalidTarget::NameTooLong { .. }
        | InvalidTarget::LabelTooLong { .. }
        | InvalidTarget::EmptyLabel
        | InvalidTarget::NameByte { .. }
        | InvalidTarget::NumericName
        | InvalidTarget::Brackets => Reply::HostUnreachable,
        InvalidTarget::Port | InvalidTarget::PortZero => Reply::ConnectionNotAllowed,
    }
}

/// A malformed message, with a reply where the client is waiting for one.
fn malformed(error: Error) -> Rejected {
    match error {
        Error::Io(error) => error.into(),
        Error::Protocol(problem) => {
            let code = match problem {
                ProtocolError::InvalidCommand { .. } => Some(Reply::CommandNotSupported),
                ProtocolError::InvalidAddressTypeInRequest { .. } => Some(Reply::AddressTypeNotSupported),
                ProtocolError::ProtocolVersion { .. }
                | ProtocolError::NoAcceptableHandshakeMethod { .. }
                | ProtocolError::InvalidReply { .. }
                | ProtocolError::InvalidAddressTypeInResponse { .. }
                | ProtocolError::InvalidAddressTypeInUdpHeader { .. } => None,
            };
            let why = RequestError::Socks5(problem);
            match code {
                Some(code) => refused(why, code),
                None => why.into(),
            }
        }
    }
}

fn refused(why: RequestError, code: Reply) -> Rejected {
    Rejected {
        why,
        answer: reply(code, Address::unspecified()),
    }
}

fn reply(code: Reply, address: Address) -> Vec<u8> {
    let mut bytes = Vec::new();
    Response::new(code, address).write_to_buf(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests;
