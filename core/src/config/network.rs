//! The inside of the tunnel as configured or pushed: addresses, routes, resolvers.
//!
//! One reader serves the profile and the push: [`Network::apply`] takes an option, [`Network::over`] puts what
//! was pushed over what was configured.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::{
    dns,
    read::{BadValue, number},
};

/// How `ifconfig` is read (`topology`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Topology {
    /// A /30 for each client: what a client assumes unless told otherwise.
    #[default]
    Net30,
    /// Point to point.
    P2p,
    /// One subnet for all.
    Subnet,
}

/// Our inner IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InnerV4 {
    /// The address.
    pub addr: Ipv4Addr,
    /// Length of its prefix: of the netmask in a subnet, 32 beside a `peer`.
    pub prefix_len: u8,
    /// The other end of a point-to-point address (net30, p2p); `None` in a subnet.
    pub peer: Option<Ipv4Addr>,
}

/// Our inner IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InnerV6 {
    /// The address.
    pub addr: Ipv6Addr,
    /// Length of its prefix.
    pub prefix_len: u8,
    /// The server's inner address: the gateway of IPv6 routes.
    pub remote: Ipv6Addr,
}

/// Where an IPv4 route leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination4 {
    /// A network or a host.
    Net(Ipv4Net),
    /// `vpn_gateway`, `net_gateway` or `remote_host`.
    Host(Gateway4),
}

/// Through what a route goes, by address or by keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateway4 {
    /// An address.
    Addr(Ipv4Addr),
    /// `vpn_gateway`: the tunnel.
    Vpn,
    /// `net_gateway`: the default gateway outside the tunnel.
    Net,
    /// `remote_host`: the server's outer address.
    RemoteHost,
}

/// An IPv4 route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route4 {
    /// Where it leads to.
    pub destination: Destination4,
    /// Through what; [`Gateway4::Vpn`] when nothing was said.
    pub gateway: Gateway4,
    /// Its metric, or `route-metric`.
    pub metric: Option<u32>,
}

/// An IPv6 route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route6 {
    /// Where it leads to.
    pub net: Ipv6Net,
    /// Through what; `None` is the tunnel.
    pub gateway: Option<Ipv6Addr>,
    /// Its metric, or `route-metric`.
    pub metric: Option<u32>,
}

/// Whether and how the default route goes into the tunnel (`redirect-gateway`, `redirect-private`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one word of the option, independent of the others"
)]
pub struct Redirect {
    /// IPv4's default route goes into the tunnel.
    pub ipv4: bool,
    /// IPv6's default route goes into the tunnel (`ipv6`).
    pub ipv6: bool,
    /// The server is on the same link: it needs no host route (`local`).
    pub local: bool,
    /// Find out whether the server is on the same link (`autolocal`).
    pub autolocal: bool,
    /// Two halves instead of the default route itself (`def1`).
    pub def1: bool,
    /// Host route to the DHCP server outside the tunnel (`bypass-dhcp`).
    pub bypass_dhcp: bool,
    /// Host routes to the resolvers outside the tunnel (`bypass-dns`).
    pub bypass_dns: bool,
    /// The local network goes into the tunnel, too (`block-local`).
    pub block_local: bool,
}

/// How a resolver is spoken to (`dns server … transport`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DnsTransport {
    /// UDP and TCP, port 53.
    #[default]
    Plain,
    /// DNS over TLS, port 853.
    Tls,
    /// DNS over HTTPS, port 443.
    Https,
}

/// Whether answers are to be validated (`dns server … dnssec`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsSecurity {
    /// Validation must succeed.
    Yes,
    /// Where possible.
    Optional,
    /// Not at all.
    No,
}

/// A resolver inside the tunnel, or several that are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsServer {
    /// Lower is preferred.
    pub priority: i8,
    /// Addresses with their ports, never empty in a [`super::Pushed`].
    pub addresses: Vec<SocketAddr>,
    /// Domains that only this server resolves; empty means all.
    pub resolve_domains: Vec<String>,
    /// Whether to validate.
    pub dnssec: Option<DnsSecurity>,
    /// How to speak to it.
    pub transport: DnsTransport,
    /// Name in its certificate.
    pub sni: Option<String>,
}

/// All that is known about names inside the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DnsSettings {
    /// Resolvers, the preferred one first.
    pub servers: Vec<DnsServer>,
    /// Domains to try for short names, in order.
    pub search_domains: Vec<String>,
}

/// What options say about the inside of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// How `ifconfig` is read.
    pub topology: Option<Topology>,
    /// Both parameters of `ifconfig`: our address, and netmask or peer.
    pub ifconfig: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Our inner IPv6 address.
    pub ifconfig_ipv6: Option<InnerV6>,
    /// Gateway of IPv4 routes (`route-gateway`).
    pub route_gateway: Option<Ipv4Addr>,
    /// Gateway of IPv6 routes (`route-ipv6-gateway`).
    pub route_ipv6_gateway: Option<Ipv6Addr>,
    /// Metric of routes that have none (`route-metric`).
    pub route_metric: Option<u32>,
    /// IPv4 routes.
    pub routes: Vec<Route4>,
    /// IPv6 routes.
    pub routes6: Vec<Route6>,
    /// Whether the default routes go into the tunnel.
    pub redirect: Redirect,
    /// Drop inner IPv6 (`block-ipv6`).
    pub block_ipv6: bool,
    /// Resolvers and domains from `dns`.
    pub dns: DnsSettings,
    /// Resolvers and domains from `dhcp-option`.
    pub dhcp_dns: DnsSettings,
}

impl Network {
    /// Takes an option; `None` if it does not belong here.
    pub fn apply(&mut self, name: &str, args: &[String]) -> Option<Result<(), BadValue>> {
        let arg = |index: usize| args.get(index).map(String::as_str).unwrap_or_default();
        Some(match name {
            "topology" => topology(arg(0)).map(|topology| self.topology = Some(topology)),
            "ifconfig" => v4(arg(0))
                .and_then(|own| Ok((own, v4(arg(1))?)))
                .map(|pair| self.ifconfig = Some(pair)),
            "ifconfig-ipv6" => inner_v6(arg(0), arg(1)).map(|inner| self.ifconfig_ipv6 = Some(inner)),
            "route-gateway" => match arg(0) {
                "dhcp" => Err(BadValue::new(
                    "an IPv4 address (there is no DHCP without TAP)",
                    "dhcp",
                )),
                text => v4(text).map(|gateway| self.route_gateway = Some(gateway)),
            },
            "route-ipv6-gateway" => v6(arg(0)).map(|gateway| self.route_ipv6_gateway = Some(gateway)),
            "route-metric" => metric(arg(0)).map(|metric| self.route_metric = Some(metric)),
            "route" => route4(args).map(|route| self.routes.push(route)),
            "route-ipv6" => route6(args).map(|route| self.routes6.push(route)),
            "redirect-gateway" => self.redirect.apply(args, true),
            "redirect-private" => self.redirect.apply(args, false),
            "block-ipv6" => {
                self.block_ipv6 = true;
                Ok(())
            }
            "dns" => dns::apply(&mut self.dns, args),
            "dhcp-option" => dns::apply_dhcp(&mut self.dhcp_dns, args),
            _ => return None,
        })
    }

    /// Puts this, which was pushed, over what was configured: single values replace, lists go on.
    #[must_use]
    pub fn over(self, configured: &Self) -> Self {
        let chain = |first: &[Route4], then: Vec<Route4>| first.iter().copied().chain(then).collect();
        Self {
            topology: self.topology.or(configured.topology),
            ifconfig: self.ifconfig.or(configured.ifconfig),
            ifconfig_ipv6: self.ifconfig_ipv6.or(configured.ifconfig_ipv6),
            route_gateway: self.route_gateway.or(configured.route_gateway),
            route_ipv6_gateway: self.route_ipv6_gateway.or(configured.route_ipv6_gateway),
            route_metric: self.route_metric.or(configured.route_metric),
            routes: chain(&configured.routes, self.routes),
            routes6: configured.routes6.iter().copied().chain(self.routes6).collect(),
            redirect: self.redirect.or(configured.redirect),
            block_ipv6: self.block_ipv6 || configured.block_ipv6,
            dns: dns::merge(&configured.dns, self.dns),
            dhcp_dns: dns::merge(&configured.dhcp_dns, self.dhcp_dns),
        }
    }

    /// Our inner IPv4 address as the topology reads it.
    ///
    /// # Errors
    /// A netmask that is none.
    pub fn inner_v4(&self) -> Result<Option<InnerV4>, BadValue> {
        let Some((addr, second)) = self.ifconfig else {
            return Ok(None);
        };
        // Some servers push a netmask without the topology; nothing but a netmask begins with 255.
        let is_mask = second.octets().first() == Some(&255);
        if self.topology == Some(Topology::Subnet) || is_mask {
            let prefix_len = prefix_len(second)?;
            return Ok(Some(InnerV4 {
                addr,
                prefix_len,
                peer: None,
            }));
        }
        Ok(Some(InnerV4 {
            addr,
            prefix_len: 32,
            peer: Some(second),
        }))
    }

    /// Gateway of IPv4 routes: as said, or the peer of a point-to-point address.
    pub fn gateway_v4(&self) -> Option<Ipv4Addr> {
        let peer = self.inner_v4().ok().flatten().and_then(|inner| inner.peer);
        self.route_gateway.or(peer)
    }

    /// Gives the default metric to routes that have none.
    pub(super) fn with_default_metric(mut self) -> Self {
        for route in &mut self.routes {
            route.metric = route.metric.or(self.route_metric);
        }
        for route in &mut self.routes6 {
            route.metric = route.metric.or(self.route_metric);
        }
        self
    }
}

impl Redirect {
    fn apply(&mut self, words: &[String], default_route: bool) -> Result<(), BadValue> {
        let mut new = Self {
            ipv4: default_route,
            ..*self
        };
        for word in words {
            match word.as_str() {
                "local" => new.local = true,
                "autolocal" => new.autolocal = true,
                "def1" => new.def1 = true,
                "bypass-dhcp" => new.bypass_dhcp = true,
                "bypass-dns" => new.bypass_dns = true,
                "block-local" => new.block_local = true,
                "ipv6" => new.ipv6 = true,
                "!ipv4" => new.ipv4 = false,
                word => {
                    let wants = "local, autolocal, def1, bypass-dhcp, bypass-dns, block-local, ipv6 or !ipv4";
                    return Err(BadValue::new(wants, word));
                }
            }
        }
        *self = self.or(new);
        Ok(())
    }

    /// All words of both.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            ipv4: self.ipv4 || other.ipv4,
            ipv6: self.ipv6 || other.ipv6,
            local: self.local || other.local,
            autolocal: self.autolocal || other.autolocal,
            def1: self.def1 || other.def1,
            bypass_dhcp: self.bypass_dhcp || other.bypass_dhcp,
            bypass_dns: self.bypass_dns || other.bypass_dns,
            block_local: self.block_local || other.block_local,
        }
    }
}

fn topology(text: &str) -> Result<Topology, BadValue> {
    match text {
        "subnet" => Ok(Topology::Subnet),
        "net30" => Ok(Topology::Net30),
        "p2p" => Ok(Topology::P2p),
        _ => Err(BadValue::new("subnet, net30 or p2p", text)),
    }
}

fn v4(text: &str) -> Result<Ipv4Addr, BadValue> {
    text.parse().map_err(|_| BadValue::new("an IPv4 address", text))
}

fn v6(text: &str) -> Result<Ipv6Addr, BadValue> {
    text.parse().map_err(|_| BadValue::new("an IPv6 address", text))
}

fn metric(text: &str) -> Result<u32, BadValue> {
    number(0, u32::MAX)(text).ok_or_else(|| BadValue::new("a metric", text))
}

/// Length of the prefix of a netmask.
pub(super) fn prefix_len(mask: Ipv4Addr) -> Result<u8, BadValue> {
    ipnet::ipv4_mask_to_prefix(mask).map_err(|_| BadValue::new("an IPv4 netmask", &mask.to_string()))
}

fn inner_v6(own: &str, remote: &str) -> Result<InnerV6, BadValue> {
    let net: Ipv6Net = own
        .parse()
        .map_err(|_| BadValue::new("an IPv6 address with its prefix", own))?;
    Ok(InnerV6 {
        addr: net.addr(),
        prefix_len: net.prefix_len(),
        remote: v6(remote)?,
    })
}

fn gateway4(text: &str) -> Option<Gateway4> {
    match text {
        "vpn_gateway" => Some(Gateway4::Vpn),
        "net_gateway" => Some(Gateway4::Net),
        "remote_host" => Some(Gateway4::RemoteHost),
        _ => text.parse().ok().map(Gateway4::Addr),
    }
}

/// Reads `route net [mask [gateway [metric]]]`; `default` stands for what would be taken anyway.
fn route4(args: &[String]) -> Result<Route4, BadValue> {
    let arg = |index: usize| {
        args.get(index)
            .map(String::as_str)
            .filter(|text| *text != "default")
    };
    let wants = "an IPv4 address, vpn_gateway, net_gateway or remote_host (names are not resolved)";
    let net = arg(0).unwrap_or_default();
    let destination = match gateway4(net).ok_or_else(|| BadValue::new(wants, net))? {
        Gateway4::Addr(addr) => {
            let prefix = arg(1).map_or(Ok(32), |mask| prefix_len(v4(mask)?))?;
            let net = Ipv4Net::new(addr, prefix).map_err(|_| BadValue::new(wants, net))?;
            Destination4::Net(net.trunc())
        }
        keyword @ (Gateway4::Vpn | Gateway4::Net | Gateway4::RemoteHost) => Destination4::Host(keyword),
    };
    let gateway = arg(2).map_or(Ok(Gateway4::Vpn), |text| {
        gateway4(text).ok_or_else(|| BadValue::new(wants, text))
    })?;
    Ok(Route4 {
        destination,
        gateway,
        metric: arg(3).map(metric).transpose()?,
    })
}

/// Reads `route-ipv6 net/bits [gateway [metric]]`.
fn route6(args: &[String]) -> Result<Route6, BadValue> {
    let arg = |index: usize| {
        args.get(index)
            .map(String::as_str)
            .filter(|text| *text != "default")
    };
    let text = arg(0).unwrap_or_default();
    let host = || text.parse::<Ipv6Addr>().map(Ipv6Net::from).ok();
    let net = text.parse().ok().or_else(host);
    let net: Ipv6Net = net.ok_or_else(|| BadValue::new("an IPv6 network", text))?;
    Ok(Route6 {
        net: net.trunc(),
        gateway: arg(1).map(v6).transpose()?,
        metric: arg(2).map(metric).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(lines: &[&str]) -> Result<Network, BadValue> {
        let mut network = Network::default();
        for line in lines {
            let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let name = words.remove(0);
            network.apply(&name, &words).expect("an option of the network")?;
        }
        Ok(network)
    }

    #[test]
    fn topology_decides_what_ifconfig_means() {
        let subnet = network(&["ifconfig 10.8.0.2 255.255.255.0", "topology subnet"]).unwrap();
        let inner = subnet.inner_v4().unwrap().unwrap();
        assert_eq!((inner.prefix_len, inner.peer), (24, None));
        let net30 = network(&["ifconfig 10.8.0.6 10.8.0.5"]).unwrap();
        let inner = net30.inner_v4().unwrap().unwrap();
        assert_eq!(
            (inner.prefix_len, inner.peer),
            (32, Some(Ipv4Addr::new(10, 8, 0, 5)))
        );
        assert_eq!(net30.gateway_v4(), Some(Ipv4Addr::new(10, 8, 0, 5)));
        let untold = network(&["ifconfig 10.8.0.2 255.255.255.0"]).unwrap();
        assert_eq!(untold.inner_v4().unwrap().unwrap().prefix_len, 24);
        let bad = network(&["topology subnet", "ifconfig 10.8.0.2 10.8.0.1"]).unwrap();
        assert_eq!(
            bad.inner_v4().unwrap_err().to_string(),
            "wants an IPv4 netmask, got \"10.8.0.1\""
        );
    }

    #[test]
    fn routes_know_masks_keywords_and_default() {
        let found = network(&[
            "route 10.1.2.3",
            "route 10.1.2.3 255.255.0.0 net_gateway 5",
            "route remote_host default net_gateway",
            "route 10.1.0.0 255.255.0.0 default default",
            "route-metric 7",
        ]);
        let routes = found.unwrap().with_default_metric().routes;
        assert_eq!(
            routes[0].destination,
            Destination4::Net("10.1.2.3/32".parse().unwrap())
        );
        assert_eq!((routes[0].gateway, routes[0].metric), (Gateway4::Vpn, Some(7)));
        assert_eq!(
            routes[1].destination,
            Destination4::Net("10.1.0.0/16".parse().unwrap())
        );
        assert_eq!((routes[1].gateway, routes[1].metric), (Gateway4::Net, Some(5)));
        assert_eq!(routes[2].destination, Destination4::Host(Gateway4::RemoteHost));
        assert_eq!(routes[3].gateway, Gateway4::Vpn);
        for bad in [
            "route example.com",
            "route 10.0.0.0 255.0.255.0",
            "route-ipv6 fd00::/129",
            "route-metric -1",
        ] {
            assert!(network(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn words_of_redirections_add_up() {
        let redirect = network(&["redirect-gateway def1", "redirect-gateway ipv6 !ipv4"])
            .unwrap()
            .redirect;
        assert!(redirect.ipv4 && redirect.def1 && redirect.ipv6);
        assert!(!network(&["redirect-gateway !ipv4 ipv6"]).unwrap().redirect.ipv4);
        assert!(!network(&["redirect-private block-local"]).unwrap().redirect.ipv4);
        assert!(network(&["redirect-gateway def2"]).is_err());
    }

    #[test]
    fn pushed_values_go_over_configured_ones() {
        let configured = network(&[
            "route 10.0.0.0 255.0.0.0",
            "ifconfig 10.8.0.9 255.255.255.0",
            "block-ipv6",
        ])
        .unwrap();
        let pushed = network(&["route 172.16.0.0 255.240.0.0", "ifconfig 10.8.0.2 255.255.255.0"]).unwrap();
        let both = pushed.over(&configured);
        assert_eq!(both.ifconfig.unwrap().0, Ipv4Addr::new(10, 8, 0, 2));
        assert_eq!(both.routes.len(), 2);
        assert!(both.block_ipv6);
    }
}
