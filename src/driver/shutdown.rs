//! The end: signals, and how long each part may take for it. All together stays below a second.

use std::{io, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Longest time for a tunnel to say good-bye to its server; core's own grace is shorter.
pub const TUNNEL_GRACE: Duration = Duration::from_millis(700);
/// Longest time for proxied connections to end by themselves.
pub const PROXY_GRACE: Duration = Duration::from_millis(100);

/// SIGINT and SIGTERM.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes both signals over; from now on they no longer end the process by themselves.
    ///
    /// # Errors
    /// The system refuses, or there is no runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for either; says which. Cancel-safe.
    pub async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
