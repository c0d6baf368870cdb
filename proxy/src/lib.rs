//! The local side of an unprivileged tunnel: SOCKS4, SOCKS5 and HTTP on one port.
//!
//! | module | owns |
//! |---|---|
//! | `serve` | the accept loop: limits, deadlines, counts, drain; a connection from request to end |
//! | `listener` | what connections come from: TCP or a Unix socket |
//! | `owner` | whose program a local client is |
//! | `forward` | connections and datagrams whose target was named in advance |
//! | `incoming` | one local connection while its request is read |
//! | `detect` | the first byte decides which protocol is spoken |
//! | `socks` | SOCKS4 and 4a, SOCKS5 (RFC 1928, RFC 1929) |
//! | `datagrams` | an association for datagrams, the other half of SOCKS5 |
//! | `http` | CONNECT (RFC 9110 §9.3.6), plain HTTP (RFC 9112), requests of the port itself |
//! | `credentials` | user name and password, compared in constant time |
//! | `connections` | who is connected to what, and closing one |
//! | `rules` | tunnel, direct or refuse, by the user's rules; the PAC file made of them |
//! | `site` | the seam to what the port itself shows: PAC, status, metrics |
//! | `dns` | a name service for local programs |
//! | `error` | what a failed connection looks like to either kind of client |
//! | `connect` | the seam: where a connection goes, and who carries its bytes |
//!
//! This crate never opens a connection of its own. Everything a client asks for goes to a [`Connector`], and when that
//! cannot reach it, the client is told so: there is no way round the tunnel in here.

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

mod connect;
mod connections;
mod credentials;
mod datagrams;
mod detect;
pub mod dns;
mod error;
pub mod forward;
mod http;
mod incoming;
mod listener;
mod owner;
pub mod rules;
mod serve;
mod site;
mod socks;
mod stats;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use connect::{
    ConnectError, Connector, Datagrams, Flow, HostName, InvalidTarget, LocalSocket, Meter, RelayEnd,
    RelayReason, Target,
};
pub use connections::{Connection, ConnectionKind, Connections, Tracked};
pub use credentials::{Credentials, InvalidCredentials};
pub use listener::Listener;
pub use owner::{UserList, Users};
pub use serve::{Drained, Limits, Settings, serve};
pub use site::{Site, SiteRequest, SiteResponse};
pub use stats::{Stats, StatsSnapshot};

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path.ends_with("tests") => {}
                true => sources(&path, found),
                false if path.ends_with("tests.rs") => {}
                false => found.push(path),
            }
        }
    }

    #[test]
    fn no_production_code_dials_or_resolves() {
        let mut found = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        assert!(found.len() > 10, "{found:?}");
        for path in found {
            let text = fs::read_to_string(&path).unwrap();
            let production = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let associates = path.ends_with("datagrams/mod.rs");
            for banned in [
                "Socket::bind",
                "Socket::connect",
                "Stream::connect",
                "TcpSocket",
                "lookup_host",
                "ToSocketAddrs",
                "socket2",
            ] {
                let is_allowed = associates && banned == "Socket::bind";
                assert!(
                    is_allowed || !production.contains(banned),
                    "{} uses {banned}",
                    path.display()
                );
            }
        }
    }

    #[test]
    fn the_socket_for_datagrams_is_bound_and_talks_to_its_client_only() {
        let production = include_str!("datagrams/mod.rs");
        let uses = |what: &str| production.matches(what).count();
        assert_eq!((uses("UdpSocket::"), uses("UdpSocket::bind(address)")), (1, 1));
        assert_eq!(
            (
                uses("socket.send_to("),
                uses("self.socket.send_to(&datagram, client)")
            ),
            (1, 1)
        );
        // Every destination but the client's goes to the port inside the tunnel.
        assert_eq!((uses("send_to("), uses("self.port.send_to(")), (2, 1));
        assert_eq!((uses("try_send"), uses(".connect(")), (0, 0));
    }
}
