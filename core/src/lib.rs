//! The `OpenVPN` protocol without I/O.
//!
//! Bytes, packets and time come in as arguments; bytes, packets, events and deadlines come out. Nothing in
//! here reads a clock, opens a socket or a file, starts a task or draws randomness that was not passed in.
//!
//! How a datagram travels: [`wire`] names its fields, [`wrap`] authenticates control packets before they are
//! parsed, [`reliable`] orders them, [`tls`] turns them into a byte stream, [`keys`] derives data keys from
//! it, [`data`] opens and seals packets with them, and [`session`] runs all of it for one peer. [`client`] and
//! [`server`] decide what the two roles do with a session; [`config`] reads what a person wrote.
//! [`tunnel`] is the seam a driver uses for either role; [`upstream`] is what is said to a proxy on the way.

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

pub mod client;
pub mod config;
pub mod data;
pub mod keys;
pub mod reliable;
pub mod rng;
pub mod secret;
pub mod server;
pub mod session;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tls;
pub mod tunnel;
pub mod upstream;
pub mod wire;
pub mod wrap;
