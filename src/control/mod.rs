//! The control socket: what runs is asked and told over a Unix socket that only its own user can reach.
//!
//! `DEVICE.sock` lies in the runtime folder beside the device's lock, mode 0600; besides that the kernel is asked who
//! connects, and only the same user and root are answered. The protocol is lines of JSON, version 1:
//!
//! - The tunnel greets with `{"event":"hello","tunless":1,"version":…,"device":…,"pid":…}`.
//! - A request is one object a line whose `request` is one of [`Request::NAMES`].
//! - An answer is any number of objects, then `{"event":"done","request":…}` or
//!   `{"event":"error","error":KIND,"message":…}`. Their `event` is what `--json` prints elsewhere, too.
//! - After `events`, everything that happens follows as lines until the client closes.
//!
//! Nothing in here knows the protocol of the tunnel, and no secret is ever part of an answer.
//!
//! Files: `request` what can be asked, `journal` what the tunnel has told so far, `report` answers, `server` and
//! `client` the two ends, `line` lines of limited length.

mod client;
mod journal;
mod line;
mod report;
mod request;
mod server;
pub mod statistics;
#[cfg(test)]
mod tests;

pub use client::{Client, ClientError, Found, find};
pub use journal::{Journal, Retry, Told};
pub use request::{InvalidVerb, Request, Verb};
pub use server::{ControlError, Server, Subject};

/// Version of the protocol.
const VERSION: u64 = 1;
/// Longest line in either direction.
const LINE_BYTES: usize = 64 * 1024;
