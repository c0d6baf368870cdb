"""Who may do what: the owner, another user, root, the bus's own rules; and callers who mean no good."""

import os
import subprocess
import threading
import time

import dbus

import lab
from lab import BACKENDS, CONFIG, LOG, NETCFG, SESSIONS, Session, as_user, expect

METHOD = "Quark._net_2eopenvpn_2egdbuspp.Code36"
REQUEST = "Quark._net_2eopenvpn_2egdbuspp_2erequest.Code36"
DENIED = "DBus.Error.AccessDenied"


def on(path, method, *args):
    return lambda connection: Session(connection, path)(method, *args)


def read(path, name):
    return lambda connection: Session(connection, path).get(name)


def write(path, name, value):
    return lambda connection: Session(connection, path).set(name, value)


def profile_call(path, method, *args):
    return lambda connection: lab.call(connection, CONFIG, path, CONFIG, method, *args)


def profile_get(path, name):
    return lambda connection: lab.call(connection, CONFIG, path, lab.PROPERTIES, "Get", CONFIG, name)


def profile_set(path, name, value):
    return lambda connection: lab.call(connection, CONFIG, path, lab.PROPERTIES, "Set", CONFIG, name, value)


def manager(method, *args):
    return lambda connection: lab.call(connection, SESSIONS, lab.SESSIONS_PATH, SESSIONS, method, *args)


def sessions(ann, bob):
    """Table 6.1 of the API's rules, cell by cell."""
    ann, bob, root = int(ann), int(bob), 0
    profile = as_user(ann, lambda connection: lab.import_profile(connection, "rights", persistent=True))
    path = as_user(ann, lambda connection: lab.new_tunnel(connection, profile).path)
    as_user(ann, on(path, "Ready"))
    as_user(ann, on(path, "Connect"))
    lab.until("a connection", lambda: as_user(ann, read(path, "status"))[1] == 7)
    text = "A session with this configuration profile is already running"
    expect("a second one", ann, manager("NewTunnel", dbus.ObjectPath(profile)), METHOD, text)

    # A stranger can do nothing and see nothing but that it is there.
    for method, args in [
        ("Ready", ()), ("Connect", ()), ("Pause", ("x",)), ("Resume", ()), ("Restart", ()), ("Disconnect", ()),
        ("UserInputQueueGetTypeGroup", ()), ("AccessGrant", (dbus.UInt32(bob),)), ("LogForward", (True,)),
        ("AccessRevoke", (dbus.UInt32(ann),)),
    ]:
        expect(method, bob, on(path, method, *args), METHOD, "Access denied")
        expect(method, root, on(path, method, *args), METHOD, "Access denied")
    for name in ("owner", "status", "statistics", "config_path", "last_log", "device_name", "connected_to"):
        expect(name, bob, read(path, name), DENIED, "Access denied")
        as_user(root, read(path, name))
    for name, value in [("public_access", True), ("restrict_log_access", False), ("log_verbosity", dbus.UInt32(6))]:
        expect(name, bob, write(path, name, value), DENIED, "Access denied")
        expect(name, root, write(path, name, value), DENIED, "Access denied")
    everything = lambda connection: lab.call(connection, SESSIONS, path, lab.PROPERTIES, "GetAll", SESSIONS)
    assert as_user(bob, everything) == {}, "a stranger reads properties"
    assert len(as_user(ann, everything)) == 18, as_user(ann, everything)
    offers = lambda connection: lab.call(connection, SESSIONS, path, lab.PROPERTIES, "GetAll", lab.SESSION1)
    assert as_user(bob, offers) == {} and as_user(ann, offers)["device_kind"] == "netstack"
    assert as_user(bob, manager("FetchAvailableSessions")) == []
    assert as_user(root, manager("FetchAvailableSessions")) == []
    assert as_user(ann, manager("FetchAvailableSessions")) == [path]
    assert as_user(bob, manager("FetchManagedInterfaces")) == []
    assert as_user(ann, manager("FetchManagedInterfaces")) == ["netstack0"]
    assert as_user(bob, manager("LookupConfigName", "rights")) == []
    assert as_user(ann, manager("LookupConfigName", "rights")) == [path]
    assert as_user(ann, manager("LookupConfigName", "right")) == []
    # The path of an interface's session and nothing more is for everybody.
    assert as_user(bob, manager("LookupInterface", "netstack0")) == path
    expect("no such interface", bob, manager("LookupInterface", "tun0"), METHOD, "Interface not found")

    # The proxy is theirs alone who may use the session.
    assert reaches(ann) and not reaches(bob)

    # On the list: everything but what is the owner's.
    as_user(ann, on(path, "AccessGrant", dbus.UInt32(bob)))
    expect("twice", ann, on(path, "AccessGrant", dbus.UInt32(bob)), METHOD, "UID already granted access")
    as_user(bob, on(path, "Ready"))
    as_user(bob, on(path, "Connect"))
    assert reaches(bob)
    assert as_user(bob, read(path, "acl")) == [bob]
    as_user(bob, write(path, "log_verbosity", dbus.UInt32(5)))
    expect("verbosity", bob, write(path, "log_verbosity", dbus.UInt32(7)), "DBus.Error.Failed", "Incorrect log level")
    for method, args in [("AccessGrant", (dbus.UInt32(1),)), ("AccessRevoke", (dbus.UInt32(bob),)), ("LogForward", (True,))]:
        expect(method, bob, on(path, method, *args), METHOD, "Access denied")
    expect("public", bob, write(path, "public_access", True), DENIED, "Access denied")
    as_user(ann, write(path, "restrict_log_access", False))
    as_user(bob, on(path, "LogForward", True))
    as_user(ann, write(path, "restrict_log_access", True))
    as_user(ann, on(path, "AccessRevoke", dbus.UInt32(bob)))
    expect("again", ann, on(path, "AccessRevoke", dbus.UInt32(bob)), METHOD, "UID not granted access")
    assert not reaches(bob) and reaches(ann)
    expect("off the list", bob, on(path, "Ready"), METHOD, "Access denied")

    # Everybody may use it now, and still not read its properties.
    as_user(ann, write(path, "public_access", True))
    as_user(bob, on(path, "Ready"))
    assert as_user(bob, manager("FetchAvailableSessions")) == [path]
    expect("status", bob, read(path, "status"), DENIED, "Access denied")
    as_user(ann, write(path, "public_access", False))

    # No data channel in the kernel.
    expect("dco", ann, write(path, "dco", True), "DBus.Error.Failed", "DCO")
    as_user(ann, write(path, "dco", False))

    # Only root gives it away.
    transfer = manager("TransferOwnership", dbus.ObjectPath(path), dbus.UInt32(bob))
    expect("transfer", ann, transfer, DENIED, "")
    as_user(root, transfer)
    expect("the old owner", ann, on(path, "Ready"), METHOD, "Access denied")
    assert as_user(bob, read(path, "owner")) == bob
    as_user(bob, on(path, "Disconnect"))
    expect("gone", bob, on(path, "Ready"), "UnknownMethod", "Object does not exist at path")


def reaches(uid):
    """Whether that user's programs get through the session's proxy."""
    ended = subprocess.run(
        ["curl", "-sS", "--fail", "--max-time", "10", "--proxy", "socks5h://127.0.0.1:1080", "http://10.88.0.2/hello"],
        user=uid, group=uid, extra_groups=[], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    return ended.returncode == 0


def profiles(ann, bob):
    """Table 6.2, and the words of the refusals."""
    ann, bob, root, service = int(ann), int(bob), 0, lab.service_uid()
    path = as_user(ann, lambda connection: lab.import_profile(connection, "papers", persistent=True))
    sealed = "Configuration profile is sealed and read-only"
    for method, args in [
        ("Fetch", ()), ("FetchJSON", ()), ("Validate", ()), ("SetOverride", ("ipv6", "no")), ("AddTag", ("x",)),
        ("Seal", ()), ("Remove", ()), ("AccessGrant", (dbus.UInt32(bob),)),
    ]:
        expect(method, bob, profile_call(path, method, *args), METHOD, "denied")
    assert as_user(bob, profile_get(path, "owner")) == ann
    for name in ("name", "overrides", "tags", "acl", "single_use"):
        expect(name, bob, profile_get(path, name), DENIED, "")
    as_user(service, profile_call(path, "Fetch"))
    as_user(ann, profile_call(path, "AccessGrant", dbus.UInt32(bob)))
    assert "remote" in as_user(bob, profile_call(path, "Fetch"))
    expect("change", bob, profile_call(path, "SetOverride", "ipv6", "no"), METHOD, "denied")
    as_user(ann, profile_set(path, "locked_down", True))
    expect("locked", bob, profile_call(path, "Fetch"), METHOD, "denied")
    as_user(ann, profile_call(path, "SetOverride", "server-override", "other.example"))
    as_user(ann, profile_call(path, "SetOverride", "port-override", dbus.UInt32(1195)))
    assert as_user(ann, profile_get(path, "overrides")) == {"server-override": "other.example", "port-override": "1195"}
    expect("key", ann, profile_call(path, "SetOverride", "no-such", "x"), METHOD, "Invalid override key 'no-such'")
    expect("type", ann, profile_call(path, "SetOverride", "ipv6", True), METHOD, "Invalid override data type")
    expect("unset", ann, profile_call(path, "UnsetOverride", "ipv6"), METHOD, "Override 'ipv6' has not been set")
    as_user(ann, profile_call(path, "AddTag", "system:x"))
    expect("tag", ann, profile_call(path, "AddTag", "system:x"), METHOD, "Tag already exists")
    by_tag = lambda connection: lab.call(connection, CONFIG, lab.CONFIG_PATH, CONFIG, "SearchByTag", "system:x")
    assert as_user(ann, by_tag) == [path] and as_user(bob, by_tag) == [path]
    as_user(ann, profile_call(path, "Seal"))
    expect("sealed", ann, profile_call(path, "AddTag", "y"), METHOD, sealed)
    expect("sealed", ann, profile_set(path, "name", "y"), DENIED, "sealed")
    transfer = lambda connection: lab.call(
        connection, CONFIG, lab.CONFIG_PATH, CONFIG, "TransferOwnership", dbus.ObjectPath(path), dbus.UInt32(bob)
    )
    expect("transfer", ann, transfer, DENIED, "")
    as_user(root, transfer)
    assert as_user(bob, profile_get(path, "owner")) == bob
    as_user(bob, profile_call(path, "Remove"))
    expect("gone", bob, profile_call(path, "Fetch"), "UnknownMethod", "Object does not exist at path")
    bad = lambda connection: lab.call(
        connection, CONFIG, lab.CONFIG_PATH, CONFIG, "Import", "bad", "<ca>\nno end", False, False
    )
    expect("bad text", ann, bad, REQUEST, "Invalid configuration profile: ")
    incomplete = as_user(ann, lambda connection: lab.call(
        connection, CONFIG, lab.CONFIG_PATH, CONFIG, "Import", "half", "dev tun\n", False, False
    ))
    text = "Configuration profile is missing required options: --ca, --client or --tls-client, --remote"
    expect("incomplete", ann, profile_call(incomplete, "Validate"), METHOD, text)
    as_user(ann, profile_call(incomplete, "Remove"))
    # A profile that the client cannot run is refused when it is started, in words.
    odd = as_user(ann, lambda connection: lab.import_profile(connection, "odd", "compress lzo\nno-such-option 1\n"))
    expect("unusable", ann, manager("NewTunnel", dbus.ObjectPath(odd)), REQUEST, "no-such-option")
    as_user(ann, profile_call(odd, "Remove"))


def policy(ann):
    """What the bus's own rules keep from users, whatever the services think."""
    ann, root = int(ann), 0
    start = lambda connection: lab.call(
        connection, BACKENDS, "/net/openvpn/v3/backends", BACKENDS, "StartClient", "0" * 36
    )
    expect("StartClient", ann, start, DENIED, "")
    attach = lambda connection: lab.call(connection, LOG, "/net/openvpn/v3/log", LOG, "Attach", "x")
    expect("Attach", ann, attach, DENIED, "")
    proxy = lambda connection: lab.call(
        connection, LOG, "/net/openvpn/v3/log", LOG, "ProxyLogEvents", ":1.1", dbus.ObjectPath("/x")
    )
    expect("ProxyLogEvents", ann, proxy, DENIED, "")
    expect("ProxyLogEvents", lab.service_uid(), proxy, "Code36", "")
    device = lambda connection: lab.call(
        connection, NETCFG, "/net/openvpn/v3/netcfg", NETCFG, "CreateVirtualInterface", "x"
    )
    expect("CreateVirtualInterface", ann, device, DENIED, "")
    for name in (CONFIG, SESSIONS, BACKENDS, LOG, NETCFG, BACKENDS + ".be1"):
        def own(connection, name=name):
            try:
                return connection.request_name(name)
            except dbus.DBusException as error:
                raise lab.Refused(error.get_dbus_name(), error.get_dbus_message()) from None

        expect(f"owning {name}", ann, own, DENIED, "")
        expect(f"owning {name}", root, own, DENIED, "")
    profile = as_user(ann, lambda connection: lab.import_profile(connection, "policy"))
    path = as_user(ann, lambda connection: lab.new_tunnel(connection, profile).path)
    pid = as_user(ann, read(path, "backend_pid"))
    client = f"{BACKENDS}.be{pid}"
    connect = lambda connection: lab.call(connection, client, "/net/openvpn/v3/backends/session", BACKENDS, "Connect")
    expect("the client process", ann, connect, DENIED, "")
    expect("the client process", root, connect, DENIED, "")
    # The services' own user passes the bus, and the process itself refuses whoever is not the session manager.
    expect("the client process", lab.service_uid(), connect, METHOD, "only the session manager")
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
    assert fields["CapEff"] == "0000000000000000" and fields["Uid"].split() == [str(lab.service_uid())] * 4, fields
    as_user(ann, on(path, "Disconnect"))


def hostile(ann, bob):
    """Wrong types, floods, callers that vanish or do not read: the services go on for everybody else."""
    ann, bob = int(ann), int(bob)
    profile = as_user(ann, lambda connection: lab.import_profile(connection, "hostile"))
    path = as_user(ann, lambda connection: lab.new_tunnel(connection, profile).path)

    def wrong(connection):
        refused = 0
        for name, at, interface, method, signature, args in [
            (SESSIONS, lab.SESSIONS_PATH, SESSIONS, "NewTunnel", "s", ("/x",)),
            (SESSIONS, lab.SESSIONS_PATH, SESSIONS, "NewTunnel", "", ()),
            (SESSIONS, lab.SESSIONS_PATH, SESSIONS, "LookupInterface", "as", (["x"],)),
            (SESSIONS, lab.SESSIONS_PATH, lab.PROPERTIES, "Get", "s", (SESSIONS,)),
            (SESSIONS, lab.SESSIONS_PATH, lab.PROPERTIES, "Set", "sss", (SESSIONS, "version", "x")),
            (SESSIONS, path, SESSIONS, "Pause", "i", (1,)),
            (SESSIONS, path, SESSIONS, "UserInputProvide", "uuub", (1, 1, 0, True)),
            (SESSIONS, path, lab.PROPERTIES, "Set", "ssv", (SESSIONS, "log_verbosity", dbus.String("6"))),
            (CONFIG, lab.CONFIG_PATH, CONFIG, "Import", "ssss", ("a", "b", "c", "d")),
            (CONFIG, profile, CONFIG, "SetOverride", "sv", ("ipv6", dbus.Array([], signature="s"))),
            (NETCFG, "/net/openvpn/v3/netcfg", lab.PROPERTIES, "Get", "ss", (NETCFG, "no_such")),
        ]:
            try:
                lab.typed(connection, name, at, interface, method, signature, *args)
            except lab.Refused:
                refused += 1
        return refused

    assert as_user(ann, wrong) == 11

    # Twenty thousand calls whose answers nobody reads, from a caller that is gone in between.
    child = os.fork()
    if child == 0:
        lab.become(bob)
        connection = lab.bus()
        message = dbus.lowlevel.MethodCallMessage(SESSIONS, lab.SESSIONS_PATH, SESSIONS, "FetchAvailableSessions")
        for _ in range(20_000):
            copy = dbus.lowlevel.MethodCallMessage(SESSIONS, lab.SESSIONS_PATH, SESSIONS, "FetchAvailableSessions")
            connection.send_message(copy)
        del message
        connection.flush()
        os._exit(0)
    # Meanwhile the owner is answered, each time within the five seconds that front ends wait.
    slowest = 0.0
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        start = time.monotonic()
        as_user(ann, read(path, "status"))
        slowest = max(slowest, time.monotonic() - start)
    as_user(ann, read(path, "status"))
    assert slowest < 5, f"an answer took {slowest:.1f} s"

    # Connections that come and go.
    def come_and_go(uid):
        for _ in range(20):
            as_user(uid, manager("FetchAvailableSessions"))

    crowd = [threading.Thread(target=come_and_go, args=(uid,)) for uid in (ann, bob)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert as_user(ann, manager("FetchAvailableSessions")) == [path]
    # A profile too large for anything is refused, and the service goes on.
    large = lambda connection: lab.call(
        connection, CONFIG, lab.CONFIG_PATH, CONFIG, "Import", "large", "x" * (3 << 20), False, False
    )
    expect("a large text", bob, large, "Code36", "")
    as_user(ann, on(path, "Disconnect"))


if __name__ == "__main__":
    lab.main({"sessions": sessions, "profiles": profiles, "policy": policy, "hostile": hostile})
