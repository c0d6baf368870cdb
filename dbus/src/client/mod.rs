//! One tunnel's process: it registers at the session manager, connects on demand, and tells what happens.
//!
//! It is started with a token, owns `net.openvpn.v3.backends.be<PID>`, and answers the session manager alone. What
//! connects is the program's: [`Program`] and [`Tunnel`] are the seam. Files: `program` that seam, `tables` the object,
//! `life` what is said and when, `queue` questions, `telling` signals in order, `device` what the network configuration
//! is told, `service` the object's methods, `values` its properties, `register` finding the session.

mod device;
mod life;
mod program;
mod queue;
mod register;
mod service;
mod tables;
mod telling;
mod values;

pub use program::{
    Answer, Answers, Connected, Ended, Event, MAX_EVENTS, Need, Prepared, Profile, Program, Question,
    QuestionKind, Secret, Tunnel, Users,
};
pub(crate) use register::read_overrides;
pub(crate) use service::NO_DCO;
pub use service::run;
pub use tables::{BACKEND, CLIENT1};
