//! From a server's configuration as written to one that can be run.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use ipnet::{Ipv4Net, Ipv6Net};

use super::{ClientCert, Rate, ServerConfig, ServerV6};
use crate::config::{
    common::{self, Ciphers, Sizes},
    credentials, directive,
    error::ConfigProblem,
    lex,
    network::prefix_len,
    options::{Proto, TlsOptions, Transport},
    raw::Directive,
    read::{BadValue, Scope, Values, number},
};

/// Longest option that can be pushed: the bundle's limit of 940 less the message's own words.
const MAX_PUSHED_BYTES: usize = 929;
/// Options that one configuration may push; ours.
const MAX_PUSHED: usize = 4096;

/// Reads all of it; what is wrong stays with `values`.
pub(super) fn read(values: &mut Values<'_>) -> Option<ServerConfig> {
    let directives = values.directives;
    let scope = Scope {
        directives,
        connection: None,
    };
    topology(values);
    ignored(values);
    let stub_v2 = common::payload(values);
    let Ciphers {
        list,
        name,
        fallback,
        auth,
    } = common::ciphers(values);
    let tls = credentials::tls(values);
    let client_cert = client_cert(values);
    trust(values, &tls, client_cert);
    let inside = inside(values);
    let ipv6 = ipv6(values);
    let (proto, port, local) = listen(values);
    let Sizes {
        tun_mtu,
        mssfix,
        max_packet_size,
        ..
    } = common::sizes(values, scope);
    let push = inside.map(|inside| push(values, inside.addr));
    let notify = common::exit_notify(values, directives.last("explicit-exit-notify"));
    let max_clients = values.value("max-clients", "a number, 1 to 65536", number(1, 65_536));
    let (timers, limits) = (common::timers(values, true), common::limits(values));
    let (renegotiation, replay_window) = (common::renegotiation(values, true), common::replay_window(values));
    let initial = rate(values, "connect-freq-initial");
    let (wrap, connect_freq) = (
        credentials::wrap(values, scope, auth),
        rate(values, "connect-freq"),
    );
    let verbosity = common::verbosity(values);
    let Inside {
        net,
        addr,
        pool_first,
        pool_last,
    } = inside?;
    Some(ServerConfig {
        local,
        port,
        proto,
        wrap: wrap?,
        tls,
        net,
        addr,
        pool_first,
        pool_last,
        ipv6,
        push: push?,
        timers,
        limits,
        renegotiation,
        replay_window,
        ciphers: list,
        cipher_name: name,
        fallback,
        auth,
        max_clients: max_clients.unwrap_or(1024),
        duplicate_cn: directives.has("duplicate-cn"),
        client_cert,
        username_as_common_name: directives.has("username-as-common-name"),
        client_to_client: directives.has("client-to-client"),
        mssfix,
        tun_mtu,
        max_packet_size,
        stub_v2,
        explicit_exit_notify: notify.filter(|_| proto.transport == Transport::Udp),
        connect_freq,
        connect_freq_initial: initial.unwrap_or(Rate {
            count: 100,
            per: Duration::from_secs(10),
        }),
        verbosity,
    })
}

/// Only one subnet for all is served.
fn topology(values: &mut Values<'_>) {
    let directives = values.directives;
    for directive in directives
        .all("topology")
        .filter(|directive| directive.arg(0) != Some("subnet"))
    {
        values.fail(
            directive,
            ConfigProblem::Refused("only `topology subnet` is served; write that"),
        );
    }
    for mode in directives
        .all("mode")
        .filter(|mode| mode.arg(0) != Some("server"))
    {
        values.fail(mode, BadValue::new("server", mode.arg(0).unwrap_or_default()));
    }
}

/// Options that both roles may have but that do nothing at this server.
fn ignored(values: &mut Values<'_>) {
    let directives = values.directives;
    for name in ["route", "route-ipv6"] {
        for directive in directives.all(name) {
            values.note(
                directive,
                "is ignored: no routes are set on this machine; `push` it for clients",
            );
        }
    }
    for name in ["ifconfig", "ifconfig-ipv6", "route-gateway"] {
        if let Some(directive) = directives.last(name) {
            values.note(
                directive,
                "is ignored: the addresses follow from `server` and `server-ipv6`",
            );
        }
    }
    for directive in directives.all("setenv") {
        values.note(directive, "is ignored: no scripts are run");
    }
}

fn client_cert(values: &mut Values<'_>) -> ClientCert {
    let directives = values.directives;
    let Some(directive) = directives.last("verify-client-cert") else {
        return ClientCert::Require;
    };
    let read = |text: &str| match text {
        "require" => Some(ClientCert::Require),
        "optional" => Some(ClientCert::Optional),
        "none" => Some(ClientCert::None),
        _ => None,
    };
    let read = values
        .arg(directive, 0, "none, optional or require", read)
        .unwrap_or_default();
    if read != ClientCert::Require {
        values.note(
            directive,
            "lets in clients whom nothing identifies: passwords are not checked yet",
        );
    }
    read
}

fn trust(values: &mut Values<'_>, tls: &TlsOptions, client_cert: ClientCert) {
    let directives = values.directives;
    for name in ["cert", "key"] {
        if !directives.has("cert") && !directives.has("key") {
            values.missing(
                name,
                "name the server's own certificate and key in PEM with `cert` and `key`",
            );
        }
    }
    let anchored =
        directives.has("ca") || !tls.peer_fingerprints.is_empty() || directives.has("peer-fingerprint");
    if !anchored && client_cert != ClientCert::None {
        values.missing(
            "ca",
            "name the authority that signs clients' certificates, or write their `peer-fingerprint`",
        );
    }
}

fn listen(values: &mut Values<'_>) -> (Proto, u16, Option<IpAddr>) {
    let wants = "udp, udp4, udp6, tcp, tcp4 or tcp6 (or tcp-server, tcp4-server, tcp6-server)";
    let proto = values
        .value("proto", wants, |text| common::proto(text, true))
        .unwrap_or_default();
    let wants = "a port, 1 to 65535";
    let port = values
        .value("port", wants, common::port)
        .or_else(|| values.value("lport", wants, common::port));
    let directives = values.directives;
    let mut locals = directives.all("local");
    let local = locals.next_back();
    if let Some(other) = locals.next() {
        let wants = "to be there once (only one address is listened on), or not at all for every address";
        values.fail(other, BadValue::new(wants, &other.args.join(" ")));
    }
    if let Some(more) = local.filter(|local| local.args.len() > 1) {
        values.fail(
            more,
            BadValue::new(
                "an address alone; write `port` and `proto` on their own lines",
                &more.args.join(" "),
            ),
        );
    }
    let wants = "an IP address (names are not resolved)";
    let local = local.and_then(|local| values.arg(local, 0, wants, |text| text.parse().ok()));
    (proto, port.unwrap_or(1194), local)
}

/// The inner IPv4 network.
#[derive(Debug, Clone, Copy)]
struct Inside {
    net: Ipv4Net,
    addr: Ipv4Addr,
    pool_first: Ipv4Addr,
    pool_last: Ipv4Addr,
}

/// Expands `server net mask`: the server takes the first address, clients the others.
fn inside(values: &mut Values<'_>) -> Option<Inside> {
    let directives = values.directives;
    let Some(directive) = directives.last("server") else {
        values.missing(
            "server",
            "name the inner network as `server 10.8.0.0 255.255.255.0`",
        );
        return None;
    };
    let wants = "a network and its netmask from 255.255.0.0 to 255.255.255.248, as `10.8.0.0 255.255.255.0`";
    let net = network(directive).filter(|net| (16..=29).contains(&net.prefix_len()));
    let Some(net) = net else {
        values.fail(directive, BadValue::new(wants, &directive.args.join(" ")));
        return None;
    };
    if directive.arg(2).is_some_and(|word| word != "nopool") {
        values.fail(
            directive,
            BadValue::new(
                "`nopool` or nothing behind the netmask",
                &directive.args.join(" "),
            ),
        );
    }
    let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
    let all = Inside {
        net,
        addr: (first + 1).into(),
        pool_first: (first + 2).into(),
        pool_last: last.saturating_sub(1).into(),
    };
    pool(values, all)
}

fn network(directive: &Directive) -> Option<Ipv4Net> {
    let addr: Ipv4Addr = directive.arg(0)?.parse().ok()?;
    let prefix = prefix_len(directive.arg(1)?.parse().ok()?).ok()?;
    Ipv4Net::new(addr, prefix)
        .ok()
        .filter(|net| net.network() == addr)
}

/// Narrows the pool to `ifconfig-pool`.
fn pool(values: &mut Values<'_>, all: Inside) -> Option<Inside> {
    let directives = values.directives;
    let Some(directive) = directives.last("ifconfig-pool") else {
        return Some(all);
    };
    let read = |index| {
        directive
            .arg(index)
            .and_then(|text: &str| text.parse::<Ipv4Addr>().ok())
    };
    let usable = all.pool_first..=all.pool_last;
    match (read(0), read(1)) {
        (Some(first), Some(last)) if first < last && usable.contains(&first) && usable.contains(&last) => {
            Some(Inside {
                pool_first: first,
                pool_last: last,
                ..all
            })
        }
        _ => {
            values.fail(
                directive,
                BadValue::new(
                    "first and last address within `server`",
                    &directive.args.join(" "),
                ),
            );
            None
        }
    }
}

/// Expands `server-ipv6 net/bits`.
fn ipv6(values: &mut Values<'_>) -> Option<ServerV6> {
    let wants = "an IPv6 network of /64 to /124, as fd00:8::/64";
    let net: Ipv6Net = values.value("server-ipv6", wants, |text| {
        text.parse()
            .ok()
            .filter(|net: &Ipv6Net| (64..=124).contains(&net.prefix_len()))
    })?;
    let net = net.trunc();
    let base = u128::from(net.network());
    let offset = if net.prefix_len() < 112 { 0x1000 } else { 2 };
    Some(ServerV6 {
        net,
        addr: (base | 1).into(),
        pool_first: (base | offset).into(),
    })
}

/// The options for clients: those written first, then those that follow from other options.
fn push(values: &mut Values<'_>, addr: Ipv4Addr) -> Vec<String> {
    let directives = values.directives;
    let mut list = Vec::new();
    for directive in directives.all("push") {
        let option = directive.arg(0).unwrap_or_default();
        if list.len() == MAX_PUSHED {
            values.fail(directive, BadValue::new("at most 4096 options", option));
        } else if let Err(problem) = pushable(option) {
            values.fail(directive, problem);
        } else {
            if !is_known_push(option) {
                values.note(
                    directive,
                    format!("sends {option:?}, which clients do not take from a server"),
                );
            }
            list.push(option.to_owned());
        }
    }
    if directives.has("server-ipv6") {
        list.push("tun-ipv6".to_owned());
    }
    list.push(format!("route-gateway {addr}"));
    list.push("topology subnet".to_owned());
    let keepalive = directives
        .last("keepalive")
        .map(|directive| common::keepalive_values(&directive.args));
    if let Some(Ok((interval, timeout))) = keepalive {
        list.push(format!("ping {}", interval.as_secs()));
        list.push(format!("ping-restart {}", timeout.as_secs()));
    }
    list
}

/// Checks that an option can travel, and that it does not ask for what is not spoken.
fn pushable(option: &str) -> Result<(), ConfigProblem> {
    let wants = "one option in quotes, without commas and at most 929 bytes, as \"route 10.0.0.0 255.0.0.0\"";
    let fits = option.len() <= MAX_PUSHED_BYTES && !option.contains(|c: char| c == ',' || c.is_control());
    let words = lex::parameters(option)?;
    match words.first().map(String::as_str) {
        Some("compress" | "comp-lzo") => Err(ConfigProblem::Refused(
            "compression and its framing are not served; remove it",
        )),
        Some(_) if fits => Ok(()),
        _ => Err(BadValue::new(wants, option).into()),
    }
}

fn is_known_push(option: &str) -> bool {
    let name = option.split_whitespace().next().unwrap_or_default();
    directive::find(name).is_some_and(|spec| spec.pushable)
}

/// Reads `n seconds`.
fn rate(values: &mut Values<'_>, name: &str) -> Option<Rate> {
    let directive = values.directives.last(name)?;
    let count = values.arg(directive, 0, "a number above 0", number(1, u32::MAX))?;
    let seconds = values.arg(
        directive,
        1,
        "whole seconds above 0",
        number(1, u64::from(u32::MAX)),
    )?;
    Some(Rate {
        count,
        per: Duration::from_secs(seconds),
    })
}
