//! What the log service's objects look like.

use crate::{
    bus::interface::{Interface, method, read, read_write},
    names::interface,
};

/// Interfaces of the main object.
pub(super) static MAIN: &[&Interface] = &[&LOG];
/// Interfaces of a proxy.
pub(super) static PROXY: &[&Interface] = &[&LOG_PROXY];

static LOG: Interface = Interface {
    name: interface::LOG,
    methods: &[
        method("Attach", &[("interface", "s")], &[]),
        method("Detach", &[("interface", "s")], &[]),
        method("AssignSession", &[("session_path", "o"), ("interface", "s")], &[]),
        method(
            "ProxyLogEvents",
            &[("target_address", "s"), ("session_path", "o")],
            &[("proxy_path", "o")],
        ),
        method("GetSubscriberList", &[], &[("subscribers", "a(ssss)")]),
    ],
    signals: &[],
    properties: &[
        read("version", "s"),
        read("log_method", "s"),
        read_write("log_level", "u"),
        read_write("log_dbus_details", "b"),
        read_write("log_prefix_logtag", "b"),
        read_write("timestamp", "b"),
        read("config_file", "s"),
        read("num_attached", "u"),
    ],
};

static LOG_PROXY: Interface = Interface {
    name: interface::LOG,
    methods: &[method("Remove", &[], &[])],
    signals: &[],
    properties: &[
        read_write("log_level", "u"),
        read("session_path", "o"),
        // Introspected as a path, delivered as a unique name of type `s`: that is what clients have always seen.
        read("target", "o"),
    ],
};
