//! The proof that nothing leaves beside the tunnel: this process's own sockets, looked at while names are asked for.
//!
//! `/proc/self/fd` says which sockets are ours, `/proc/self/net` where they lead.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::task::{JoinHandle, spawn_blocking};

use super::{Finding, Verdict};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks at the sockets until it is asked what it saw.
#[derive(Debug)]
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    looks: usize,
    strangers: BTreeSet<SocketAddr>,
}

impl Watch {
    /// Starts; `server` is where sockets may lead.
    pub(super) fn start(server: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = spawn_blocking(move || {
            let mut seen = Seen::default();
            while !stopped.load(Ordering::Relaxed) {
                if let Some(remotes) = remotes() {
                    seen.looks += 1;
                    let stranger = |remote: &SocketAddr| *remote != server && !remote.ip().is_loopback();
                    seen.strangers.extend(remotes.into_iter().filter(stranger));
                }
                std::thread::sleep(PAUSE);
            }
            seen
        });
        Self { stop, task }
    }

    /// What was seen.
    pub(super) async fn finding(self) -> Finding {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.task.await.unwrap_or_default();
        if seen.looks == 0 {
            return Finding::new("leaks", Verdict::Untested, "/proc/self cannot be read here", "");
        }
        if seen.strangers.is_empty() {
            return Finding::good(
                "leaks",
                "every socket of this process led to the server, names were asked inside",
            );
        }
        let list: Vec<String> = seen.strangers.iter().map(ToString::to_string).collect();
        Finding::new(
            "leaks",
            Verdict::Bad,
            format!("sockets beside the tunnel: {}", list.join(", ")),
            "this must not happen: please report it with the profile's options",
        )
    }
}

/// Where this process's internet sockets are connected to; `None` where that cannot be seen.
fn remotes() -> Option<Vec<SocketAddr>> {
    let own: BTreeSet<String> = fs::read_dir("/proc/self/fd")
        .ok()?
        .flatten()
        .filter_map(|entry| {
            fs::read_link(entry.path())
                .ok()?
                .into_os_string()
                .into_string()
                .ok()
        })
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        // A host without IPv6 has no such tables.
        let text = fs::read_to_string(format!("/proc/self/net/{table}")).unwrap_or_default();
        found.extend(text.lines().skip(1).filter_map(|line| remote_of(line, &own)));
    }
    Some(found)
}

/// The remote end in a line of such a table, if the socket is ours and connected.
fn remote_of(line: &str, own: &BTreeSet<String>) -> Option<SocketAddr> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (remote, inode) = (fields.get(2)?, fields.get(9)?);
    let remote = own.contains(*inode).then(|| address(remote)).flatten()?;
    (!remote.ip().is_unspecified()).then_some(remote)
}

/// An address as the kernel prints it: hexadecimal words in the host's byte order, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Vec<[u8; 4]> = (0..ip.len() / 8)
        .map(|n| {
            u32::from_str_radix(ip.get(n * 8..n * 8 + 8)?, 16)
                .ok()
                .map(u32::to_ne_bytes)
        })
        .collect::<Option<_>>()?;
    let ip = match words.as_slice() {
        [word] => IpAddr::V4(Ipv4Addr::from(*word)),
        [a, b, c, d] => {
            let bytes: [u8; 16] = [*a, *b, *c, *d].concat().try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_connections_are_seen_and_told_from_listeners() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        assert!(!remotes().unwrap().contains(&there));
        let _stream = std::net::TcpStream::connect(there).unwrap();
        assert!(remotes().unwrap().contains(&there));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn addresses_are_read_as_the_kernel_prints_them() {
        assert_eq!(address("0100007F:0438"), Some("127.0.0.1:1080".parse().unwrap()));
        let v6 = "0000000000000000FFFF00000200580A:0035";
        assert_eq!(address(v6), Some("10.88.0.2:53".parse().unwrap()));
        for bad in ["", "0100007F", "01:0035", "0100007F:G"] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }
}
