//! The shell around the protocol: sockets, threads, clocks, files, the command line.
//!
//! [`transport`] carries packets, [`driver`] runs a tunnel on a thread of its own and shows it through a
//! handle, [`front`] is what it offers on this host, [`control`] how it is asked and told, [`site`] what a browser
//! shows, [`notify`] what the service manager hears, [`screen`] who writes to the terminal, [`server`] decides who may
//! come in, [`services`] joins the D-Bus services with all this, [`cli`] is what a person types, [`log`] is what they see of it; `memory` settles how
//! the allocator gives buffers back. Nothing in here knows the protocol: that is
//! `tunless-core`'s.

pub mod cli;
pub mod control;
pub mod driver;
pub mod front;
pub mod log;
mod memory;
pub mod notify;
pub mod screen;
pub mod server;
pub mod services;
pub mod site;
pub mod transport;
