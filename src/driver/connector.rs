//! Joins the proxy to the stack: what the proxy wants opened, the tunnel's stack opens, and nothing else does.

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tunless_netstack::{self as netstack, EndReason, FlowError, QueryError, StackHandle};
use tunless_proxy::{self as proxy, ConnectError, RelayReason, dns::ResolveError};

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

    /// Resolves a name inside the tunnel.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn resolve_name(&self, name: &proxy::HostName) -> Result<Vec<IpAddr>, ConnectError> {
        self.stack.resolve(name.as_str()).await.map_err(connect_error)
    }
}

impl proxy::Connector for StackConnector {
    type Flow = StackFlow;
    type Datagrams = StackDatagrams;

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

    async fn datagrams(&self) -> Result<StackDatagrams, ConnectError> {
        let socket = self.stack.bind_udp().await.map_err(connect_error)?;
        Ok(StackDatagrams {
            stack: self.stack.clone(),
            socket,
        })
    }
}

impl proxy::dns::Resolve for StackConnector {
    async fn query(&self, message: Vec<u8>) -> Result<Vec<u8>, ResolveError> {
        self.stack.query(message).await.map_err(resolve_error)
    }
}

/// A port for datagrams inside the tunnel.
#[derive(Debug)]
pub struct StackDatagrams {
    stack: StackHandle,
    socket: netstack::UdpSocket,
}

impl proxy::Datagrams for StackDatagrams {
    async fn send_to(&self, payload: Vec<u8>, to: proxy::Target) -> Result<(), ConnectError> {
        let to = match to {
            proxy::Target::Address(address) => address,
            proxy::Target::Name(name, port) => SocketAddr::new(self.resolve(&name).await?, port),
        };
        self.socket.send_to(payload, to).map_err(connect_error)
    }

    async fn recv_from(&self) -> Option<(Vec<u8>, SocketAddr)> {
        self.socket.recv_from().await
    }

    async fn resolve(&self, name: &proxy::HostName) -> Result<IpAddr, ConnectError> {
        let found = self.stack.resolve(name.as_str()).await.map_err(connect_error)?;
        found.first().copied().ok_or(ConnectError::NameNotFound)
    }
}

/// The stack's counts of one connection.
#[derive(Debug)]
struct StackMeter(Arc<netstack::Meter>);

impl proxy::Meter for StackMeter {
    fn up_bytes(&self) -> u64 {
        self.0.up_bytes()
    }

    fn down_bytes(&self) -> u64 {
        self.0.down_bytes()
    }
}

/// A connection through the tunnel that waits for its local socket.
#[derive(Debug)]
pub struct StackFlow(netstack::Flow);

impl proxy::Flow for StackFlow {
    fn bound(&self) -> SocketAddr {
        self.0.local
    }

    fn meter(&self) -> Arc<dyn proxy::Meter> {
        Arc::new(StackMeter(self.0.meter()))
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

fn resolve_error(error: QueryError) -> ResolveError {
    match error {
        QueryError::Malformed | QueryError::NotSupported => ResolveError::Malformed,
        QueryError::Failed(FlowError::NoResolver) => ResolveError::NoServer,
        QueryError::Failed(FlowError::TimedOut) => ResolveError::TimedOut,
        QueryError::Failed(FlowError::TooManyFlows) => ResolveError::Overloaded,
        QueryError::Failed(FlowError::TunnelDown | FlowError::Closed) => ResolveError::TunnelDown,
        // Whatever the stack learns to say later, it is not an answer.
        QueryError::Failed(_) | _ => ResolveError::Failed,
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
