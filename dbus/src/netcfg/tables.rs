//! What the objects of network configuration look like.

use crate::{
    bus::interface::{Interface, method, read, read_write, signal},
    names::interface,
};

/// Interfaces of the main object.
pub(super) static MAIN: &[&Interface] = &[&NETCFG];
/// Interfaces of a device.
pub(super) static DEVICE: &[&Interface] = &[&NETCFG_DEVICE, &DEVICE1];

static NETCFG: Interface = Interface {
    name: interface::NETCFG,
    methods: &[
        method(
            "CreateVirtualInterface",
            &[("device_name", "s")],
            &[("device_path", "o")],
        ),
        method("FetchInterfaceList", &[], &[("device_paths", "ao")]),
        method(
            "ProtectSocket",
            &[("remote", "s"), ("ipv6", "b"), ("device_path", "o")],
            &[("succeeded", "b")],
        ),
        method("DcoAvailable", &[], &[("available", "b")]),
        method("Cleanup", &[], &[]),
        method("NotificationSubscribe", &[("filter", "u")], &[]),
        method("NotificationUnsubscribe", &[("subscriber", "s")], &[]),
        method("NotificationSubscriberList", &[], &[("subscriptions", "a(su)")]),
    ],
    signals: &[
        signal("Log", &[("group", "u"), ("level", "u"), ("message", "s")]),
        signal(
            "NetworkChange",
            &[("type", "u"), ("device", "s"), ("details", "a{ss}")],
        ),
    ],
    properties: &[
        read("global_dns_servers", "as"),
        read("global_dns_search", "as"),
        read_write("log_level", "u"),
        read("config_file", "s"),
        read("version", "s"),
    ],
};

static NETCFG_DEVICE: Interface = Interface {
    name: interface::NETCFG,
    methods: &[
        method(
            "AddIPAddress",
            &[
                ("ip_address", "s"),
                ("prefix_size", "u"),
                ("gateway", "s"),
                ("ipv6", "b"),
            ],
            &[],
        ),
        method("SetRemoteAddress", &[("ip_address", "s"), ("ipv6", "b")], &[]),
        method("AddNetworks", &[("networks", "a(suibb)")], &[]),
        method("AddDNS", &[("server_list", "as")], &[]),
        method("AddDNSSearch", &[("domains", "as")], &[]),
        method("SetDNSSEC", &[("mode", "s")], &[]),
        method("SetDNSTransport", &[("mode", "s")], &[]),
        method("EnableDCO", &[("dev_name", "s")], &[("dco_device_path", "o")]),
        method("Establish", &[], &[]),
        method("Disable", &[], &[]),
        method("Destroy", &[], &[]),
    ],
    signals: &[signal(
        "NetworkChange",
        &[("type", "u"), ("device", "s"), ("details", "a{ss}")],
    )],
    properties: &[
        read("device_name", "s"),
        read("owner", "u"),
        read("acl", "au"),
        read_write("mtu", "q"),
        read_write("txqueuelen", "q"),
        read_write("layer", "u"),
        read_write("reroute_ipv4", "b"),
        read_write("reroute_ipv6", "b"),
        read_write("dns_scope", "s"),
        // Introspected as `s` and delivered as `as`: that is what clients have always seen.
        read("dns_name_servers", "s"),
        read("dns_search_domains", "s"),
        read("dnssec_mode", "s"),
    ],
};

static DEVICE1: Interface = Interface {
    name: interface::DEVICE1,
    methods: &[method("Describe", &[("kind", "s"), ("name", "s")], &[])],
    signals: &[],
    properties: &[read("kind", "s")],
};
