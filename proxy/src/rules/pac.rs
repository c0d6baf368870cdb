//! The proxy auto-configuration file: the user's rules and what the server pushed, as a script for browsers.
//!
//! Pure text. What goes into it is numbers, and names made of letters, digits, `-`, `_` and `.` alone, so nothing that
//! a server pushes can become code. The script resolves no name and has no way out to `DIRECT` when the proxy is down;
//! refused targets are sent to the proxy, which refuses them.

use std::fmt::Write as _;
use std::net::SocketAddr;

use ipnet::IpNet;

use super::{Action, Pattern, Rules};
use crate::connect::HostName;

/// Media type of the file.
pub const CONTENT_TYPE: &str = "application/x-ns-proxy-autoconfig";
/// Most entries of each kind that are taken from what a server pushed.
const MAX_PUSHED: usize = 4096;
/// The part that is the same in each file.
const PROGRAM: &str = include_str!("pac.js");

/// What the tunnel leads to, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether the server wants everything to go through, of either family.
    pub is_default_route: bool,
    /// Networks behind the tunnel: the pushed ones, the inner one, the resolvers.
    pub networks: Vec<IpNet>,
    /// Domains behind the tunnel; what is no name is left out.
    pub domains: Vec<String>,
}

/// Where browsers find the proxy: the authority of the file's own address if the client reached it by an address or as
/// `localhost`, else `listening`.
pub fn proxy_authority(host: Option<&str>, listening: SocketAddr) -> String {
    let given = host.and_then(literal_authority);
    given.unwrap_or_else(|| reachable(listening).to_string())
}

fn literal_authority(host: &str) -> Option<String> {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return (!address.ip().is_unspecified() && address.port() != 0).then(|| address.to_string());
    }
    let (name, port) = host.rsplit_once(':')?;
    let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
    name.eq_ignore_ascii_case("localhost")
        .then(|| format!("localhost:{port}"))
}

/// An address that a program on this host can connect to.
fn reachable(listening: SocketAddr) -> SocketAddr {
    let mut address = listening;
    if listening.ip().is_unspecified() {
        address.set_ip(match listening {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// The file. `authority` is where the proxy is, by [`proxy_authority`]. Without `facts`, before the first connection,
/// everything that no rule sends elsewhere goes to the proxy.
pub fn file(rules: &Rules, facts: Option<&Facts>, authority: &str) -> String {
    let mut entries = Entries::default();
    for rule in rules.iter() {
        entries.add(&rule.pattern, rule.action != Action::Direct);
    }
    let everything = facts.is_none_or(|facts| {
        // 0.0.0.0/1 and 128.0.0.0/1 together are a default route, too; one of them is nothing a name can be tested for.
        facts.is_default_route || facts.networks.iter().any(|net| net.prefix_len() <= 1)
    });
    if let Some(facts) = facts.filter(|_| !everything) {
        for net in facts.networks.iter().take(MAX_PUSHED) {
            entries.add(&Pattern::Network(net.trunc()), true);
        }
        let names = facts.domains.iter().take(MAX_PUSHED);
        let names: Vec<_> = names.filter_map(|domain| domain_name(domain)).collect();
        if !names.is_empty() {
            entries.push(true, "plain", "");
        }
        for name in names {
            entries.add(&Pattern::Tree(name), true);
        }
    }
    let Entries(entries) = entries;
    let authority: String = authority.chars().filter(|c| is_plain(*c)).collect();
    format!(
        "// Made by tunless for each request; it follows the rules and the VPN's options.\n\
         function FindProxyForURL(url, host) {{\n  \"use strict\";\n  \
         var proxy = \"PROXY {authority}\";\n  var otherwise = {everything};\n  \
         var entries = [{entries}\n  ];\n\n{PROGRAM}"
    )
}

/// Characters of an authority; no other gets into the file's strings.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '[' | ']' | '-' | '_')
}

fn domain_name(domain: &str) -> Option<HostName> {
    let bare = domain.trim_start_matches("*.").trim_start_matches('.');
    HostName::parse(bare.strip_suffix('.').unwrap_or(bare)).ok()
}

/// Entries of the script: `[through the proxy, kind, operands…]`.
#[derive(Debug, Default)]
struct Entries(String);

impl Entries {
    fn add(&mut self, pattern: &Pattern, through: bool) {
        match pattern {
            Pattern::Everything => self.push(through, "all", ""),
            Pattern::Network(IpNet::V4(net)) => {
                let (first, bits) = (u32::from(net.network()), net.prefix_len());
                self.push(through, "net4", &format!(", {first}, {bits}"));
            }
            Pattern::Network(IpNet::V6(net)) => {
                let (first, bits) = (net.network().segments(), net.prefix_len());
                self.push(through, "net6", &format!(", {first:?}, {bits}"));
            }
            Pattern::Exact(name) => self.push(through, "exact", &quoted(name)),
            Pattern::Below(name) => self.push(through, "below", &quoted(name)),
            Pattern::Tree(name) => self.push(through, "tree", &quoted(name)),
        }
    }

    fn push(&mut self, through: bool, kind: &str, operands: &str) {
        let comma = if self.0.is_empty() { "" } else { "," };
        // Writing to a string cannot fail.
        write!(self.0, "{comma}\n    [{through}, \"{kind}\"{operands}]").unwrap_or_default();
    }
}

/// A name as an operand: [`HostName`] lets no character through that means anything in a string.
fn quoted(name: &HostName) -> String {
    format!(", \"{name}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            is_default_route: false,
            networks: vec!["10.88.0.0/24".parse().unwrap(), "fd88::/64".parse().unwrap()],
            domains: vec![
                "Inner.Test".into(),
                "\"];alert(1)//".into(),
                "*.more.test.".into(),
            ],
        }
    }

    #[test]
    fn the_users_rules_come_first_and_refusals_go_to_the_proxy() {
        let rules = ["=a.test=direct", "10.0.0.0/8=refuse"].map(|text| text.parse().unwrap());
        let text = file(
            &Rules::new(rules.to_vec()).unwrap(),
            Some(&facts()),
            "127.0.0.1:1080",
        );
        let wanted = "\n    [false, \"exact\", \"a.test\"],\n    [true, \"net4\", 167772160, 8],\
                      \n    [true, \"net4\", 173539328, 24],\
                      \n    [true, \"net6\", [64904, 0, 0, 0, 0, 0, 0, 0], 64],\n    [true, \"plain\"],\
                      \n    [true, \"tree\", \"inner.test\"],\n    [true, \"tree\", \"more.test\"]\n";
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains("otherwise = false;") && text.contains("\"PROXY 127.0.0.1:1080\""));
        assert!(!text.contains("alert"), "a pushed text became code:\n{text}");
    }

    #[test]
    fn everything_goes_to_the_proxy_with_a_default_route_and_before_the_first_connection() {
        let redirected = Facts {
            is_default_route: true,
            ..facts()
        };
        let halves = Facts {
            networks: vec!["0.0.0.0/1".parse().unwrap()],
            ..facts()
        };
        for facts in [None, Some(&redirected), Some(&halves)] {
            let text = file(&Rules::default(), facts, "127.0.0.1:1080");
            assert!(
                text.contains("otherwise = true;") && text.contains("entries = [\n  ];"),
                "{text}"
            );
        }
    }

    #[test]
    fn no_name_is_ever_resolved_by_the_script() {
        for function in [
            "dnsResolve",
            "isInNet",
            "isResolvable",
            "myIpAddress",
            "dnsDomainIs",
            "eval",
        ] {
            assert!(!PROGRAM.contains(function), "{function}");
        }
        assert!(!PROGRAM.contains("; DIRECT"));
    }

    #[test]
    fn the_proxy_is_where_the_client_found_it_if_that_is_an_address() {
        let listening = "0.0.0.0:1080".parse().unwrap();
        for (host, wanted) in [
            (Some("192.0.2.1:1080"), "192.0.2.1:1080"),
            (Some("[::1]:1080"), "[::1]:1080"),
            (Some("LocalHost:99"), "localhost:99"),
            (Some("wpad"), "127.0.0.1:1080"),
            (Some("evil.test:80"), "127.0.0.1:1080"),
            (Some("0.0.0.0:1080"), "127.0.0.1:1080"),
            (Some("localhost:0"), "127.0.0.1:1080"),
            (None, "127.0.0.1:1080"),
        ] {
            assert_eq!(proxy_authority(host, listening), wanted, "{host:?}");
        }
        assert_eq!(proxy_authority(None, "[::]:7".parse().unwrap()), "[::1]:7");
    }
}
