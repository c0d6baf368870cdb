//! Network configuration: devices, what their creators say of them, and who hears of it.
//!
//! A tunnel that ends in the embedded stack needs nothing of the host: its device is described here (`Describe` of
//! `io.github.tunless.Device1`), so that whoever asks for interfaces, addresses and resolvers finds what is true. No
//! device of the host is made, no route changed, no socket rerouted.
//!
//! | file | owns |
//! |---|---|
//! | `service` | calls, properties, and who may |
//! | `state` | devices and subscribers |
//! | `device` | one device |
//! | `change` | what subscribers hear |
//! | `check` | addresses, prefixes and names as callers give them |
//!
//! A device ends with the connection that made it.

mod change;
mod check;
mod device;
mod service;
mod state;
mod tables;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use self::{service::NetcfgService, state::State};
use crate::{
    bus::{Bus, BusError, Outbox, ServeEnd, Serving},
    constants::LogGroup,
    log::LogSender,
    names::{interface, path, service as services},
    settings::Kept,
};

/// How network configuration runs.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Ends after this time without use; never with `None`. It lives on while there is a device or a subscriber.
    pub idle: Option<Duration>,
    /// Keeps settings there.
    pub config_file: Option<PathBuf>,
}

/// Serves `net.openvpn.v3.netcfg` until the end.
///
/// # Errors
/// Where the name cannot be had, or the bus does not answer.
pub async fn run(bus: &Bus, options: Options, shutdown: &CancellationToken) -> Result<ServeEnd, BusError> {
    let serving = Serving::new(bus);
    bus.watch_owners().await?;
    bus.watch_ends().await?;
    let (outbox, sending) = Outbox::start(bus);
    let log = LogSender::new(bus, path::NETCFG, interface::NETCFG, LogGroup::Netcfg);
    let attaching = tokio::spawn({
        let log = log.clone();
        async move { log.attach().await }
    });
    let service = Arc::new(NetcfgService {
        bus: bus.clone(),
        service_uid: nix::unistd::Uid::effective().as_raw(),
        settings: Kept::open(options.config_file),
        log,
        outbox,
        state: Mutex::new(State::default()),
    });
    let end = serving
        .run(service, Some(services::NETCFG), options.idle, shutdown)
        .await;
    attaching.abort();
    sending.finish().await;
    end
}
