//! The session manager's objects as callers see them.

use crate::{
    bus::interface::{Interface, method, read, read_write, signal},
    names::interface as names,
};

/// The manager.
pub static MANAGER: Interface = Interface {
    name: names::SESSIONS,
    methods: &[
        method("NewTunnel", &[("config_path", "o")], &[("session_path", "o")]),
        method("FetchAvailableSessions", &[], &[("paths", "ao")]),
        method("FetchManagedInterfaces", &[], &[("devices", "as")]),
        method(
            "LookupConfigName",
            &[("config_name", "s")],
            &[("session_paths", "ao")],
        ),
        method(
            "LookupInterface",
            &[("device_name", "s")],
            &[("session_path", "o")],
        ),
        method("TransferOwnership", &[("path", "o"), ("new_owner_uid", "u")], &[]),
    ],
    signals: &[
        signal("Log", &[("group", "u"), ("level", "u"), ("message", "s")]),
        signal(
            "SessionManagerEvent",
            &[("path", "o"), ("type", "q"), ("owner", "u")],
        ),
    ],
    properties: &[read("version", "s")],
};

/// A session.
pub static SESSION: Interface = Interface {
    name: names::SESSIONS,
    methods: &[
        method("Ready", &[], &[]),
        method("Connect", &[], &[]),
        method("Pause", &[("reason", "s")], &[]),
        method("Resume", &[], &[]),
        method("Restart", &[], &[]),
        method("Disconnect", &[], &[]),
        method("AccessGrant", &[("uid", "u")], &[]),
        method("AccessRevoke", &[("uid", "u")], &[]),
        method("LogForward", &[("enable", "b")], &[]),
        method("UserInputQueueGetTypeGroup", &[], &[("type_group_list", "a(uu)")]),
        method(
            "UserInputQueueFetch",
            &[("type", "u"), ("group", "u"), ("id", "u")],
            &[
                ("type", "u"),
                ("group", "u"),
                ("id", "u"),
                ("name", "s"),
                ("description", "s"),
                ("hidden_input", "b"),
            ],
        ),
        method(
            "UserInputQueueCheck",
            &[("type", "u"), ("group", "u")],
            &[("indexes", "au")],
        ),
        method(
            "UserInputProvide",
            &[("type", "u"), ("group", "u"), ("id", "u"), ("value", "s")],
            &[],
        ),
    ],
    signals: &[
        signal(
            "AttentionRequired",
            &[("type", "u"), ("group", "u"), ("message", "s")],
        ),
        signal(
            "StatusChange",
            &[("code_major", "u"), ("code_minor", "u"), ("message", "s")],
        ),
        signal("Log", &[("group", "u"), ("level", "u"), ("message", "s")]),
    ],
    properties: &[
        read("owner", "u"),
        read("session_created", "t"),
        read("acl", "au"),
        read_write("public_access", "b"),
        read("status", "(uus)"),
        read("last_log", "a{sv}"),
        read("statistics", "a{sx}"),
        read_write("dco", "b"),
        read("device_path", "o"),
        read("device_name", "s"),
        read("config_path", "o"),
        read("config_name", "s"),
        read("connected_to", "(ssu)"),
        read("session_name", "s"),
        read("backend_pid", "u"),
        read_write("restrict_log_access", "b"),
        read("log_forwards", "ao"),
        read_write("log_verbosity", "u"),
    ],
};

/// What a session offers on this host; of our own, beside the standard interface.
pub static SESSION1: Interface = Interface {
    name: names::SESSION1,
    methods: &[],
    signals: &[],
    properties: &[
        read("proxies", "as"),
        read("pac", "s"),
        read("status_page", "s"),
        read("device_kind", "s"),
        read("inner_addresses", "as"),
        read("dns_servers", "as"),
    ],
};
