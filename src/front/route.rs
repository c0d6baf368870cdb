//! Where each connection goes by the user's rules: through the tunnel, directly, or nowhere.
//!
//! Without a rule that says `direct` there is no `Direct`, and so no code path that could leave outside the tunnel.
//! A name is resolved where it goes to: inside the tunnel, or by the host if a rule for that name says `direct`.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};
use tunless_proxy::{
    self as proxy, ConnectError, Connector, Target,
    rules::{Action, Decision, Rules},
};

use super::direct::{Direct, DirectDatagrams, DirectFlow};
use crate::driver::StackConnector;

/// Head start of one address over the next (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses from names that one port for datagrams remembers.
const MAX_NAMED: usize = 1024;
/// Rules do not look at ports.
const ANY_PORT: u16 = 1;
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// A way through a tunnel, by which names can be resolved without connecting to them.
pub trait TunnelConnector: Connector {
    /// Resolves a name inside the tunnel.
    fn resolve(
        &self,
        name: &proxy::HostName,
    ) -> impl Future<Output = Result<Vec<IpAddr>, ConnectError>> + Send;
}

impl TunnelConnector for StackConnector {
    async fn resolve(&self, name: &proxy::HostName) -> Result<Vec<IpAddr>, ConnectError> {
        self.resolve_name(name).await
    }
}

/// Sends each connection where the rules say.
#[derive(Debug, Clone)]
pub struct Router<T> {
    tunnel: T,
    rules: Arc<Rules>,
    /// Only where a rule says `direct`.
    direct: Option<Direct>,
}

impl<T: TunnelConnector> Router<T> {
    /// Goes by `rules`, in front of `tunnel`.
    pub fn new(tunnel: T, rules: Arc<Rules>) -> Self {
        let direct = Direct::by(&rules);
        Self {
            tunnel,
            rules,
            direct,
        }
    }

    /// Opens a connection to a name through the tunnel, at none of the addresses that are refused.
    async fn connect_checked(
        &self,
        name: &proxy::HostName,
        port: u16,
        decision: Decision,
    ) -> Result<RouteFlow<T::Flow>, ConnectError> {
        let found = self.tunnel.resolve(name).await?;
        // The addresses that were looked at are the ones that are connected to: a second answer may differ.
        let allowed = self.allowed(found, decision)?;
        race(&allowed, |address| {
            let tunnel = self.tunnel.clone();
            async move {
                let target = Target::Address(SocketAddr::new(address, port));
                tunnel.connect(target).await.map(RouteFlow::Tunnel)
            }
        })
        .await
    }

    async fn connect_directly(
        &self,
        direct: &Direct,
        target: Target,
        decision: Decision,
    ) -> Result<RouteFlow<T::Flow>, ConnectError> {
        let (addresses, port) = self.direct_addresses(direct, target, decision).await?;
        race(&addresses, |address| {
            let direct = direct.clone();
            async move {
                let address = SocketAddr::new(address, port);
                direct.dial(address).await.map(RouteFlow::Direct)
            }
        })
        .await
    }

    /// The addresses of a target that goes directly, at least one.
    async fn direct_addresses(
        &self,
        direct: &Direct,
        target: Target,
        decision: Decision,
    ) -> Result<(Vec<IpAddr>, u16), ConnectError> {
        let (found, port) = match target {
            Target::Address(address) => (vec![address.ip()], address.port()),
            Target::Name(name, port) => (self.allowed(direct.resolve(&name).await?, decision)?, port),
        };
        // `*=direct` is about the network outside; services of this host are only reached by a rule that names them.
        let ours = |address: &IpAddr| address.is_loopback() || address.is_unspecified();
        let usable: Vec<_> = found
            .into_iter()
            .filter(|address| decision.is_specific || !ours(address))
            .collect();
        if usable.is_empty() {
            return Err(ConnectError::NotAllowed);
        }
        Ok((usable, port))
    }

    fn allowed(&self, found: Vec<IpAddr>, decision: Decision) -> Result<Vec<IpAddr>, ConnectError> {
        if found.is_empty() {
            return Err(ConnectError::NameNotFound);
        }
        let is_allowed = |address: &IpAddr| !self.rules.refuses_address(decision, *address);
        let allowed: Vec<_> = found.into_iter().filter(is_allowed).collect();
        if allowed.is_empty() {
            return Err(ConnectError::NotAllowed);
        }
        Ok(alternate(&allowed))
    }
}

impl<T: TunnelConnector> Connector for Router<T> {
    type Flow = RouteFlow<T::Flow>;
    type Datagrams = RouteDatagrams<T>;

    fn connect_timeout(&self) -> Duration {
        self.tunnel.connect_timeout()
    }

    async fn connect(&self, target: Target) -> Result<Self::Flow, ConnectError> {
        let decision = self.rules.decide(&target);
        match (decision.action, &self.direct) {
            (Action::Refuse, _) => Err(ConnectError::NotAllowed),
            (Action::Direct, Some(direct)) => self.connect_directly(direct, target, decision).await,
            (Action::Tunnel | Action::Direct, _) => match target {
                Target::Name(name, port) if self.rules.may_refuse_addresses(decision) => {
                    self.connect_checked(&name, port, decision).await
                }
                target @ (Target::Address(_) | Target::Name(..)) => {
                    self.tunnel.connect(target).await.map(RouteFlow::Tunnel)
                }
            },
        }
    }

    async fn datagrams(&self) -> Result<Self::Datagrams, ConnectError> {
        Ok(RouteDatagrams {
            tunnel: self.tunnel.datagrams().await?,
            direct: self.direct.clone().map(DirectDatagrams::new),
            router: self.clone(),
            named: Mutex::default(),
        })
    }
}

/// IPv6 and IPv4 in turn, beginning with the family that was found first, at most [`MAX_ADDRESSES`].
fn alternate(found: &[IpAddr]) -> Vec<IpAddr> {
    let first_is_v4 = found.first().is_some_and(IpAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = found
        .iter()
        .copied()
        .partition(|address| address.is_ipv4() == first_is_v4);
    let longest = first.len().max(second.len());
    let pairs = (0..longest).flat_map(|at| [first.get(at), second.get(at)]);
    pairs.flatten().copied().take(MAX_ADDRESSES).collect()
}

/// Tries the addresses with a head start for each over the next; the first connection wins and the others are given
/// up. The error is the last one.
async fn race<F, A>(addresses: &[IpAddr], attempt: impl Fn(IpAddr) -> A) -> Result<F, ConnectError>
where
    F: Send + 'static,
    A: Future<Output = Result<F, ConnectError>> + Send + 'static,
{
    let mut waiting = addresses.iter().copied();
    let mut attempts = JoinSet::new();
    let mut last = ConnectError::NameNotFound;
    if let Some(first) = waiting.next() {
        attempts.spawn(attempt(first));
    }
    loop {
        let next_is_due = async {
            if waiting.len() == 0 {
                std::future::pending::<()>().await;
            }
            sleep(STAGGER).await;
        };
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(flow))) => return Ok(flow),
                Some(Ok(Err(error))) => last = error,
                Some(Err(_)) => last = ConnectError::TunnelDown,
                None if waiting.len() == 0 => return Err(last),
                None => {}
            },
            () = next_is_due => {}
        }
        if let Some(next) = waiting.next() {
            attempts.spawn(attempt(next));
        }
    }
}

/// An open connection, wherever it goes.
#[derive(Debug)]
pub enum RouteFlow<F> {
    /// Through the tunnel.
    Tunnel(F),
    /// Outside.
    Direct(DirectFlow),
}

impl<F: proxy::Flow> proxy::Flow for RouteFlow<F> {
    fn bound(&self) -> SocketAddr {
        match self {
            Self::Tunnel(flow) => flow.bound(),
            Self::Direct(flow) => flow.bound(),
        }
    }

    fn meter(&self) -> Arc<dyn proxy::Meter> {
        match self {
            Self::Tunnel(flow) => flow.meter(),
            Self::Direct(flow) => flow.meter(),
        }
    }

    async fn relay(self, local: proxy::LocalSocket, early: Vec<u8>) -> proxy::RelayEnd {
        match self {
            Self::Tunnel(flow) => flow.relay(local, early).await,
            Self::Direct(flow) => flow.relay(local, early).await,
        }
    }
}

/// A port for datagrams that go where the rules say, one by one.
#[derive(Debug)]
pub struct RouteDatagrams<T: TunnelConnector> {
    tunnel: T::Datagrams,
    direct: Option<DirectDatagrams>,
    router: Router<T>,
    /// Addresses that names were resolved to, and where those names go: the rule for the name holds for what is sent
    /// to its address.
    named: Mutex<HashMap<IpAddr, Decision>>,
}

impl<T: TunnelConnector> RouteDatagrams<T> {
    /// What the rules say of a target. An address that a name was found at inside the tunnel stays there.
    fn decide(&self, to: &Target) -> Decision {
        let decision = self.router.rules.decide(to);
        match self.named(to) {
            Some(named) if decision.action == Action::Direct && named.action == Action::Tunnel => named,
            Some(_) | None => decision,
        }
    }

    /// The same for what is sent to a name that was resolved before: its rule holds, unless the address's own says
    /// otherwise. Whoever answers the host's resolver must not take more than that out of the tunnel.
    fn decide_resolved(&self, to: &Target) -> Decision {
        let decision = self.decide(to);
        match self.named(to) {
            Some(named) if named.action == Action::Direct && !decision.is_specific => named,
            Some(_) | None => decision,
        }
    }

    fn named(&self, to: &Target) -> Option<Decision> {
        match to {
            Target::Address(address) => self.names().get(&address.ip()).copied(),
            Target::Name(..) => None,
        }
    }

    async fn send_by(&self, decision: Decision, payload: Vec<u8>, to: Target) -> Result<(), ConnectError> {
        let router = &self.router;
        match (decision.action, &self.direct) {
            (Action::Refuse, _) => Err(ConnectError::NotAllowed),
            (Action::Direct, Some(own)) => {
                let (addresses, port) = router.direct_addresses(&own.direct, to, decision).await?;
                let address = addresses.first().ok_or(ConnectError::NameNotFound)?;
                own.send_to(&payload, SocketAddr::new(*address, port)).await
            }
            (Action::Tunnel | Action::Direct, _) => {
                let to = match to {
                    Target::Name(name, port) if router.rules.may_refuse_addresses(decision) => {
                        let allowed = router.allowed(router.tunnel.resolve(&name).await?, decision)?;
                        let address = allowed.first().ok_or(ConnectError::NameNotFound)?;
                        Target::Address(SocketAddr::new(*address, port))
                    }
                    to @ (Target::Address(_) | Target::Name(..)) => to,
                };
                proxy::Datagrams::send_to(&self.tunnel, payload, to).await
            }
        }
    }

    /// Remembers where a name went. An address that was found inside the tunnel never goes directly.
    fn remember(&self, address: IpAddr, decision: Decision) -> Result<(), ConnectError> {
        if self.direct.is_none() {
            // Without a way out there is nothing to tell apart.
            return Ok(());
        }
        let mut names = self.names();
        if names.len() >= MAX_NAMED && !names.contains_key(&address) {
            return Err(ConnectError::TooManyConnections);
        }
        let known = names.entry(address).or_insert(decision);
        if decision.action == Action::Tunnel {
            *known = decision;
        }
        Ok(())
    }

    fn names(&self) -> MutexGuard<'_, HashMap<IpAddr, Decision>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: TunnelConnector> proxy::Datagrams for RouteDatagrams<T> {
    async fn send_to(&self, payload: Vec<u8>, to: Target) -> Result<(), ConnectError> {
        self.send_by(self.decide(&to), payload, to).await
    }

    async fn send_resolved(&self, payload: Vec<u8>, to: SocketAddr) -> Result<(), ConnectError> {
        let to = Target::Address(to);
        self.send_by(self.decide_resolved(&to), payload, to).await
    }

    async fn resolve(&self, name: &proxy::HostName) -> Result<IpAddr, ConnectError> {
        let router = &self.router;
        let decision = router.rules.decide(&Target::Name(name.clone(), ANY_PORT));
        match (decision.action, &self.direct) {
            (Action::Refuse, _) => Err(ConnectError::NotAllowed),
            (Action::Direct, Some(own)) => {
                let target = Target::Name(name.clone(), ANY_PORT);
                let (addresses, _) = router.direct_addresses(&own.direct, target, decision).await?;
                let address = *addresses.first().ok_or(ConnectError::NameNotFound)?;
                self.remember(address, decision)?;
                Ok(address)
            }
            (Action::Tunnel | Action::Direct, _) => {
                let address = if router.rules.may_refuse_addresses(decision) {
                    let allowed = router.allowed(router.tunnel.resolve(name).await?, decision)?;
                    *allowed.first().ok_or(ConnectError::NameNotFound)?
                } else {
                    self.tunnel.resolve(name).await?
                };
                self.remember(address, decision)?;
                Ok(address)
            }
        }
    }

    async fn recv_from(&self) -> Option<(Vec<u8>, SocketAddr)> {
        let Some(direct) = &self.direct else {
            return self.tunnel.recv_from().await;
        };
        tokio::select! {
            got = self.tunnel.recv_from() => got,
            got = direct.recv_from() => Some(got),
        }
    }
}

#[cfg(test)]
mod tests;
