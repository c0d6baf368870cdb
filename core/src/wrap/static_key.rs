//! The 2048-bit static key file (`tls-auth`, `tls-crypt`; reference section 3.1).

use std::fmt::Write as _;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::rng::Rng;

const BEGIN: &str = "-----BEGIN OpenVPN Static key V1-----";
const END: &str = "-----END OpenVPN Static key V1-----";

/// Bytes in a static key: two halves of a 64-byte cipher key and a 64-byte HMAC key.
pub const STATIC_KEY_BYTES: usize = 256;

/// A static key: two halves, one for each direction.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct StaticKey {
    halves: [KeyHalf; 2],
}

/// One half of a static key (or of derived key material).
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct KeyHalf {
    /// Cipher key material; a cipher takes as many leading bytes as it needs.
    pub cipher: [u8; 64],
    /// HMAC key material, or implicit IV for AEAD.
    pub hmac: [u8; 64],
}

/// Which half is for which direction (`key-direction`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyDirection {
    /// Half 0 both ways: no direction was given.
    #[default]
    Bidirectional,
    /// `0`: half 0 out, half 1 in; servers by convention.
    Normal,
    /// `1`: half 1 out, half 0 in; clients by convention.
    Inverse,
}

/// What is wrong with a static key file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StaticKeyError {
    /// No begin marker.
    #[error("no line {BEGIN:?}")]
    NoBegin,
    /// No end marker.
    #[error("no line {END:?}")]
    NoEnd,
    /// A character that is neither hexadecimal nor white space.
    #[error("{0:?} is not a hexadecimal digit")]
    NotHex(char),
    /// Too few or too many digits.
    #[error("has {0} hexadecimal digits, wants 512")]
    Length(usize),
}

impl StaticKey {
    /// Builds a key from its 256 bytes.
    pub fn from_bytes(bytes: &[u8; STATIC_KEY_BYTES]) -> Self {
        let (first, second) = bytes.split_at(STATIC_KEY_BYTES / 2);
        Self {
            halves: [KeyHalf::from_slice(first), KeyHalf::from_slice(second)],
        }
    }

    /// Draws a new key.
    pub fn generate(rng: &mut dyn Rng) -> Self {
        let mut bytes = [0; STATIC_KEY_BYTES];
        rng.fill(&mut bytes);
        let key = Self::from_bytes(&bytes);
        bytes.zeroize();
        key
    }

    /// Reads a key file; whatever stands outside its markers is ignored.
    ///
    /// # Errors
    /// Missing markers, characters that are not hexadecimal, a wrong length.
    pub fn parse(text: &str) -> Result<Self, StaticKeyError> {
        let (_, rest) = text.split_once(BEGIN).ok_or(StaticKeyError::NoBegin)?;
        let (body, _) = rest.split_once(END).ok_or(StaticKeyError::NoEnd)?;
        let mut bytes = [0; STATIC_KEY_BYTES];
        let mut digits = 0;
        for character in body.chars().filter(|c| !c.is_whitespace()) {
            let digit = character.to_digit(16).ok_or(StaticKeyError::NotHex(character))?;
            if let Some(byte) = bytes.get_mut(digits / 2) {
                // A hexadecimal digit is below 16.
                *byte = (*byte << 4) | u8::try_from(digit).unwrap_or(0);
            }
            digits += 1;
        }
        if digits != 2 * STATIC_KEY_BYTES {
            return Err(StaticKeyError::Length(digits));
        }
        let key = Self::from_bytes(&bytes);
        bytes.zeroize();
        Ok(key)
    }

    /// Writes the key file, lower case, 16 bytes a line.
    pub fn to_text(&self) -> zeroize::Zeroizing<String> {
        let mut text = zeroize::Zeroizing::new(String::with_capacity(700));
        text.push_str(BEGIN);
        for (index, byte) in self.bytes().enumerate() {
            if index % 16 == 0 {
                text.push('\n');
            }
            // Writing to a String cannot fail.
            let _infallible = write!(text, "{byte:02x}");
        }
        text.push('\n');
        text.push_str(END);
        text.push('\n');
        text
    }

    /// The half to send with and the half to receive with.
    pub fn directed(&self, direction: KeyDirection) -> (&KeyHalf, &KeyHalf) {
        let [first, second] = &self.halves;
        match direction {
            KeyDirection::Bidirectional => (first, first),
            KeyDirection::Normal => (first, second),
            KeyDirection::Inverse => (second, first),
        }
    }

    /// All 256 bytes in order.
    pub fn bytes(&self) -> impl Iterator<Item = u8> + '_ {
        self.halves
            .iter()
            .flat_map(|half| half.cipher.iter().chain(&half.hmac))
            .copied()
    }
}

impl KeyHalf {
    /// Splits 128 bytes; a shorter slice leaves zeros, which the callers in this crate never pass.
    fn from_slice(bytes: &[u8]) -> Self {
        let mut half = Self {
            cipher: [0; 64],
            hmac: [0; 64],
        };
        for (to, from) in half.cipher.iter_mut().zip(bytes) {
            *to = *from;
        }
        for (to, from) in half.hmac.iter_mut().zip(bytes.iter().skip(64)) {
            *to = *from;
        }
        half
    }
}

impl std::fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StaticKey([secret])")
    }
}

impl std::fmt::Debug for KeyHalf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHalf([secret])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting() -> StaticKey {
        let mut bytes = [0; STATIC_KEY_BYTES];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::try_from(index).unwrap();
        }
        StaticKey::from_bytes(&bytes)
    }

    #[test]
    fn a_key_file_reads_back_as_written() {
        let text = counting().to_text();
        let again = StaticKey::parse(&format!("# a comment\n{}trailing", *text)).unwrap();
        assert!(again.bytes().eq(0..=255));
    }

    #[test]
    fn halves_follow_the_direction() {
        let key = counting();
        let (out, inward) = key.directed(KeyDirection::Inverse);
        assert_eq!(
            (out.cipher[0], out.hmac[0], inward.cipher[0], inward.hmac[0]),
            (128, 192, 0, 64)
        );
    }

    #[test]
    fn faults_are_named() {
        let text = counting().to_text();
        assert_eq!(StaticKey::parse("").unwrap_err(), StaticKeyError::NoBegin);
        assert_eq!(
            StaticKey::parse(&text.replace("END", "FIN")).unwrap_err(),
            StaticKeyError::NoEnd
        );
        assert_eq!(
            StaticKey::parse(&text.replacen("00", "0x", 1)).unwrap_err(),
            StaticKeyError::NotHex('x')
        );
        assert_eq!(
            StaticKey::parse(&text.replacen("0001", "01", 1)).unwrap_err(),
            StaticKeyError::Length(510)
        );
    }
}
