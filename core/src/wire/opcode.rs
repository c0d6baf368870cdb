//! The first byte of every packet: opcode and key id (reference section 1.2).

use super::{KeyId, WireError};

/// What a packet is. Opcodes 1 and 2 belong to the obsolete key method 1 and are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// First packet of a renegotiation.
    SoftReset = 3,
    /// Carries TLS bytes.
    Control = 4,
    /// Acknowledges only; is not acknowledged itself.
    Ack = 5,
    /// Data without a peer id.
    DataV1 = 6,
    /// A client's first packet.
    HardResetClientV2 = 7,
    /// The server's answer to it.
    HardResetServerV2 = 8,
    /// Data with a peer id.
    DataV2 = 9,
    /// A client's first packet with tls-crypt-v2.
    HardResetClientV3 = 10,
    /// Carries TLS bytes and the client's wrapped tls-crypt-v2 key.
    ControlWkc = 11,
}

impl Opcode {
    /// Takes a packet's first byte apart.
    pub const fn decode_byte(byte: u8) -> Result<(Self, KeyId), WireError> {
        let opcode = match byte >> 3 {
            3 => Self::SoftReset,
            4 => Self::Control,
            5 => Self::Ack,
            6 => Self::DataV1,
            7 => Self::HardResetClientV2,
            8 => Self::HardResetServerV2,
            9 => Self::DataV2,
            10 => Self::HardResetClientV3,
            11 => Self::ControlWkc,
            unknown => return Err(WireError::UnknownOpcode(unknown)),
        };
        Ok((opcode, KeyId::from_low_bits(byte)))
    }

    /// The first byte of a packet.
    pub const fn encode_byte(self, key_id: KeyId) -> u8 {
        ((self as u8) << 3) | key_id.value()
    }

    /// Tells whether this is a packet of the data channel.
    pub const fn is_data(self) -> bool {
        matches!(self, Self::DataV1 | Self::DataV2)
    }

    /// Tells whether this starts a session.
    pub const fn is_hard_reset(self) -> bool {
        matches!(
            self,
            Self::HardResetClientV2 | Self::HardResetServerV2 | Self::HardResetClientV3
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_an_opcode_or_an_error() {
        for byte in 0..=255 {
            match Opcode::decode_byte(byte) {
                Ok((opcode, key_id)) => {
                    assert_eq!(opcode.encode_byte(key_id), byte);
                    assert!((3..=11).contains(&(byte >> 3)));
                }
                Err(error) => {
                    assert_eq!(error, WireError::UnknownOpcode(byte >> 3));
                    assert!(!(3..=11).contains(&(byte >> 3)));
                }
            }
        }
    }

    #[test]
    fn well_known_first_bytes() {
        let key2 = KeyId::new(2).unwrap();
        assert_eq!(Opcode::HardResetClientV2.encode_byte(KeyId::FIRST), 0x38);
        assert_eq!(Opcode::HardResetServerV2.encode_byte(KeyId::FIRST), 0x40);
        assert_eq!(Opcode::DataV2.encode_byte(key2), 0x4A);
    }
}
