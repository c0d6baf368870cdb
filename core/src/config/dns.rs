//! `dns` and `dhcp-option`: resolvers and domains inside the tunnel.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{
    network::{DnsSecurity, DnsServer, DnsSettings, DnsTransport},
    read::BadValue,
};

/// Addresses of one resolver (`dns server … address`).
const MAX_ADDRESSES: usize = 8;
/// Search domains that are kept; ours.
const MAX_DOMAINS: usize = 256;
/// Resolvers of `dhcp-option` that are kept; ours.
const MAX_DHCP_SERVERS: usize = 16;

/// Takes the parameters of a `dns` option.
pub(super) fn apply(dns: &mut DnsSettings, args: &[String]) -> Result<(), BadValue> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match *words.as_slice() {
        ["search-domains", ref domains @ ..] if !domains.is_empty() => {
            for domain in domains {
                add_domain(&mut dns.search_domains, domain)?;
            }
            Ok(())
        }
        ["server", priority, what, ref values @ ..] if !values.is_empty() => {
            let priority: i8 = priority
                .parse()
                .map_err(|_| BadValue::new("a priority, -128 to 127", priority))?;
            server(dns, priority).map_or(Ok(()), |server| apply_server(server, what, values))
        }
        _ => {
            let wants = "`search-domains DOMAIN…` or `server PRIORITY address|resolve-domains|dnssec|transport|sni VALUE…`";
            Err(BadValue::new(wants, &args.join(" ")))
        }
    }
}

/// Finds the server of that priority, or adds it in its place.
fn server(dns: &mut DnsSettings, priority: i8) -> Option<&mut DnsServer> {
    if let Err(at) = dns
        .servers
        .binary_search_by_key(&priority, |server| server.priority)
    {
        dns.servers.insert(at, empty_server(priority));
    }
    dns.servers.iter_mut().find(|server| server.priority == priority)
}

fn empty_server(priority: i8) -> DnsServer {
    DnsServer {
        priority,
        addresses: Vec::new(),
        resolve_domains: Vec::new(),
        dnssec: None,
        transport: DnsTransport::Plain,
        sni: None,
    }
}

fn apply_server(server: &mut DnsServer, what: &str, values: &[&str]) -> Result<(), BadValue> {
    let first = values.first().copied().unwrap_or_default();
    match what {
        "address" => {
            for text in values {
                let address = address(text)?;
                if server.addresses.len() == MAX_ADDRESSES {
                    return Err(BadValue::new("at most 8 addresses for one server", text));
                }
                server.addresses.push(address);
            }
        }
        "resolve-domains" => {
            for domain in values {
                add_domain(&mut server.resolve_domains, domain)?;
            }
        }
        "dnssec" => {
            server.dnssec = Some(match first {
                "yes" => DnsSecurity::Yes,
                "optional" => DnsSecurity::Optional,
                "no" => DnsSecurity::No,
                _ => return Err(BadValue::new("yes, optional or no", first)),
            });
        }
        "transport" => {
            server.transport = match first {
                "plain" => DnsTransport::Plain,
                "DoT" => DnsTransport::Tls,
                "DoH" => DnsTransport::Https,
                _ => return Err(BadValue::new("plain, DoT or DoH", first)),
            };
        }
        "sni" => server.sni = Some(first.to_owned()),
        _ => {
            return Err(BadValue::new(
                "address, resolve-domains, dnssec, transport or sni",
                what,
            ));
        }
    }
    Ok(())
}

/// Reads an address with or without a port; port 0 stands for "not said" until [`finish`].
fn address(text: &str) -> Result<SocketAddr, BadValue> {
    let bad = || {
        BadValue::new(
            "an IP address, or with its port as 1.2.3.4:53 or [fd00::1]:53",
            text,
        )
    };
    if let Ok(with_port) = text.parse::<SocketAddr>() {
        return if with_port.port() == 0 {
            Err(bad())
        } else {
            Ok(with_port)
        };
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let addr: IpAddr = match bare {
        Some(inside) => inside.parse::<Ipv6Addr>().map_err(|_| bad())?.into(),
        None => text.parse().map_err(|_| bad())?,
    };
    Ok(SocketAddr::new(addr, 0))
}

fn add_domain(domains: &mut Vec<String>, domain: &str) -> Result<(), BadValue> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c) || !c.is_ascii();
    let bare = domain.trim_matches('.');
    if bare.is_empty() || bare.len() > 253 || !bare.chars().all(fits) || domains.len() == MAX_DOMAINS {
        return Err(BadValue::new("a domain", domain));
    }
    if !domains.iter().any(|known| known.eq_ignore_ascii_case(bare)) {
        domains.push(bare.to_owned());
    }
    Ok(())
}

/// Takes the parameters of a `dhcp-option`; types that mean nothing here are errors to be logged.
pub(super) fn apply_dhcp(dns: &mut DnsSettings, args: &[String]) -> Result<(), BadValue> {
    let kind = args.first().map(String::as_str).unwrap_or_default();
    let value = args.get(1).map(String::as_str).unwrap_or_default();
    match kind {
        "DNS" | "DNS6" => {
            let addr: IpAddr = value.parse().map_err(|_| BadValue::new("an IP address", value))?;
            let address = SocketAddr::new(addr, 0);
            if let Some(server) = server(dns, 0).filter(|known| known.addresses.len() < MAX_DHCP_SERVERS)
                && !server.addresses.contains(&address)
            {
                server.addresses.push(address);
            }
            Ok(())
        }
        "DOMAIN" | "DOMAIN-SEARCH" | "ADAPTER_DOMAIN_SUFFIX" => add_domain(&mut dns.search_domains, value),
        // Known, and of no use without a device that speaks DHCP.
        "NTP"
        | "WINS"
        | "NBDD"
        | "NBT"
        | "NBS"
        | "DISABLE-NBT"
        | "PROXY_HTTP"
        | "PROXY_HTTPS"
        | "PROXY_BYPASS"
        | "PROXY_AUTO_CONFIG_URL" => Ok(()),
        _ => Err(BadValue::new("DNS, DNS6, DOMAIN or DOMAIN-SEARCH", kind)),
    }
}

/// Joins what was configured and pushed: of equal priorities the pushed one stays.
pub(super) fn merge(configured: &DnsSettings, mut pushed: DnsSettings) -> DnsSettings {
    for own in &configured.servers {
        if let Err(at) = pushed
            .servers
            .binary_search_by_key(&own.priority, |server| server.priority)
        {
            pushed.servers.insert(at, own.clone());
        }
    }
    for domain in &configured.search_domains {
        // What is no domain was refused when it was read, so only the limit can fail.
        let _full = add_domain(&mut pushed.search_domains, domain);
    }
    pushed
}

/// Settles both kinds: `dns` where there is any, else `dhcp-option`; ports where none was said.
pub(super) fn finish(dns: DnsSettings, dhcp: DnsSettings) -> DnsSettings {
    let mut servers = if dns.servers.is_empty() {
        dhcp.servers
    } else {
        dns.servers
    };
    for server in &mut servers {
        let port = match server.transport {
            DnsTransport::Plain => 53,
            DnsTransport::Tls => 853,
            DnsTransport::Https => 443,
        };
        for address in server.addresses.iter_mut().filter(|address| address.port() == 0) {
            address.set_port(port);
        }
    }
    let search_domains = if dns.search_domains.is_empty() {
        dhcp.search_domains
    } else {
        dns.search_domains
    };
    DnsSettings {
        servers,
        search_domains,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(lines: &[&str]) -> Result<DnsSettings, BadValue> {
        let mut dns = DnsSettings::default();
        for line in lines {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            apply(&mut dns, &words)?;
        }
        Ok(dns)
    }

    #[test]
    fn servers_stand_in_order_of_priority_with_ports() {
        let dns = settings(&[
            "server 2 address 10.0.0.2:5353 [fd00::1]:54",
            "server -1 transport DoT",
            "server -1 address fd00::2 [fd00::3]",
            "server -1 sni dns.example",
            "server 2 resolve-domains corp.example. lab.example",
            "server 2 dnssec optional",
            "search-domains a.example A.example b.example",
        ]);
        let dns = finish(dns.unwrap(), DnsSettings::default());
        assert_eq!(dns.search_domains, ["a.example", "b.example"]);
        assert_eq!(
            dns.servers[0].addresses,
            ["[fd00::2]:853".parse().unwrap(), "[fd00::3]:853".parse().unwrap()]
        );
        assert_eq!(
            dns.servers[1].addresses,
            ["10.0.0.2:5353".parse().unwrap(), "[fd00::1]:54".parse().unwrap()]
        );
        assert_eq!(dns.servers[1].resolve_domains, ["corp.example", "lab.example"]);
        assert_eq!(dns.servers[1].dnssec, Some(DnsSecurity::Optional));
    }

    #[test]
    fn bad_values_are_told() {
        for bad in [
            "server 200 address 10.0.0.1",
            "server 0 address example.com",
            "server 0 address 10.0.0.1:0",
            "server 0 dnssec maybe",
            "server 0 transport quic",
            "server 0 colour red",
            "server 0 address",
            "search-domains",
            "search-domains a/b",
            "server 0 address 1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4 1.1.1.5 1.1.1.6 1.1.1.7 1.1.1.8 1.1.1.9",
        ] {
            assert!(settings(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn pushed_servers_win_and_dns_wins_over_dhcp() {
        let own = settings(&["server 0 address 10.0.0.1", "server 1 address 10.0.0.9"]).unwrap();
        let pushed = settings(&["server 0 address 10.0.0.2"]).unwrap();
        let mut dhcp = DnsSettings::default();
        for line in [
            "DNS 10.9.9.9",
            "DNS6 fd00::9",
            "DOMAIN a.example",
            "DOMAIN-SEARCH b.example",
            "NTP 10.0.0.1",
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            apply_dhcp(&mut dhcp, &words).unwrap();
        }
        let both = finish(merge(&own, pushed), dhcp.clone());
        assert_eq!(both.servers.len(), 2);
        assert_eq!(both.servers[0].addresses, ["10.0.0.2:53".parse().unwrap()]);
        assert_eq!(both.search_domains, ["a.example", "b.example"]);
        let only = finish(DnsSettings::default(), dhcp);
        assert_eq!(
            only.servers[0].addresses,
            ["10.9.9.9:53".parse().unwrap(), "[fd00::9]:53".parse().unwrap()]
        );
    }
}
