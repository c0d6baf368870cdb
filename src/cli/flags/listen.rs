//! What is offered on this host: listeners of the proxy, forwards in ssh's words, and who may use them.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use tunless_proxy::Target;

use crate::{
    cli::args::{listen_address, switch},
    front::{
        forward::{Carries, LocalForward},
        listen::Place,
    },
};

/// Front of the path of a Unix socket, where there is no `/` to tell it by.
const UNIX: &str = "unix:";

/// Flags about local ends.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = crate::cli::args::PROXY)]
pub struct ListenFlags {
    /// Where the proxy listens, a Unix socket if it has a `/`; may be repeated; 127.0.0.1:1080, or the next free port,
    /// if not given
    #[arg(
        short = 'D',
        long,
        value_name = "[ADDR:]PORT|PATH",
        value_parser = place,
        value_delimiter = ',',
        env = "TUNLESS_LISTEN"
    )]
    pub listen: Vec<Place>,
    /// Allow a listener that others can reach without a password
    #[arg(long, value_parser = switch(), env = "TUNLESS_INSECURE_LISTEN")]
    pub insecure_listen: bool,
    /// Serve every user of this host; otherwise only your own programs and root's are let in
    #[arg(long, value_parser = switch(), env = "TUNLESS_ALLOW_OTHER_USERS")]
    pub allow_other_users: bool,
    /// File with the user name and the password that the proxy asks for, a line each
    #[arg(long, value_name = "FILE", env = "TUNLESS_PROXY_AUTH")]
    pub proxy_auth: Option<PathBuf>,
    /// Forward a local port or Unix socket through the tunnel, with `/udp` at the end a port's datagrams; may be
    /// repeated
    #[arg(
        short = 'L',
        long,
        value_name = "[ADDR:]PORT|PATH:HOST:PORT[/udp]",
        value_parser = local_forward,
        value_delimiter = ',',
        env = "TUNLESS_LOCAL_FORWARD"
    )]
    pub local_forward: Vec<LocalForward>,
    /// Join standard input and output to one connection through the tunnel (for ssh's `ProxyCommand`); no proxy
    /// without -D
    #[arg(short = 'W', long, value_name = "HOST:PORT", value_parser = target, env = "TUNLESS_STDIO")]
    pub stdio: Option<Target>,
}

/// Reads a local end.
fn place(text: &str) -> Result<Place, String> {
    if let Some(path) = text.strip_prefix(UNIX) {
        return match path {
            "" => Err(format!("{text:?} names no path; write unix:/PATH")),
            path => Ok(Place::Unix(path.into())),
        };
    }
    if text.contains('/') {
        return Ok(Place::Unix(text.into()));
    }
    listen_address(text).map(Place::Net)
}

/// Reads `[ADDR:]PORT:HOST:PORT` or `PATH:HOST:PORT`, both with what is carried at the end.
fn local_forward(text: &str) -> Result<LocalForward, String> {
    let wrong = |what: &str| format!("{text:?}: {what}; write [ADDR:]PORT:HOST:PORT or /PATH:HOST:PORT");
    let (ends, carries) = match text.strip_suffix("/udp") {
        Some(ends) => (ends, Carries::Udp),
        None => (text.strip_suffix("/tcp").unwrap_or(text), Carries::Tcp),
    };
    let (rest, port) = ends
        .rsplit_once(':')
        .ok_or_else(|| wrong("the target is missing"))?;
    // An IPv6 address has colons of its own, and brackets around them.
    let split = if rest.ends_with(']') {
        rest.rfind('[').and_then(|at| rest.split_at_checked(at))
    } else {
        rest.rfind(':').and_then(|at| rest.split_at_checked(at + 1))
    };
    let (local, host) = split.ok_or_else(|| wrong("the local end or the target's host is missing"))?;
    let local = local
        .strip_suffix(':')
        .ok_or_else(|| wrong("the local end is missing"))?;
    let place = place(local).map_err(|error| wrong(&error))?;
    if carries == Carries::Udp && place.address().is_none() {
        return Err(wrong(
            "datagrams are forwarded from a port, not from a Unix socket",
        ));
    }
    let target = target_of(host, port).map_err(|error| wrong(&error))?;
    Ok(LocalForward {
        place,
        target,
        carries,
    })
}

/// Reads `HOST:PORT`.
fn target(text: &str) -> Result<Target, String> {
    let read = text
        .rsplit_once(':')
        .ok_or_else(|| "the port is missing".to_owned())
        .and_then(|(host, port)| target_of(host, port));
    read.map_err(|error| format!("{text:?}: {error}; write HOST:PORT, with an IPv6 address as [ADDR]:PORT"))
}

fn target_of(host: &str, port: &str) -> Result<Target, String> {
    let port = port
        .parse()
        .map_err(|_| format!("{port:?} is no port from 1 to 65535"))?;
    if host.contains(':') && !host.starts_with('[') {
        return Err(format!("{host:?} needs brackets around an IPv6 address"));
    }
    Target::parse(host, port).map_err(|error| error.to_string())
}

impl ListenFlags {
    /// Listeners and forwards that other hosts may reach.
    pub(crate) fn exposed(&self) -> impl Iterator<Item = SocketAddr> {
        let forwards = self.local_forward.iter().map(|forward| &forward.place);
        // A password protects the proxy, and forwards have none.
        let proxies = self.listen.iter().filter(|_| self.proxy_auth.is_none());
        let exposed = proxies.chain(forwards).filter(|place| place.is_exposed());
        exposed.filter_map(Place::address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Place {
        Place::Net(text.parse().unwrap())
    }

    #[test]
    fn a_slash_or_a_prefix_makes_a_unix_socket() {
        for (text, path) in [
            ("/run/user/1/proxy", "/run/user/1/proxy"),
            ("./proxy", "./proxy"),
            ("unix:/run/proxy", "/run/proxy"),
            ("unix:proxy", "proxy"),
        ] {
            assert_eq!(place(text), Ok(Place::Unix(path.into())), "{text}");
        }
        assert_eq!(place("1081"), Ok(net("127.0.0.1:1081")));
        assert!(place("unix:").is_err() && place("proxy").is_err());
    }

    #[test]
    fn forwards_are_read_as_ssh_reads_them() {
        for (text, local, to, carries) in [
            (
                "8080:page.test:80",
                net("127.0.0.1:8080"),
                "page.test:80",
                Carries::Tcp,
            ),
            (
                "localhost:8080:page.test:80",
                net("127.0.0.1:8080"),
                "page.test:80",
                Carries::Tcp,
            ),
            (
                "[::1]:8080:[2001:db8::1]:80",
                net("[::1]:8080"),
                "[2001:db8::1]:80",
                Carries::Tcp,
            ),
            (
                "*:53:10.0.0.1:53/udp",
                net("0.0.0.0:53"),
                "10.0.0.1:53",
                Carries::Udp,
            ),
            (
                "0:10.0.0.1:5432/tcp",
                net("127.0.0.1:0"),
                "10.0.0.1:5432",
                Carries::Tcp,
            ),
            (
                "/run/a:b:db.test:5432",
                Place::Unix("/run/a:b".into()),
                "db.test:5432",
                Carries::Tcp,
            ),
            ("unix:x:[::5]:1", Place::Unix("x".into()), "[::5]:1", Carries::Tcp),
        ] {
            let forward = local_forward(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((forward.place, forward.carries), (local, carries), "{text}");
            assert_eq!(forward.target.to_string(), to, "{text}");
        }
    }

    #[test]
    fn wrong_forwards_are_named_with_the_right_form() {
        for text in [
            "",
            "8080",
            "page.test:80",
            "8080:page.test",
            "8080:page.test:0",
            "8080:page.test:http",
            "8080::80",
            "x:page.test:80",
            "70000:page.test:80",
            "8080:[::1:80",
            "8080[::1]:80",
            "/run/socket:page.test:80/udp",
            ":page.test:80:",
        ] {
            let error = local_forward(text).unwrap_err();
            assert!(
                error.contains(&format!("{text:?}")) && error.contains("write [ADDR:]PORT"),
                "{error}"
            );
        }
    }

    #[test]
    fn targets_have_a_host_and_a_port() {
        assert_eq!(target("host:22").unwrap().to_string(), "host:22");
        assert_eq!(target("[::1]:22").unwrap().to_string(), "[::1]:22");
        for bad in ["host", "host:", ":22", "::1:22", "host:0", "ho st:22"] {
            let error = target(bad).unwrap_err();
            assert!(
                error.contains(&format!("{bad:?}")) && error.contains("HOST:PORT"),
                "{error}"
            );
        }
    }
}
