"""Whole lives of sessions, and what is told of them, against the sequences of the API's documents."""

import os
import signal
import subprocess
import sys

import dbus

import lab
from lab import SESSIONS, spin

CONNECTED = 7


def started(uid, extra="", name="life", follow=True):
    """A new session of that user, whose process this becomes."""
    lab.become(int(uid))
    connection = lab.with_signals()
    profile = lab.import_profile(connection, name, extra)
    session = lab.new_tunnel(connection, profile)
    if follow:
        session.follow()
    return session, profile


def minors(session, wanted, what):
    """Waits for exactly these statuses, from the first on."""
    spin(f"{what}: {wanted}, so far {session.minors()}", lambda: len(session.statuses) >= len(wanted))
    assert session.minors() == wanted, f"{what}: {session.statuses} in place of {wanted}"


def life(uid):
    session, profile = started(uid)
    config = f"config_path={profile}"
    assert session.get("status") == [2, 2, config], session.get("status")
    assert session.get("device_name") == "" and session.get("connected_to") == ["", "", 0]
    assert session.get("statistics") == {} and session.get("device_path") == "/"
    session("Ready")
    session("Connect")
    assert session.get("status")[1] != 4
    minors(session, [2, 6, 6, CONNECTED], "connecting")
    assert session.statuses[0] == (2, 2, config)
    # Again changes nothing.
    session("Connect")
    assert session.get("device_name") == "netstack0", session.get("device_name")
    assert session.get("connected_to") == ["udp", "10.77.0.2", 1194], session.get("connected_to")
    assert session.get("session_name") == "10.77.0.2"
    assert session.get("device_path").startswith("/net/openvpn/v3/netcfg/")
    assert session.get("device_kind", lab.SESSION1) == "netstack"
    assert session.get("proxies", lab.SESSION1) == ["127.0.0.1:1080"]
    assert session.get("inner_addresses", lab.SESSION1)[0].startswith("10.99.0.")
    page("10.88.0.2")
    statistics = session.get("statistics")
    for name in ("BYTES_IN", "BYTES_OUT", "PACKETS_IN", "PACKETS_OUT", "TUN_BYTES_IN", "TUN_BYTES_OUT"):
        assert statistics[name] > 0, statistics
    assert all(value != 0 for value in statistics.values()), statistics

    del session.statuses[:]
    session("Pause", "lunch\n")
    minors(session, [13, 14], "pause")
    assert session.statuses[0] == (2, 13, "Reason: lunch"), session.statuses
    refused("Connection is already paused", session, "Pause", "x")
    session("Resume")
    minors(session, [13, 14, 15, 12, CONNECTED], "resume")
    refused("Connection is not paused", session, "Resume")

    del session.statuses[:]
    session("Restart")
    minors(session, [12, 12, CONNECTED], "restart")
    assert session.get("statistics")["N_PAUSE"] == 1
    page("10.88.0.2")

    del session.statuses[:]
    lines = len(session.lines)
    session.set("log_verbosity", dbus.UInt32(1))
    session("Restart")
    minors(session, [12, 12, CONNECTED], "restart")
    assert len(session.lines) == lines, session.lines[lines:]
    session.set("log_verbosity", dbus.UInt32(6))

    del session.statuses[:]
    session("Disconnect")
    minors(session, [8, 9, 16, 328], "disconnect")
    assert session.statuses[-1] == (3, 28, "Session closed")
    spin("the end", lambda: (session.path, 2, int(uid)) in session.events)
    try:
        session("Disconnect")
        raise AssertionError("it is still there")
    except lab.Refused as gone:
        assert gone.name.endswith("UnknownMethod") and "Object does not exist at path" in gone.text, gone
    assert any("Connected: 10.77.0.2:1194" in text for _, _, text in session.lines), session.lines
    assert not any("BEGIN" in text for _, _, text in session.lines)


def page(host):
    """Something through the proxy, from the inner host."""
    subprocess.run(
        ["curl", "-sS", "--fail", "--max-time", "20", "--proxy", "socks5h://127.0.0.1:1080", f"http://{host}/hello"],
        check=True, stdout=subprocess.DEVNULL,
    )


def refused(text, session, method, *args):
    try:
        session(method, *args)
    except lab.Refused as refusal:
        assert text in refusal.text, refusal
        # What came from the client process is told by a second blank.
        assert refusal.text.startswith("GDBus.Error:net.openvpn.gdbuspp.request:  "), refusal
        return
    raise AssertionError(f"{method} was not refused")


def not_ready(session, text="Missing user credentials"):
    try:
        session("Ready")
    except lab.Refused as refusal:
        assert refusal.name.endswith("2eerror_2eready.Code36"), refusal
        assert refusal.text == f"GDBus.Error:net.openvpn.v3.error.ready: {text}", refusal
        return
    raise AssertionError("it is ready")


def slots(session, group):
    """What is asked in a group: names, descriptions, and which are hidden."""
    open_groups = session("UserInputQueueGetTypeGroup")
    assert [1, group] in open_groups, open_groups
    found = []
    for number in session("UserInputQueueCheck", dbus.UInt32(1), dbus.UInt32(group)):
        slot = session("UserInputQueueFetch", dbus.UInt32(1), dbus.UInt32(group), dbus.UInt32(number))
        assert slot[:3] == [1, group, number], slot
        found.append(slot[3:])
    return found


def password(uid):
    """Wrong ones, then right ones, with the profile's own challenge."""
    session, _ = started(uid)
    assert session.get("status") == [2, 4, "Username/password credentials needed"], session.get("status")
    not_ready(session)
    assert slots(session, 1) == [["username", "Auth User name", False], ["password", "Auth Password", True]]
    try:
        session.provide(1, "")
        raise AssertionError("an empty answer was taken")
    except lab.Refused as refusal:
        assert "No value provided for RequiresSlot ID 0" in refusal.text, refusal
    session.provide(1, "alice", "wrong")
    session("Ready")
    session("Connect")
    minors(session, [2, 6, 6, 11], "wrong password")
    assert session.statuses[-1] == (2, 11, "Authentication failed"), session.statuses
    session("Disconnect")
    spin("the end", lambda: session.minors()[-1:] == [328])
    assert session.minors() == [2, 6, 6, 11, 8, 16, 328], session.minors()
    # At once again with the same profile, as front ends do.
    again = lab.new_tunnel(session.bus, session_profile(session)).follow()
    again.provide(1, "alice", "correct horse")
    again("Ready")
    again("Connect")
    minors(again, [2, 6, 6, CONNECTED], "right password")
    # The password shows nowhere.
    shown = repr(again.lines) + repr(again.get("last_log")) + repr(again.get("statistics"))
    assert "correct horse" not in shown
    again("Disconnect")


def session_profile(session):
    return lab.call(session.bus, lab.CONFIG, lab.CONFIG_PATH, lab.CONFIG, "FetchAvailableConfigs")[0]


def static_challenge(uid):
    session, _ = started(uid, 'static-challenge "PIN?" 0\n')
    not_ready(session)
    assert slots(session, 4) == [["static_challenge", "PIN?", True]]
    session.provide(1, "static", "pw")
    not_ready(session)
    session.provide(4, "42")
    session("Ready")
    session("Connect")
    minors(session, [2, 6, 6, CONNECTED], "static challenge")
    session("Disconnect")


def dynamic_challenge(uid):
    session, _ = started(uid)
    session.provide(1, "dynamic", "pw")
    session("Connect")
    minors(session, [2, 6, 6, 4], "dynamic challenge")
    assert session.statuses[-1][2] == "Dynamic Challenge", session.statuses
    spin("attention", lambda: (1, 5, "Your code?") in session.attention)
    not_ready(session)
    assert slots(session, 5) == [["dynamic_challenge", "Your code?", True]]
    session.provide(5, "77")
    session("Ready")
    session("Connect")
    minors(session, [2, 6, 6, 4, 2, 6, 6, CONNECTED], "answered")
    session("Disconnect")


def pending(uid):
    session, _ = started(uid)
    session.provide(1, "pending", "pw")
    session("Connect")
    minors(session, [2, 6, 6, 4], "pending")
    assert session.statuses[-1][2] == "Which PIN?", session.statuses
    spin("attention", lambda: (1, 6, "Which PIN?") in session.attention)
    assert slots(session, 6) == [["auth_pending", "Which PIN?", False]]
    session.provide(6, "99")
    session("Ready")
    session("Connect")
    assert session.get("status")[1] != 4
    spin("a connection", lambda: session.minors()[-1:] == [CONNECTED])
    session("Disconnect")


def web(uid):
    session, _ = started(uid)
    session.provide(1, "web", "pw")
    session("Connect")
    minors(session, [2, 6, 6, 322], "web")
    assert session.statuses[-1] == (3, 22, "https://login.example/?s=1"), session.statuses
    spin("attention", lambda: (1, 9, "https://login.example/?s=1") in session.attention)
    not_ready(session, "Pending web authentication")
    # Somebody has used the page.
    open(os.path.dirname(os.environ["LAB_PROFILE"]) + "/shared/go", "w", encoding="ascii").close()
    minors(session, [2, 6, 6, 322, CONNECTED], "web")
    session("Ready")
    session("Disconnect")


def passphrase(uid):
    session, _ = started(uid)
    assert session.get("status") == [2, 4, "Private key passphrase needed to connect"], session.get("status")
    assert slots(session, 3) == [["pk_passphrase", "Private key passphrase", True]]
    session.provide(3, "wrong")
    session("Connect")
    spin("failure", lambda: session.minors()[-1:] == [10])
    assert "PEM_PASSWORD_FAIL" in session.statuses[-1][2], session.statuses
    session("Disconnect")
    again = lab.new_tunnel(session.bus, session_profile(session)).follow()
    again.provide(3, "open sesame")
    again("Connect")
    minors(again, [2, 6, 6, CONNECTED], "passphrase")
    again("Disconnect")


def proxy(uid):
    """The proxy on the way to the server asks."""
    session, _ = started(uid)
    session("Connect")
    spin("a question", lambda: session.minors()[-1:] == [4])
    assert session.statuses[-1][2] == "HTTP proxy credentials", session.statuses
    assert slots(session, 2) == [
        ["http_proxy_user", "HTTP proxy username", False], ["http_proxy_pass", "HTTP proxy password", True],
    ]
    session.provide(2, "alice", "correct horse")
    session("Ready")
    session("Connect")
    spin("a connection", lambda: session.minors()[-1:] == [CONNECTED])
    session("Disconnect")


def fatal(uid):
    """A server whose certificate is another authority's: the session can be looked at, then leave it."""
    session, _ = started(uid)
    session("Connect")
    spin("failure", lambda: session.minors()[-1:] == [10])
    assert session.minors() == [2, 6, 6, 10] and "vouches" in session.statuses[-1][2], session.statuses
    assert session.get("status")[1] == 10
    session("Disconnect")
    spin("the end", lambda: session.minors()[-1:] == [328])


def lost(uid):
    """A server that is killed and comes back: the test does that when told so."""
    session, _ = started(uid)
    session("Connect")
    spin("a connection", lambda: session.minors()[-1:] == [CONNECTED])
    print("connected", flush=True)
    # The test kills the server and starts it again; the tunnel finds that out by itself.
    spin("a reconnection", lambda: session.minors()[-2:] == [12, CONNECTED], 60)
    assert session.minors() == [2, 6, 6, CONNECTED, 12, CONNECTED], session.minors()
    session("Disconnect")


def interact(uid):
    """`auth-retry interact`: a refusal is a question, and the session goes on."""
    session, _ = started(uid, "auth-retry interact\n")
    session.provide(1, "alice", "wrong")
    session("Connect")
    minors(session, [2, 6, 6, 4], "refused")
    not_ready(session)
    assert slots(session, 1) == [["username", "Auth User name", False], ["password", "Auth Password", True]]
    session.provide(1, "alice", "correct horse")
    session("Ready")
    session("Connect")
    minors(session, [2, 6, 6, 4, 2, 6, 6, CONNECTED], "accepted")
    session("Disconnect")


def killer():
    """Somebody who may kill what is written to him, since this process is about to become a user's."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(writing)
        with os.fdopen(reading) as pids:
            for pid in pids:
                os.kill(int(pid), signal.SIGKILL)
        os._exit(0)
    os.close(reading)
    return os.fdopen(writing, "w")


def crash(uid):
    """A client process that is killed is told at once; with `automatic-restart` another takes its place."""
    kill = killer()
    session, profile = started(uid)
    session("Connect")
    minors(session, [2, 6, 6, CONNECTED], "connecting")
    print(session.get("backend_pid"), file=kill, flush=True)
    minors(session, [2, 6, 6, CONNECTED, 329], "killed")
    assert session.statuses[-1] == (3, 29, "Session closed, killed backend client"), session.statuses
    spin("the end", lambda: (session.path, 2, int(uid)) in session.events)
    lab.call(session.bus, lab.CONFIG, profile, lab.CONFIG, "SetOverride", "automatic-restart", "on-failure")
    session = lab.new_tunnel(session.bus, profile).follow()
    session("Connect")
    minors(session, [2, 6, 6, CONNECTED], "connecting")
    first = session.get("backend_pid")
    print(first, file=kill, flush=True)
    spin("a replacement", lambda: session.minors()[-1:] == [CONNECTED] and 329 in session.minors())
    assert session.get("backend_pid") != first and session.get("device_name") == "netstack0"
    session("Disconnect")
    spin("the end", lambda: session.minors()[-1:] == [328])
    kill.close()


def overrides(uid):
    """What is set beside a profile counts."""
    lab.become(int(uid))
    connection = lab.with_signals()
    profile = lab.import_profile(connection, "overrides", "")
    change = lambda key, value: lab.call(connection, lab.CONFIG, profile, lab.CONFIG, "SetOverride", key, value)
    change("server-override", "10.77.0.9")
    change("port-override", "9")
    change("server-override", "10.77.0.2")
    change("port-override", "1194")
    session = lab.new_tunnel(connection, profile).follow()
    session("Connect")
    minors(session, [2, 6, 6, CONNECTED], "overrides")
    session("Disconnect")


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.setrecursionlimit(1000)
    lab.main({
        function.__name__: function
        for function in (
            life, password, static_challenge, dynamic_challenge, pending, web, passphrase, proxy, fatal, lost, interact,
            crash, overrides,
        )
    })
