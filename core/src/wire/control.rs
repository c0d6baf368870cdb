//! Control packets without their wrap (reference section 1.5).
//!
//! The header is what every wrap leaves in clear; the body is what it authenticates or encrypts.

use super::{KeyId, Opcode, PacketId, Put, Reader, SessionId, WireError};

/// The first nine bytes of a control packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the packet is; never a data opcode.
    pub opcode: Opcode,
    /// Which key of the session it belongs to.
    pub key_id: KeyId,
    /// The sender's session id.
    pub session: SessionId,
}

impl Header {
    /// Size in bytes.
    pub const BYTES: usize = 9;

    /// Reads the header and leaves the rest.
    ///
    /// # Errors
    /// Too few bytes, an unknown or a data opcode, a session id of zeros.
    pub fn decode(packet: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let mut reader = Reader::new(packet);
        let (opcode, key_id) = Opcode::decode_byte(reader.u8("opcode")?)?;
        if opcode.is_data() {
            return Err(WireError::NotControl(opcode));
        }
        let session = SessionId(reader.array("session id")?);
        if session.is_zero() {
            return Err(WireError::ZeroSessionId);
        }
        let header = Self {
            opcode,
            key_id,
            session,
        };
        Ok((header, reader.rest()))
    }

    /// Appends the header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put(&self.to_bytes());
    }

    /// The header as it stands on the wire.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [self.opcode.encode_byte(self.key_id); Self::BYTES];
        for (to, from) in bytes.iter_mut().skip(1).zip(self.session.0) {
            *to = from;
        }
        bytes
    }
}

/// Ids of packets that are acknowledged, at most eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Acks {
    ids: [PacketId; Self::CAPACITY],
    len: usize,
}

impl Acks {
    /// How many ids fit: a packet with more is refused by every peer.
    pub const CAPACITY: usize = 8;

    /// No ids.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an id; tells whether it fitted.
    pub fn push(&mut self, id: PacketId) -> bool {
        match self.ids.get_mut(self.len) {
            Some(slot) => {
                *slot = id;
                self.len += 1;
                true
            }
            None => false,
        }
    }

    /// The ids in order.
    pub fn iter(&self) -> impl Iterator<Item = PacketId> + '_ {
        self.ids.iter().take(self.len).copied()
    }

    /// How many ids there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Tells whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tells whether `id` is among them.
    pub fn contains(&self, id: PacketId) -> bool {
        self.iter().any(|known| known == id)
    }
}

impl FromIterator<PacketId> for Acks {
    /// Takes the first eight.
    fn from_iter<I: IntoIterator<Item = PacketId>>(ids: I) -> Self {
        let mut acks = Self::new();
        for id in ids.into_iter().take(Self::CAPACITY) {
            acks.push(id);
        }
        acks
    }
}

/// A control packet behind its header (and wrap).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body<'a> {
    /// What the sender acknowledges.
    pub acks: Acks,
    /// The receiver's session id: present exactly when something is acknowledged.
    pub remote: Option<SessionId>,
    /// Id of this message: absent for [`Opcode::Ack`] alone.
    pub id: Option<PacketId>,
    /// TLS bytes; empty in resets, but for the options of an early negotiation.
    pub payload: &'a [u8],
}

impl<'a> Body<'a> {
    /// Reads the body of a packet with `opcode`.
    pub fn decode(opcode: Opcode, bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let count = usize::from(reader.u8("ack count")?);
        if count > Acks::CAPACITY {
            return Err(WireError::TooManyAcks { count });
        }
        let mut acks = Acks::new();
        for _ in 0..count {
            acks.push(PacketId(reader.u32("ack id")?));
        }
        let remote = match count {
            0 => None,
            _ => Some(SessionId(reader.array("remote session id")?)),
        };
        let id = match opcode {
            Opcode::Ack => None,
            Opcode::SoftReset
            | Opcode::Control
            | Opcode::HardResetClientV2
            | Opcode::HardResetServerV2
            | Opcode::HardResetClientV3
            | Opcode::ControlWkc => Some(PacketId(reader.u32("packet id")?)),
            Opcode::DataV1 | Opcode::DataV2 => return Err(WireError::NotControl(opcode)),
        };
        Ok(Self {
            acks,
            remote,
            id,
            payload: reader.rest(),
        })
    }

    /// Appends the body. Acknowledgements without a remote session id cannot be written and are left out.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self.remote {
            Some(remote) if !self.acks.is_empty() => {
                // At most eight.
                out.put_u8(u8::try_from(self.acks.len()).unwrap_or(0));
                for id in self.acks.iter() {
                    out.put_u32(id.0);
                }
                out.put(&remote.0);
            }
            Some(_) | None => out.put_u8(0),
        }
        if let Some(id) = self.id {
            out.put_u32(id.0);
        }
        out.put(self.payload);
    }

    /// Bytes that `encode` writes in front of the payload of a message with `acks` acknowledgements.
    pub const fn overhead_bytes(acks: usize) -> usize {
        let ack_bytes = if acks == 0 { 0 } else { 4 * acks + 8 };
        1 + ack_bytes + 4
    }
}

#[cfg(test)]
mod tests;
