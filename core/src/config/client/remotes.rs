//! Where a client connects to: `remote` lines and `<connection>` blocks with what they inherit.

use std::{net::IpAddr, time::Duration};

use crate::{
    config::{
        client::Remote,
        common::{self, Sizes},
        credentials,
        error::ConfigProblem,
        options::Transport,
        raw::{Directive, named},
        read::{BadValue, Scope, Values, number, whole_seconds},
        upstream,
    },
    wrap::Digest,
};

/// Remotes of one profile; ours, above what any provider ships.
const MAX_REMOTES: usize = 1024;
const PORT: &str = "a port, 1 to 65535";
const PROTO: &str = "udp, udp4, udp6, tcp, tcp4 or tcp6 (or tcp-client, tcp4-client, tcp6-client)";

/// Lists the places to connect to: blocks where there are any, else the plain lines.
pub(super) fn remotes(values: &mut Values<'_>, digest: Digest) -> Vec<Remote> {
    let directives = values.directives;
    let mut written = Vec::new();
    for block in directives.connections() {
        let scope = Scope {
            directives,
            connection: Some(block),
        };
        let before = written.len();
        written.extend(named(&block.directives, "remote").map(|directive| (scope, directive)));
        if written.len() == before {
            values.note_at(
                block.line,
                "connection",
                "is ignored: it holds no `remote`".to_owned(),
            );
        }
    }
    for directive in directives.all("remote") {
        if directives.connections().is_empty() {
            written.push((
                Scope {
                    directives,
                    connection: None,
                },
                directive,
            ));
        } else {
            values.note(
                directive,
                "is ignored: the `<connection>` blocks say where to connect to",
            );
        }
    }
    if written.is_empty() {
        values.missing("remote", "name the server as `remote HOST PORT`");
    }
    if let Some((_, directive)) = written.get(MAX_REMOTES) {
        values.fail(directive, BadValue::new("at most 1024 of them", "more"));
    }
    let written = written.into_iter().take(MAX_REMOTES);
    let found = written
        .filter_map(|(scope, directive)| remote(values, scope, directive, digest))
        .collect::<Vec<_>>();
    upstream::refuse_idle(values, &found);
    forced(values, found)
}

/// Leaves out what `proto-force` does not allow.
fn forced(values: &mut Values<'_>, mut found: Vec<Remote>) -> Vec<Remote> {
    let forced = values.value("proto-force", "udp or tcp", |text| match text {
        "udp" => Some(Transport::Udp),
        "tcp" => Some(Transport::Tcp),
        _ => None,
    });
    if let Some(transport) = forced {
        let any = !found.is_empty();
        found.retain(|remote| remote.proto.transport == transport);
        if let Some(directive) = values
            .directives
            .last("proto-force")
            .filter(|_| any && found.is_empty())
        {
            values.fail(
                directive,
                ConfigProblem::Conflict {
                    with: "remote",
                    remedy: "no server has that transport",
                },
            );
        }
    }
    found
}

/// Reads one place with the options that count there.
fn remote(
    values: &mut Values<'_>,
    scope: Scope<'_>,
    directive: &Directive,
    digest: Digest,
) -> Option<Remote> {
    let host = values.arg(directive, 0, "a name or an address", host);
    let elsewhere = |values: &mut Values<'_>, name: &'static str| {
        scope
            .last(name)
            .and_then(|other| values.arg(other, 0, PORT, common::port))
    };
    let port = match directive.arg(1) {
        Some(_) => values.arg(directive, 1, PORT, common::port),
        None => elsewhere(values, "rport").or_else(|| elsewhere(values, "port")),
    };
    let read_proto = |text: &str| common::proto(text, false);
    let proto = match directive.arg(2) {
        Some(_) => values.arg(directive, 2, PROTO, read_proto),
        None => scope
            .last("proto")
            .and_then(|other| values.arg(other, 0, PROTO, read_proto)),
    };
    let proto = proto.unwrap_or_default();
    let Sizes {
        tun_mtu,
        tun_mtu_explicit,
        mssfix,
        max_packet_size,
    } = common::sizes(values, scope);
    let tun_mtu_max = values.value("tun-mtu-max", "an MTU, 100 to 65535", number(100, u16::MAX));
    let notify = common::exit_notify(values, scope.last("explicit-exit-notify"));
    let (local, local_port) = binding(values, scope);
    let proxy = upstream::read(values, scope, proto.transport);
    Some(Remote {
        wrap: credentials::wrap(values, scope, digest)?,
        proxy,
        host: host?,
        port: port.unwrap_or(1194),
        proto,
        connect_timeout: connect_timeout(values, scope),
        explicit_exit_notify: notify.filter(|_| proto.transport == Transport::Udp),
        mssfix,
        tun_mtu,
        tun_mtu_explicit,
        tun_mtu_max: tun_mtu_max.unwrap_or(common::TUN_MTU_MAX).max(tun_mtu),
        max_packet_size,
        local,
        local_port,
        line: directive.line,
    })
}

/// Reads a host name or an address; what cannot be either is refused before it reaches a resolver.
pub(in crate::config) fn host(text: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c) || !c.is_ascii();
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    Some(bare.to_owned()).filter(|bare| !bare.is_empty() && bare.len() <= 253 && bare.chars().all(fits))
}

/// Reads `local` and `lport`. Without them the system chooses, as with `nobind`: the reference binds to 1194,
/// which would keep a second client from starting.
fn binding(values: &mut Values<'_>, scope: Scope<'_>) -> (Option<IpAddr>, Option<u16>) {
    let local = scope.last("local").and_then(|directive| {
        values.arg(directive, 0, "an IP address (names are not resolved)", |text| {
            text.parse().ok()
        })
    });
    let port = scope
        .last("lport")
        .and_then(|directive| values.arg(directive, 0, "a port, 0 to 65535", number(0, u16::MAX)));
    let free = scope.last("nobind").is_some();
    (local.filter(|_| !free), port.filter(|port| *port > 0 && !free))
}

fn connect_timeout(values: &mut Values<'_>, scope: Scope<'_>) -> Duration {
    let read = |text: &str| whole_seconds(text).filter(|time| !time.is_zero());
    let written = scope.last("connect-timeout");
    let found = written.and_then(|directive| values.arg(directive, 0, "whole seconds above 0", read));
    found.unwrap_or(Duration::from_mins(2))
}
