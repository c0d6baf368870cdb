//! Peer info: what a peer says about itself in `NAME=VALUE` lines (reference section 4.3).

use std::{fmt::Write as _, ops::BitOr};

use crate::data::Cipher;

/// Lines looked at in a received text.
const MAX_LINES: usize = 256;
/// Ciphers looked at in `IV_CIPHERS`.
const MAX_CIPHERS: usize = 64;
/// Longest line that is exported or sent, as in the reference implementation.
const MAX_LINE_BYTES: usize = 256;

/// What a peer can do: the bit mask `IV_PROTO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IvProto(pub u32);

impl IvProto {
    /// Understands data packets with a peer id.
    pub const DATA_V2: Self = Self(1 << 1);
    /// Wants `PUSH_REPLY` without asking.
    pub const REQUEST_PUSH: Self = Self(1 << 2);
    /// Can derive data keys with the TLS exporter.
    pub const TLS_KEY_EXPORT: Self = Self(1 << 3);
    /// Understands the keywords of `AUTH_PENDING`.
    pub const AUTH_PENDING_KW: Self = Self(1 << 4);
    /// Negotiates ciphers as one of two equal peers.
    pub const NCP_P2P: Self = Self(1 << 5);
    /// Understands the first syntax of the `dns` option.
    pub const DNS_OPTION: Self = Self(1 << 6);
    /// Understands exit notices on the control channel, and `protocol-flags`.
    pub const CC_EXIT_NOTIFY: Self = Self(1 << 7);
    /// Understands `AUTH_FAILED,TEMP`.
    pub const AUTH_FAIL_TEMP: Self = Self(1 << 8);
    /// Can derive a tls-crypt key for renegotiations.
    pub const DYN_TLS_CRYPT: Self = Self(1 << 9);
    /// Understands the epoch data format.
    pub const DATA_EPOCH: Self = Self(1 << 10);
    /// Understands the final syntax of the `dns` option.
    pub const DNS_OPTION_V2: Self = Self(1 << 11);
    /// Understands `PUSH_UPDATE`.
    pub const PUSH_UPDATE: Self = Self(1 << 12);

    /// Tells whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets the bits of `other`, too.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for IvProto {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

/// Peer info as it was received.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerInfo {
    text: String,
}

impl PeerInfo {
    /// Takes a received text over.
    pub fn parse(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// The text as it was received.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value of the first line `name=…`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }

    /// Data ciphers in the peer's order (`IV_CIPHERS`), at most 64.
    pub fn ciphers(&self) -> Option<Vec<&str>> {
        let list = self.value("IV_CIPHERS")?;
        Some(
            list.split(':')
                .filter(|name| !name.is_empty())
                .take(MAX_CIPHERS)
                .collect(),
        )
    }

    /// Level of cipher negotiation (`IV_NCP`), 0 if there is none; 2 stands for both AES-GCM ciphers.
    pub fn ncp(&self) -> u32 {
        self.number("IV_NCP").unwrap_or(0)
    }

    /// What the peer can do (`IV_PROTO`).
    pub fn proto(&self) -> IvProto {
        IvProto(self.number("IV_PROTO").unwrap_or(0))
    }

    /// Largest tunnel MTU the peer can handle (`IV_MTU`); without it, none may be pushed.
    pub fn mtu(&self) -> Option<u16> {
        self.number("IV_MTU").and_then(|mtu| u16::try_from(mtu).ok())
    }

    /// The `IV_…` and `UV_…` variables, fit for the environment of a script: whatever a shell could take for
    /// more than text became an underscore.
    pub fn exported(&self) -> impl Iterator<Item = (&str, String)> {
        self.lines()
            .filter(|line| line.len() <= MAX_LINE_BYTES)
            .filter_map(|line| line.split_once('='))
            .filter(|(name, _)| name.starts_with("IV_") || name.starts_with("UV_"))
            .filter(|(name, _)| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
            .map(|(name, value)| (name, value.chars().map(harmless).collect()))
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines().take(MAX_LINES)
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.value(name)?.trim().parse().ok()
    }
}

fn harmless(c: char) -> char {
    if c.is_ascii_graphic() && !matches!(c, '$' | '(' | '`') {
        c
    } else {
        '_'
    }
}

/// What a pull client says about itself.
#[derive(Debug, Clone, Copy)]
pub struct ClientInfo<'a> {
    /// `IV_VER`, such as `2.6.14`.
    pub version: &'a str,
    /// `IV_PLAT`, such as `linux`.
    pub platform: &'a str,
    /// `IV_MTU`: largest tunnel MTU that may be pushed.
    pub mtu: u16,
    /// `IV_CIPHERS`, in order of preference.
    pub ciphers: &'a [Cipher],
    /// `IV_PROTO`.
    pub proto: IvProto,
    /// Further lines `NAME=VALUE`: `UV_…`, `IV_GUI_VER`, `IV_SSO`, and what `push-peer-info` adds.
    pub extra: &'a [(String, String)],
}

impl ClientInfo<'_> {
    /// Writes the lines, each with its line feed. No compression is announced, not even its framings.
    pub fn to_text(&self) -> String {
        let names: Vec<&str> = self.ciphers.iter().map(|cipher| cipher.name()).collect();
        let both_gcm = [Cipher::Aes128Gcm, Cipher::Aes256Gcm]
            .iter()
            .all(|cipher| self.ciphers.contains(cipher));
        let mut text = String::with_capacity(256);
        line(&mut text, "IV_VER", self.version);
        line(&mut text, "IV_PLAT", self.platform);
        line(&mut text, "IV_TCPNL", "1");
        line(&mut text, "IV_MTU", &self.mtu.to_string());
        if both_gcm {
            line(&mut text, "IV_NCP", "2");
        }
        line(&mut text, "IV_CIPHERS", &names.join(":"));
        line(&mut text, "IV_PROTO", &self.proto.0.to_string());
        for (name, value) in self.extra {
            line(&mut text, name, value);
        }
        text
    }
}

/// Appends one line; a value that would break out of it ends at its first line break.
fn line(text: &mut String, name: &str, value: &str) {
    let value = value.lines().next().unwrap_or_default();
    // Writing to a String cannot fail.
    let _infallible = writeln!(text, "{name}={value}");
}

#[cfg(test)]
mod tests;
