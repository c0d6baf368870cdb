//! Settings of a stack and their limits.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::device::DeviceName;

/// Smallest MTU that the stack works with (RFC 791's minimum is 68; TCP over it would carry nothing).
pub(crate) const MIN_MTU_BYTES: usize = 256;
/// Largest packet that the stack builds.
pub(crate) const MAX_MTU_BYTES: usize = 16 * 1024;

/// What a connected session gives to the stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Inner addresses of this end; the first of each family is the source of new flows.
    pub addresses: Vec<IpNet>,
    /// Largest inner packet, 256 to 16384 bytes; values outside are clamped.
    pub mtu_bytes: usize,
    /// Name servers, asked through the tunnel, the preferred ones first.
    pub resolvers: Vec<ResolverGroup>,
    /// Domains that names are looked for in: single labels before they are tried as they are, others after it.
    pub search_domains: Vec<String>,
}

/// Name servers that are equal, and what they are asked for.
///
/// A name is asked of the groups with the longest domain that it is in, else of those without domains, else of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolverGroup {
    /// Their addresses, asked in this order.
    pub servers: Vec<SocketAddr>,
    /// Domains that they alone are asked for; none stands for all names.
    pub domains: Vec<String>,
}

impl ResolverGroup {
    /// Servers for all names.
    pub fn general(servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            servers: servers.into_iter().collect(),
            domains: Vec::new(),
        }
    }
}

/// Everything that a stack starts with.
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// What the device is called on every surface.
    pub name: DeviceName,
    /// The session's settings, or `None` while there is no session yet.
    pub network: Option<Network>,
    /// Limits and time-outs.
    pub limits: Limits,
    /// Source of ports, query ids and sequence numbers; must be unpredictable.
    pub seed: u64,
}

/// Limits and time-outs of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Flows at the same time, those being opened included.
    pub flows: usize,
    /// Receive buffer of a flow. It bounds the announced window: 512 KiB carry 80 Mbit/s at 50 ms.
    pub receive_buffer_bytes: usize,
    /// Send buffer of a flow.
    pub transmit_buffer_bytes: usize,
    /// All flow buffers together; new flows get smaller ones as it fills.
    pub buffer_budget_bytes: usize,
    /// Longest time from `connect` to an open flow, resolving included.
    pub connect_timeout: Duration,
    /// Time without a byte in either direction after which a relay is ended.
    pub idle_timeout: Duration,
    /// Time without an acknowledgement of sent data after which a flow is given up.
    pub stall_timeout: Duration,
    /// Longest time that a new connection waits for a tunnel that is down.
    pub down_wait: Duration,
    /// Longest time for one name, all servers and retries together.
    pub resolve_timeout: Duration,
    /// First retransmission time of a query; it doubles each time.
    pub resolve_retry: Duration,
    /// Head start of one address over the next when a name has several (RFC 8305 §5).
    pub address_stagger: Duration,
    /// Names being resolved at the same time, and as many queries.
    pub lookups: usize,
    /// UDP sockets at the same time.
    pub udp_sockets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows: 4096,
            receive_buffer_bytes: 512 * 1024,
            transmit_buffer_bytes: 256 * 1024,
            buffer_budget_bytes: 256 * 1024 * 1024,
            connect_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_hours(2),
            stall_timeout: Duration::from_mins(2),
            down_wait: Duration::from_secs(5),
            resolve_timeout: Duration::from_secs(12),
            resolve_retry: Duration::from_secs(1),
            address_stagger: Duration::from_millis(250),
            lookups: 512,
            udp_sockets: 1024,
        }
    }
}

/// Counters of a stack or an exit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackStats {
    /// Inner packets taken from the tunnel.
    pub packets_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Inner packets given to the tunnel.
    pub packets_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Packets from the tunnel that were malformed, not for us or over a limit.
    pub dropped_in: u64,
    /// Packets that we made and had no room for.
    pub dropped_out: u64,
    /// Flows that exist now.
    pub flows_open: usize,
    /// Flows opened since the start.
    pub flows_opened: u64,
    /// Flows that could not be opened.
    pub flows_failed: u64,
    /// Flows that were reset because the TCP engine failed on them.
    pub flows_faulted: u64,
    /// Bytes of flow buffers that are reserved now.
    pub buffer_bytes: usize,
}
