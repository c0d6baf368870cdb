//! The starter: it starts a client process for a session that the session manager announces, and nothing else.
//!
//! Client processes outlive it: a starter that ends, or is started anew, ends no tunnel.

use std::{
    ffi::OsString,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::{
    bus::{
        Access, Body, Bus, BusError, Call, ServeEnd, Service, Value,
        interface::{Interface, method, read, signal},
        serve,
    },
    constants::{LogCategory, LogGroup},
    error::CallError,
    log::LogSender,
    names::{self, interface, path, service},
};

/// Client processes that run at a time.
const MAX_CLIENTS: usize = 1024;
/// Length of a token: a UUID.
const TOKEN_BYTES: usize = 36;

/// The starter's object.
pub static STARTER: Interface = Interface {
    name: interface::BACKENDS,
    methods: &[method("StartClient", &[("token", "s")], &[("pid", "u")])],
    signals: &[
        signal("Log", &[("group", "u"), ("level", "u"), ("message", "s")]),
        signal(
            "StatusChange",
            &[("code_major", "u"), ("code_minor", "u"), ("message", "s")],
        ),
    ],
    properties: &[read("version", "s")],
};

static INTERFACES: [&Interface; 1] = [&STARTER];

/// What the starter needs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Program and arguments of a client process; the token is appended.
    pub command: Vec<OsString>,
    /// End after this time without use.
    pub idle: Option<Duration>,
}

/// Runs the starter.
///
/// # Errors
/// Where the name cannot be had.
pub async fn run(bus: &Bus, options: Options, shutdown: &CancellationToken) -> Result<ServeEnd, BusError> {
    bus.watch_owners().await?;
    let log = LogSender::new(bus, path::BACKENDS, interface::BACKENDS, LogGroup::BackendStart);
    let starter = Arc::new(Starter {
        log: log.clone(),
        command: options.command,
        running: Arc::default(),
    });
    let attach = tokio::spawn(async move { log.attach().await });
    let ended = serve(bus, starter, service::BACKENDS, options.idle, shutdown).await;
    attach.abort();
    ended
}

#[derive(Debug)]
struct Starter {
    log: LogSender,
    command: Vec<OsString>,
    running: Arc<AtomicUsize>,
}

impl Service for Starter {
    fn interfaces(&self, path: &str) -> Option<&'static [&'static Interface]> {
        (path == path::BACKENDS).then_some(&INTERFACES)
    }

    fn paths(&self) -> Vec<String> {
        vec![path::BACKENDS.to_owned()]
    }

    async fn call(self: Arc<Self>, call: Call) -> Result<Body, CallError> {
        if call.caller.uid != nix::unistd::geteuid().as_raw() {
            return Err(CallError::method("Access denied"));
        }
        let token: String = call.args()?;
        let pid = self.start(&token).await?;
        Ok(Body::of((pid,)))
    }

    async fn get(self: Arc<Self>, _access: Access) -> Result<Value, CallError> {
        Ok(names::VERSION.into())
    }

    async fn set(self: Arc<Self>, _access: Access, _value: Value) -> Result<(), CallError> {
        Err(CallError::denied("Access denied"))
    }

    fn on_owner(self: &Arc<Self>, name: &str, owner: Option<&str>) {
        if name == service::LOG && owner.is_some() {
            let log = self.log.clone();
            tokio::spawn(async move { log.attach().await });
        }
    }

    fn is_live(&self) -> bool {
        false
    }
}

impl Starter {
    async fn start(&self, token: &str) -> Result<u32, CallError> {
        let is_token = token.len() == TOKEN_BYTES && token.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_token {
            return Err(CallError::request("Invalid token"));
        }
        if self.running.load(Ordering::Relaxed) >= MAX_CLIENTS {
            return Err(CallError::request(format!(
                "{MAX_CLIENTS} VPN clients run already"
            )));
        }
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(CallError::request("no client program is set"));
        };
        let started = Command::new(program)
            .args(arguments)
            .arg(token)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // A group of its own: what is sent to ours is not meant for tunnels.
            .process_group(0)
            .kill_on_drop(false)
            .spawn();
        let mut child = started.map_err(|error| {
            tracing::error!(%error, program = %program.display(), "a client process cannot be started");
            CallError::request("Could not start the VPN client")
        })?;
        let pid = child.id().unwrap_or_default();
        let running = Arc::clone(&self.running);
        running.fetch_add(1, Ordering::Relaxed);
        let log = self.log.clone();
        tokio::spawn(async move {
            // Waited for, so that nothing is left of it.
            match child.wait().await {
                Ok(status) if status.success() => {}
                Ok(status) => {
                    let text = format!("the VPN client process {pid} ended: {status}");
                    log.log(LogCategory::Error, &text).await;
                }
                Err(error) => tracing::debug!(%error, pid, "a client process cannot be waited for"),
            }
            running.fetch_sub(1, Ordering::Relaxed);
        });
        let text = format!("VPN client process started, pid {pid}");
        self.log.log(LogCategory::Verb1, &text).await;
        Ok(pid)
    }
}
