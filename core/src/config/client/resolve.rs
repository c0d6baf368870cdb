//! From a profile as written to one that can be run.

use std::time::Duration;

use super::{AuthRetry, ClientConfig, ConnectRetry, PullAction, PullFilter, ResolvRetry, remotes::remotes};
use crate::config::{
    common::{self, Ciphers},
    credentials,
    error::ConfigProblem,
    network::Network,
    options::TlsOptions,
    raw::{Directive, Directives, named},
    read::{BadValue, Values, number, whole_seconds},
};

/// Pull filters of one profile; ours.
const MAX_FILTERS: usize = 1024;

/// Reads all of it; what is wrong stays with `values`.
pub(super) fn read(values: &mut Values<'_>) -> ClientConfig {
    let directives = values.directives;
    roles(values);
    let stub_v2 = common::payload(values);
    let Ciphers {
        list,
        name,
        fallback,
        auth,
    } = common::ciphers(values);
    let tls = credentials::tls(values);
    let credentials = credentials::user(values);
    trust(values, &tls, directives.has("auth-user-pass"));
    ClientConfig {
        remotes: remotes(values, auth),
        remote_random: directives.has("remote-random"),
        remote_random_hostname: directives.has("remote-random-hostname"),
        connect_retry: connect_retry(values),
        connect_retry_max: connect_retry_max(values),
        resolv_retry: resolv_retry(values),
        tls,
        credentials,
        static_challenge: credentials::static_challenge(values),
        auth_retry: auth_retry(values),
        auth_nocache: directives.has("auth-nocache"),
        ciphers: list,
        cipher_name: name,
        fallback,
        auth,
        timers: common::timers(values, false),
        limits: common::limits(values),
        renegotiation: common::renegotiation(values, false),
        replay_window: common::replay_window(values),
        pull_filters: pull_filters(values),
        route_nopull: directives.has("route-nopull"),
        network: network(values),
        stub_v2,
        before_2_6: common::compat_before(values, [2, 6, 0]),
        peer_info_vars: peer_info_vars(values),
        push_peer_info: directives.has("push-peer-info"),
        tls_exit: directives.has("tls-exit"),
        allow_recursive_routing: directives.has("allow-recursive-routing"),
        verbosity: common::verbosity(values),
        dev: directives
            .last("dev")
            .and_then(|directive| directive.arg(0))
            .map(str::to_owned),
    }
}

/// A client pulls: nothing else is spoken.
fn roles(values: &mut Values<'_>) {
    let directives = values.directives;
    if let Some(directive) = directives.last("mode").filter(|mode| mode.arg(0) != Some("p2p")) {
        values.fail(
            directive,
            BadValue::new("p2p or server", directive.arg(0).unwrap_or_default()),
        );
    }
    let pulls = directives.has("pull") && directives.has("tls-client");
    if !directives.has("client") && !pulls {
        values.missing(
            "client",
            "sessions between two equal peers are not spoken, only those of a client that pulls its options; \
             add `client` if the server has `mode server`",
        );
    }
}

/// A server must prove itself, and so must the client.
fn trust(values: &mut Values<'_>, tls: &TlsOptions, password: bool) {
    let directives = values.directives;
    if !directives.has("ca") && tls.peer_fingerprints.is_empty() && !directives.has("peer-fingerprint") {
        values.missing(
            "ca",
            "name the authority that signed the server's certificate, or its `peer-fingerprint`",
        );
    }
    if !directives.has("cert") && !directives.has("key") && !password {
        values.missing(
            "cert",
            "nothing tells the server who connects; add `cert` and `key`, or `auth-user-pass`",
        );
    }
    let named = tls.remote_usage.is_some() || tls.remote_eku.is_some() || tls.verify_name.is_some();
    if !named && tls.remote_ku.is_empty() && tls.peer_fingerprints.is_empty() {
        let text =
            "is missing: every certificate of this authority, also another client's, passes as the server's";
        values.note_at(0, "remote-cert-tls", text.to_owned());
    }
}

/// The option that counts for all remotes: outside the blocks, or else in the first block that has it.
fn anywhere<'a>(directives: &'a Directives, name: &str) -> Option<&'a Directive> {
    let inside = || {
        directives
            .connections()
            .iter()
            .find_map(|block| named(&block.directives, name).next_back())
    };
    directives.last(name).or_else(inside)
}

fn connect_retry(values: &mut Values<'_>) -> ConnectRetry {
    let read = |text: &str| whole_seconds(text).filter(|time| !time.is_zero());
    let directives = values.directives;
    let found = anywhere(directives, "connect-retry");
    let mut number =
        |index| found.and_then(|directive| values.arg(directive, index, "whole seconds above 0", read));
    let wait = number(0).unwrap_or(Duration::from_secs(1));
    let max = number(1).unwrap_or(Duration::from_mins(5));
    ConnectRetry {
        wait,
        max: max.max(wait),
    }
}

fn connect_retry_max(values: &mut Values<'_>) -> Option<u32> {
    let directives = values.directives;
    let directive = anywhere(directives, "connect-retry-max")?;
    if directive.arg(0) == Some("unlimited") {
        return None;
    }
    values
        .arg(directive, 0, "a number, or unlimited", number(0, u32::MAX))
        .filter(|rounds| *rounds > 0)
}

fn resolv_retry(values: &mut Values<'_>) -> ResolvRetry {
    let read = |text: &str| match text {
        "infinite" => Some(ResolvRetry::Infinite),
        _ => whole_seconds(text).map(ResolvRetry::For),
    };
    values
        .value("resolv-retry", "whole seconds, or infinite", read)
        .unwrap_or(ResolvRetry::Infinite)
}

fn auth_retry(values: &mut Values<'_>) -> AuthRetry {
    let read = |text: &str| match text {
        "none" => Some(AuthRetry::None),
        "nointeract" => Some(AuthRetry::NoInteract),
        "interact" => Some(AuthRetry::Interact),
        _ => None,
    };
    values
        .value("auth-retry", "none, nointeract or interact", read)
        .unwrap_or_default()
}

fn pull_filters(values: &mut Values<'_>) -> Vec<PullFilter> {
    let read = |text: &str| match text {
        "accept" => Some(PullAction::Accept),
        "ignore" => Some(PullAction::Ignore),
        "reject" => Some(PullAction::Reject),
        _ => None,
    };
    let directives = values.directives;
    let mut filters = Vec::new();
    for directive in directives.all("pull-filter").take(MAX_FILTERS) {
        let action = values.arg(directive, 0, "accept, ignore or reject", read);
        if let (Some(action), Some(text)) = (action, directive.arg(1)) {
            filters.push(PullFilter {
                action,
                text: text.to_owned(),
            });
        }
    }
    filters
}

/// Reads the profile's own addresses, routes and resolvers; a route by name is only noted.
fn network(values: &mut Values<'_>) -> Network {
    let mut network = Network::default();
    let directives = values.directives;
    for directive in directives.global() {
        match network.apply(directive.spec.name, &directive.args) {
            Some(Err(bad)) if directive.spec.name == "dhcp-option" => {
                values.note(directive, format!("is ignored: {bad}"));
            }
            Some(Err(bad)) => values.fail(directive, bad),
            Some(Ok(())) | None => {}
        }
    }
    if let (Err(bad), Some(directive)) = (network.inner_v4(), directives.last("ifconfig")) {
        values.fail(directive, bad);
    }
    network
}

/// Picks the variables for the server; others would be for scripts.
fn peer_info_vars(values: &mut Values<'_>) -> Vec<(String, String)> {
    let directives = values.directives;
    let mut found: Vec<(String, String)> = Vec::new();
    for directive in directives.all("setenv") {
        let name = directive.arg(0).unwrap_or_default();
        let value = directive.arg(1).unwrap_or_default();
        if !(name.starts_with("UV_") || name.starts_with("IV_")) {
            if name != "FORWARD_COMPATIBLE" {
                values.note(
                    directive,
                    format!("is ignored: no scripts are run that would see {name}"),
                );
            }
        } else if name.contains(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            || value.contains(char::is_control)
        {
            values.fail(
                directive,
                ConfigProblem::from(BadValue::new(
                    "a name of letters, digits and _, and a printable value",
                    name,
                )),
            );
        } else {
            found.retain(|(known, _)| known != name);
            found.push((name.to_owned(), value.to_owned()));
        }
    }
    found
}
