//! One device: what its creator says of it, and what of that subscribers know.

use std::net::IpAddr;

use super::{
    change::{Announced, Change, Fact, changes},
    check::{self, Invalid},
};
use crate::{
    bus::Caller,
    error::{CallError, Domain},
};

/// Addresses, resolvers, search domains and routes of one device.
const MAX_ADDRESSES: usize = 64;
const MAX_DNS_SERVERS: usize = 32;
const MAX_DNS_DOMAINS: usize = 128;
const MAX_ROUTES: usize = 2048;
/// Smallest packets that IPv4 has to carry (RFC 791).
const MIN_MTU_BYTES: u16 = 68;
const DEFAULT_MTU_BYTES: u16 = 1500;

/// Where packets of the device end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// In the embedded stack.
    Netstack,
    /// In an interface of the host that carries IP.
    Tun,
    /// In an interface of the host that carries Ethernet.
    Tap,
}

impl Kind {
    const CHOICES: [(&'static str, Self); 3] = [
        ("netstack", Self::Netstack),
        ("tun", Self::Tun),
        ("tap", Self::Tap),
    ];

    fn text(self) -> &'static str {
        match self {
            Self::Netstack => "netstack",
            Self::Tun => "tun",
            Self::Tap => "tap",
        }
    }
}

/// A network as it travels: network, prefix, metric, IPv6, excluded.
pub(super) type Network = (String, u32, i32, bool, bool);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    subnet: IpAddr,
    prefix: u8,
    is_excluded: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    ip: IpAddr,
    prefix: u8,
    gateway: Option<IpAddr>,
}

/// A device.
#[derive(Debug)]
pub(super) struct Device {
    /// User of its creator.
    pub(super) owner: u32,
    /// Unique name of its creator, with whose end it ends.
    pub(super) creator: String,
    /// Process of its creator; 0 where the bus does not know.
    pub(super) pid: u32,
    /// What it was made as, and is called until it is described.
    made_as: String,
    described: Option<(Kind, String)>,
    announced: Option<Announced>,
    pub(super) mtu_bytes: u16,
    pub(super) txqueuelen: u16,
    pub(super) layer: u32,
    pub(super) reroute_ipv4: bool,
    pub(super) reroute_ipv6: bool,
    pub(super) dns_scope: &'static str,
    pub(super) dnssec_mode: &'static str,
    dns_transport: &'static str,
    remote: Option<IpAddr>,
    addresses: Vec<Address>,
    routes: Vec<Route>,
    dns_servers: Vec<IpAddr>,
    dns_domains: Vec<String>,
}

impl Device {
    pub(super) fn new(creator: &Caller, made_as: &str) -> Self {
        Self {
            owner: creator.uid,
            creator: creator.name.clone(),
            pid: creator.pid,
            made_as: made_as.to_owned(),
            described: None,
            announced: None,
            mtu_bytes: DEFAULT_MTU_BYTES,
            txqueuelen: 0,
            layer: 0,
            reroute_ipv4: false,
            reroute_ipv6: false,
            dns_scope: "global",
            dnssec_mode: "",
            dns_transport: "",
            remote: None,
            addresses: Vec::new(),
            routes: Vec::new(),
            dns_servers: Vec::new(),
            dns_domains: Vec::new(),
        }
    }

    pub(super) fn name(&self) -> &str {
        self.described.as_ref().map_or(&self.made_as, |(_, name)| name)
    }

    /// `netstack`, `tun` or `tap`; empty before it is described.
    pub(super) fn kind(&self) -> &'static str {
        self.described.as_ref().map_or("", |(kind, _)| kind.text())
    }

    pub(super) fn dns_servers(&self) -> Vec<String> {
        self.dns_servers.iter().map(ToString::to_string).collect()
    }

    pub(super) fn dns_domains(&self) -> &[String] {
        &self.dns_domains
    }

    /// Tells whether its resolvers are everybody's now.
    pub(super) fn has_global_dns(&self) -> bool {
        self.announced.is_some() && self.dns_scope == "global"
    }

    pub(super) fn add_address(
        &mut self,
        (ip, prefix, gateway, ipv6): &(String, u32, String, bool),
    ) -> Result<(), CallError> {
        let ip = check::address(ip, *ipv6)?;
        let prefix = check::prefix(*prefix, ip)?;
        let gateway = if gateway.is_empty() {
            None
        } else {
            Some(check::address(gateway, *ipv6)?)
        };
        let address = Address { ip, prefix, gateway };
        extend(&mut self.addresses, vec![address], MAX_ADDRESSES, "addresses")
    }

    pub(super) fn set_remote(&mut self, ip: &str, ipv6: bool) -> Result<(), CallError> {
        self.remote = Some(check::address(ip, ipv6)?);
        Ok(())
    }

    /// Adds all networks, or none where one is bad.
    pub(super) fn add_networks(&mut self, networks: &[Network]) -> Result<(), CallError> {
        let routes = networks.iter().map(route).collect::<Result<_, _>>()?;
        extend(&mut self.routes, routes, MAX_ROUTES, "networks")
    }

    pub(super) fn add_dns(&mut self, servers: &[String]) -> Result<(), CallError> {
        let servers = servers
            .iter()
            .map(|server| check::any_address(server))
            .collect::<Result<_, _>>()?;
        extend(&mut self.dns_servers, servers, MAX_DNS_SERVERS, "resolvers")
    }

    pub(super) fn add_dns_search(&mut self, domains: &[String]) -> Result<(), CallError> {
        let domains = domains
            .iter()
            .map(|domain| check::domain(domain))
            .collect::<Result<_, _>>()?;
        extend(&mut self.dns_domains, domains, MAX_DNS_DOMAINS, "search domains")
    }

    pub(super) fn set_dnssec(&mut self, mode: &str) -> Result<(), CallError> {
        let modes = [("yes", "yes"), ("no", "no"), ("optional", "optional")];
        self.dnssec_mode = check::choice(mode, &modes, "yes, no, optional")?;
        Ok(())
    }

    pub(super) fn set_dns_transport(&mut self, mode: &str) -> Result<(), CallError> {
        let modes = [("plain", "plain"), ("dot", "dot"), ("doh", "doh")];
        self.dns_transport = check::choice(mode, &modes, "plain, dot, doh")?;
        Ok(())
    }

    pub(super) fn set_dns_scope(&mut self, scope: &str) -> Result<(), CallError> {
        let scopes = [("global", "global"), ("tunnel", "tunnel")];
        self.dns_scope = check::choice(scope, &scopes, "global, tunnel")?;
        Ok(())
    }

    pub(super) fn set_layer(&mut self, layer: u32) -> Result<(), CallError> {
        if ![0, 2, 3].contains(&layer) {
            return Err(CallError::new(Domain::Netcfg, "layer is 2 (tap) or 3 (tun)"));
        }
        self.layer = layer;
        Ok(())
    }

    pub(super) fn set_mtu(&mut self, mtu_bytes: u16) -> Result<(), CallError> {
        if mtu_bytes < MIN_MTU_BYTES {
            return Err(CallError::new(
                Domain::Netcfg,
                format!("an MTU of {mtu_bytes} bytes is too small"),
            ));
        }
        self.mtu_bytes = mtu_bytes;
        Ok(())
    }

    /// Says what the device is and under which name; from then on it is up. Gives what is new.
    pub(super) fn describe(&mut self, kind: &str, name: &str) -> Result<Vec<Change>, CallError> {
        let kind = check::choice(kind, &Kind::CHOICES, "netstack, tun, tap")?;
        let name = check::interface_name(name)?;
        self.described = Some((kind, name.to_owned()));
        let next = Announced {
            name: name.to_owned(),
            facts: self.facts(),
        };
        let all = changes(self.announced.as_ref(), Some(&next));
        self.announced = Some(next);
        Ok(all)
    }

    /// Takes the device down and forgets what was said of it, so that another connection can say it anew.
    pub(super) fn disable(&mut self) -> Vec<Change> {
        let before = self.announced.take();
        self.described = None;
        self.remote = None;
        self.addresses.clear();
        self.routes.clear();
        self.dns_servers.clear();
        self.dns_domains.clear();
        changes(before.as_ref(), None)
    }

    /// The device in one line, for the log.
    pub(super) fn summary(&self) -> String {
        let mut line = format!(
            "{} is up ({}): {} addresses, {} networks, {} resolvers",
            self.name(),
            self.kind(),
            self.addresses.len(),
            self.routes.len(),
            self.dns_servers.len()
        );
        if !self.dns_transport.is_empty() {
            line.push_str(" by ");
            line.push_str(self.dns_transport);
        }
        if let Some(remote) = self.remote {
            line.push_str(", server ");
            line.push_str(&remote.to_string());
        }
        line
    }

    fn facts(&self) -> Vec<Fact> {
        let gateway = |ipv6: bool| {
            let mut of_version = self
                .addresses
                .iter()
                .filter(|address| address.ip.is_ipv6() == ipv6);
            of_version.find_map(|address| address.gateway)
        };
        let (ipv4_gateway, ipv6_gateway) = (gateway(false), gateway(true));
        let addresses = self.addresses.iter().map(|address| Fact::Address {
            ip: address.ip,
            prefix: address.prefix,
        });
        let routes = self.routes.iter().map(|route| Fact::Route {
            subnet: route.subnet,
            prefix: route.prefix,
            gateway: if route.is_excluded {
                None
            } else if route.subnet.is_ipv6() {
                ipv6_gateway
            } else {
                ipv4_gateway
            },
            is_excluded: route.is_excluded,
        });
        let servers = self.dns_servers.iter().copied().map(Fact::DnsServer);
        let domains = self.dns_domains.iter().cloned().map(Fact::DnsSearch);
        addresses.chain(routes).chain(servers).chain(domains).collect()
    }
}

fn route((subnet, prefix, metric, ipv6, is_excluded): &Network) -> Result<Route, Invalid> {
    let subnet = check::address(subnet, *ipv6)?;
    // Only a routing table of the host has metrics, and the embedded stack has one way out.
    check::metric(*metric)?;
    Ok(Route {
        subnet,
        prefix: check::prefix(*prefix, subnet)?,
        is_excluded: *is_excluded,
    })
}

/// Adds what is not there yet, if there is room for all.
fn extend<T: PartialEq>(
    known: &mut Vec<T>,
    more: Vec<T>,
    max: usize,
    what: &'static str,
) -> Result<(), CallError> {
    if known.len() + more.len() > max {
        return Err(CallError::new(
            Domain::Netcfg,
            format!("a device has at most {max} {what}"),
        ));
    }
    for item in more {
        if !known.contains(&item) {
            known.push(item);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
