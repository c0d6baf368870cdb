//! The client process's object as callers see it.

use crate::{
    bus::interface::{Interface, method, read, read_write, signal},
    names::interface as names,
};

/// The interface that the session manager speaks, as the seed documents it and the newest services extend it.
pub static BACKEND: Interface = Interface {
    name: names::BACKENDS,
    methods: &[
        method(
            "RegistrationConfirmation",
            &[("token", "s"), ("config_path", "o")],
            &[("config_name", "s")],
        ),
        method("Ping", &[], &[("alive", "b")]),
        method("Ready", &[], &[]),
        method("Connect", &[], &[]),
        method("Pause", &[("reason", "s")], &[]),
        method("Resume", &[], &[]),
        method("Restart", &[], &[]),
        method("Disconnect", &[], &[]),
        method("ForceShutdown", &[], &[]),
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
            "StatusChange",
            &[("code_major", "u"), ("code_minor", "u"), ("message", "s")],
        ),
        signal(
            "Log",
            &[
                ("group", "u"),
                ("level", "u"),
                ("session_token", "s"),
                ("message", "s"),
            ],
        ),
        signal(
            "AttentionRequired",
            &[("type", "u"), ("group", "u"), ("message", "s")],
        ),
        signal("RegistrationRequest", &[("busname", "s"), ("token", "s")]),
    ],
    properties: &[
        read("session_path", "o"),
        read_write("log_level", "u"),
        read("session_name", "s"),
        read("statistics", "a{sx}"),
        read("status", "(uus)"),
        read("last_log_line", "a{sv}"),
        read_write("dco", "b"),
        read("device_path", "o"),
        read("device_name", "s"),
        read("connection", "(sssu)"),
    ],
};

/// What the session manager needs beside that.
pub static CLIENT1: Interface = Interface {
    name: names::CLIENT1,
    methods: &[
        // Which session this is, and who may use what the tunnel offers on this host.
        method("SetSession", &[("token", "s"), ("session_path", "o")], &[]),
        method("SetUsers", &[("uids", "au"), ("everybody", "b")], &[]),
    ],
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
