//! Asks the kernel how it would reach an address. No packet leaves: a UDP socket is connected and thrown away.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use crate::transport::unspecified;

// Nobody has these (RFC 5737, RFC 3849), so default routes lead there.
const SOMEWHERE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SOMEWHERE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// The local address that packets to `peer` would come from.
///
/// # Errors
/// There is no way to it, as the host's routes stand.
pub(super) fn source(peer: SocketAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind(unspecified(peer))?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip())
}

/// Where packets to `peer` and to the rest of the world would come from: when all of it stays the same, a change of
/// links or addresses is none of ours.
pub(super) fn outlook(peer: Option<SocketAddr>) -> [Option<IpAddr>; 3] {
    [
        peer,
        Some(SocketAddr::from((SOMEWHERE_V4, 9))),
        Some(SocketAddr::from((SOMEWHERE_V6, 9))),
    ]
    .map(|to| source(to?).ok())
}

/// Whether `address` is still one of this host's own; when in doubt it is.
pub(super) fn is_ours(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Err(error) => error.kind() != ErrorKind::AddrNotAvailable,
        Ok(_socket) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_reaches_itself_from_itself() {
        let loopback = "127.0.0.1:9".parse().unwrap();
        assert_eq!(source(loopback).unwrap(), loopback.ip());
        assert_eq!(outlook(Some(loopback))[0], Some(loopback.ip()));
        assert_eq!(outlook(None)[0], None);
        assert!(is_ours(loopback.ip()));
        assert!(!is_ours("192.0.2.1".parse().unwrap()));
    }
}
