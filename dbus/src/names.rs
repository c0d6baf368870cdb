//! Bus names, object paths, interfaces and the ids in them, as front ends know them.

use uuid::Uuid;

/// Well-known names of the services.
pub mod service {
    /// Stores profiles.
    pub const CONFIGURATION: &str = "net.openvpn.v3.configuration";
    /// Holds sessions.
    pub const SESSIONS: &str = "net.openvpn.v3.sessions";
    /// Starts client processes.
    pub const BACKENDS: &str = "net.openvpn.v3.backends";
    /// Collects and forwards log lines and statuses.
    pub const LOG: &str = "net.openvpn.v3.log";
    /// Describes and sets up devices.
    pub const NETCFG: &str = "net.openvpn.v3.netcfg";
    /// What a client process's name begins with; its process id follows.
    pub const CLIENT_PREFIX: &str = "net.openvpn.v3.backends.be";
    /// What all names begin with, as a namespace of match rules.
    pub const NAMESPACE: &str = "net.openvpn.v3";
    /// The bus itself.
    pub const DBUS: &str = "org.freedesktop.DBus";
}

/// Object paths of the services; objects below them end in an id.
pub mod path {
    /// Configuration manager.
    pub const CONFIGURATION: &str = "/net/openvpn/v3/configuration";
    /// Session manager.
    pub const SESSIONS: &str = "/net/openvpn/v3/sessions";
    /// Starter.
    pub const BACKENDS: &str = "/net/openvpn/v3/backends";
    /// The one object of a client process.
    pub const CLIENT: &str = "/net/openvpn/v3/backends/session";
    /// Log service.
    pub const LOG: &str = "/net/openvpn/v3/log";
    /// Log proxies stand below this.
    pub const LOG_PROXY: &str = "/net/openvpn/v3/log/proxy";
    /// Network configuration.
    pub const NETCFG: &str = "/net/openvpn/v3/netcfg";
    /// The bus itself.
    pub const DBUS: &str = "/org/freedesktop/DBus";
}

/// Interfaces; objects below a service's main one carry the same.
pub mod interface {
    /// Profiles and their manager.
    pub const CONFIGURATION: &str = "net.openvpn.v3.configuration";
    /// Sessions and their manager.
    pub const SESSIONS: &str = "net.openvpn.v3.sessions";
    /// Starter and client processes.
    pub const BACKENDS: &str = "net.openvpn.v3.backends";
    /// Log service and its proxies.
    pub const LOG: &str = "net.openvpn.v3.log";
    /// Network configuration and its devices.
    pub const NETCFG: &str = "net.openvpn.v3.netcfg";
    /// Of our own, on each session: what the tunnel offers on this host.
    pub const SESSION1: &str = "io.github.tunless.Session1";
    /// Of our own, on the client process: what the session manager needs beside the standard interface.
    pub const CLIENT1: &str = "io.github.tunless.Client1";
    /// Of our own, on each device: how a device that is no interface of the host is described.
    pub const DEVICE1: &str = "io.github.tunless.Device1";
    /// `Get`, `Set`, `GetAll`.
    pub const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
    /// `Introspect`.
    pub const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";
    /// `Ping`, `GetMachineId`.
    pub const PEER: &str = "org.freedesktop.DBus.Peer";
    /// The bus itself.
    pub const DBUS: &str = "org.freedesktop.DBus";
}

/// Version that every service reports: front ends switch features on from `v26`, and want `v`, digits and
/// words behind underscores.
pub const VERSION: &str = "v27_tunless";

/// Last element of a profile's path: a random id.
pub fn profile_id() -> String {
    id('x')
}

/// Last element of a session's path: a random id.
pub fn session_id() -> String {
    id('s')
}

/// Last element of a log proxy's path: a random id.
pub fn log_proxy_id() -> String {
    id('l')
}

/// What ties a client process to its session while it is started: a random id that nobody else learns.
pub fn session_token() -> String {
    id('t')
}

/// A version 4 UUID in lower case, with `letter` in place of each hyphen.
fn id(letter: char) -> String {
    Uuid::new_v4().to_string().replace('-', &letter.to_string())
}

/// The process id in a client process's bus name; `None` for another name.
pub fn client_pid(name: &str) -> Option<u32> {
    name.strip_prefix(service::CLIENT_PREFIX)?.parse().ok()
}

/// Removes what must not reach logs and terminals from a text that a caller gave: control characters.
pub fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_letter_in_place_of_hyphens() {
        for (id, letter) in [(profile_id(), 'x'), (session_id(), 's'), (log_proxy_id(), 'l')] {
            assert_eq!(id.len(), 36);
            let at: Vec<_> = id.match_indices(letter).map(|(at, _)| at).collect();
            assert_eq!(at, [8, 13, 18, 23], "{id}");
        }
        assert_ne!(session_token(), session_token());
    }

    #[test]
    fn a_client_process_is_known_by_its_name() {
        assert_eq!(client_pid("net.openvpn.v3.backends.be4711"), Some(4711));
        for other in [
            "net.openvpn.v3.backends",
            "net.openvpn.v3.backends.be",
            "net.openvpn.v3.backends.bex",
        ] {
            assert_eq!(client_pid(other), None, "{other}");
        }
    }

    #[test]
    fn control_characters_are_taken_out() {
        assert_eq!(printable("a\u{1b}[31mb\n\u{0}c"), "a[31mbc");
    }
}
