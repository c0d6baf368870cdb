//! Failures in the form that front ends take apart.
//!
//! Upstream raises errors of `GLib`'s, and clients find the domain in the error's name and again in its text. Nothing
//! else is understood by all of them, so that a failed method answers in exactly that form; properties and unknown
//! objects answer with the bus's own names.

use std::fmt::Write as _;

/// Error domains; they name the kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// A method fails on purpose; every refused call.
    Method,
    /// A method fails inside: input queue, bad profile, a failed call to another service.
    Request,
    /// `Ready` says what is missing.
    Ready,
    /// A client process fails.
    Client,
    /// A client process does not know its session.
    Registration,
    /// The log service.
    Log,
    /// Network configuration.
    Netcfg,
}

impl Domain {
    const fn text(self) -> &'static str {
        match self {
            Self::Method => "net.openvpn.gdbuspp",
            Self::Request => "net.openvpn.gdbuspp.request",
            Self::Ready => "net.openvpn.v3.error.ready",
            Self::Client => "net.openvpn.v3.error.client",
            Self::Registration => "net.openvpn.v3.error.be-registration",
            Self::Log => "net.openvpn.v3.log.error",
            Self::Netcfg => "net.openvpn.v3.netcfg.error",
        }
    }
}

/// The bus's own errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standard {
    /// Not for this caller (properties).
    AccessDenied,
    /// Any other failure of a property.
    Failed,
    /// Arguments of the wrong type or value.
    InvalidArgs,
    /// No such object, interface or method.
    UnknownMethod,
    /// Too much at a time.
    LimitsExceeded,
}

impl Standard {
    const fn name(self) -> &'static str {
        match self {
            Self::AccessDenied => "org.freedesktop.DBus.Error.AccessDenied",
            Self::Failed => "org.freedesktop.DBus.Error.Failed",
            Self::InvalidArgs => "org.freedesktop.DBus.Error.InvalidArgs",
            Self::UnknownMethod => "org.freedesktop.DBus.Error.UnknownMethod",
            Self::LimitsExceeded => "org.freedesktop.DBus.Error.LimitsExceeded",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Domain(Domain),
    Standard(Standard),
}

/// Why a call or an access to a property failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct CallError {
    kind: Kind,
    text: String,
}

impl CallError {
    /// A failure of a domain.
    pub fn new(domain: Domain, text: impl Into<String>) -> Self {
        Self {
            kind: Kind::Domain(domain),
            text: text.into(),
        }
    }

    /// One of the bus's own failures.
    pub fn standard(standard: Standard, text: impl Into<String>) -> Self {
        Self {
            kind: Kind::Standard(standard),
            text: text.into(),
        }
    }

    /// A method that fails on purpose.
    pub fn method(text: impl Into<String>) -> Self {
        Self::new(Domain::Method, text)
    }

    /// A method that fails inside.
    pub fn request(text: impl Into<String>) -> Self {
        Self::new(Domain::Request, text)
    }

    /// A property that this caller may not touch.
    pub fn denied(text: impl Into<String>) -> Self {
        Self::standard(Standard::AccessDenied, text)
    }

    /// Arguments that cannot be used.
    pub fn invalid_args(text: impl Into<String>) -> Self {
        Self::standard(Standard::InvalidArgs, text)
    }

    /// The same as a property's failure: those have no domains.
    #[must_use]
    pub fn of_property(self) -> Self {
        match self.kind {
            Kind::Standard(_) => self,
            Kind::Domain(_) if self.text.contains("denied") => Self::denied(self.text),
            Kind::Domain(_) => Self::standard(Standard::Failed, self.text),
        }
    }

    /// Tells whether it refuses this caller a property.
    pub fn is_denied(&self) -> bool {
        self.kind == Kind::Standard(Standard::AccessDenied)
    }

    /// The error's name on the wire.
    pub fn name(&self) -> String {
        match self.kind {
            Kind::Domain(domain) => unmapped(domain.text()),
            Kind::Standard(standard) => standard.name().to_owned(),
        }
    }

    /// The error's text on the wire.
    pub fn message(&self) -> String {
        match self.kind {
            Kind::Domain(domain) => format!("GDBus.Error:{}: {}", domain.text(), self.text),
            Kind::Standard(_) => self.text.clone(),
        }
    }
}

/// What `GLib` calls an error of an unregistered domain with code 36 (`G_IO_ERROR_DBUS_ERROR`).
fn unmapped(domain: &str) -> String {
    let mut name = String::from("org.gtk.GDBus.UnmappedGError.Quark._");
    for byte in domain.bytes() {
        if byte.is_ascii_alphanumeric() {
            name.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _written = write!(name, "_{byte:02x}");
        }
    }
    name.push_str(".Code36");
    name
}

/// The part of a remote failure's text that is for people.
pub fn bare_text(message: &str) -> &str {
    let mut rest = message;
    while let Some(behind) = rest.strip_prefix("GDBus.Error:") {
        rest = behind
            .split_once(": ")
            .map_or(behind, |(_, text)| text)
            .trim_start();
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_those_of_glib() {
        let error = CallError::new(Domain::Registration, "no");
        let name =
            "org.gtk.GDBus.UnmappedGError.Quark._net_2eopenvpn_2ev3_2eerror_2ebe_2dregistration.Code36";
        assert_eq!(error.name(), name);
        assert_eq!(
            error.message(),
            "GDBus.Error:net.openvpn.v3.error.be-registration: no"
        );
        let error = CallError::method("Access denied");
        assert_eq!(
            error.name(),
            "org.gtk.GDBus.UnmappedGError.Quark._net_2eopenvpn_2egdbuspp.Code36"
        );
        // `openvpn2` takes a failed validation for a mere warning if the domain stands behind that long a name.
        let printed = format!("{}: {}", error.name(), error.message());
        assert!(
            printed.find("GDBus.Error:net.openvpn.gdbuspp:").unwrap() > 67,
            "{printed}"
        );
    }

    #[test]
    fn properties_fail_with_the_bus_s_own_names() {
        let error = CallError::method("Access denied").of_property();
        assert!(error.is_denied());
        assert_eq!(
            (error.name().as_str(), error.message().as_str()),
            ("org.freedesktop.DBus.Error.AccessDenied", "Access denied")
        );
        let error = CallError::method("Backend VPN process did not respond").of_property();
        assert_eq!(error.name(), "org.freedesktop.DBus.Error.Failed");
    }

    #[test]
    fn the_text_for_people_is_found_in_nested_errors() {
        let nested = "GDBus.Error:org.x.Y: GDBus.Error:net.openvpn.gdbuspp.request:  Not now";
        assert_eq!(bare_text(nested), "Not now");
        assert_eq!(bare_text("plain: text"), "plain: text");
    }
}
