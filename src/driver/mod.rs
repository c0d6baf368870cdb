//! Runs tunnels: one thread each, from socket to stack and back without a queue in between.
//!
//! A turn reads, hands packets on in place, seals what the stack made into the transport's train, flushes, and
//! only then waits. It decides nothing about the protocol. Files: `client` the loop and the life of a client's
//! tunnel, `attempt` from remote to connection, `leave` pause, restart and end, `upstream` the way through a proxy, `link` one connection, `login` user name and password, `server` the
//! same for a server, `departed` its clients that may come back, `handle`
//! what everybody else sees, `connector` the proxy's way in, `resolve` the server's own name or its proxy's, `name` the device's,
//! `roam` what follows when the network changes: `watch` says that it did, `route` which way leads to the server, `sleep`
//! that the machine slept. `requests` signals of a client,
//! `clock` and `rng` what core gets passed in, `budget` and `shutdown` limits.

mod ask;
mod attempt;
pub mod budget;
pub mod client;
pub mod clock;
mod connector;
mod departed;
mod handle;
mod leave;
mod link;
mod login;
mod name;
pub mod requests;
mod resolve;
mod rng;
mod roam;
mod route;
pub mod server;
pub mod shutdown;
mod sleep;
mod upstream;
mod watch;

pub use connector::{StackConnector, StackDatagrams, StackFlow};
#[cfg(test)]
pub(crate) use handle::Shared;
pub use handle::{
    Answer, ChallengeOrigin, Command, End, Event, Handle, Question, QuestionKind, Snapshot, State, Up,
};
pub use name::{NameError, NameLock};
pub(crate) use name::{hold, runtime_folder, runtime_folders};
pub use rng::SystemRng;

use std::{error::Error, io};

/// The transport's socket (a server's listener).
const TRANSPORT: mio::Token = mio::Token(0);
/// The waker.
const WAKER: mio::Token = mio::Token(1);
/// Announcements of changes of the network.
const WATCH: mio::Token = mio::Token(2);
/// First token of accepted streams, at a server over TCP.
const FIRST_STREAM: usize = 16;
/// First token of the sockets of a stack or an exit.
const FIRST_DEVICE: usize = 1 << 24;
/// Events taken from the system at a time.
const EVENTS: usize = 256;

/// Why a tunnel cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No event loop, waker or thread.
    #[error("cannot set up the event loop")]
    Loop(#[from] io::Error),
    /// No name for the device.
    #[error("cannot name the device")]
    Name(#[from] NameError),
    /// The listening socket.
    #[error("cannot listen")]
    Transport(#[from] crate::transport::TransportError),
    /// Certificates or keys.
    #[error(transparent)]
    Endpoint(#[from] tunless_core::server::EndpointError),
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
