//! Which bus is meant: the system's, the session's, or one by its address.

use std::{env, fmt, str::FromStr};

/// A bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusAddress {
    /// The system bus (`DBUS_SYSTEM_BUS_ADDRESS`, or the usual socket).
    System,
    /// The user's session bus (`DBUS_SESSION_BUS_ADDRESS`, or the usual socket).
    Session,
    /// A bus by its address, `unix:path=…`.
    At(String),
}

/// A text that names no bus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no bus: give `system`, `session`, or an address as `unix:path=/run/user/1000/bus`")]
pub struct BusAddressError(String);

impl BusAddress {
    /// The bus that started this process, if one did (`DBUS_STARTER_ADDRESS`).
    pub fn starter() -> Option<Self> {
        let address = env::var("DBUS_STARTER_ADDRESS").ok()?;
        (!address.is_empty()).then_some(Self::At(address))
    }
}

impl FromStr for BusAddress {
    type Err = BusAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "system" => Ok(Self::System),
            "session" => Ok(Self::Session),
            address if address.contains(':') => Ok(Self::At(address.to_owned())),
            other => Err(BusAddressError(other.to_owned())),
        }
    }
}

impl fmt::Display for BusAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Session => f.write_str("session"),
            Self::At(address) => f.write_str(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_is_named_or_addressed() {
        for text in ["system", "session", "unix:path=/run/x"] {
            assert_eq!(text.parse::<BusAddress>().unwrap().to_string(), text);
        }
        assert!("sistem".parse::<BusAddress>().is_err());
    }
}
