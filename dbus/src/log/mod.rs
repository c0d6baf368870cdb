//! The log service, and how the other services log through it.
//!
//! Senders announce themselves with `Attach`; their `Log` and `StatusChange` are written, and what a session's client
//! process says is forwarded to everybody for whom the session manager has asked: unicast, from the session's path, with
//! the interface of the client process. It is the only way by which front ends hear of statuses and log lines.
//!
//! | file | owns |
//! |---|---|
//! | `sender` | the way of the other services to this one |
//! | `service` | calls, properties, signals, and who may |
//! | `state` | attachments, sessions, proxies; decides what becomes of a signal |
//! | `event` | signals as read |
//! | `allowance` | how much one sender may say |
//! | `line`, `writer` | what is written, and where |
//!
//! Nothing here waits for a reader: lines go through a bounded queue to a thread, signals through another to a task.
//! What does not fit is dropped and counted.

mod allowance;
mod event;
mod line;
mod sender;
mod service;
mod state;
mod tables;
mod writer;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

pub use sender::LogSender;

use self::{service::LogService, state::State, writer::Writer};
use crate::{
    bus::{Bus, BusError, Outbox, ServeEnd, Serving},
    names::service as services,
    settings::Kept,
};

/// How the log service runs.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Ends after this time without use; never with `None`. It lives on while anybody is attached.
    pub idle: Option<Duration>,
    /// Writes lines there instead of to the standard error.
    pub file: Option<PathBuf>,
    /// Keeps settings there.
    pub config_file: Option<PathBuf>,
}

/// Serves `net.openvpn.v3.log` until the end.
///
/// # Errors
/// Where the name cannot be had, or the bus does not answer.
pub async fn run(bus: &Bus, options: Options, shutdown: &CancellationToken) -> Result<ServeEnd, BusError> {
    let serving = Serving::new(bus);
    bus.watch_owners().await?;
    bus.watch_ends().await?;
    let session_manager = bus.owner(services::SESSIONS).await;
    let (writer, writing) = Writer::start(options.file.as_deref());
    let (outbox, sending) = Outbox::start(bus);
    let service = Arc::new(LogService {
        bus: bus.clone(),
        service_uid: nix::unistd::Uid::effective().as_raw(),
        settings: Kept::open(options.config_file),
        writer,
        outbox,
        state: Mutex::new(State::new(session_manager, Instant::now())),
        started: Instant::now(),
    });
    let end = serving
        .run(service, Some(services::LOG), options.idle, shutdown)
        .await;
    sending.finish().await;
    writing.finish().await;
    end
}
