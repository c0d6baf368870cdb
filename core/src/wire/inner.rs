//! As much of an inner IP packet as routing needs.

use std::net::IpAddr;

use super::{Reader, WireError};

/// Addresses and sizes of an inner packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inner {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// Protocol (IPv4) or first next header (IPv6).
    pub protocol: u8,
    /// Size of the IPv4 header, or of the fixed IPv6 header, in bytes.
    pub header_bytes: usize,
    /// Size of the whole packet as its header tells, in bytes; never above what there is.
    pub total_bytes: usize,
}

impl Inner {
    /// Reads the IP header at the front of `packet`; bytes behind the packet are tolerated.
    ///
    /// # Errors
    /// Another IP version, too few bytes, a length field that contradicts the size.
    pub fn decode(packet: &[u8]) -> Result<Self, WireError> {
        let first = Reader::new(packet).u8("ip version")?;
        let inner = match first >> 4 {
            4 => decode_v4(packet)?,
            6 => decode_v6(packet)?,
            version => return Err(WireError::IpVersion(version)),
        };
        if inner.total_bytes > packet.len() || inner.total_bytes < inner.header_bytes {
            return Err(WireError::InnerLength {
                claimed: inner.total_bytes,
                has: packet.len(),
            });
        }
        Ok(inner)
    }

    /// Tells whether this is an IPv6 packet.
    pub const fn is_ipv6(&self) -> bool {
        self.destination.is_ipv6()
    }
}

fn decode_v4(packet: &[u8]) -> Result<Inner, WireError> {
    let mut reader = Reader::new(packet);
    let header_bytes = 4 * usize::from(reader.u8("ip version")? & 0x0F);
    reader.u8("type of service")?;
    let total_bytes = usize::from(reader.u16("total length")?);
    reader.take(5, "fragment and ttl")?;
    let protocol = reader.u8("protocol")?;
    reader.u16("header checksum")?;
    let source = IpAddr::from(reader.array::<4>("source address")?);
    let destination = IpAddr::from(reader.array::<4>("destination address")?);
    if header_bytes < 20 {
        return Err(WireError::InnerLength {
            claimed: header_bytes,
            has: packet.len(),
        });
    }
    Ok(Inner {
        source,
        destination,
        protocol,
        header_bytes,
        total_bytes,
    })
}

fn decode_v6(packet: &[u8]) -> Result<Inner, WireError> {
    let mut reader = Reader::new(packet);
    reader.u32("version and flow label")?;
    let payload_bytes = usize::from(reader.u16("payload length")?);
    let protocol = reader.u8("next header")?;
    reader.u8("hop limit")?;
    let source = IpAddr::from(reader.array::<16>("source address")?);
    let destination = IpAddr::from(reader.array::<16>("destination address")?);
    Ok(Inner {
        source,
        destination,
        protocol,
        header_bytes: 40,
        total_bytes: 40 + payload_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 24, 0, 0, 0, 0, 64, 17, 0, 0];
        packet.extend([10, 8, 0, 2, 192, 0, 2, 7]);
        packet.extend([1, 2, 3, 4]);
        packet
    }

    fn v6() -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 2, 58, 255];
        packet.extend([0x20; 16]);
        packet.extend([0xFD; 16]);
        packet.extend([9, 9]);
        packet
    }

    #[test]
    fn addresses_are_found() {
        let inner = Inner::decode(&v4()).unwrap();
        assert_eq!(inner.source.to_string(), "10.8.0.2");
        assert_eq!(inner.destination.to_string(), "192.0.2.7");
        assert_eq!(
            (inner.protocol, inner.header_bytes, inner.total_bytes),
            (17, 20, 24)
        );
        let inner = Inner::decode(&v6()).unwrap();
        assert!(inner.is_ipv6());
        assert_eq!(inner.destination, IpAddr::from([0xFD; 16]));
        assert_eq!(
            (inner.protocol, inner.header_bytes, inner.total_bytes),
            (58, 40, 42)
        );
    }

    #[test]
    fn every_prefix_fails() {
        for packet in [v4(), v6()] {
            for len in 0..packet.len() {
                Inner::decode(&packet[..len]).unwrap_err();
            }
        }
    }

    #[test]
    fn contradicting_lengths_fail() {
        let mut short_header = v4();
        short_header[0] = 0x44;
        Inner::decode(&short_header).unwrap_err();
        let mut short_total = v4();
        short_total[3] = 19;
        Inner::decode(&short_total).unwrap_err();
        assert_eq!(Inner::decode(&[0x50; 40]), Err(WireError::IpVersion(5)));
    }
}
