//! How much one turn of a loop does before it looks at the other direction again.
//!
//! Small enough that the working set stays in the second-level cache and latency under a millisecond.

/// Datagrams read from the transport in a turn; four coalesced reads when the peer sends trains.
pub const DATAGRAMS: usize = 64;
/// Packets taken from the stack in a turn: one train and a bit.
pub const PACKETS: usize = 64;
/// Turns without looking at the system, after which sockets and timers are polled in any case.
pub const CONTROL_PACKETS: usize = 256;
