//! The seam to whatever carries the bytes: a target goes in, a flow or a typed reason comes out.
//!
//! Nothing here opens a socket. The implementation that joins this crate to a tunnel must not fall back to a direct
//! connection either: a tunnel that is down answers [`ConnectError::TunnelDown`].

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// Longest name in its textual form, without the root's dot (RFC 1035 §2.3.4 less the length bytes).
const NAME_BYTES: usize = 253;
/// Longest label (RFC 1035 §2.3.4).
const LABEL_BYTES: usize = 63;

/// Where a client wants to go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// An address as such; an IPv4-mapped IPv6 address has been turned into the IPv4 one.
    Address(SocketAddr),
    /// A name, to be resolved inside the tunnel only, and a port.
    Name(HostName, u16),
}

impl Target {
    /// Makes a target of a host as a client wrote it: a literal IPv4 or IPv6 address (with or without brackets)
    /// becomes an address, everything else must be a valid name.
    pub fn parse(host: &str, port: u16) -> Result<Self, InvalidTarget> {
        let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(literal) = literal {
            let address: Ipv6Addr = literal.parse().map_err(|_| InvalidTarget::Brackets)?;
            return Self::address(SocketAddr::from((address, port)));
        }
        match host.parse::<IpAddr>() {
            Ok(address) => Self::address(SocketAddr::from((address, port))),
            Err(_) if port == 0 => Err(InvalidTarget::PortZero),
            Err(_) => Ok(Self::Name(HostName::parse(host)?, port)),
        }
    }

    /// The same of a host as it stands in a message, where it may be anything.
    pub(crate) fn from_bytes(host: &[u8], port: u16) -> Result<Self, InvalidTarget> {
        match std::str::from_utf8(host) {
            Ok(host) => Self::parse(host, port),
            Err(invalid) => {
                let byte = host.get(invalid.valid_up_to()).copied().unwrap_or_default();
                Err(InvalidTarget::NameByte { byte })
            }
        }
    }

    /// Makes a target of an address.
    pub fn address(address: SocketAddr) -> Result<Self, InvalidTarget> {
        match address.port() {
            0 => Err(InvalidTarget::PortZero),
            port => Ok(Self::Address(SocketAddr::new(address.ip().to_canonical(), port))),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// A name that can be asked of a resolver: 1 to 253 bytes, labels of 1 to 63 bytes of letters, digits, `-` and `_`,
/// in lower case, possibly with the root's dot at the end. Never an address in disguise: the last label has a
/// character that is no digit, so that `127.1` or `2130706433` mean nothing to anybody behind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(String);

impl HostName {
    /// Checks and normalises `text`.
    pub fn parse(text: &str) -> Result<Self, InvalidTarget> {
        let relative = text.strip_suffix('.').unwrap_or(text);
        if relative.is_empty() {
            return Err(InvalidTarget::NoHost);
        }
        if relative.len() > NAME_BYTES {
            return Err(InvalidTarget::NameTooLong {
                bytes: relative.len(),
            });
        }
        for label in relative.split('.') {
            check_label(label)?;
        }
        let last = relative.rsplit('.').next().unwrap_or(relative);
        if looks_like_number(last) {
            return Err(InvalidTarget::NumericName);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The name in lower case, with the final dot if the client wrote one.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_label(label: &str) -> Result<(), InvalidTarget> {
    match label.len() {
        0 => return Err(InvalidTarget::EmptyLabel),
        1..=LABEL_BYTES => {}
        bytes => return Err(InvalidTarget::LabelTooLong { bytes }),
    }
    match label
        .bytes()
        .find(|b| !b.is_ascii_alphanumeric() && *b != b'-' && *b != b'_')
    {
        None => Ok(()),
        Some(byte) => Err(InvalidTarget::NameByte { byte }),
    }
}

/// What resolvers of the C library read as part of an IPv4 address: `1`, `010`, `0x7f`.
fn looks_like_number(label: &str) -> bool {
    let digits = |text: &str, ok: fn(&u8) -> bool| text.as_bytes().iter().all(ok);
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    digits(label, u8::is_ascii_digit) || hex.is_some_and(|rest| digits(rest, u8::is_ascii_hexdigit))
}

/// Why a host and port cannot be a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// No host at all.
    #[error("the host is missing")]
    NoHost,
    /// Longer than a name can be.
    #[error("the host name has {bytes} bytes, {NAME_BYTES} are the most")]
    NameTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A label longer than a label can be.
    #[error("the host name has a label of {bytes} bytes, {LABEL_BYTES} are the most")]
    LabelTooLong {
        /// Its length.
        bytes: usize,
    },
    /// Two dots in a row, or one in front.
    #[error("the host name has an empty label")]
    EmptyLabel,
    /// A byte that names are not made of.
    #[error(
        "the host name has the byte {byte:#04x}, write it in ASCII letters, digits, `-` and `_` (IDNA form)"
    )]
    NameByte {
        /// The first such byte.
        byte: u8,
    },
    /// An address written in a way that only some programs understand.
    #[error("the host name ends in a number, write an IPv4 address as four decimal numbers")]
    NumericName,
    /// Brackets around something else than an IPv6 address.
    #[error("the text in brackets is no IPv6 address")]
    Brackets,
    /// No port, or no number in its place.
    #[error("the port is missing or no number from 1 to 65535")]
    Port,
    /// Port 0.
    #[error("port 0 cannot be connected to")]
    PortZero,
}

/// Opens flows. The root package implements it over the tunnel's netstack.
pub trait Connector: Clone + Send + Sync + 'static {
    /// What an open connection is.
    type Flow: Flow;
    /// What a port for datagrams is.
    type Datagrams: Datagrams;

    /// Longest time that [`Connector::connect`] may take; after it the client hears [`ConnectError::TimedOut`].
    fn connect_timeout(&self) -> Duration {
        Duration::from_mins(1)
    }

    /// Resolves and connects, and returns when the far end has accepted or the attempt has failed.
    ///
    /// Dropping the future gives the attempt up.
    fn connect(&self, target: Target) -> impl Future<Output = Result<Self::Flow, ConnectError>> + Send;

    /// Opens a port for datagrams. Dropping what it returns closes the port.
    fn datagrams(&self) -> impl Future<Output = Result<Self::Datagrams, ConnectError>> + Send;
}

/// A port for datagrams inside the tunnel, for any number of far ends.
pub trait Datagrams: Send + Sync + 'static {
    /// Resolves a name inside the tunnel, then sends. A datagram may be lost on the way without an error.
    fn send_to(&self, payload: Vec<u8>, to: Target) -> impl Future<Output = Result<(), ConnectError>> + Send;

    /// Sends to an address that [`Datagrams::resolve`] gave for a name: what holds for the name holds for it.
    fn send_resolved(
        &self,
        payload: Vec<u8>,
        to: SocketAddr,
    ) -> impl Future<Output = Result<(), ConnectError>> + Send {
        self.send_to(payload, Target::Address(to))
    }

    /// Waits for the next datagram and its source; `None` once the tunnel has ended. Dropping the future loses none.
    fn recv_from(&self) -> impl Future<Output = Option<(Vec<u8>, SocketAddr)>> + Send;

    /// Finds an address of a name inside the tunnel, for whoever has to stay with one address for as long as a
    /// conversation of datagrams lasts.
    fn resolve(&self, name: &HostName) -> impl Future<Output = Result<IpAddr, ConnectError>> + Send;
}

/// What a connection has carried so far.
pub trait Meter: fmt::Debug + Send + Sync + 'static {
    /// Bytes from the client into the tunnel.
    fn up_bytes(&self) -> u64;

    /// Bytes out of the tunnel to the client.
    fn down_bytes(&self) -> u64;
}

/// An open connection to the far end, which waits for its local socket.
pub trait Flow: Send + 'static {
    /// The connection's own address inside the tunnel.
    fn bound(&self) -> SocketAddr;

    /// What counts its bytes, before and while it is relayed.
    fn meter(&self) -> Arc<dyn Meter>;

    /// Carries bytes both ways until both directions have ended.
    ///
    /// `early` was read from `local` already and goes out first. The client has been answered. Each direction's end
    /// is passed on as such (half-close). Dropping the future resets both sides.
    fn relay(self, local: LocalSocket, early: Vec<u8>) -> impl Future<Output = RelayEnd> + Send;
}

/// A client's socket, in non-blocking mode, as it is handed over to a [`Flow`].
#[derive(Debug)]
pub enum LocalSocket {
    /// A client that came by TCP.
    Tcp(std::net::TcpStream),
    /// A client that came by a Unix socket.
    Unix(UnixStream),
}

/// What became of a relayed connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayEnd {
    /// Bytes from the client into the tunnel.
    pub up_bytes: u64,
    /// Bytes out of the tunnel to the client.
    pub down_bytes: u64,
    /// Why it ended.
    pub reason: RelayReason,
}

/// Why a relayed connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RelayReason {
    /// Both sides ended their direction.
    Finished,
    /// The client's socket failed or was reset.
    LocalReset,
    /// The far end reset the connection, or stopped answering.
    RemoteReset,
    /// Nothing moved for too long.
    Idle,
    /// The tunnel ended, or came back with another address.
    TunnelDown,
}

impl fmt::Display for RelayReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "finished",
            Self::LocalReset => "client gone",
            Self::RemoteReset => "reset by the far end",
            Self::Idle => "idle for too long",
            Self::TunnelDown => "tunnel down",
        })
    }
}

/// Why a flow could not be opened. What clients hear of it is one table, in `error.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ConnectError {
    /// The far end answered with a reset: nothing listens there.
    #[error("connection refused by the far end")]
    Refused,
    /// The connection was reset while it was being opened.
    #[error("connection reset by the far end")]
    Reset,
    /// A router says that the host cannot be reached.
    #[error("host unreachable")]
    HostUnreachable,
    /// A router says so of the network, or the tunnel has no address of that family.
    #[error("network unreachable")]
    NetworkUnreachable,
    /// The tunnel's resolver says that there is no such name, or that it has no address.
    #[error("name not found by the tunnel's resolver")]
    NameNotFound,
    /// A name was asked for, and the tunnel has no resolver.
    #[error("the tunnel has no resolver for names")]
    NoResolver,
    /// The tunnel's resolvers failed or did not answer.
    #[error("the tunnel's resolver failed")]
    ResolverFailed,
    /// No answer in time.
    #[error("timed out")]
    TimedOut,
    /// The tunnel is not up.
    #[error("the tunnel is down")]
    TunnelDown,
    /// A rule forbids it.
    #[error("not allowed")]
    NotAllowed,
    /// The tunnel carries as many flows as it can.
    #[error("too many connections")]
    TooManyConnections,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str, port: u16) -> Target {
        Target::Name(HostName::parse(text).unwrap(), port)
    }

    #[test]
    fn literal_addresses_are_addresses_however_they_are_written() {
        for (host, address) in [
            ("192.0.2.1", "192.0.2.1:80"),
            ("2001:db8::1", "[2001:db8::1]:80"),
            ("[2001:db8::1]", "[2001:db8::1]:80"),
            ("::ffff:192.0.2.1", "192.0.2.1:80"),
        ] {
            assert_eq!(
                Target::parse(host, 80),
                Ok(Target::Address(address.parse().unwrap())),
                "{host}"
            );
        }
    }

    #[test]
    fn names_are_kept_in_lower_case() {
        assert_eq!(
            Target::parse("Db_1.Corp-X.example.", 443),
            Ok(name("db_1.corp-x.example.", 443))
        );
        assert_eq!(Target::parse("localhost", 1).unwrap().to_string(), "localhost:1");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long_label = "a".repeat(64);
        let long_name = "a.".repeat(127);
        for (host, problem) in [
            ("", InvalidTarget::NoHost),
            (".", InvalidTarget::NoHost),
            ("a..b", InvalidTarget::EmptyLabel),
            (".a", InvalidTarget::EmptyLabel),
            ("a\0b", InvalidTarget::NameByte { byte: 0 }),
            ("a b", InvalidTarget::NameByte { byte: b' ' }),
            ("a\r\nb", InvalidTarget::NameByte { byte: b'\r' }),
            ("user@host", InvalidTarget::NameByte { byte: b'@' }),
            ("ü.example", InvalidTarget::NameByte { byte: 0xc3 }),
            ("fe80::1%eth0", InvalidTarget::NameByte { byte: b':' }),
            ("127.1", InvalidTarget::NumericName),
            ("2130706433", InvalidTarget::NumericName),
            ("0x7f.0.0.0x1", InvalidTarget::NumericName),
            ("1.2.3.4.", InvalidTarget::NumericName),
            ("[192.0.2.1]", InvalidTarget::Brackets),
            (long_label.as_str(), InvalidTarget::LabelTooLong { bytes: 64 }),
        ] {
            assert_eq!(Target::parse(host, 80), Err(problem), "{host:?}");
        }
        assert_eq!(
            Target::parse(&long_name, 80).map(|_| ()),
            Ok(()),
            "253 bytes and the root's dot"
        );
        let longer = format!("{long_name}a.");
        assert_eq!(
            Target::parse(&longer, 80),
            Err(InvalidTarget::NameTooLong { bytes: 255 })
        );
        assert_eq!(Target::parse("a", 0), Err(InvalidTarget::PortZero));
        assert_eq!(Target::parse("::1", 0), Err(InvalidTarget::PortZero));
    }
}
