//! The session manager: sessions, who may use them, and the client process behind each.
//!
//! Front ends call sessions; what concerns the tunnel is passed on to the session's client process, which answers
//! nobody else. Files: `tables` the objects, `session` one session's state and rights, `manager` all of them and their
//! calls, `start` a new tunnel, `end` its end, crashes and replacements, `pass` calls that are passed on, `properties`
//! reading and setting, `store` what outlives the process.

mod end;
mod manager;
mod pass;
mod properties;
mod session;
mod start;
mod store;
mod tables;

pub use manager::{Options, run};
pub use tables::{MANAGER, SESSION, SESSION1};
