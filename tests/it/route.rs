//! The user's own rules, `--route`: what goes through the tunnel, directly, or nowhere.

use std::net::SocketAddr;

use crate::fetch::{Via, page};
use crate::inner::{Inner, WEB, serve_pages};
use crate::netns::{Net, SERVER};
use crate::process::finish;
use crate::runner::Confinement;
use crate::server::{Options, SOON, Server, TUNNEL_PREFIX, TUNNEL_PREFIX_V6};
use crate::tunnel::{LISTENER, Lab, Tunnel};

/// Who `target` sees when it is asked through the proxy, or why it cannot be asked.
fn who(net: &Net, target: &str) -> Result<String, String> {
    let stream = Via::Socks(LISTENER)
        .connect(&net.client, target, WEB)
        .map_err(|error| error.to_string())?;
    page(&stream, "/whoami").map_err(|error| error.to_string())
}

fn is_of_the_tunnel(seen: &str) -> bool {
    seen.starts_with(TUNNEL_PREFIX) || seen.starts_with(TUNNEL_PREFIX_V6)
}

#[test]
fn without_rules_everything_takes_the_tunnel() {
    let lab = Lab::new("route-none", Options::default());
    serve_pages(&lab.net.server, SocketAddr::new(SERVER, WEB));
    for target in ["10.77.0.2", "10.88.0.2", "page.inner.test"] {
        let seen = who(&lab.net, target).expect("a page");
        assert!(is_of_the_tunnel(&seen), "{target} saw {seen}");
    }
}

#[test]
fn rules_send_each_target_where_they_say() {
    let net = Net::new("route-rules");
    let inner = Inner::start(&net.inner);
    serve_pages(&net.server, SocketAddr::new(SERVER, WEB));
    let server = Server::start(&net, Options::default());
    let profile = net.write("client.ovpn", &server.profile(""));
    let mut command = net.tunless(&net.client, Confinement::Unprivileged);
    command.arg("connect").arg(profile);
    command.args(["--route", "10.77.0.0/24=direct,=long.page.inner.test=refuse"]);
    command.args(["--route", "fd88::/64=refuse"]);
    let _tunnel = Tunnel::start(&net, &mut command);
    let outside = who(&net, "10.77.0.2").expect("a page");
    assert_eq!(outside.trim(), "10.77.0.1");
    for target in ["10.88.0.2", "page.inner.test"] {
        let seen = who(&net, target).expect("a page");
        assert!(is_of_the_tunnel(&seen), "{target} saw {seen}");
    }
    // Code 2: not allowed by the ruleset; the last one's only address is in a refused network.
    for target in ["long.page.inner.test", "fd88::2", "six.inner.test"] {
        assert_eq!(who(&net, target), Err("SOCKS reply 2".to_owned()), "{target}");
    }
    let asked = inner.names.asked();
    assert!(
        !asked.iter().any(|name| name.contains("long.page")),
        "a refused name was asked for: {asked:?}"
    );
}

#[test]
fn wrong_rules_are_wrong_usage() {
    let net = Net::new("route-usage");
    for (rule, part) in [
        ("10.0.0.1/8=direct", "write 10.0.0.0/8 for the network"),
        ("corp.example=block", "write tunnel, direct or refuse"),
    ] {
        let mut command = net.tunless(&net.client, Confinement::Unprivileged);
        command.args(["connect", "client.ovpn", "--route", rule]);
        let finished = finish(net.dir(), "usage", &mut command, SOON);
        assert_eq!(finished.status, Some(2), "{}", finished.stderr);
        assert!(
            finished.stderr.contains(part) && finished.stderr.contains("--route"),
            "{}",
            finished.stderr
        );
    }
}
