//! `tunless serve`: a server whose clients' traffic leaves through ordinary sockets.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, anyhow};
use serde_json::json;
use tokio::{sync::broadcast::error::RecvError, task::spawn_blocking};
use tunless_core::config::{ClientCert, ServerConfig};
use tunless_netstack::{ExitPolicy, exit::Rule};

use super::{args::Serve, check::carrier, output::Output, profile};
use crate::{
    cli::exit::{Failure, Status},
    driver::{
        server::{self, Event, Options},
        shutdown::Signals,
    },
    notify::Notifier,
    server::CertificateOnly,
};

/// Reads the configuration and serves until a signal.
pub(super) async fn run(args: &Serve, output: Output) -> Result<Status, Failure> {
    let (config, notes) = profile::read_server(&args.config)?;
    for note in notes {
        tracing::info!("{note}");
    }
    check_supported(&config, &args.config)?;
    let allow = args.allow.iter().copied().map(Rule::Allow);
    let deny = args.deny.iter().copied().map(Rule::Deny);
    let policy = ExitPolicy {
        rules: allow.chain(deny).collect(),
        ..ExitPolicy::default()
    };
    let config = Arc::new(config);
    let mut signals = Signals::new().context("cannot take signals over")?;
    let options = Options {
        config: Arc::clone(&config),
        policy,
        decider: Box::new(CertificateOnly),
    };
    let running = server::start(options).context("cannot start the server")?;
    let (local, stopper) = (running.local, running.stopper());
    let text = format!(
        "listening on {local}/{}, serving {}",
        carrier(config.proto.transport),
        config.net
    );
    let fields = json!({
        "address": local.to_string(), "transport": carrier(config.proto.transport), "net": config.net.to_string(),
    });
    output.say("serving", &text, fields);
    let notifier = Notifier::from_environment().map(Arc::new);
    let alive = notifier.as_ref().map(|notifier| {
        notifier.ready(&text);
        notifier.keep_alive()
    });
    let mut events = running.events.resubscribe();
    loop {
        let event = tokio::select! {
            signal = signals.recv() => {
                tracing::info!(signal, "leaving");
                break;
            }
            event = events.recv() => event,
        };
        match event {
            Ok(Event::Ended(_)) | Err(RecvError::Closed) => break,
            Ok(event) => show(&event, output),
            Err(RecvError::Lagged(missed)) => tracing::debug!(missed, "events missed"),
        }
    }
    if let Some(alive) = alive {
        alive.abort();
    }
    if let Some(notifier) = notifier {
        notifier.stopping();
    }
    stopper.stop();
    let fault = spawn_blocking(move || running.join())
        .await
        .context("cannot wait for the server")?;
    match fault {
        None => {
            output.say("ended", "ended: closed here", json!({ "reason": "closed here" }));
            Ok(Status::Done)
        }
        Some(fault) => Err(anyhow!(fault).into()),
    }
}

/// Without a certificate nobody can be told apart yet: better no start than a server that refuses everybody.
fn check_supported(config: &ServerConfig, path: &Path) -> Result<(), Failure> {
    match config.client_cert {
        ClientCert::Require => Ok(()),
        ClientCert::Optional | ClientCert::None => Err(anyhow!(
            "{}: `verify-client-cert` must stay at its default: clients are only told apart by their certificates",
            path.display()
        )
        .into()),
    }
}

fn show(event: &Event, output: Output) {
    match event {
        Event::Established { name, address, inner } => output.say(
            "client",
            &format!("{name} is in from {address} as {inner}"),
            json!({ "name": name, "address": address.to_string(), "inner": inner }),
        ),
        Event::Gone {
            name,
            address,
            reason,
        } => {
            let who = name.as_deref().unwrap_or("somebody");
            output.say(
                "gone",
                &format!("{who} at {address} is gone: {reason}"),
                json!({ "name": name, "address": address.to_string(), "reason": reason }),
            );
        }
        Event::Ended(_) => {}
    }
}
