//! What a running tunnel offers on this host: the proxy's listeners, forwards, name services, and one place that
//! starts and ends them all.
//!
//! Everything in here reaches the far side through the tunnel's stack, but for what the user's own rules send directly
//! ([`route`]) and what the far side asks of the host where the user said so ([`remote`]). Nothing here knows the
//! protocol, and nothing here prints. `listen` opens local ends, `unix` keeps the files of Unix sockets, `forward` is
//! `ssh -L`, `remote` is `ssh -R`, `stdio` is `ssh -W`, `probe` asks whether packets go through.

pub mod direct;
pub mod probe;
pub mod route;

pub mod forward;
pub mod listen;
pub mod remote;
pub mod stdio;
mod unix;

use std::{future::Future, sync::Arc};

use tokio::{
    net::{TcpListener, UdpSocket},
    sync::broadcast::Receiver,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tunless_netstack::StackHandle;
use tunless_proxy::{self as proxy, rules::Rules};

pub use self::unix::UnixSocketError;
use self::{forward::OpenForward, listen::Open, route::Router, stdio::StdioError, unix::SocketFile};
use crate::{
    driver::{Event, Handle, StackConnector, shutdown::PROXY_GRACE},
    site::{self, StatusSite},
};

/// What is to be offered; the sockets are open already.
#[derive(Debug, Default)]
pub struct Plan {
    /// Where the proxy listens.
    pub proxies: Vec<Open>,
    /// Where the name service listens: two sockets with the same address each.
    pub dns: Vec<(UdpSocket, TcpListener)>,
    /// Who gets in where there is no password to ask for.
    pub access: listen::Access,
    /// What the proxy's clients must know.
    pub credentials: Option<proxy::Credentials>,
    /// Ports inside the tunnel that lead to the host.
    pub remotes: Vec<remote::Opened>,
    /// What is forwarded without a proxy.
    pub forwards: Vec<OpenForward>,
    /// What goes through the tunnel, directly, or nowhere.
    pub rules: Rules,
}

/// The tunnel in front of which it is offered.
#[derive(Debug)]
pub struct Tunnel<'a> {
    /// What shows its state.
    pub handle: &'a Handle,
    /// What opens its connections.
    pub stack: &'a StackHandle,
    /// What happens to it, from its start on.
    pub events: Receiver<Event>,
}

/// Everything that is offered.
#[derive(Debug)]
pub struct Front {
    /// Who is connected to what, all listeners together.
    pub connections: Arc<proxy::Connections>,
    /// Counts of all listeners together.
    pub stats: Arc<proxy::Stats>,
    tasks: Vec<JoinHandle<proxy::Drained>>,
    /// What has no connections to count: ports inside the tunnel, name services, the status page's watch.
    others: Vec<JoinHandle<()>>,
    shutdown: CancellationToken,
    connector: Router<StackConnector>,
    settings: proxy::Settings,
}

impl Front {
    /// Starts to serve. Needs a tokio runtime.
    pub fn start(plan: Plan, tunnel: Tunnel<'_>) -> Self {
        let rules = Arc::new(plan.rules);
        let mut settings = proxy::Settings {
            credentials: plan.credentials,
            limits: proxy::Limits {
                drain: PROXY_GRACE,
                ..proxy::Limits::default()
            },
            ..proxy::Settings::default()
        };
        let shutdown = CancellationToken::new();
        let (connections, stats) = (Arc::clone(&settings.connections), Arc::clone(&settings.stats));
        let site = StatusSite::new(site::Sources {
            handle: tunnel.handle.clone(),
            stack: tunnel.stack.clone(),
            connections: Arc::clone(&connections),
            stats: Arc::clone(&stats),
            rules: Arc::clone(&rules),
            listening: plan.proxies.iter().find_map(|open| open.place.address()),
        });
        let mut others = vec![tokio::spawn(site.watch(tunnel.events, shutdown.clone()))];
        settings.site = Some(Arc::new(site));
        let names = StackConnector::new(tunnel.stack.clone());
        let connector = Router::new(names.clone(), rules);
        let serve = |open: Open| {
            let settings = proxy::Settings {
                users: open.users,
                ..settings.clone()
            };
            let serve = proxy::serve(open.listener, connector.clone(), settings, shutdown.clone());
            tokio::spawn(with_file(serve, open.file, shutdown.clone()))
        };
        let mut tasks: Vec<_> = plan.proxies.into_iter().map(serve).collect();
        let forward =
            |forward: OpenForward| forward.start(connector.clone(), settings.clone(), shutdown.clone());
        tasks.extend(plan.forwards.into_iter().map(forward));
        let room = remote::room();
        let lead = |opened| tokio::spawn(remote::serve(opened, Arc::clone(&room), shutdown.clone()));
        others.extend(plan.remotes.into_iter().map(lead));
        let serve_names = |(udp, tcp): (UdpSocket, TcpListener)| {
            let place = udp.local_addr().map(listen::Place::Net);
            let limits = proxy::dns::Limits {
                users: place.map_or(proxy::Users::Everybody, |place| plan.access.users(&place)),
                ..proxy::dns::Limits::default()
            };
            tokio::spawn(proxy::dns::serve(
                udp,
                tcp,
                names.clone(),
                limits,
                shutdown.clone(),
            ))
        };
        others.extend(plan.dns.into_iter().map(serve_names));
        Self {
            connections,
            stats,
            tasks,
            others,
            shutdown,
            connector,
            settings,
        }
    }

    /// Joins standard input and output to one connection, and ends with it.
    pub fn stdio(
        &self,
        target: proxy::Target,
    ) -> impl Future<Output = Result<(), StdioError>> + Send + use<> {
        let (connector, settings) = (self.connector.clone(), self.settings.clone());
        async move { stdio::carry(&connector, target, &settings).await }
    }

    /// Refuses new connections, lets open ones end for a moment, and cuts off the rest.
    pub async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::debug!(%error, "a listener failed");
            }
        }
        for task in self.others {
            if let Err(error) = task.await {
                tracing::debug!(%error, "a forward or name service failed");
            }
        }
    }
}

/// Serves, and removes the socket's file as soon as nobody is to come any more.
async fn with_file(
    serve: impl Future<Output = proxy::Drained>,
    file: Option<SocketFile>,
    shutdown: CancellationToken,
) -> proxy::Drained {
    let remove = async move {
        shutdown.cancelled().await;
        drop(file);
    };
    tokio::join!(serve, remove).0
}
