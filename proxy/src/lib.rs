//! The local side of an unprivileged tunnel: SOCKS5 and HTTP CONNECT on one port.
//!
//! | module | owns |
//! |---|---|
//! | `serve` | the accept loop: limits, deadlines, counts, drain |
//! | `incoming` | one local connection while its request is read |
//! | `detect` | the first byte decides which protocol is spoken |
//! | `socks` | SOCKS5 (RFC 1928, RFC 1929), the refusal of SOCKS4 |
//! | `http` | CONNECT (RFC 9110 §9.3.6), the page that explains the port |
//! | `credentials` | user name and password, compared in constant time |
//! | `error` | what a failed connection looks like to either kind of client |
//! | `connect` | the seam: where a connection goes, and who carries its bytes |
//!
//! This crate never opens a connection of its own. Everything a client asks for goes to a [`Connector`], and when that
//! cannot reach it, the client is told so: there is no way round the tunnel in here.

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

mod connect;
mod credentials;
mod detect;
mod error;
mod http;
mod incoming;
mod serve;
mod socks;
mod stats;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use connect::{
    ConnectError, Connector, Flow, HostName, InvalidTarget, LocalSocket, RelayEnd, RelayReason, Target,
};
pub use credentials::{Credentials, InvalidCredentials};
pub use serve::{Drained, Limits, Settings, serve};
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
            for banned in [
                "Stream::connect",
                "TcpSocket",
                "UdpSocket",
                "lookup_host",
                "ToSocketAddrs",
                "socket2",
            ] {
                assert!(!production.contains(banned), "{} uses {banned}", path.display());
            }
        }
    }
}
