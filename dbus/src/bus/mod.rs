//! The way to the bus: connecting, calling others, sending signals, and serving objects.
//!
//! A service implements [`Service`] over tables ([`interface`]); [`serve`] checks callers, names, signatures and
//! limits before the service sees a call, and answers everything else the way front ends expect.
//! Files: `address` which bus, `connection` what goes out, `call` what comes in, `interface` and `introspect` what
//! objects look like, `dispatch` the loop, `outbox` signals that nobody waits for.

mod address;
mod call;
mod connection;
mod dispatch;
pub mod interface;
mod introspect;
mod outbox;

pub use address::{BusAddress, BusAddressError};
pub use call::{Access, Body, Call, Caller, Received, Value, read_body};
pub use connection::{Bus, BusError, RemoteError};
pub use dispatch::{ServeEnd, Service, Serving, serve};
pub(crate) use outbox::{Outbox, Posted, Urgency};
