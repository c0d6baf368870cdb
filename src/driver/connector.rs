//! Joins the proxy to the stack: what the proxy wants opened, the tunnel's stack opens, and nothing else does.

use std::{future::Future, net::SocketAddr, time::Duration};

use tunless_netstack::{self as netstack, EndReason, FlowError, StackHandle};
use tunless_proxy::{self as proxy, ConnectError, RelayReason};

/// Beyond the stack's own limit, so that the stack's more exact answer comes first.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(40);

/// Opens the proxy's connections through a tunnel's stack.
#[derive(Debug, Clone)]
pub struct StackConnector {
    stack: StackHandle,
}

impl StackConnector {
    /// Opens connections through `stack`.
    pub fn new(stack: StackHandle) -> Self {
        Self { stack }
    }
}

impl proxy::Connector for StackConnector {
    type Flow = StackFlow;

    fn connect_timeout(&self) -> Duration {
        CONNECT_TIMEOUT
    }

    fn connect(&self, target: proxy::Target) -> impl Future<Output = Result<StackFlow, ConnectError>> + Send {
        let stack = self.stack.clone();
        async move {
            let target = match target {
                proxy::Target::Address(address) => netstack::Target::Address(address),
                proxy::Target::Name(name, port) => netstack::Target::Name(name.as_str().to_owned(), port),
            };
            stack.connect(target).await.map(StackFlow).map_err(connect_error)
        }
    }
}

/// A connection through the tunnel that waits for its local socket.
#[derive(Debug)]
pub struct StackFlow(netstack::Flow);

impl proxy::Flow for StackFlow {
    fn bound(&self) -> SocketAddr {
        self.0.local
    }

    fn relay(
        self,
        local: proxy::LocalSocket,
        early: Vec<u8>,
    ) -> impl Future<Output = proxy::RelayEnd> + Send {
        let local = match local {
            proxy::LocalSocket::Tcp(socket) => netstack::LocalSocket::Tcp(socket),
            proxy::LocalSocket::Unix(socket) => netstack::LocalSocket::Unix(socket),
        };
        let relay = self.0.relay(local, early);
        async move {
            let end = relay.await;
            proxy::RelayEnd {
                up_bytes: end.up_bytes,
                down_bytes: end.down_bytes,
                reason: relay_reason(end.reason),
            }
        }
    }
}

fn connect_error(error: FlowError) -> ConnectError {
    match error {
        FlowError::Refused => ConnectError::Refused,
        FlowError::Reset => ConnectError::Reset,
        FlowError::HostUnreachable => ConnectError::HostUnreachable,
        FlowError::NetworkUnreachable => ConnectError::NetworkUnreachable,
        FlowError::NameNotFound => ConnectError::NameNotFound,
        FlowError::NoResolver => ConnectError::NoResolver,
        FlowError::ResolverFailed => ConnectError::ResolverFailed,
        FlowError::TimedOut => ConnectError::TimedOut,
        FlowError::TooManyFlows => ConnectError::TooManyConnections,
        // Whatever the stack learns to say later, it is not a connection.
        FlowError::TunnelDown | FlowError::Closed | _ => ConnectError::TunnelDown,
    }
}

fn relay_reason(reason: EndReason) -> RelayReason {
    match reason {
        EndReason::Finished => RelayReason::Finished,
        EndReason::LocalReset => RelayReason::LocalReset,
        EndReason::RemoteReset | EndReason::TimedOut => RelayReason::RemoteReset,
        EndReason::IdleTimeout => RelayReason::Idle,
        EndReason::AddressChanged | EndReason::Closed | _ => RelayReason::TunnelDown,
    }
}
