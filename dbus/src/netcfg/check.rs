//! What callers give, read: addresses, prefixes, names.

use std::net::IpAddr;

use crate::{
    error::{CallError, Domain},
    names::printable,
};

/// Longest name of an interface on Linux (`IFNAMSIZ` without its end).
const MAX_INTERFACE_NAME_BYTES: usize = 15;
/// Longest name that a device is made under; a session's token has 36 letters.
const MAX_DEVICE_NAME_BYTES: usize = 64;
/// Longest domain name and longest label (RFC 1035 §2.3.4).
const MAX_DOMAIN_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;
/// How much of a bad value is said again.
const MAX_SHOWN_LETTERS: usize = 64;

/// A value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Invalid {
    #[error("`{0}` is no IP address")]
    Address(String),
    #[error("`{0}` is of the other IP version")]
    Version(IpAddr),
    #[error("prefix size {size} is too large for `{of}`")]
    Prefix { size: u32, of: IpAddr },
    #[error("metric {0} is below -1")]
    Metric(i32),
    #[error("`{0}` is no domain name")]
    Domain(String),
    #[error("`{0}` cannot name a device: letters, digits and underscores can, at most 64")]
    DeviceName(String),
    #[error("`{0}` cannot be the name of an interface")]
    InterfaceName(String),
    #[error("`{value}` is none of {known}")]
    Choice { value: String, known: &'static str },
    #[error("notification filter {0} is not within 1 and 65535")]
    Filter(u32),
}

impl From<Invalid> for CallError {
    fn from(invalid: Invalid) -> Self {
        Self::new(Domain::Netcfg, invalid.to_string())
    }
}

/// A value from outside, for an error's text.
fn shown(text: &str) -> String {
    printable(text).chars().take(MAX_SHOWN_LETTERS).collect()
}

/// An address of that version.
pub(super) fn address(text: &str, ipv6: bool) -> Result<IpAddr, Invalid> {
    let address = any_address(text)?;
    if address.is_ipv6() == ipv6 {
        Ok(address)
    } else {
        Err(Invalid::Version(address))
    }
}

/// An address of either version.
pub(super) fn any_address(text: &str) -> Result<IpAddr, Invalid> {
    text.parse().map_err(|_| Invalid::Address(shown(text)))
}

/// A prefix size that fits the address.
pub(super) fn prefix(size: u32, of: IpAddr) -> Result<u8, Invalid> {
    let max = if of.is_ipv6() { 128 } else { 32 };
    u8::try_from(size)
        .ok()
        .filter(|size| *size <= max)
        .ok_or(Invalid::Prefix { size, of })
}

/// A metric; -1 is the usual one.
pub(super) fn metric(metric: i32) -> Result<(), Invalid> {
    if metric >= -1 {
        Ok(())
    } else {
        Err(Invalid::Metric(metric))
    }
}

/// A domain without the last dot; the root stays a dot.
pub(super) fn domain(text: &str) -> Result<String, Invalid> {
    if text == "." {
        return Ok(text.to_owned());
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_label =
        |label: &str| !label.is_empty() && label.len() <= MAX_LABEL_BYTES && label.bytes().all(is_letter);
    if name.len() <= MAX_DOMAIN_BYTES && name.split('.').all(is_label) {
        Ok(name.to_owned())
    } else {
        Err(Invalid::Domain(shown(text)))
    }
}

/// A name that a device is made under: it becomes part of a path.
pub(super) fn device_name(text: &str) -> Result<&str, Invalid> {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if (1..=MAX_DEVICE_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_letter) {
        Ok(text)
    } else {
        Err(Invalid::DeviceName(shown(text)))
    }
}

/// A name that an interface of the host could have.
pub(super) fn interface_name(text: &str) -> Result<&str, Invalid> {
    let is_letter = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    let is_name = (1..=MAX_INTERFACE_NAME_BYTES).contains(&text.len())
        && text.bytes().all(is_letter)
        && text != "."
        && text != "..";
    if is_name {
        Ok(text)
    } else {
        Err(Invalid::InterfaceName(shown(text)))
    }
}

/// A word that is one of some.
pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)], known: &'static str) -> Result<T, Invalid> {
    let found = choices.iter().find(|(word, _)| *word == text);
    found.map(|(_, choice)| *choice).ok_or_else(|| Invalid::Choice {
        value: shown(text),
        known,
    })
}

/// A mask of changes that a subscriber wants.
pub(super) fn filter(mask: u32) -> Result<u32, Invalid> {
    if (1..=u32::from(u16::MAX)).contains(&mask) {
        Ok(mask)
    } else {
        Err(Invalid::Filter(mask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_prefixes_fit_their_version() {
        let ip = address("10.8.0.2", false).unwrap();
        assert_eq!(prefix(32, ip), Ok(32));
        assert!(prefix(33, ip).is_err());
        let ip = address("fd00::2", true).unwrap();
        assert_eq!(prefix(128, ip), Ok(128));
        assert!(prefix(129, ip).is_err() && prefix(u32::MAX, ip).is_err());
        for (text, ipv6) in [
            ("10.8.0.2", true),
            ("fd00::2", false),
            ("10.8.0", false),
            ("10.8.0.2/24", false),
            ("", false),
            ("fe80::1%eth0", true),
        ] {
            assert!(address(text, ipv6).is_err(), "{text}");
        }
    }

    #[test]
    fn domains_have_labels() {
        for good in [
            "corp",
            "corp.example",
            "_tcp.corp.example",
            ".",
            "xn--bcher-kva.example",
        ] {
            assert_eq!(domain(good).unwrap(), good);
        }
        assert_eq!(domain("corp.example.").unwrap(), "corp.example");
        let long_label = "a".repeat(64);
        let long = ["a"; 200].join(".");
        for bad in ["", "..", "a..b", "a b", "a\nb", "bücher", &long_label, &long] {
            assert!(domain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_fit_paths_and_interfaces() {
        assert!(device_name("3b2ct").is_ok() && device_name(&"a".repeat(64)).is_ok());
        for bad in ["", "a/b", "tun-0", &"a".repeat(65)] {
            assert!(device_name(bad).is_err(), "{bad}");
        }
        assert!(interface_name("netstack0").is_ok() && interface_name("tun-0.1").is_ok());
        for bad in ["", ".", "..", "a/b", "a b", "sixteen_letters_"] {
            assert!(interface_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bad_values_are_said_again_without_harm() {
        let text = format!("\u{1b}[2J{}", "x".repeat(1000));
        let said = address(&text, false).unwrap_err().to_string();
        assert!(said.len() < 100 && !said.contains('\u{1b}'), "{said}");
    }

    #[test]
    fn filters_and_metrics_have_bounds() {
        assert!(filter(0).is_err() && filter(65_536).is_err());
        assert_eq!((filter(1), filter(65_535)), (Ok(1), Ok(65_535)));
        assert_eq!(metric(-1), Ok(()));
        assert!(metric(-2).is_err());
    }
}
