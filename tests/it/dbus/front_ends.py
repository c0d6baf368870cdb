"""The calls of each known front end, in its order and by its habits, through whole lives of sessions.

The orders are those that the API's documents list for each front end; the code is ours.
"""

import time

import dbus

import lab
from lab import BACKENDS, CONFIG, CONFIG_PATH, LOG, SESSIONS, SESSIONS_PATH, Refused, call, spin

CREDENTIALS = {
    "Auth User name": "alice", "Auth Password": "correct horse", "username": "alice", "password": "correct horse",
}


def get(connection, name, path, interface, key):
    return call(connection, name, path, lab.PROPERTIES, "Get", interface, key)


def exists(connection, name, path, interface):
    """How the command line tests for an object."""
    try:
        call(connection, name, path, lab.PROPERTIES, "GetAll", interface)
        return True
    except Refused as refused:
        assert "No such interface" in refused.text, refused
        return False


def start_up(connection, name, path):
    """What a proxy of the command line does before anything else."""
    assert name in connection.list_names()
    call(connection, name, "/", "org.freedesktop.DBus.Peer", "Ping")
    assert exists(connection, name, path, name)
    assert get(connection, name, path, name, "version").startswith("v")


def answer_all(session, by):
    """Answers every open slot, found by `by` of it: 3 is the name, 4 the description."""
    for kind, group in session("UserInputQueueGetTypeGroup"):
        assert kind == 1
        for number in session("UserInputQueueCheck", dbus.UInt32(kind), dbus.UInt32(group)):
            slot = session("UserInputQueueFetch", dbus.UInt32(kind), dbus.UInt32(group), dbus.UInt32(number))
            value = CREDENTIALS[slot[by]]
            session("UserInputProvide", dbus.UInt32(kind), dbus.UInt32(group), dbus.UInt32(number), value)


def command_line(uid):
    """openvpn3: config-import, configs-list, session-start, sessions-list, session-manage, session-stats."""
    lab.become(int(uid))
    connection = lab.with_signals()
    start_up(connection, CONFIG, CONFIG_PATH)
    profile = lab.import_profile(connection, "work", persistent=True)
    call(connection, CONFIG, profile, CONFIG, "SetOverride", "persist-tun", True)
    call(connection, CONFIG, profile, CONFIG, "AddTag", "office")
    call(connection, CONFIG, profile, CONFIG, "Validate")
    listed = call(connection, CONFIG, CONFIG_PATH, CONFIG, "FetchAvailableConfigs")
    assert listed == [profile]
    for key in ("name", "import_timestamp", "last_used_timestamp", "used_count", "tags", "valid", "owner"):
        get(connection, CONFIG, profile, CONFIG, key)

    start_up(connection, SESSIONS, SESSIONS_PATH)
    assert call(connection, CONFIG, CONFIG_PATH, CONFIG, "LookupConfigName", "no such") == []
    assert call(connection, CONFIG, CONFIG_PATH, CONFIG, "LookupConfigName", "work") == [profile]
    created = []
    connection.add_signal_receiver(
        lambda path, kind, owner: created.append((str(path), int(kind), int(owner))),
        "SessionManagerEvent", SESSIONS, None, SESSIONS_PATH,
    )
    session = lab.new_tunnel(connection, profile)
    spin("the new session's announcement", lambda: (session.path, 1, int(uid)) in created, 15)
    # Asked again and again until nothing is missing.
    for _ in range(3):
        try:
            session("Ready")
            break
        except Refused as refused:
            assert "net.openvpn.v3.error.ready" in refused.text, refused
            assert session.get("status")[:2] == [2, 4]
            answer_all(session, 3)
    session("Connect")
    deadline = time.monotonic() + 20
    while session.get("status")[1] != 7:
        assert session.get("status")[1] not in (4, 9, 10, 11), session.get("status")
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert session.get("connected_to")[1] == "10.77.0.2" and session.get("session_name")

    for path in call(connection, SESSIONS, SESSIONS_PATH, SESSIONS, "FetchAvailableSessions"):
        one = lab.Session(connection, path)
        assert exists(connection, CONFIG, one.get("config_path"), CONFIG)
        for key in ("config_name", "session_created", "owner", "backend_pid", "device_name", "connected_to", "status"):
            one.get(key)
    found = call(connection, SESSIONS, SESSIONS_PATH, SESSIONS, "LookupInterface", session.get("device_name"))
    assert found == session.path
    assert call(connection, SESSIONS, SESSIONS_PATH, SESSIONS, "LookupConfigName", "work") == [session.path]
    session("Pause", "Front-end request")
    lab.until("a pause", lambda: session.get("status")[1] == 14)
    for method in ("Resume", "Restart"):
        session("Ready")
        session(method)
        lab.until(method, lambda: session.get("status")[1] == 7)
    statistics = session.get("statistics")
    assert {"BYTES_IN", "BYTES_OUT", "PACKETS_IN", "PACKETS_OUT"} <= set(statistics), statistics
    session("Disconnect")
    spin("the end's announcement", lambda: (session.path, 2, int(uid)) in created)
    assert not exists(connection, SESSIONS, session.path, SESSIONS)
    assert get(connection, CONFIG, profile, CONFIG, "used_count") == 1
    call(connection, CONFIG, profile, CONFIG, "Remove")
    assert not exists(connection, CONFIG, profile, CONFIG)


def openvpn2(uid):
    """openvpn2: a profile for one use, in the foreground, ended by Ctrl-C."""
    lab.become(int(uid))
    connection = lab.with_signals()
    profile = lab.import_profile(connection, "(command line)", single_use=True)
    call(connection, CONFIG, profile, CONFIG, "Validate")
    call(connection, CONFIG, profile, CONFIG, "SetOverride", "persist-tun", True)
    session = lab.new_tunnel(connection, profile)
    # It is gone as soon as the client process has read it.
    assert not exists(connection, CONFIG, profile, CONFIG)
    try:
        session("Ready")
        raise AssertionError("it is ready without a password")
    except Refused as refused:
        assert " Missing user credentials" in refused.text, refused
    answer_all(session, 3)
    session("Ready")
    session.follow()
    session.set("log_verbosity", dbus.UInt32(4))
    session("Connect")
    spin("a connection", lambda: (2, 7, "") in session.statuses)
    assert session.get("config_path") == profile and session.get("config_name") == "(command line)"
    session("LogForward", False)
    assert session.get("statistics")["BYTES_IN"] > 0
    session("Disconnect")
    try:
        session("Disconnect")
    except Refused as refused:
        assert refused.name == "org.freedesktop.DBus.Error.UnknownMethod", refused


def autoload(uid):
    """openvpn3-autoload: everything set beforehand, credentials by the slots' names, major 2 right after Connect."""
    lab.become(int(uid))
    connection = lab.with_signals()
    profile = lab.import_profile(connection, "auto")
    for key, value in [("public_access", True), ("locked_down", True)]:
        call(connection, CONFIG, profile, lab.PROPERTIES, "Set", CONFIG, key, value)
    for key, value in [
        ("proto-override", "udp"), ("port-override", dbus.Int32(1194)), ("ipv6", "default"), ("persist-tun", True),
        ("dns-setup-disabled", False), ("tls-version-min", "tls_1_2"),
    ]:
        call(connection, CONFIG, profile, CONFIG, "SetOverride", key, value)
    session = lab.new_tunnel(connection, profile)
    answer_all(session, 3)
    session("Ready")
    session("Connect")
    assert session.get("status")[0] == 2, session.get("status")
    lab.until("a connection", lambda: session.get("status")[1] == 7)
    session("Disconnect")


def indicator(uid):
    """openvpn3-indicator: lists every second, follows each session, answers by descriptions, starts anew at once."""
    lab.become(int(uid))
    connection = lab.with_signals()
    call(connection, SESSIONS, SESSIONS_PATH, "org.freedesktop.DBus.Peer", "Ping")
    get(connection, SESSIONS, SESSIONS_PATH, SESSIONS, "version")
    profile = lab.import_profile(connection, "tray", persistent=True)
    call(connection, CONFIG, profile, CONFIG, "AddTag", "system:openvpn3-indicator")
    call(connection, CONFIG, profile, CONFIG, "Validate")
    session = lab.new_tunnel(connection, profile)

    def refresh():
        for path in call(connection, SESSIONS, SESSIONS_PATH, SESSIONS, "FetchAvailableSessions"):
            lab.Session(connection, path).get("status")
        for path in call(connection, CONFIG, CONFIG_PATH, CONFIG, "FetchAvailableConfigs"):
            name = get(connection, CONFIG, path, CONFIG, "name")
            call(connection, SESSIONS, SESSIONS_PATH, SESSIONS, "LookupConfigName", name)

    refresh()
    # Its first status comes by reading; forwarding begins later.
    assert session.get("status")[:2] == [2, 4]
    session.follow()
    CREDENTIALS["Auth Password"] = "wrong"
    answer_all(session, 4)
    session("Ready")
    session("Connect")
    spin("a refusal", lambda: session.minors()[-1:] == [11])
    session("Disconnect")
    # At once, on the same profile.
    session = lab.new_tunnel(connection, profile).follow()
    CREDENTIALS["Auth Password"] = "correct horse"
    answer_all(session, 4)
    session("Ready")
    session("Connect")
    spin("a connection", lambda: session.minors()[-1:] == [7])
    refresh()
    for method, args, minor in [("Pause", ("x",), 14), ("Resume", (), 7), ("Restart", (), 7)]:
        del session.statuses[:]
        session(method, *args)
        spin(method, lambda: session.minors()[-1:] == [minor])
    session("Disconnect")
    spin("the end", lambda: session.minors()[-1:] == [328])
    refresh()
    call(connection, CONFIG, profile, CONFIG, "Remove")


def helper(uid):
    """The systemd helper and the watcher of a desktop: by names, and by what is announced."""
    lab.become(int(uid))
    connection = lab.with_signals()
    profile = lab.import_profile(connection, "unit")
    announced = []
    connection.add_signal_receiver(
        lambda path, kind, owner: announced.append((str(path), int(kind), int(owner))),
        "SessionManagerEvent", SESSIONS, None, SESSIONS_PATH,
    )
    assert call(connection, CONFIG, CONFIG_PATH, CONFIG, "LookupConfigName", "unit") == [profile]
    call(connection, CONFIG, profile, CONFIG, "Validate")
    session = lab.new_tunnel(connection, profile)
    spin("an announcement", lambda: announced)
    watched = lab.Session(connection, announced[0][0])
    assert watched.path == session.path and watched.get("config_name") == "unit"
    session.follow()
    session.set("log_verbosity", dbus.UInt32(6))
    answer_all(session, 3)
    session("Ready")
    session("Connect")
    spin("a connection", lambda: session.minors()[-1:] == [7])
    # Stopped by another process of the same user that knows the name alone.
    found = call(connection, SESSIONS, SESSIONS_PATH, SESSIONS, "LookupConfigName", "unit")
    lab.Session(connection, found[0])("Disconnect")
    spin("the end", lambda: (3, 28, "Session closed") in session.statuses)
    # Nobody but the log service sends these, and it names the session.
    assert connection.get_name_owner(LOG) != connection.get_name_owner(SESSIONS)
    assert BACKENDS


if __name__ == "__main__":
    lab.main({function.__name__: function for function in (command_line, openvpn2, autoload, indicator, helper)})
