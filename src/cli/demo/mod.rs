//! `tunless demo`: server, private hosts and client in one process, on loopback, with keys that live as long as it.
//!
//! The two hosts exist inside the tunnel only: the server's exit leads their addresses to sockets of this process.

mod fetch;
mod hosts;
mod pki;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use serde_json::json;
use tokio::{task::spawn_blocking, time::timeout};
use tunless_core::{
    client::Setup,
    config::{ClientConfig, Directives, ServerConfig},
};
use tunless_netstack::{ExitPolicy, Limits, exit::Redirect};

use self::hosts::Hosts;
use super::{args::Demo, connect::Session, listen::Wanted, output::Output};
use crate::{
    cli::exit::{Failure, Status},
    driver::{client, server, shutdown::Signals},
    server::CertificateOnly,
};

/// The host that is reached by its address.
const BY_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 98, 0, 1)), 80);
/// The host that is reached by name.
const NAME: &str = "hello.demo.internal";
const BY_NAME: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 98, 0, 2)), 80);
/// The resolver inside the tunnel, which knows [`NAME`].
const RESOLVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 98, 0, 53)), 53);
/// Longest time for the connection, and for each fetch.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sets everything up; then checks itself, or waits for a signal.
pub(super) async fn run(args: &Demo, output: Output) -> Result<Status, Failure> {
    let mut signals = Signals::new().context("cannot take signals over")?;
    let hosts = Hosts::start().await.context("cannot set up the private hosts")?;
    let pki = pki::Pki::make().context("cannot make the throw-away keys")?;
    let server = start_server(&pki, &hosts)?;
    let (stopper, address) = (server.stopper(), server.local);
    let result = with_client(args, output, &pki, address, &mut signals).await;
    stopper.stop();
    let fault = spawn_blocking(move || server.join())
        .await
        .context("cannot wait for the server")?;
    hosts.stop().await;
    match (result?, fault) {
        (status, None) => Ok(status),
        (_, Some(fault)) => Err(anyhow!("the demo's server failed: {fault}").into()),
    }
}

fn start_server(pki: &pki::Pki, hosts: &Hosts) -> Result<server::Running, Failure> {
    let text = pki.server_config();
    let directives = Directives::parse("demo server", &text).map_err(|errors| anyhow!(errors.to_string()))?;
    let resolved = ServerConfig::resolve(&directives, &mut |name| Err(format!("{name} is not inline")));
    let (mut config, _notes) = resolved.map_err(|errors| anyhow!(errors.to_string()))?;
    // Any free port: the client is told which.
    config.port = 0;
    let redirects = vec![
        Redirect {
            inner: BY_ADDRESS,
            host: hosts.by_address,
        },
        Redirect {
            inner: BY_NAME,
            host: hosts.by_name,
        },
        Redirect {
            inner: RESOLVER,
            host: hosts.resolver,
        },
    ];
    let options = server::Options {
        config: Arc::new(config),
        policy: ExitPolicy {
            redirects,
            ..ExitPolicy::default()
        },
        decider: Box::new(CertificateOnly),
    };
    Ok(server::start(options).context("cannot start the demo's server")?)
}

async fn with_client(
    args: &Demo,
    output: Output,
    pki: &pki::Pki,
    server: SocketAddr,
    signals: &mut Signals,
) -> Result<Status, Failure> {
    let text = pki.client_profile(server);
    let directives =
        Directives::parse("demo profile", &text).map_err(|errors| anyhow!(errors.to_string()))?;
    let resolved = ClientConfig::resolve(&directives, &mut |name| Err(format!("{name} is not inline")));
    let (config, _notes) = resolved.map_err(|errors| anyhow!(errors.to_string()))?;
    let options = client::Options {
        setup: Arc::new(Setup::new(config).context("the demo's profile cannot be used")?),
        credentials: None,
        dns: Vec::new(),
        limits: Limits::default(),
        fallback_dns: Vec::new(),
        connect_timeout: Some(PATIENCE),
    };
    let wanted = Wanted::at(args.listen)?;
    let mut session = Session::start(options, wanted, output).await?;
    let outcome = tokio::select! {
        signal = signals.recv() => {
            tracing::info!(signal, "leaving");
            Ok(Status::Failed)
        }
        outcome = try_out(args, output, &mut session) => outcome,
    };
    let outcome = match outcome {
        Ok(Status::Done) if !args.once => {
            tokio::select! {
                signal = signals.recv() => tracing::info!(signal, "leaving"),
                () = session.ended() => {}
            }
            Ok(Status::Done)
        }
        other => other,
    };
    session.stop().await?;
    outcome
}

async fn try_out(args: &Demo, output: Output, session: &mut Session) -> Result<Status, Failure> {
    let up = timeout(PATIENCE, session.connected())
        .await
        .context("the client did not connect in time")??;
    let proxy = session.address().context("the proxy has no address")?;
    let inner = up.inner.first().map(ToString::to_string).unwrap_or_default();
    output.say(
        "connected",
        &format!(
            "a server on {} and a client of it run in this process ({}, {}); inner address {inner} on {}",
            up.address, up.tls, up.cipher, up.device
        ),
        json!({ "address": up.address.to_string(), "proxy": proxy.to_string(), "device": up.device }),
    );
    if args.once {
        return check(proxy, output).await;
    }
    let ip = BY_ADDRESS.ip();
    let lines = [
        format!("curl --proxy socks5h://{proxy} http://{ip}/"),
        format!("curl --proxy http://{proxy} http://{NAME}/"),
    ];
    let page = format!("http://{proxy}/");
    let text = format!(
        "two web pages exist inside this tunnel only; paste a line into another terminal, end with Ctrl-C:\n  {}\n\
         and look at {page} in a browser",
        lines.join("\n  ")
    );
    output.say("try", &text, json!({ "commands": lines, "status_page": page }));
    Ok(Status::Done)
}

/// Fetches both pages in both ways.
async fn check(proxy: SocketAddr, output: Output) -> Result<Status, Failure> {
    let targets = [
        (BY_ADDRESS.ip().to_string(), hosts::ADDRESS_PAGE),
        (NAME.to_owned(), hosts::NAME_PAGE),
    ];
    for (host, page) in &targets {
        for way in [fetch::Way::Socks5, fetch::Way::HttpConnect] {
            let got = timeout(PATIENCE, fetch::get(proxy, way, host, 80))
                .await
                .with_context(|| {
                    format!(
                        "no answer from http://{host}/ by {way} within {} s",
                        PATIENCE.as_secs()
                    )
                })?
                .with_context(|| format!("cannot fetch http://{host}/ by {way}"))?;
            if got != page.as_bytes() {
                return Err(anyhow!("http://{host}/ by {way} answered something else: {got:?}").into());
            }
            output.say(
                "fetched",
                &format!("fetched http://{host}/ by {way}: {}", page.trim_end()),
                json!({ "url": format!("http://{host}/"), "way": way.to_string(), "bytes": got.len() }),
            );
        }
    }
    output.say("ok", "everything works", json!({}));
    Ok(Status::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_pages_arrive_through_the_tunnel_in_both_ways() {
        let args = Demo {
            once: true,
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        };
        let status = run(&args, Output::new(false, true)).await;
        assert_eq!(
            status.map_err(|failure| format!("{:#}", failure.error)),
            Ok(Status::Done)
        );
    }
}
