//! Bounds-checked reading and writing. Only this file takes slices of input apart.

use super::WireError;

/// Reads fields from the front of a byte slice; every failure names the field.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the front of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Takes `n` bytes.
    pub const fn take(&mut self, n: usize, field: &'static str) -> Result<&'a [u8], WireError> {
        match self.rest.split_at_checked(n) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(WireError::Truncated {
                field,
                wanted: n,
                left: self.rest.len(),
            }),
        }
    }

    /// Takes `N` bytes as an array.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(WireError::Truncated {
                field,
                wanted: N,
                left: self.rest.len(),
            }),
        }
    }

    /// Takes one byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        self.array(field).map(u8::from_be_bytes)
    }

    /// Takes a number of 16 bits.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, WireError> {
        self.array(field).map(u16::from_be_bytes)
    }

    /// Takes a number of 24 bits.
    pub fn u24(&mut self, field: &'static str) -> Result<u32, WireError> {
        let [high, mid, low] = self.array(field)?;
        Ok(u32::from_be_bytes([0, high, mid, low]))
    }

    /// Takes a number of 32 bits.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// Takes a number of 64 bits.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// Takes all that is left.
    pub const fn rest(&mut self) -> &'a [u8] {
        let rest = self.rest;
        self.rest = &[];
        rest
    }

    /// Tells whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }
}

/// Appends fields to a buffer, big-endian.
pub trait Put {
    /// Appends bytes as they are.
    fn put(&mut self, bytes: &[u8]);

    /// Appends one byte.
    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    /// Appends 16 bits.
    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    /// Appends the low 24 bits.
    fn put_u24(&mut self, value: u32) {
        let [_, high, mid, low] = value.to_be_bytes();
        self.put(&[high, mid, low]);
    }

    /// Appends 32 bits.
    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    /// Appends 64 bits.
    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_be_bytes());
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_reads_back() {
        let mut out = Vec::new();
        out.put_u8(1);
        out.put_u16(0x0203);
        out.put_u24(0xFF04_0506);
        out.put_u32(0x0708_090A);
        out.put_u64(u64::MAX - 1);
        out.put(b"tail");
        let mut reader = Reader::new(&out);
        assert_eq!(reader.u8("a"), Ok(1));
        assert_eq!(reader.u16("b"), Ok(0x0203));
        assert_eq!(reader.u24("c"), Ok(0x04_0506));
        assert_eq!(reader.u32("d"), Ok(0x0708_090A));
        assert_eq!(reader.u64("e"), Ok(u64::MAX - 1));
        assert_eq!(reader.remaining(), 4);
        assert_eq!(reader.take(2, "f"), Ok(&b"ta"[..]));
        assert_eq!(reader.rest(), b"il");
        assert!(reader.is_empty());
    }

    #[test]
    fn an_error_names_the_field_and_takes_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        let error = reader.u32("packet id").unwrap_err();
        assert_eq!(error.to_string(), "packet id wants 4 bytes, 3 are left");
        assert_eq!(reader.remaining(), 3);
    }
}
