//! What the service's objects look like.

use crate::{
    bus::interface::{Interface, method, read, read_write, signal},
    names::interface,
};

/// Interfaces of the main object.
pub(super) static ON_MAIN: &[&Interface] = &[&MAIN];
/// Interfaces of a profile.
pub(super) static ON_PROFILE: &[&Interface] = &[&PROFILE];

static MAIN: Interface = Interface {
    name: interface::CONFIGURATION,
    methods: &[
        method(
            "Import",
            &[
                ("name", "s"),
                ("config_str", "s"),
                ("single_use", "b"),
                ("persistent", "b"),
            ],
            &[("config_path", "o")],
        ),
        method("FetchAvailableConfigs", &[], &[("paths", "ao")]),
        method(
            "LookupConfigName",
            &[("config_name", "s")],
            &[("config_paths", "ao")],
        ),
        method("SearchByTag", &[("tag", "s")], &[("paths", "ao")]),
        method("SearchByOwner", &[("owner", "s")], &[("paths", "ao")]),
        method("TransferOwnership", &[("path", "o"), ("new_owner_uid", "u")], &[]),
    ],
    signals: &[
        signal("Log", &[("group", "u"), ("level", "u"), ("message", "s")]),
        signal(
            "ConfigurationManagerEvent",
            &[("path", "o"), ("type", "q"), ("owner", "u")],
        ),
    ],
    properties: &[read("version", "s")],
};

pub(super) static PROFILE: Interface = Interface {
    name: interface::CONFIGURATION,
    methods: &[
        method("Validate", &[], &[]),
        method("Fetch", &[], &[("config", "s")]),
        method("FetchJSON", &[], &[("config_json", "s")]),
        method("SetOption", &[("option", "s"), ("value", "s")], &[]),
        method("SetOverride", &[("name", "s"), ("value", "v")], &[]),
        method("UnsetOverride", &[("name", "s")], &[]),
        method("AddTag", &[("tag", "s")], &[]),
        method("RemoveTag", &[("tag", "s")], &[]),
        method("AccessGrant", &[("uid", "u")], &[]),
        method("AccessRevoke", &[("uid", "u")], &[]),
        method("Seal", &[], &[]),
        method("Remove", &[], &[]),
    ],
    signals: &[],
    properties: &[
        read("owner", "u"),
        read("acl", "au"),
        read_write("name", "s"),
        read_write("public_access", "b"),
        read("persistent", "b"),
        read("import_timestamp", "t"),
        read("last_used_timestamp", "t"),
        read_write("locked_down", "b"),
        read("overrides", "a{sv}"),
        read("readonly", "b"),
        read("single_use", "b"),
        read("tags", "as"),
        read_write("transfer_owner_session", "b"),
        read("used_count", "u"),
        read_write("dco", "b"),
        read("valid", "b"),
    ],
};
