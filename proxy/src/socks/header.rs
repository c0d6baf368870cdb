//! The header of a SOCKS5 datagram (RFC 1928 §7), without a copy of anything behind it.
//!
//! Fragments are not put together, as the RFC allows: whatever has a fragment number is dropped.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

const ATYP_V4: u8 = 1;
const ATYP_NAME: u8 = 3;
const ATYP_V6: u8 = 4;
/// Longest header that [`encode`] writes: reserved, fragment, type, IPv6 address, port.
#[cfg(test)]
pub(crate) const LONGEST_BYTES: usize = 2 + 1 + 1 + 16 + 2;

/// Where a datagram is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination<'a> {
    Address(SocketAddr),
    /// Bytes that may or may not be a name, and a port.
    Name(&'a [u8], u16),
}

/// Takes a datagram apart; nothing if it is none, a fragment, or for port 0.
pub(crate) fn decode(datagram: &[u8]) -> Option<(Destination<'_>, &[u8])> {
    let (head, rest) = datagram.split_first_chunk::<4>()?;
    let [0, 0, 0, kind] = *head else { return None };
    let (destination, payload) = match kind {
        ATYP_V4 => {
            let (ip, rest) = rest.split_first_chunk::<4>()?;
            let (port, payload) = port(rest)?;
            let address = SocketAddr::from((Ipv4Addr::from(*ip), port));
            (Destination::Address(address), payload)
        }
        ATYP_V6 => {
            let (ip, rest) = rest.split_first_chunk::<16>()?;
            let (port, payload) = port(rest)?;
            let ip = Ipv6Addr::from(*ip).to_canonical();
            (Destination::Address(SocketAddr::new(ip, port)), payload)
        }
        ATYP_NAME => {
            let (length, rest) = rest.split_first()?;
            let (name, rest) = rest.split_at_checked(usize::from(*length))?;
            let (port, payload) = port(rest)?;
            (Destination::Name(name, port), payload)
        }
        _ => return None,
    };
    Some((destination, payload))
}

fn port(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (port, rest) = bytes.split_first_chunk::<2>()?;
    match u16::from_be_bytes(*port) {
        0 => None,
        port => Some((port, rest)),
    }
}

/// Makes `datagram` one that came from `source`.
pub(crate) fn encode(datagram: &mut Vec<u8>, source: SocketAddr, payload: &[u8]) {
    datagram.clear();
    datagram.extend([0, 0, 0]);
    match source {
        SocketAddr::V4(source) => {
            datagram.push(ATYP_V4);
            datagram.extend(source.ip().octets());
        }
        SocketAddr::V6(source) => {
            datagram.push(ATYP_V6);
            datagram.extend(source.ip().octets());
        }
    }
    datagram.extend(source.port().to_be_bytes());
    datagram.extend(payload);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_kind_of_address_is_understood() {
        let v6 = [&[0, 0, 0, 4][..], &Ipv6Addr::LOCALHOST.octets(), &[1, 187]].concat();
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
        let mapped = [&[0, 0, 0, 4][..], &mapped, &[0, 53]].concat();
        let address = |text: &str| Destination::Address(text.parse().unwrap());
        for (bytes, wanted) in [
            (vec![0, 0, 0, 1, 192, 0, 2, 1, 0, 53], address("192.0.2.1:53")),
            (v6, address("[::1]:443")),
            (mapped, address("192.0.2.1:53")),
            (
                vec![0, 0, 0, 3, 3, b'a', b'.', b'b', 0, 53],
                Destination::Name(b"a.b", 53),
            ),
            (vec![0, 0, 0, 3, 0, 0, 53], Destination::Name(b"", 53)),
        ] {
            for payload in [&b""[..], b"payload"] {
                let datagram = [&bytes, payload].concat();
                assert_eq!(decode(&datagram), Some((wanted, payload)));
            }
            for length in 0..bytes.len() {
                assert_eq!(decode(&bytes[..length]), None, "{length} of {bytes:?}");
            }
        }
    }

    #[test]
    fn what_is_no_datagram_is_nothing() {
        for bytes in [
            [1, 0, 0, 1, 192, 0, 2, 1, 0, 53],
            [0, 1, 0, 1, 192, 0, 2, 1, 0, 53],
            [0, 0, 1, 1, 192, 0, 2, 1, 0, 53],
            [0, 0, 0x81, 1, 192, 0, 2, 1, 0, 53],
            [0, 0, 0, 0, 192, 0, 2, 1, 0, 53],
            [0, 0, 0, 2, 192, 0, 2, 1, 0, 53],
            [0, 0, 0, 5, 192, 0, 2, 1, 0, 53],
            [0, 0, 0, 1, 192, 0, 2, 1, 0, 0],
        ] {
            assert_eq!(decode(&bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(source: SocketAddr, payload: Vec<u8>) {
            let source = SocketAddr::new(source.ip().to_canonical(), source.port().max(1));
            let mut datagram = vec![9; 3];
            encode(&mut datagram, source, &payload);
            prop_assert!(datagram.len() <= LONGEST_BYTES + payload.len());
            prop_assert_eq!(decode(&datagram), Some((Destination::Address(source), &payload[..])));
        }

        #[test]
        fn no_datagram_makes_it_panic(data in proptest::collection::vec(any::<u8>(), 0..400)) {
            crate::testing::socks5_datagram(&data);
            crate::testing::socks5_datagram(&[&[0, 0, 0], &data[..]].concat());
        }
    }
}
