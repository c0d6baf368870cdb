//! `tunless dbus`: the services, all of them together, and the files that let the system bus start them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tunless_dbus::bus::{BusAddress, ServeEnd};

use super::{
    flags::dbus::{All, Dbus, Hosting, Install, Uninstall, What},
    output::Output,
};
use crate::{
    cli::exit::{Failure, Status},
    driver::shutdown::Signals,
    notify::Notifier,
    services::{
        host::{self, Kind, own_program, usual_bus, usual_state},
        install::{self, Installation},
        private::{PrivateBus, PrivateBusError},
        supervise::{self, Supervised, Told},
    },
};

/// News of the supervisor that may wait.
const NEWS: usize = 16;

pub(super) async fn run(args: &Dbus, output: Output) -> Result<Status, Failure> {
    match &args.what {
        What::Configuration(hosting) => one(Kind::Configuration, hosting).await,
        What::Sessions(hosting) => one(Kind::Sessions, hosting).await,
        What::Backends(hosting) => one(Kind::Backends, hosting).await,
        What::Log(hosting) => one(Kind::Log, hosting).await,
        What::Netcfg(hosting) => one(Kind::Netcfg, hosting).await,
        What::Client(client) => {
            let ended = host::run_client(client.bus.clone(), client.token.clone()).await;
            finish(ended.map_err(|error| anyhow!(error))?)
        }
        What::All(args) => all(args, output).await,
        What::Install(args) => install(args, output).await,
        What::Uninstall(args) => uninstall(args, output).await,
    }
}

async fn one(kind: Kind, hosting: &Hosting) -> Result<Status, Failure> {
    let hosting = host::Hosting {
        bus: hosting.bus.clone(),
        state_dir: hosting.state_dir.clone(),
        idle: hosting.idle_exit,
        with_parent: hosting.with_parent,
    };
    let ended = host::run(kind, &hosting).await.map_err(|error| anyhow!(error))?;
    finish(ended)
}

fn finish(ended: ServeEnd) -> Result<Status, Failure> {
    match ended {
        ServeEnd::Shutdown | ServeEnd::Idle => Ok(Status::Done),
        ServeEnd::BusGone => Err(anyhow!("the bus is gone").into()),
    }
}

async fn all(args: &All, output: Output) -> Result<Status, Failure> {
    let private = if args.private {
        Some(PrivateBus::open().await.map_err(explain)?)
    } else {
        None
    };
    let bus = match &private {
        Some(private) => private.address.clone(),
        None => args.bus.clone().unwrap_or_else(usual_bus),
    };
    let state_dir = match (&args.state_dir, &private) {
        (Some(state_dir), _) => state_dir.clone(),
        (None, Some(private)) => private.state_dir.clone(),
        (None, None) => usual_state(&bus).map_err(|error| anyhow!(error))?,
    };
    if let Some(private) = &private {
        let line = format!("export DBUS_SYSTEM_BUS_ADDRESS='{bus}'");
        output.say(
            "bus",
            &line,
            json!({ "address": bus.to_string(), "was_running": private.was_running() }),
        );
    }
    let ended = supervise_until_told(&Supervised { bus, state_dir }, output).await;
    if let Some(private) = private {
        private.close().await;
    }
    ended
}

fn explain(error: PrivateBusError) -> anyhow::Error {
    anyhow!(error).context("no private bus")
}

async fn supervise_until_told(what: &Supervised, output: Output) -> Result<Status, Failure> {
    let mut signals = Signals::new().context("cannot take signals over")?;
    let notifier = Notifier::from_environment();
    let (told, mut news) = mpsc::channel(NEWS);
    let shutdown = CancellationToken::new();
    let running = supervise::run(what, told, &shutdown);
    tokio::pin!(running);
    loop {
        tokio::select! {
            signal = signals.recv(), if !shutdown.is_cancelled() => {
                tracing::info!(signal, "leaving");
                if let Some(notifier) = &notifier {
                    notifier.stopping();
                }
                shutdown.cancel();
            }
            Some(news) = news.recv() => tell(news, &what.bus, notifier.as_ref(), output),
            ended = &mut running => {
                ended.map_err(|error| anyhow!(error))?;
                return if shutdown.is_cancelled() {
                    Ok(Status::Done)
                } else {
                    Err(anyhow!("the bus is gone").into())
                };
            }
        }
    }
}

fn tell(news: Told, bus: &BusAddress, notifier: Option<&Notifier>, output: Output) {
    match news {
        Told::Ready => {
            let text = format!("the services of OpenVPN 3 Linux's D-Bus API are on the {bus} bus");
            output.say("ready", &text, json!({ "bus": bus.to_string() }));
            if let Some(notifier) = notifier {
                notifier.ready(&text);
            }
        }
        Told::Again(kind) => {
            let text = format!("{} has ended and is started anew", kind.bus_name());
            output.notice("again", &text, json!({ "service": kind.word() }));
        }
    }
}

async fn install(args: &Install, output: Output) -> Result<Status, Failure> {
    let exec = match &args.exec {
        Some(exec) => exec.clone(),
        None => own_program().map_err(|error| anyhow!(error))?,
    };
    let installation = Installation {
        root: args.root.clone().unwrap_or_else(|| PathBuf::from("/")),
        user: args.user.clone(),
        exec,
        state_dir: args.state_dir.clone(),
    };
    if args.dry_run {
        for (path, text) in installation.files().map_err(|error| anyhow!(error))? {
            let shown = format!("{}:\n{text}", path.display());
            output.say("would-write", &shown, json!({ "path": path, "text": text }));
        }
        return Ok(Status::Done);
    }
    let placed = installation.place(args.replace).map_err(|error| anyhow!(error))?;
    show(&placed, "written", output);
    if args.root.is_none() {
        installation.prepare_host().map_err(|error| anyhow!(error))?;
        reload(output).await;
    }
    Ok(Status::Done)
}

async fn uninstall(args: &Uninstall, output: Output) -> Result<Status, Failure> {
    let root = args.root.as_deref().unwrap_or_else(|| Path::new("/"));
    let removed = install::remove(root).map_err(|error| anyhow!(error))?;
    show(&removed, "removed", output);
    if args.root.is_none() {
        reload(output).await;
    }
    Ok(Status::Done)
}

fn show(paths: &[PathBuf], what: &str, output: Output) {
    for path in paths {
        output.say(
            what,
            &format!("{what} {}", path.display()),
            json!({ "path": path }),
        );
    }
}

/// Has the system bus read its files again; it also does so by itself where it watches them.
async fn reload(output: Output) {
    let reloaded = match tunless_dbus::bus::Bus::connect(&BusAddress::System).await {
        Ok(bus) => bus.reload_config().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(why) = reloaded {
        let text = format!("the system bus was not told to read its files again: {why}");
        output.notice("reload", &text, json!({ "reason": why }));
    }
}
