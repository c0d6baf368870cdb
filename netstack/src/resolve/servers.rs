//! Which servers are asked for which name (split DNS); all of them are inside the tunnel.

use std::net::SocketAddr;

use super::wire;
use crate::config::ResolverGroup;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    servers: Vec<SocketAddr>,
    /// As they go on the wire; none stands for all names.
    domains: Vec<Vec<u8>>,
    is_general: bool,
}

/// The groups in order of priority.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Servers {
    groups: Vec<Group>,
}

impl Servers {
    /// Takes the servers that `is_usable`; a group that has none of them is left out.
    pub(crate) fn new(groups: &[ResolverGroup], is_usable: impl Fn(SocketAddr) -> bool) -> Self {
        let groups = groups.iter().map(|group| {
            let usable = group.servers.iter().copied().filter(|server| is_usable(*server));
            Group {
                servers: usable.collect(),
                domains: group
                    .domains
                    .iter()
                    .filter_map(|domain| wire::encode_name(domain))
                    .collect(),
                is_general: group.domains.is_empty(),
            }
        });
        Self {
            groups: groups.filter(|group| !group.servers.is_empty()).collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whom to ask for the name `name` (as on the wire, in lower case), in order: the groups with the longest domain
    /// that it is in, else the general ones, else all.
    pub(crate) fn for_name(&self, name: &[u8]) -> Vec<SocketAddr> {
        let longest = self.groups.iter().filter_map(|group| group.longest(name)).max();
        let is_any_general = self.groups.iter().any(|group| group.is_general);
        let is_asked = |group: &&Group| match longest {
            Some(longest) => group.longest(name) == Some(longest),
            None => group.is_general || !is_any_general,
        };
        let mut servers = Vec::new();
        for server in self
            .groups
            .iter()
            .filter(is_asked)
            .flat_map(|group| &group.servers)
        {
            if !servers.contains(server) {
                servers.push(*server);
            }
        }
        servers
    }
}

impl Group {
    /// Length of the longest of its domains that the name is in.
    fn longest(&self, name: &[u8]) -> Option<usize> {
        let matching = self.domains.iter().filter(|domain| is_within(name, domain));
        matching.map(Vec::len).max()
    }
}

fn is_within(name: &[u8], domain: &[u8]) -> bool {
    let mut rest = name;
    loop {
        if rest == domain {
            return true;
        }
        let Some((length, after)) = rest.split_first() else {
            return false;
        };
        match after.get(usize::from(*length)..) {
            Some(next) if *length != 0 => rest = next,
            Some(_) | None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(servers: &[&str], domains: &[&str]) -> ResolverGroup {
        ResolverGroup {
            servers: servers.iter().map(|text| text.parse().unwrap()).collect(),
            domains: domains.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    fn asked(servers: &Servers, name: &str) -> Vec<String> {
        let name = wire::encode_name(name).unwrap();
        servers
            .for_name(&name)
            .iter()
            .map(|server| server.ip().to_string())
            .collect()
    }

    #[test]
    fn the_longest_domain_wins_then_the_general_servers() {
        let groups = [
            group(&["10.0.0.1:53", "10.0.0.2:53"], &[]),
            group(&["10.0.0.3:53"], &["Corp.example"]),
            group(&["10.0.0.4:53"], &["lab.corp.example.", "test"]),
            group(&["10.0.0.5:53", "10.0.0.3:53"], &["corp.example"]),
        ];
        let servers = Servers::new(&groups, |_| true);
        assert_eq!(asked(&servers, "www.example"), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(asked(&servers, "notcorp.example"), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(asked(&servers, "corp.example"), ["10.0.0.3", "10.0.0.5"]);
        assert_eq!(asked(&servers, "a.b.corp.example"), ["10.0.0.3", "10.0.0.5"]);
        assert_eq!(asked(&servers, "a.lab.corp.example"), ["10.0.0.4"]);
        assert_eq!(asked(&servers, "x.test"), ["10.0.0.4"]);
    }

    #[test]
    fn without_a_general_server_all_are_asked() {
        let groups = [
            group(&["10.0.0.3:53"], &["corp.example"]),
            group(&["10.0.0.4:53"], &["test"]),
        ];
        let servers = Servers::new(&groups, |_| true);
        assert_eq!(asked(&servers, "www.example"), ["10.0.0.3", "10.0.0.4"]);
        assert_eq!(asked(&servers, "x.test"), ["10.0.0.4"]);
    }

    #[test]
    fn a_group_without_a_usable_server_is_left_out() {
        let groups = [group(&["10.0.0.1:53"], &[]), group(&["[fd00::1]:53"], &["test"])];
        let servers = Servers::new(&groups, |server| server.is_ipv4());
        assert_eq!(asked(&servers, "x.test"), ["10.0.0.1"]);
        assert!(Servers::new(&groups, |_| false).is_empty());
    }
}
