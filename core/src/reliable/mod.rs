//! Reliability of the control channel: retransmission one way, order and acknowledgements the other (reference
//! section 2.2). One pair of halves a key state; ids start at 0 and are compared modulo 2³².

mod recv;
mod send;

pub use recv::{Accepted, Recv};
pub use send::{Due, Send};
