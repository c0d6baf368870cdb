//! Connections and datagrams whose target was named in advance, as `ssh -L` and `ssh -W` have them.
//!
//! Clients say nothing here, and nothing is answered: the first byte is the target's. Like everything in this crate
//! it reaches a target through a [`Connector`](crate::Connector) alone.

mod datagrams;
mod single;
mod stream;

pub use datagrams::datagrams;
pub use single::single;
pub use stream::stream;

#[cfg(test)]
mod tests;
