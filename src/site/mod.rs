//! What the port itself shows: a status page, its data, metrics, health, and the PAC file.
//!
//! Answers GET alone, so nothing that a web page could send changes anything. Other sites' scripts get no data; where
//! the port has a password, only those who know it do. Nothing that a peer sends is put into HTML: the page takes it as
//! JSON and shows it as text.

mod metrics;
mod page;
mod ready;
mod status;
mod watch;

use std::{future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use ipnet::IpNet;
use tokio::{sync::broadcast::Receiver, time::timeout};
use tokio_util::sync::CancellationToken;
use tunless_netstack::{FlowError, StackHandle};
use tunless_proxy::{
    Connections, Site, SiteRequest, SiteResponse, Stats,
    rules::{Rules, pac},
};

use self::{ready::Readiness, watch::Watch};
use crate::driver::{Event, Handle, Up};

/// Longest time that the tunnel's thread may take to answer: it takes commands each turn.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// What the pages are made of.
#[derive(Debug)]
pub struct Sources {
    /// The tunnel's state and counters.
    pub handle: Handle,
    /// The way through it, for probes.
    pub stack: StackHandle,
    /// Who is connected to what.
    pub connections: Arc<Connections>,
    /// Counts of the listeners.
    pub stats: Arc<Stats>,
    /// The user's rules.
    pub rules: Arc<Rules>,
    /// Where the first listener is, if there is one with an address.
    pub listening: Option<SocketAddr>,
}

/// The pages of one tunnel.
#[derive(Debug)]
pub struct StatusSite {
    sources: Sources,
    watch: Arc<Watch>,
    readiness: Readiness,
}

impl StatusSite {
    /// Makes the pages; they have a history once [`StatusSite::watch`] runs.
    pub fn new(sources: Sources) -> Self {
        Self {
            sources,
            watch: Arc::default(),
            readiness: Readiness::default(),
        }
    }

    /// Notes what happens and how much is carried, until `shutdown` or the tunnel's end.
    pub fn watch(
        &self,
        events: Receiver<Event>,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        watch::run(
            Arc::clone(&self.watch),
            self.sources.handle.clone(),
            events,
            shutdown,
        )
    }

    fn pac(&self, host: Option<&str>) -> SiteResponse {
        let listening = self
            .sources
            .listening
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 1080)));
        let authority = pac::proxy_authority(host, listening);
        let facts = self.sources.handle.up().map(|up| facts(&up));
        let text = pac::file(&self.sources.rules, facts.as_ref(), &authority);
        answer(200, pac::CONTENT_TYPE, text)
    }

    /// This thread answers, so it lives; the tunnel's must, too, whether it is connected or not.
    async fn health(&self) -> SiteResponse {
        let bound = timeout(HEALTH_TIMEOUT, self.sources.stack.bind_udp()).await;
        match bound {
            Ok(Ok(_) | Err(FlowError::TooManyFlows)) => text(200, "ok"),
            Ok(Err(_)) => text(503, "the tunnel has ended"),
            Err(_) => text(503, "the tunnel's thread does not answer"),
        }
    }

    async fn ready(&self, signed_in: bool) -> SiteResponse {
        match self
            .readiness
            .check(&self.sources.handle, &self.sources.stack)
            .await
        {
            Ok(took) if signed_in => text(200, format!("ok, answered within {} ms", took.as_millis())),
            Ok(_) => text(200, "ok"),
            Err(reason) if signed_in => text(503, reason),
            Err(_) => text(503, "not ready"),
        }
    }

    async fn show(&self, request: SiteRequest) -> SiteResponse {
        let path = request.path.as_str();
        if matches!(path, "/status.json" | "/metrics" | "/healthz" | "/readyz") && request.is_cross_site {
            return text(403, "not for other web sites");
        }
        if matches!(path, "/" | "/status.json" | "/metrics") && !request.signed_in {
            let mut refusal = text(401, "sign in with the user name and the password of this proxy");
            let challenge = "Basic realm=\"tunless\", charset=\"UTF-8\"".to_owned();
            refusal.fields.push(("WWW-Authenticate", challenge));
            return refusal;
        }
        match path {
            "/" => page::response(),
            "/status.json" => answer(
                200,
                "application/json",
                status::json(&self.sources, &self.watch).to_string(),
            ),
            "/metrics" => answer(
                200,
                metrics::CONTENT_TYPE,
                metrics::text(&self.sources, &self.watch),
            ),
            "/proxy.pac" | "/wpad.dat" => self.pac(request.host.as_deref()),
            "/healthz" => self.health().await,
            "/readyz" => self.ready(request.signed_in).await,
            _ => text(404, "nothing here; the page of this port is at /"),
        }
    }
}

impl Site for StatusSite {
    fn respond(&self, request: SiteRequest) -> Pin<Box<dyn Future<Output = SiteResponse> + Send + '_>> {
        Box::pin(self.show(request))
    }
}

/// What the last connection says about where the tunnel leads.
fn facts(up: &Up) -> pac::Facts {
    let resolvers = up.dns.iter().map(|resolver| IpNet::from(resolver.ip()));
    let networks = up.routes.iter().chain(&up.inner).copied();
    pac::Facts {
        is_default_route: up.redirects.0 || up.redirects.1,
        networks: networks.chain(resolvers).collect(),
        domains: up.domains.clone(),
    }
}

fn text(status: u16, body: impl Into<String>) -> SiteResponse {
    answer(status, "text/plain; charset=utf-8", body.into() + "\n")
}

fn answer(status: u16, content_type: &'static str, body: String) -> SiteResponse {
    SiteResponse {
        status,
        content_type,
        fields: Vec::new(),
        body: body.into_bytes(),
    }
}

#[cfg(test)]
mod tests;
