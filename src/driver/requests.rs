//! Signals that ask something of a running client, in OpenVPN's meaning.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// SIGHUP: read the profile again and connect with it.
    Reload,
    /// SIGUSR1: connect anew.
    Restart,
    /// SIGUSR2: print statistics.
    Statistics,
}

/// SIGHUP, SIGUSR1 and SIGUSR2.
#[derive(Debug)]
pub struct Requests {
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Requests {
    /// Takes the signals over; from now on they no longer end the process by themselves.
    ///
    /// # Errors
    /// The system refuses, or there is no runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for any of them. Cancel-safe.
    pub async fn recv(&mut self) -> Request {
        tokio::select! {
            _ = self.hangup.recv() => Request::Reload,
            _ = self.user1.recv() => Request::Restart,
            _ = self.user2.recv() => Request::Statistics,
        }
    }
}
