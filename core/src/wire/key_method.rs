//! The message that both sides exchange first inside TLS (key method 2, reference section 4.1).

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Put, Reader, Role, WireError};
use crate::{rng::Rng, secret::SecretString};

/// Longest user name or password that is accepted, in bytes with its NUL (`USER_PASS_LEN`).
pub const CREDENTIAL_BYTES: usize = 128;

/// Longest message that is put together from pieces: the reference sends at most 2048, but a foreign peer may
/// have a long user name, password or peer info.
pub const MESSAGE_BYTES: usize = 8192;

const METHOD: u8 = 2;

/// Randomness that one side adds to the data keys.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct KeySource {
    /// From the client alone.
    pub pre_master: Option<[u8; 48]>,
    /// Goes into the master secret.
    pub random1: [u8; 32],
    /// Goes into the key expansion.
    pub random2: [u8; 32],
}

impl KeySource {
    /// Draws fresh randomness for `role`.
    pub fn generate(role: Role, rng: &mut dyn Rng) -> Self {
        let mut source = Self {
            pre_master: match role {
                Role::Client => Some([0; 48]),
                Role::Server => None,
            },
            random1: [0; 32],
            random2: [0; 32],
        };
        if let Some(pre_master) = &mut source.pre_master {
            rng.fill(pre_master);
        }
        rng.fill(&mut source.random1);
        rng.fill(&mut source.random2);
        source
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySource([secret])")
    }
}

/// A key-method-2 message.
#[derive(Debug, Clone)]
pub struct KeyMethod {
    /// The sender's randomness.
    pub source: KeySource,
    /// The options (OCC) string.
    pub options: String,
    /// User name; a server sends none.
    pub username: Option<SecretString>,
    /// Password or token; a server sends none.
    pub password: Option<SecretString>,
    /// `IV_…` lines; empty if there are none.
    pub peer_info: String,
    /// Tells that the user name or the password was too long to be taken: the authentication must fail.
    pub credentials_too_long: bool,
}

impl KeyMethod {
    /// A message with neither credentials nor peer info, as a server sends it.
    pub fn new(source: KeySource, options: impl Into<String>) -> Self {
        Self {
            source,
            options: options.into(),
            username: None,
            password: None,
            peer_info: String::new(),
            credentials_too_long: false,
        }
    }

    /// Writes the message of a sender with `role`.
    ///
    /// A client's source without a pre-master secret gives a message that no server can read.
    pub fn encode(&self, role: Role) -> Zeroizing<Vec<u8>> {
        // Room for everything, so that no secret stays behind in a smaller buffer.
        let strings = [
            Some(self.options.as_str()).filter(|text| !text.is_empty()),
            self.username.as_ref().map(SecretString::expose),
            self.password.as_ref().map(SecretString::expose),
            Some(self.peer_info.as_str()).filter(|text| !text.is_empty()),
        ];
        let text_bytes: usize = strings.iter().map(|text| text.map_or(0, str::len) + 3).sum();
        let mut out = Zeroizing::new(Vec::with_capacity(5 + 48 + 64 + text_bytes));
        out.put_u32(0);
        out.put_u8(METHOD);
        match (role, &self.source.pre_master) {
            (Role::Client, Some(pre_master)) => out.put(pre_master),
            (Role::Client, None) | (Role::Server, _) => {}
        }
        out.put(&self.source.random1);
        out.put(&self.source.random2);
        for text in strings {
            put_string(&mut out, text);
        }
        out
    }

    /// Reads the message of `sender`. It may end after the options, as old peers' do; what is missing is absent.
    /// Text that is not UTF-8 is read with replacement characters.
    ///
    /// # Errors
    /// Another key method, a message that ends inside a field.
    pub fn decode(sender: Role, bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let source = decode_source(sender, &mut reader)?;
        let options = string(&mut reader, "options")?.map(text).unwrap_or_default();
        let username = optional_string(&mut reader, "username")?;
        let password = optional_string(&mut reader, "password")?;
        let peer_info = optional_string(&mut reader, "peer info")?
            .map(text)
            .unwrap_or_default();
        let too_long = |field: Option<&[u8]>| field.is_some_and(|raw| raw.len() >= CREDENTIAL_BYTES);
        let credential = |field: Option<&[u8]>| {
            field
                .filter(|raw| raw.len() < CREDENTIAL_BYTES)
                .map(|raw| SecretString::new(text(raw)))
        };
        Ok(Self {
            source,
            options,
            username: credential(username),
            password: credential(password),
            peer_info,
            credentials_too_long: too_long(username) || too_long(password),
        })
    }

    /// How many bytes the message of `sender` takes at the front of `bytes`, once all its fields are there.
    ///
    /// `None` asks for more bytes. A message that ends after the options never completes: when a TLS record
    /// ends with one, try [`KeyMethod::decode`].
    ///
    /// # Errors
    /// Another key method, a message above [`MESSAGE_BYTES`].
    pub fn complete_len(sender: Role, bytes: &[u8]) -> Result<Option<usize>, WireError> {
        let mut reader = Reader::new(bytes);
        let complete = match walk(sender, &mut reader) {
            Ok(()) => Some(bytes.len() - reader.remaining()),
            Err(WireError::Truncated { .. }) => None,
            Err(error) => return Err(error),
        };
        let len = complete.unwrap_or(bytes.len());
        if len > MESSAGE_BYTES {
            return Err(WireError::TooLong {
                field: "key exchange message",
                len,
                limit: MESSAGE_BYTES,
            });
        }
        Ok(complete)
    }
}

fn walk(sender: Role, reader: &mut Reader<'_>) -> Result<(), WireError> {
    decode_source(sender, reader)?;
    for field in ["options", "username", "password", "peer info"] {
        string(reader, field)?;
    }
    Ok(())
}

fn decode_source(sender: Role, reader: &mut Reader<'_>) -> Result<KeySource, WireError> {
    reader.u32("zero")?;
    // The high bits are reserved for flags.
    let method = reader.u8("key method")? & 0x0F;
    if method != METHOD {
        return Err(WireError::KeyMethod(method));
    }
    let pre_master = match sender {
        Role::Client => Some(reader.array("pre-master secret")?),
        Role::Server => None,
    };
    Ok(KeySource {
        pre_master,
        random1: reader.array("random 1")?,
        random2: reader.array("random 2")?,
    })
}

/// Reads a string without its NUL; no bytes at all is no string.
fn string<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<Option<&'a [u8]>, WireError> {
    let len = reader.u16(field)?;
    let raw = reader.take(usize::from(len), field)?;
    // The last byte is the NUL, whatever the sender put there.
    let body = raw.split_last().map(|(_, body)| body);
    Ok(body.map(|body| body.split(|byte| *byte == 0).next().unwrap_or_default()))
}

fn optional_string<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<Option<&'a [u8]>, WireError> {
    if reader.is_empty() {
        Ok(None)
    } else {
        string(reader, field)
    }
}

fn text(raw: &[u8]) -> String {
    String::from_utf8_lossy(raw).into_owned()
}

/// Writes a string with its NUL; one beyond 65534 bytes is cut, and refused by every peer anyway.
fn put_string(out: &mut Vec<u8>, text: Option<&str>) {
    let Some(text) = text else {
        out.put_u16(0);
        return;
    };
    let limit = usize::from(u16::MAX) - 1;
    let body = text.as_bytes().get(..text.len().min(limit)).unwrap_or_default();
    out.put_u16(u16::try_from(body.len() + 1).unwrap_or(u16::MAX));
    out.put(body);
    out.put_u8(0);
}

#[cfg(test)]
mod tests;
