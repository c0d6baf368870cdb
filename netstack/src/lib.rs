//! The userspace ends of a tunnel: an embedded TCP/IP stack whose flows are local sockets of the host.
//!
//! [`Stack`] ends a client's tunnel: the control plane opens flows through a [`StackHandle`], and local sockets are
//! handed over to the thread that owns the stack. [`Exit`] ends a server's: flows of clients go on as ordinary
//! sockets. Both are sync and non-blocking, and live in a mio event loop that somebody else owns: packets in by
//! `handle_packet`, packets out by `transmit`, sockets by `handle_ready`, time by `poll_timeout` and `handle_timeout`.
//! Neither reads a clock, and no name is ever asked of the host's resolver.

pub mod device;
pub mod exit;

mod addresses;
mod carrier;
mod clock;
mod config;
mod connect;
mod counts;
mod emit;
mod engine;
mod error;
mod flow;
mod fragments;
mod handle;
mod packet;
mod phy;
mod pool;
mod relay;
mod resolve;
mod rng;
mod sequence;
mod sink;
mod slab;
mod stack;
mod timers;
mod udp;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use config::{Limits, Network, ResolverGroup, StackConfig, StackStats};
pub use error::{EndReason, FlowError, QueryError};
pub use exit::{Exit, ExitConfig, ExitLimits, ExitPolicy};
pub use handle::{
    Flow, InnerListener, LocalSocket, MAX_EARLY_BYTES, Meter, RelayEnd, StackHandle, Target, UdpSocket,
};
pub use stack::Stack;

#[cfg(test)]
mod tests;
