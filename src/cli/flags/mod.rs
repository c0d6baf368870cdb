//! Flags of `tunless connect` by subject: each file owns one subject's flags and what they are checked for.

pub mod dbus;
pub mod dns;
pub mod front;
pub mod listen;
pub mod remote;
