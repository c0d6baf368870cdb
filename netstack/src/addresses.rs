//! The inner addresses of this end.

use std::net::IpAddr;

use ipnet::IpNet;

/// Which addresses are ours, and which of them a packet to somewhere leaves from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    nets: Vec<IpNet>,
}

impl Addresses {
    /// Takes addresses that a host can have; others are left out.
    pub(crate) fn new(nets: &[IpNet]) -> Self {
        let is_usable = |net: &&IpNet| !net.addr().is_unspecified() && !net.addr().is_multicast();
        Self {
            nets: nets.iter().filter(is_usable).copied().collect(),
        }
    }

    pub(crate) fn is_ours(&self, address: IpAddr) -> bool {
        self.nets.iter().any(|net| net.addr() == address)
    }

    /// The address of the family of `target`: the one of its subnet, else the first.
    pub(crate) fn source_for(&self, target: IpAddr) -> Option<IpAddr> {
        let of_family = || {
            self.nets
                .iter()
                .filter(|net| net.addr().is_ipv4() == target.is_ipv4())
        };
        let same_subnet = of_family().find(|net| net.contains(&target));
        same_subnet.or_else(|| of_family().next()).map(IpNet::addr)
    }

    pub(crate) fn has_v4(&self) -> bool {
        self.nets.iter().any(|net| net.addr().is_ipv4())
    }

    pub(crate) fn has_v6(&self) -> bool {
        self.nets.iter().any(|net| net.addr().is_ipv6())
    }
}
