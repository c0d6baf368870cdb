//! The D-Bus services' side in this program: what `tunless-dbus` asks for and the rest of the program answers.
//!
//! `tunnel` is the client process's tunnel over the driver's handle, `translate` its events, `tally` its statistics;
//! [`profile`] reads profiles for the configuration service with core's own lexer, [`overrides`] turns a stored profile
//! and what was set beside it into a configuration that can be run. [`host`] runs one service, [`supervise`] all of
//! them, [`inline`] puts the files of a profile inside it, [`private`] a bus of the user's own, [`install`] places what the system bus needs.

pub mod host;
pub mod inline;
pub mod install;
pub mod overrides;
pub mod private;
pub mod profile;
pub mod supervise;
mod tally;
mod translate;
mod tunnel;

pub use tunnel::{ClientTunnel, Clients};
