//! The shell around the protocol: sockets, threads, clocks, files, the command line.
//!
//! [`transport`] carries packets, [`driver`] runs a tunnel on a thread of its own and shows it through a
//! handle, [`server`] decides who may come in, [`cli`] is what a person types, [`log`] is what
//! they see of it. Nothing in here knows the protocol: that is `tunless-core`'s.

pub mod cli;
pub mod driver;
pub mod log;
pub mod server;
pub mod transport;
