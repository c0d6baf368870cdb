//! What is said of a device, and what subscribers hear when that changes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use crate::{bus::Body, constants::NetworkChange};

/// One thing that is so while a device is up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fact {
    Address {
        ip: IpAddr,
        prefix: u8,
    },
    Route {
        subnet: IpAddr,
        prefix: u8,
        gateway: Option<IpAddr>,
        is_excluded: bool,
    },
    DnsServer(IpAddr),
    DnsSearch(String),
}

/// One change as subscribers hear it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) kind: NetworkChange,
    pub(super) device: String,
    pub(super) details: BTreeMap<&'static str, String>,
}

impl Change {
    fn of_device(kind: NetworkChange, device: &str) -> Self {
        Self {
            kind,
            device: device.to_owned(),
            details: BTreeMap::new(),
        }
    }

    /// `(usa{ss})`.
    pub(super) fn body(&self) -> Body {
        let details: HashMap<String, String> = self
            .details
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        Body::of((self.kind as u32, self.device.clone(), details))
    }
}

/// What subscribers were told of a device that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) name: String,
    pub(super) facts: Vec<Fact>,
}

/// The way from one state to the other: what ends first, last things first.
pub(super) fn changes(before: Option<&Announced>, after: Option<&Announced>) -> Vec<Change> {
    // Under another name it is another device.
    if let (Some(old), Some(new)) = (before, after)
        && old.name != new.name
    {
        let mut all = changes(before, None);
        all.extend(changes(None, after));
        return all;
    }
    let facts = |state: Option<&Announced>| -> BTreeSet<Fact> {
        state
            .map(|state| state.facts.iter().cloned().collect())
            .unwrap_or_default()
    };
    let (known, wanted) = (facts(before), facts(after));
    let mut all = Vec::new();
    if let Some(old) = before {
        let ended = old.facts.iter().rev().filter(|fact| !wanted.contains(fact));
        all.extend(ended.filter_map(|fact| removed(&old.name, fact)));
        if after.is_none() {
            all.push(Change::of_device(NetworkChange::DeviceRemoved, &old.name));
        }
    }
    if let Some(new) = after {
        if before.is_none() {
            all.push(Change::of_device(NetworkChange::DeviceAdded, &new.name));
        }
        let begun = new.facts.iter().filter(|fact| !known.contains(fact));
        all.extend(begun.map(|fact| added(&new.name, fact)));
    }
    all
}

fn added(device: &str, fact: &Fact) -> Change {
    let kind = match fact {
        Fact::Address { .. } => NetworkChange::IpAddrAdded,
        Fact::Route {
            is_excluded: false, ..
        } => NetworkChange::RouteAdded,
        Fact::Route {
            is_excluded: true, ..
        } => NetworkChange::RouteExcluded,
        Fact::DnsServer(_) => NetworkChange::DnsServerAdded,
        Fact::DnsSearch(_) => NetworkChange::DnsSearchAdded,
    };
    let mut details = details(fact);
    if let Fact::Route { gateway, .. } = fact {
        let gateway = gateway.map(|ip| ip.to_string()).unwrap_or_default();
        details.insert("gateway", gateway);
    }
    Change {
        kind,
        device: device.to_owned(),
        details,
    }
}

/// There is no word for an exclusion that ends.
fn removed(device: &str, fact: &Fact) -> Option<Change> {
    let kind = match fact {
        Fact::Address { .. } => NetworkChange::IpAddrRemoved,
        Fact::Route {
            is_excluded: true, ..
        } => return None,
        Fact::Route { .. } => NetworkChange::RouteRemoved,
        Fact::DnsServer(_) => NetworkChange::DnsServerRemoved,
        Fact::DnsSearch(_) => NetworkChange::DnsSearchRemoved,
    };
    Some(Change {
        kind,
        device: device.to_owned(),
        details: details(fact),
    })
}

fn details(fact: &Fact) -> BTreeMap<&'static str, String> {
    let network = |key, ip: &IpAddr, prefix: u8| {
        BTreeMap::from([
            ("ip_version", if ip.is_ipv6() { "6" } else { "4" }.to_owned()),
            (key, ip.to_string()),
            ("prefix_size", prefix.to_string()),
            // The older name of the same, which clients may still read.
            ("prefix", prefix.to_string()),
        ])
    };
    match fact {
        Fact::Address { ip, prefix } => network("ip_address", ip, *prefix),
        Fact::Route { subnet, prefix, .. } => network("subnet", subnet, *prefix),
        Fact::DnsServer(server) => BTreeMap::from([("dns_server", server.to_string())]),
        Fact::DnsSearch(domain) => BTreeMap::from([("search_domain", domain.clone())]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(name: &str, facts: Vec<Fact>) -> Announced {
        Announced {
            name: name.to_owned(),
            facts,
        }
    }

    fn kinds(changes: &[Change]) -> Vec<u32> {
        changes.iter().map(|change| change.kind as u32).collect()
    }

    fn address(text: &str) -> Fact {
        Fact::Address {
            ip: text.parse().unwrap(),
            prefix: 24,
        }
    }

    fn route(is_excluded: bool) -> Fact {
        Fact::Route {
            subnet: "10.0.0.0".parse().unwrap(),
            prefix: 8,
            gateway: "10.8.0.1".parse().ok(),
            is_excluded,
        }
    }

    #[test]
    fn a_device_goes_the_way_it_came() {
        let state = announced(
            "netstack0",
            vec![
                address("10.8.0.2"),
                route(false),
                route(true),
                Fact::DnsServer("10.8.0.1".parse().unwrap()),
                Fact::DnsSearch("corp".to_owned()),
            ],
        );
        let up = changes(None, Some(&state));
        assert_eq!(kinds(&up), [1, 4, 16, 64, 128, 512]);
        let down = changes(Some(&state), None);
        assert_eq!(kinds(&down), [1024, 256, 32, 8, 2]);
        assert!(changes(None, None).is_empty() && changes(Some(&state), Some(&state)).is_empty());
    }

    #[test]
    fn only_what_differs_is_said() {
        let before = announced("netstack0", vec![address("10.8.0.2"), route(false)]);
        let after = announced("netstack0", vec![address("10.8.0.3"), route(false)]);
        assert_eq!(kinds(&changes(Some(&before), Some(&after))), [8, 4]);
        let renamed = announced("netstack1", before.facts.clone());
        let said = changes(Some(&before), Some(&renamed));
        assert_eq!(kinds(&said), [32, 8, 2, 1, 4, 16]);
        assert_eq!(
            (said[2].device.as_str(), said[3].device.as_str()),
            ("netstack0", "netstack1")
        );
    }

    #[test]
    fn details_are_those_that_clients_read() {
        let said = added("x", &route(false)).details;
        let wanted = [
            ("gateway", "10.8.0.1"),
            ("ip_version", "4"),
            ("prefix", "8"),
            ("prefix_size", "8"),
            ("subnet", "10.0.0.0"),
        ];
        assert_eq!(
            said.iter()
                .map(|(key, value)| (*key, value.as_str()))
                .collect::<Vec<_>>(),
            wanted
        );
        let gone = removed("x", &route(false)).unwrap();
        assert!(!gone.details.contains_key("gateway"));
        let said = added(
            "x",
            &Fact::Address {
                ip: "fd00::2".parse().unwrap(),
                prefix: 64,
            },
        )
        .details;
        assert_eq!(
            (said["ip_version"].as_str(), said["ip_address"].as_str()),
            ("6", "fd00::2")
        );
    }
}
