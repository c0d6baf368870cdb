"""Every object as introspection shows it, against a table written from the documents of the API, not from the source."""

import os
import xml.etree.ElementTree as xml

import dbus

import lab
from lab import BACKENDS, CONFIG, LOG, NETCFG, SESSIONS

QUEUE = """
m UserInputQueueGetTypeGroup -> a(uu)
m UserInputQueueFetch uuu -> uuussb
m UserInputQueueCheck uu -> au
m UserInputProvide uuus ->
"""
MANAGER = """
m NewTunnel o -> o
m FetchAvailableSessions -> ao
m FetchManagedInterfaces -> as
m LookupConfigName s -> ao
m LookupInterface s -> o
m TransferOwnership ou ->
s Log uus
s SessionManagerEvent oqu
p version s r
"""
SESSION = QUEUE + """
m Ready ->
m Connect ->
m Pause s ->
m Resume ->
m Restart ->
m Disconnect ->
m AccessGrant u ->
m AccessRevoke u ->
m LogForward b ->
s AttentionRequired uus
s StatusChange uus
s Log uus
p owner u r
p session_created t r
p acl au r
p public_access b rw
p status (uus) r
p last_log a{sv} r
p statistics a{sx} r
p dco b rw
p device_path o r
p device_name s r
p config_path o r
p config_name s r
p connected_to (ssu) r
p session_name s r
p backend_pid u r
p restrict_log_access b rw
p log_forwards ao r
p log_verbosity u rw
"""
SESSION1 = """
p proxies as r
p pac s r
p status_page s r
p device_kind s r
p inner_addresses as r
p dns_servers as r
"""
STARTER = """
m StartClient s -> u
s Log uus
s StatusChange uus
p version s r
"""
CLIENT = QUEUE + """
m RegistrationConfirmation so -> s
m Ping -> b
m Ready ->
m Connect ->
m Pause s ->
m Resume ->
m Restart ->
m Disconnect ->
m ForceShutdown ->
s Log uuss
s StatusChange uus
s AttentionRequired uus
s RegistrationRequest ss
p session_path o r
p log_level u rw
p session_name s r
p statistics a{sx} r
p status (uus) r
p last_log_line a{sv} r
p dco b rw
p device_path o r
p device_name s r
p connection (sssu) r
"""
CONFIGURATION = """
m Import ssbb -> o
m FetchAvailableConfigs -> ao
m LookupConfigName s -> ao
m SearchByTag s -> ao
m SearchByOwner s -> ao
m TransferOwnership ou ->
s Log uus
s ConfigurationManagerEvent oqu
p version s r
"""
PROFILE = """
m Validate ->
m Fetch -> s
m FetchJSON -> s
m SetOption ss ->
m SetOverride sv ->
m UnsetOverride s ->
m AddTag s ->
m RemoveTag s ->
m AccessGrant u ->
m AccessRevoke u ->
m Seal ->
m Remove ->
p owner u r
p acl au r
p name s rw
p public_access b rw
p persistent b r
p import_timestamp t r
p last_used_timestamp t r
p locked_down b rw
p overrides a{sv} r
p readonly b r
p single_use b r
p tags as r
p transfer_owner_session b rw
p used_count u r
p dco b rw
p valid b r
"""
LOG_SERVICE = """
m Attach s ->
m Detach s ->
m AssignSession os ->
m ProxyLogEvents so -> o
m GetSubscriberList -> a(ssss)
p version s r
p log_method s r
p log_level u rw
p log_dbus_details b rw
p log_prefix_logtag b rw
p timestamp b rw
p config_file s r
p num_attached u r
"""
LOG_PROXY = """
m Remove ->
p log_level u rw
p session_path o r
"""
NETCFG_SERVICE = """
m CreateVirtualInterface s -> o
m FetchInterfaceList -> ao
m ProtectSocket sbo -> b
m DcoAvailable -> b
m Cleanup ->
m NotificationSubscribe u ->
m NotificationUnsubscribe s ->
m NotificationSubscriberList -> a(su)
s Log uus
s NetworkChange usa{ss}
p global_dns_servers as r
p global_dns_search as r
p log_level u rw
p config_file s r
p version s r
"""
DEVICE = """
m AddIPAddress susb ->
m SetRemoteAddress sb ->
m AddNetworks a(suibb) ->
m AddDNS as ->
m AddDNSSearch as ->
m SetDNSSEC s ->
m SetDNSTransport s ->
m EnableDCO s -> o
m Establish ->
m Disable ->
m Destroy ->
s NetworkChange usa{ss}
p device_name s r
p owner u r
p acl au r
p mtu q rw
p txqueuelen q rw
p layer u rw
p reroute_ipv4 b rw
p reroute_ipv6 b rw
p dns_scope s rw
p dnssec_mode s r
"""


def wanted(table):
    return {line.strip() for line in table.strip().splitlines() if line.strip()}


def found(text, interface):
    """The interface's members as lines of the tables."""
    lines = set()
    for node in xml.fromstring(text).findall("interface"):
        if node.get("name") != interface:
            continue
        for member in node:
            args = [(arg.get("type"), arg.get("direction", "in")) for arg in member.findall("arg")]
            gives = "".join(kind for kind, direction in args if direction == "out")
            takes = "".join(kind for kind, direction in args if direction == "in")
            if member.tag == "method":
                words = ["m", member.get("name"), takes, "->", gives]
            elif member.tag == "signal":
                words = ["s", member.get("name"), takes]
            else:
                access = {"read": "r", "readwrite": "rw"}[member.get("access")]
                words = ["p", member.get("name"), member.get("type"), access]
            lines.add(" ".join(word for word in words if word))
    return lines


def check(uid, name, path, interface, table, may_have_more=()):
    def introspect(connection):
        return lab.call(connection, name, path, "org.freedesktop.DBus.Introspectable", "Introspect")

    have, want = found(lab.as_user(uid, introspect), interface), wanted(table)
    more = {line for line in have - want if not any(word in line for word in may_have_more)}
    assert want <= have and not more, f"{path} {interface}: missing {sorted(want - have)}, more {sorted(more)}"
    print(f"{path} {interface}: {len(have)} members")


def check_values(uid, name, path, interface, table):
    """Every property has the type that introspection promises."""

    def values(connection):
        given = connection.call_blocking(name, path, lab.PROPERTIES, "GetAll", None, (interface,))
        return {str(key): signature(value) for key, value in given.items()}

    have = lab.as_user(uid, values)
    for line in wanted(table):
        if line.startswith("p "):
            _, key, kind, _ = line.split(" ")
            assert have.get(key) == kind, f"{path} {key}: {have.get(key)} in place of {kind}"


def signature(value):
    """The type of a value as libdbus read it from the wire."""
    simple = {
        dbus.Boolean: "b", dbus.UInt16: "q", dbus.UInt32: "u", dbus.UInt64: "t", dbus.Int64: "x", dbus.String: "s",
        dbus.ObjectPath: "o",
    }
    if isinstance(value, dbus.Array):
        return "a" + str(value.signature)
    if isinstance(value, dbus.Dictionary):
        return "a{" + str(value.signature) + "}"
    if isinstance(value, dbus.Struct):
        return "(" + "".join(signature(item) for item in value) + ")"
    return simple[type(value)]


def objects(ann):
    ann, service = int(ann), lab.service_uid()
    profile = lab.as_user(ann, lambda connection: lab.import_profile(connection, "objects", persistent=True))
    lab.as_user(ann, lambda connection: lab.call(connection, CONFIG, profile, CONFIG, "AddTag", "a tag"))

    def start(connection):
        session = lab.new_tunnel(connection, profile)
        session("Connect")
        lab.until("a connection", lambda: session.get("status")[1] == 7)
        return session.path

    session = lab.as_user(ann, start)
    pid = lab.as_user(ann, lambda connection: lab.Session(connection, session).get("backend_pid"))
    client, on_client = f"{BACKENDS}.be{pid}", "/net/openvpn/v3/backends/session"
    check(ann, CONFIG, lab.CONFIG_PATH, CONFIG, CONFIGURATION)
    check(ann, CONFIG, profile, CONFIG, PROFILE)
    check_values(ann, CONFIG, profile, CONFIG, PROFILE)
    check(ann, SESSIONS, lab.SESSIONS_PATH, SESSIONS, MANAGER)
    check(ann, SESSIONS, session, SESSIONS, SESSION)
    check_values(ann, SESSIONS, session, SESSIONS, SESSION)
    check(ann, SESSIONS, session, lab.SESSION1, SESSION1)
    check_values(ann, SESSIONS, session, lab.SESSION1, SESSION1)
    check(ann, BACKENDS, "/net/openvpn/v3/backends", BACKENDS, STARTER)
    check(ann, LOG, "/net/openvpn/v3/log", LOG, LOG_SERVICE)
    check(ann, NETCFG, "/net/openvpn/v3/netcfg", NETCFG, NETCFG_SERVICE)
    check(service, client, on_client, BACKENDS, CLIENT)
    check_values(service, client, on_client, BACKENDS, CLIENT)

    def device_of(connection):
        return lab.Session(connection, session).get("device_path")

    device = lab.as_user(ann, device_of)
    assert device.startswith(f"/net/openvpn/v3/netcfg/{pid}_"), device
    check(0, NETCFG, device, NETCFG, DEVICE, may_have_more=("dns_name_servers", "dns_search_domains"))
    check_values(0, NETCFG, device, NETCFG, DEVICE)

    def described(connection):
        return lab.call(connection, NETCFG, device, lab.PROPERTIES, "GetAll", NETCFG)

    shown = lab.as_user(0, described)
    assert shown["device_name"] == "netstack0" and shown["dns_name_servers"] == ["10.88.0.2"], shown

    # The version is for everybody, wherever it is.
    for name, path in [
        (CONFIG, lab.CONFIG_PATH), (SESSIONS, lab.SESSIONS_PATH), (BACKENDS, "/net/openvpn/v3/backends"),
        (LOG, "/net/openvpn/v3/log"), (NETCFG, "/net/openvpn/v3/netcfg"),
    ]:
        version = lab.as_user(ann, lambda c, n=name, p=path: lab.call(c, n, p, lab.PROPERTIES, "Get", n, "version"))
        assert version.startswith("v") and int(version[1:].split("_")[0].split(".")[0]) >= 26, version
        lab.as_user(ann, lambda c, n=name: lab.call(c, n, "/", "org.freedesktop.DBus.Peer", "Ping"))
    missing(ann)
    lab.as_user(ann, lambda connection: lab.Session(connection, session)("Disconnect"))


def missing(ann):
    """What is not there answers as GDBus does."""
    gone, unknown = lab.SESSIONS_PATH + "/" + "0" * 36, "DBus.Error.UnknownMethod"
    of = lambda interface, method, *args, path=gone: lambda connection: lab.call(
        connection, SESSIONS, path, interface, method, *args
    )
    lab.expect("a method", ann, of(SESSIONS, "Disconnect"), unknown, "Object does not exist at path")
    lab.expect("all", ann, of(lab.PROPERTIES, "GetAll", SESSIONS), unknown, "No such interface")
    on_manager = lambda *args: of(*args, path=lab.SESSIONS_PATH)
    invalid = "DBus.Error.InvalidArgs"
    lab.expect("property", ann, on_manager(lab.PROPERTIES, "Get", SESSIONS, "x"), invalid, "No such property “x”")
    lab.expect("set", ann, on_manager(lab.PROPERTIES, "Set", SESSIONS, "version", "x"), invalid, "is not writable")
    lab.expect("types", ann, on_manager(SESSIONS, "LookupConfigName", dbus.UInt32(1)), invalid, "does not match")


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    lab.main({"objects": objects})
