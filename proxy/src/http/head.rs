//! Heads of requests and responses as bytes (RFC 9112 §2 to §5), read strictly.
//!
//! What two readers could take for two different things is refused here, not repaired: lines end with CR LF, nothing
//! is folded, names are tokens up to their colon, values hold no control bytes. Knows no field's meaning.

use std::str;

/// Most fields in a request.
pub(super) const REQUEST_FIELDS: usize = 64;
/// Most fields in a response: servers send more of them than clients.
pub(super) const RESPONSE_FIELDS: usize = 128;

/// Why bytes are no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Syntax {
    #[error("a line ends with a bare line feed, end it with CR LF")]
    BareLineFeed,
    #[error("the first line is not METHOD TARGET VERSION with one space between each")]
    RequestLine,
    #[error("the first line is not VERSION STATUS REASON")]
    StatusLine,
    #[error("the HTTP version is not served, use HTTP/1.1")]
    Version,
    #[error("a line begins with white space, put each field on one line")]
    Folded,
    #[error("a field has no name, or one with a byte that names are not made of")]
    Name,
    #[error("a field's value has the control byte {byte:#04x}")]
    Value {
        /// The first such byte.
        byte: u8,
    },
    #[error("more than {most} fields")]
    TooManyFields {
        /// How many are taken.
        most: usize,
    },
}

/// The versions that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// HTTP/1.0: no chunks, no interim responses.
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl Version {
    /// As it stands in `Via` (RFC 9110 §7.6.3).
    pub(super) fn number(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
        }
    }

    fn decode(text: &[u8]) -> Option<Result<Self, Syntax>> {
        match text {
            b"HTTP/1.1" => Some(Ok(Self::Http11)),
            b"HTTP/1.0" => Some(Ok(Self::Http10)),
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                Some(Err(Syntax::Version))
            }
            _ => None,
        }
    }
}

/// One field line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// As it was written; compare it without regard to case.
    pub(super) name: String,
    /// Without the white space around it.
    pub(super) value: Vec<u8>,
}

/// Field lines in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<Field>);

impl Fields {
    /// All lines.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Field> {
        self.0.iter()
    }

    /// The values of the lines called `name`.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value.as_slice())
    }

    /// Whether there is a line called `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// The members of a comma-separated list over all lines called `name`, in lower case (RFC 9110 §5.6.1). Members
    /// that are not text are left out.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        self.values(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
            .filter_map(|member| str::from_utf8(member).ok())
            .map(str::to_ascii_lowercase)
            .collect()
    }

    /// Leaves only what `keep` says.
    pub(super) fn retain(&mut self, keep: impl Fn(&Field) -> bool) {
        self.0.retain(keep);
    }

    /// Appends the lines as they go over the wire.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for field in &self.0 {
            put_field(out, &field.name, &field.value);
        }
    }
}

/// Appends one field line.
pub(super) fn put_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A request's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestHead {
    /// A token, in its own case (RFC 9110 §9.1).
    pub(super) method: String,
    /// Visible ASCII.
    pub(super) target: String,
    pub(super) version: Version,
    pub(super) fields: Fields,
}

impl RequestHead {
    /// Reads the head at the start of `bytes` and says how long it is; `None` while it is incomplete.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Syntax> {
        let mut lines = Lines::new(bytes);
        let Some(line) = lines.next()? else {
            return Ok(None);
        };
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Syntax::RequestLine);
        };
        let method = token(method).ok_or(Syntax::RequestLine)?.to_owned();
        let target = visible(target).ok_or(Syntax::RequestLine)?.to_owned();
        let version = Version::decode(version).ok_or(Syntax::RequestLine)??;
        let head = |fields| Self {
            method,
            target,
            version,
            fields,
        };
        Ok(lines
            .fields(REQUEST_FIELDS)?
            .map(|fields| (head(fields), lines.taken)))
    }

    /// The head as it would have been sent.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = format!(
            "{} {} HTTP/{}\r\n",
            self.method,
            self.target,
            self.version.number()
        )
        .into_bytes();
        self.fields.encode(&mut out);
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// A response's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResponseHead {
    /// 100 to 599.
    pub(super) status: u16,
    pub(super) reason: Vec<u8>,
    pub(super) version: Version,
    pub(super) fields: Fields,
}

impl ResponseHead {
    /// Reads the head at the start of `bytes` and says how long it is; `None` while it is incomplete.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Syntax> {
        let mut lines = Lines::new(bytes);
        let Some(line) = lines.next()? else {
            return Ok(None);
        };
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let (Some(version), Some(status)) = (parts.next(), parts.next()) else {
            return Err(Syntax::StatusLine);
        };
        // The space before an empty reason is left out by so many servers that it means nothing.
        let reason = parts.next().unwrap_or_default();
        let version = Version::decode(version).ok_or(Syntax::StatusLine)??;
        let [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9'] = status else {
            return Err(Syntax::StatusLine);
        };
        let status = status
            .iter()
            .fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
        if bad_value_byte(reason).is_some() {
            return Err(Syntax::StatusLine);
        }
        let head = |fields| Self {
            status,
            reason: reason.to_vec(),
            version,
            fields,
        };
        Ok(lines
            .fields(RESPONSE_FIELDS)?
            .map(|fields| (head(fields), lines.taken)))
    }

    /// The head as it would have been sent.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = format!("HTTP/{} {} ", self.version.number(), self.status).into_bytes();
        out.extend_from_slice(&self.reason);
        out.extend_from_slice(b"\r\n");
        self.fields.encode(&mut out);
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// Reads field lines up to and with the empty line behind them, as they stand behind the last chunk; `None` while they
/// are incomplete.
pub(super) fn decode_fields(bytes: &[u8], most: usize) -> Result<Option<(Fields, usize)>, Syntax> {
    let mut lines = Lines::new(bytes);
    Ok(lines.fields(most)?.map(|fields| (fields, lines.taken)))
}

/// The complete lines of a head.
struct Lines<'a> {
    rest: &'a [u8],
    taken: usize,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            taken: 0,
        }
    }

    /// The next line without its end; `None` when it is incomplete. A bare CR is left in and is part of no name, no
    /// value and no first line.
    fn next(&mut self) -> Result<Option<&'a [u8]>, Syntax> {
        let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let (line, rest) = self.rest.split_at(end + 1);
        self.rest = rest;
        self.taken += line.len();
        line.strip_suffix(b"\r\n").ok_or(Syntax::BareLineFeed).map(Some)
    }

    fn fields(&mut self, most: usize) -> Result<Option<Fields>, Syntax> {
        let mut fields = Vec::new();
        loop {
            match self.next()? {
                None => return Ok(None),
                Some([]) => return Ok(Some(Fields(fields))),
                Some(_) if fields.len() >= most => return Err(Syntax::TooManyFields { most }),
                Some(line) => fields.push(field(line)?),
            }
        }
    }
}

fn field(line: &[u8]) -> Result<Field, Syntax> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(Syntax::Folded);
    }
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Syntax::Name)?;
    let (name, rest) = line.split_at(colon);
    let name = token(name).ok_or(Syntax::Name)?;
    let value = trim(rest.get(1..).unwrap_or_default());
    match bad_value_byte(value) {
        Some(byte) => Err(Syntax::Value { byte }),
        None => Ok(Field {
            name: name.to_owned(),
            value: value.to_vec(),
        }),
    }
}

/// Optional white space is spaces and tabs, nothing else (RFC 9110 §5.6.3).
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn bad_value_byte(value: &[u8]) -> Option<u8> {
    value
        .iter()
        .copied()
        .find(|byte| byte.is_ascii_control() && *byte != b'\t')
}

/// A token (RFC 9110 §5.6.2).
pub(super) fn token(bytes: &[u8]) -> Option<&str> {
    let is_token_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    (!bytes.is_empty() && bytes.iter().all(is_token_byte))
        .then(|| str::from_utf8(bytes).ok())
        .flatten()
}

fn visible(bytes: &[u8]) -> Option<&str> {
    (!bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic))
        .then(|| str::from_utf8(bytes).ok())
        .flatten()
}
