//! The kernel's tables of sockets as text (`proc_pid_net(5)`: `tcp`, `tcp6`, `udp`, `udp6`), for where the socket
//! diagnosis is refused, in containers for instance.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Client, LookupError, Transport};

/// States in which no program holds a connection: `TIME_WAIT`, CLOSE, LISTEN (`include/net/tcp_states.h`).
const NOT_CONNECTED: [&str; 3] = ["06", "07", "0A"];

/// The users of the sockets that `client` asks about. Blocks.
pub(super) fn owners(client: Client) -> Result<Vec<u32>, LookupError> {
    let names = match client.transport {
        Transport::Tcp => ["tcp", "tcp6"],
        Transport::Udp => ["udp", "udp6"],
    };
    let mut all = Vec::new();
    for name in names {
        match File::open(format!("/proc/net/{name}")) {
            Ok(file) => read(BufReader::new(file), client, &mut all).map_err(LookupError::Table)?,
            // A kernel without IPv6.
            Err(error) if name.ends_with('6') && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(LookupError::Table(error)),
        }
    }
    Ok(all)
}

/// Adds the owners that `table` has for `client`.
pub(super) fn read(table: impl BufRead, client: Client, owners: &mut Vec<u32>) -> io::Result<()> {
    for line in table.lines() {
        owners.extend(owner(&line?, client));
    }
    Ok(())
}

/// The owner of one line's socket if it is the client's and a program holds it.
fn owner(line: &str, client: Client) -> Option<u32> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
    let state = fields.next()?;
    // Queues, timer and retransmissions stand before the owner, a time-out behind it.
    let uid = fields.nth(3)?.parse().ok()?;
    let inode: u64 = fields.nth(1)?.parse().ok()?;
    let is_connected = client.transport == Transport::Udp || !NOT_CONNECTED.contains(&state);
    (client.is(local, remote) && is_connected && inode != 0).then_some(uid)
}

/// An address as these tables write it: 32-bit words of this machine's byte order, and the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    let mut rest = ip;
    while let Some((word, more)) = rest.split_at_checked(8) {
        bytes.extend(u32::from_str_radix(word, 16).ok()?.to_ne_bytes());
        rest = more;
    }
    let ip = if let Ok(v4) = <[u8; 4]>::try_from(bytes.as_slice()) {
        IpAddr::V4(Ipv4Addr::from(v4))
    } else {
        IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))
    };
    rest.is_empty().then_some(SocketAddr::new(ip, port))
}
