//! The user's own rules: which targets go through the tunnel, directly, or nowhere. Pure; resolves and dials nothing.
//!
//! The first rule that matches wins; what no rule matches goes through the tunnel. How they are matched:
//!
//! - A name is compared as the client wrote it, without its final dot. It is never resolved to find out whether a rule
//!   for a network matches, so networks do not send names anywhere. A short name is compared as such, not with the
//!   search domains that the tunnel's resolver tries behind it.
//! - An address is compared with networks; rules for names do not match it.
//! - `refuse` for a network also holds for names: once a name has been resolved where it goes to (inside the tunnel,
//!   unless a rule for the name says `direct`), each address is held against the rules for networks that stand before
//!   the one that decided about the name, and is left out if the first that matches says `refuse`.

pub mod pac;
mod pattern;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

pub use self::pattern::{InvalidPattern, Pattern};
use crate::connect::{HostName, Target};

/// Most rules: each new connection looks at all of them.
pub const MAX_RULES: usize = 1000;

/// Where a target goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Through the tunnel.
    Tunnel,
    /// Over the host's own network, outside the tunnel.
    Direct,
    /// Nowhere.
    Refuse,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tunnel => "tunnel",
            Self::Direct => "direct",
            Self::Refuse => "refuse",
        })
    }
}

/// One rule: `PATTERN=ACTION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is for.
    pub pattern: Pattern,
    /// What happens to it.
    pub action: Action,
}

impl FromStr for Rule {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let (pattern, action) = text.rsplit_once('=').ok_or(InvalidRule::NoAction)?;
        let action = match action.trim() {
            "tunnel" => Action::Tunnel,
            "direct" => Action::Direct,
            "refuse" => Action::Refuse,
            other => {
                return Err(InvalidRule::UnknownAction {
                    action: other.to_owned(),
                });
            }
        };
        let pattern = pattern.trim().parse()?;
        Ok(Self { pattern, action })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.pattern, self.action)
    }
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    /// No `=`.
    #[error("says no action; write PATTERN=tunnel, PATTERN=direct or PATTERN=refuse")]
    NoAction,
    /// Another word after `=`.
    #[error("{action:?} is no action; write tunnel, direct or refuse")]
    UnknownAction {
        /// The word.
        action: String,
    },
    /// Something that is no pattern before `=`.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
}

/// More rules than [`MAX_RULES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} rules are given, {MAX_RULES} are the most; write fewer, wider ones")]
pub struct TooManyRules {
    /// How many.
    pub count: usize,
}

/// What becomes of a target, and which rules its addresses are still held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Where it goes.
    pub action: Action,
    /// Whether the rule that decided names the target more closely than `*`.
    pub is_specific: bool,
    /// Rules before the one that decided.
    before: usize,
}

/// The rules, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
}

impl Rules {
    /// Takes the rules in their order.
    pub fn new(rules: Vec<Rule>) -> Result<Self, TooManyRules> {
        match rules.len() {
            0..=MAX_RULES => Ok(Self { rules }),
            count => Err(TooManyRules { count }),
        }
    }

    /// The rules in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// Whether any rule says `direct`. Without one nothing may ever leave outside the tunnel.
    pub fn has_direct(&self) -> bool {
        self.rules.iter().any(|rule| rule.action == Action::Direct)
    }

    /// What becomes of `target`.
    pub fn decide(&self, target: &Target) -> Decision {
        let matches = |rule: &Rule| match target {
            Target::Address(address) => rule.pattern.matches_address(address.ip()),
            Target::Name(name, _) => rule.pattern.matches_name(name),
        };
        let found = self.rules.iter().enumerate().find(|(_, rule)| matches(rule));
        match found {
            Some((before, rule)) => Decision {
                action: rule.action,
                is_specific: rule.pattern != Pattern::Everything,
                before,
            },
            None => Decision {
                action: Action::Tunnel,
                is_specific: false,
                before: self.rules.len(),
            },
        }
    }

    /// Whether any address of a name that was decided about might be refused: only then it has to be resolved first.
    pub fn may_refuse_addresses(&self, decision: Decision) -> bool {
        self.networks(decision)
            .any(|(_, action)| action == Action::Refuse)
    }

    /// Whether a name that was decided about must not be connected to at this address of it.
    pub fn refuses_address(&self, decision: Decision, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let first = self.networks(decision).find(|(net, _)| net.contains(&address));
        first.is_some_and(|(_, action)| action == Action::Refuse)
    }

    fn networks(&self, decision: Decision) -> impl Iterator<Item = (IpNet, Action)> {
        let before = self.rules.iter().take(decision.before);
        before.filter_map(|rule| match rule.pattern {
            Pattern::Network(net) => Some((net, rule.action)),
            Pattern::Everything | Pattern::Exact(_) | Pattern::Below(_) | Pattern::Tree(_) => None,
        })
    }
}

/// The name as it is compared: without the root's dot.
fn relative(name: &HostName) -> &str {
    let name = name.as_str();
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests;
