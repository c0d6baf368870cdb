//! What clients of an exit may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

/// An address and port inside the tunnel that leads to a socket of the host instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// What clients connect to.
    pub inner: SocketAddr,
    /// What is dialled; the policy's rules do not apply to it.
    pub host: SocketAddr,
}

/// Allows or denies a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Destinations in it may be reached.
    Allow(IpNet),
    /// Destinations in it are refused.
    Deny(IpNet),
}

/// What the policy says about a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Dial this address.
    Dial(SocketAddr),
    /// Answer "administratively prohibited".
    Prohibited,
}

/// What clients may reach: redirects first, then the rules in order, then the built-in list, then everything.
///
/// The built-in list denies what is the server itself and not the network: loopback, unspecified, multicast,
/// broadcast and link-local addresses (cloud metadata services live there), also in their IPv4-mapped, NAT64 and
/// 6to4 forms, and the addresses in `host_addresses`. An `Allow` rule before it opens an exception.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExitPolicy {
    /// Read first.
    pub redirects: Vec<Redirect>,
    /// Read in order; the first match decides.
    pub rules: Vec<Rule>,
    /// The host's own addresses, through which its private services could be reached.
    pub host_addresses: Vec<IpAddr>,
}

impl ExitPolicy {
    /// Decides about a destination. An IPv4-mapped one counts as what it maps; one that embeds an IPv4 address
    /// must be denied in neither form.
    pub fn judge(&self, destination: SocketAddr) -> Verdict {
        let address = destination.ip().to_canonical();
        let destination = SocketAddr::new(address, destination.port());
        if let Some(redirect) = self
            .redirects
            .iter()
            .find(|redirect| canonical(redirect.inner) == destination)
        {
            return Verdict::Dial(redirect.host);
        }
        let is_denied = |form| matches!(self.first_rule(form), Some(Rule::Deny(_)));
        if forms(address).any(is_denied) {
            return Verdict::Prohibited;
        }
        if let Some(Rule::Allow(_)) = self.first_rule(address) {
            return Verdict::Dial(destination);
        }
        let is_host = |form| is_private_to_host(form) || self.is_host_address(form);
        if destination.port() == 0 || forms(address).any(is_host) {
            return Verdict::Prohibited;
        }
        Verdict::Dial(destination)
    }

    fn first_rule(&self, address: IpAddr) -> Option<Rule> {
        self.rules.iter().copied().find(|rule| match rule {
            Rule::Allow(net) | Rule::Deny(net) => canonical_net(*net).contains(&address),
        })
    }

    fn is_host_address(&self, address: IpAddr) -> bool {
        self.host_addresses
            .iter()
            .any(|host| host.to_canonical() == address)
    }

    /// Decides about an address alone, for protocols without ports.
    pub fn judge_address(&self, address: IpAddr) -> Verdict {
        self.judge(SocketAddr::new(address, 1))
    }
}

fn is_private_to_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_to_host_v4(address),
        IpAddr::V6(address) => is_private_to_host_v6(address),
    }
}

fn is_private_to_host_v4(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first == 0 || first >= 224 || address.is_loopback() || address.is_link_local()
}

fn is_private_to_host_v6(address: Ipv6Addr) -> bool {
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unicast_link_local()
}

/// The address with an IPv4-mapped IP taken for the IPv4 address that it is.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A network of IPv4-mapped addresses as the IPv4 network that it is.
pub(super) fn canonical_net(net: IpNet) -> IpNet {
    let mapped = match net {
        IpNet::V6(net) => net.addr().to_ipv4_mapped().zip(net.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    mapped
        .and_then(|(address, prefix_len)| Ipv4Net::new(address, prefix_len).ok())
        .map_or(net, IpNet::V4)
}

/// A canonical address and the IPv4 addresses that a translator may find in it.
pub(super) fn forms(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let embedded = match address {
        IpAddr::V4(_) => [None; 4],
        IpAddr::V6(address) => embedded_v4(address),
    };
    let embedded = embedded.into_iter().flatten().map(IpAddr::V4);
    std::iter::once(address).chain(embedded)
}

/// The IPv4 address within an IPv4-compatible (RFC 4291 §2.5.5), NAT64 (RFC 6052) or 6to4 address.
fn embedded_v4(address: Ipv6Addr) -> [Option<Ipv4Addr>; 4] {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            [Some(join(high, low)), None, None, None]
        }
        [0x64, 0xff9b, 1, ..] => local_nat64(address.octets()),
        _ => [None; 4],
    }
}

/// The readings of an address in `64:ff9b:1::/48` (RFC 8215), which leaves the prefix's length to the network: 48, 56,
/// 64 or 96 bits (RFC 6052 §2.2). Where one length is meant, the others may read 0.x.y.z, which says nothing.
fn local_nat64(octets: [u8; 16]) -> [Option<Ipv4Addr>; 4] {
    // RFC 6052 keeps octet 8 zero: an address that spans it goes on behind it.
    let [.., o6, o7, _, o9, o10, o11, o12, o13, o14, o15] = octets;
    let readings = [
        [o6, o7, o9, o10],
        [o7, o9, o10, o11],
        [o9, o10, o11, o12],
        [o12, o13, o14, o15],
    ];
    if readings.iter().all(|[first, ..]| *first == 0) {
        return [Some(Ipv4Addr::UNSPECIFIED), None, None, None];
    }
    readings.map(|reading| Some(Ipv4Addr::from(reading)).filter(|_| reading.first() != Some(&0)))
}

fn join(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_itself_is_out_of_reach_in_every_spelling() {
        let policy = ExitPolicy {
            host_addresses: vec!["192.0.2.7".parse().unwrap()],
            ..ExitPolicy::default()
        };
        for denied in [
            "127.0.0.1:80",
            "127.8.9.1:80",
            "0.0.0.0:80",
            "0.1.2.3:80",
            "169.254.169.254:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "192.0.2.7:22",
            "[::ffff:192.0.2.7]:22",
            "[::1]:80",
            "[::]:80",
            "[::ffff:127.0.0.1]:80",
            "[::127.0.0.1]:80",
            "[64:ff9b::7f00:1]:80",
            "[64:ff9b::c000:207]:22",
            "[64:ff9b:1::7f00:1]:80",
            "[64:ff9b:1:7f00:0:100::]:80",
            "[64:ff9b:1:7f:0:1::]:80",
            "[64:ff9b:1:0:7f:0:100:0]:80",
            "[64:ff9b:1::]:80",
            "[2002:c000:207::1]:22",
            "[2002:7f00:1::]:80",
            "[fe80::1]:80",
            "[ff02::1]:80",
            "192.0.2.1:0",
        ] {
            assert_eq!(
                policy.judge(denied.parse().unwrap()),
                Verdict::Prohibited,
                "{denied}"
            );
        }
        for allowed in [
            "192.0.2.1:80",
            "10.0.0.1:1",
            "[2001:db8::1]:443",
            "[64:ff9b::c000:201]:443",
            "[64:ff9b:1::c000:201]:443",
            "[64:ff9b:1:c000:2:100::]:443",
        ] {
            let allowed = allowed.parse().unwrap();
            assert_eq!(policy.judge(allowed), Verdict::Dial(allowed));
        }
    }

    #[test]
    fn redirects_come_first_and_rules_in_order() {
        let inner = "10.8.0.1:80".parse().unwrap();
        let host = "127.0.0.1:4444".parse().unwrap();
        let policy = ExitPolicy {
            redirects: vec![Redirect { inner, host }],
            rules: vec![
                Rule::Allow("10.8.0.5/32".parse().unwrap()),
                Rule::Deny("10.0.0.0/8".parse().unwrap()),
                Rule::Allow("127.0.0.2/32".parse().unwrap()),
            ],
            host_addresses: Vec::new(),
        };
        assert_eq!(policy.judge(inner), Verdict::Dial(host));
        let allowed = "10.8.0.5:1".parse().unwrap();
        assert_eq!(policy.judge(allowed), Verdict::Dial(allowed));
        assert_eq!(policy.judge("10.8.0.6:1".parse().unwrap()), Verdict::Prohibited);
        let opened = "127.0.0.2:1".parse().unwrap();
        assert_eq!(policy.judge(opened), Verdict::Dial(opened));
    }

    #[test]
    fn a_rule_holds_for_every_spelling_of_an_address() {
        let policy = ExitPolicy {
            rules: vec![
                Rule::Allow("10.8.0.5/32".parse().unwrap()),
                Rule::Allow("64:ff9b::/96".parse().unwrap()),
                Rule::Deny("10.0.0.0/8".parse().unwrap()),
                Rule::Deny("::ffff:192.0.2.0/120".parse().unwrap()),
                Rule::Deny("2001:db8::/32".parse().unwrap()),
            ],
            host_addresses: vec!["::ffff:203.0.113.7".parse().unwrap()],
            ..ExitPolicy::default()
        };
        for denied in [
            "10.1.2.3:1",
            "[::ffff:10.1.2.3]:1",
            "[64:ff9b::a01:203]:1",
            "[64:ff9b:1::a01:203]:1",
            "[64:ff9b:1:a01:2:300::]:1",
            "[2002:a01:203::]:1",
            "192.0.2.9:1",
            "[2002:c000:209::]:1",
            "[2001:db8::1]:1",
            "203.0.113.7:1",
            "[2002:cb00:7107::]:1",
        ] {
            assert_eq!(
                policy.judge(denied.parse().unwrap()),
                Verdict::Prohibited,
                "{denied}"
            );
        }
        let mapped = policy.judge("[::ffff:10.8.0.5]:1".parse().unwrap());
        assert_eq!(mapped, Verdict::Dial("10.8.0.5:1".parse().unwrap()));
        for allowed in ["[64:ff9b::a08:5]:1", "198.51.100.1:1"] {
            let allowed = allowed.parse().unwrap();
            assert_eq!(policy.judge(allowed), Verdict::Dial(allowed));
        }
    }
}
