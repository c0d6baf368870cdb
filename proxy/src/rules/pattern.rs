//! What a rule is for: a network, a name, the names below one, or everything.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::relative;
use crate::connect::{HostName, InvalidTarget};

/// What a rule is for. Names are kept in lower case and without a final dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `*`: every name and every address.
    Everything,
    /// `10.0.0.0/8`, `10.1.2.3`, `fd00::/8`: addresses.
    Network(IpNet),
    /// `=host.example`: this name alone.
    Exact(HostName),
    /// `.corp.example` or `*.corp.example`: names below this one.
    Below(HostName),
    /// `corp.example`: this name and all below it.
    Tree(HostName),
}

impl Pattern {
    /// Whether it is for this address.
    pub fn matches_address(&self, address: IpAddr) -> bool {
        match self {
            Self::Everything => true,
            Self::Network(net) => net.contains(&address.to_canonical()),
            Self::Exact(_) | Self::Below(_) | Self::Tree(_) => false,
        }
    }

    /// Whether it is for this name, as it is written.
    pub fn matches_name(&self, name: &HostName) -> bool {
        let name = relative(name);
        let is_below = |parent: &HostName| {
            name.strip_suffix(parent.as_str())
                .is_some_and(|rest| rest.ends_with('.'))
        };
        match self {
            Self::Everything => true,
            Self::Network(_) => false,
            Self::Exact(wanted) => name == wanted.as_str(),
            Self::Below(parent) => is_below(parent),
            Self::Tree(top) => name == top.as_str() || is_below(top),
        }
    }
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        if text == "*" {
            return Ok(Self::Everything);
        }
        if let Some(net) = network(text)? {
            return Ok(Self::Network(net));
        }
        if let Some(rest) = text.strip_prefix('=') {
            return Ok(Self::Exact(name(text, rest)?));
        }
        let below = text.strip_prefix("*.").or_else(|| text.strip_prefix('.'));
        match below {
            Some(rest) => Ok(Self::Below(name(text, rest)?)),
            None => Ok(Self::Tree(name(text, text)?)),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("*"),
            Self::Network(net) => write!(f, "{net}"),
            Self::Exact(name) => write!(f, "={name}"),
            Self::Below(name) => write!(f, ".{name}"),
            Self::Tree(name) => write!(f, "{name}"),
        }
    }
}

/// Reads an address or a network; `None` for what must be a name.
fn network(text: &str) -> Result<Option<IpNet>, InvalidPattern> {
    let unbracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = unbracketed.parse::<IpAddr>() {
        return Ok(Some(address.to_canonical().into()));
    }
    if !text.contains('/') {
        return Ok(None);
    }
    let net = text.parse::<IpNet>().map_err(|_| InvalidPattern::Network {
        pattern: text.to_owned(),
    })?;
    let trunc = net.trunc();
    if trunc != net {
        return Err(InvalidPattern::HostBits {
            pattern: text.to_owned(),
            network: trunc,
        });
    }
    Ok(Some(net))
}

fn name(pattern: &str, text: &str) -> Result<HostName, InvalidPattern> {
    let relative = text.strip_suffix('.').unwrap_or(text);
    HostName::parse(relative).map_err(|problem| InvalidPattern::Name {
        pattern: pattern.to_owned(),
        problem,
    })
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// Something with a slash that is no network.
    #[error("{pattern:?} is no network; write ADDRESS/BITS, such as 10.0.0.0/8 or fd00::/8")]
    Network {
        /// The pattern.
        pattern: String,
    },
    /// An address within the network in place of its first one.
    #[error(
        "{pattern:?} has bits set behind its prefix; write {network} for the network, or the address alone"
    )]
    HostBits {
        /// The pattern.
        pattern: String,
        /// What it would be without these bits.
        network: IpNet,
    },
    /// Neither an address nor a name.
    #[error(
        "{pattern:?} is neither an address, a network (10.0.0.0/8), a domain (corp.example, .corp.example, \
         =host.example) nor *: {problem}"
    )]
    Name {
        /// The pattern.
        pattern: String,
        /// What is wrong with it as a name.
        problem: InvalidTarget,
    },
}
