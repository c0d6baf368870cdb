//! The wire formats: bytes in, fields out and back. Holds no keys and no state.

pub mod control;
mod cursor;
mod error;
#[cfg(test)]
pub(crate) mod fixtures;
mod ids;
mod inner;
pub mod key_method;
pub mod magic;
pub mod occ;
mod opcode;
pub mod peer_info;
mod role;
pub mod stream;

pub use control::{Acks, Body, Header};
pub use cursor::{Put, Reader};
pub use error::WireError;
pub use ids::{KeyId, PacketId, PeerId, SessionId};
pub use inner::Inner;
pub use key_method::{KeyMethod, KeySource};
pub use magic::Magic;
pub use opcode::Opcode;
pub use peer_info::{ClientInfo, IvProto, PeerInfo};
pub use role::Role;
pub use stream::Framer;
