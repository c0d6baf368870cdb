"""Many sessions in a row, and services that are killed at every step."""

import os
import signal
import traceback

import lab
from lab import CONFIG, SESSIONS, SESSIONS_PATH, Refused, call

NAMES = {"log": lab.LOG, "configuration": CONFIG, "netcfg": lab.NETCFG, "backends": lab.BACKENDS, "sessions": SESSIONS}
STEPS = ("NewTunnel", "Ready", "Connect", "connected", "Pause", "Resume", "Disconnect")


def many(uid, count):
    """Started, connected and ended, one behind the other."""
    lab.become(int(uid))
    connection = lab.with_signals()
    profile = lab.import_profile(connection, "many")
    names = set()
    for number in range(int(count)):
        session = lab.new_tunnel(connection, profile)
        session("Ready")
        session("Connect")
        if number % 4 == 0:
            lab.until("a connection", lambda: session.get("status")[1] == 7)
            names.add(session.get("device_name"))
        session("Disconnect")
    assert names == {"netstack0"}, names
    assert call(connection, SESSIONS, SESSIONS_PATH, SESSIONS, "FetchAvailableSessions") == []
    call(connection, CONFIG, profile, CONFIG, "Remove")


def step(session, name):
    if name == "NewTunnel":
        return
    if name == "connected":
        lab.until("a connection", lambda: session.get("status")[1] == 7)
    elif name == "Pause":
        session("Pause", "x")
        lab.until("a pause", lambda: session.get("status")[1] == 14)
    elif name == "Resume":
        session("Resume")
        lab.until("a connection", lambda: session.get("status")[1] == 7)
    else:
        session(name)


def service_is_back(connection, old, name):
    """Whether somebody has that name who is not the one that was killed."""
    try:
        owner = connection.get_name_owner(name)
    except dbus.DBusException:
        return False
    return call(connection, "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "GetConnectionUnixProcessID", owner) != old


def killed(uid, service):
    """`service` is killed after each step; then either the sequence goes on, or a new one works at once."""
    for after in STEPS:
        one_kill(int(uid), service, after)


def one_kill(uid, service, after):
    """Root kills, a process of the user's goes on."""
    go_read, go_write = os.pipe()
    told_read, told_write = os.pipe()
    user = os.fork()
    if user == 0:
        status = 1
        try:
            the_user(uid, after, go_read, told_write)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(told_write)
    told = os.read(told_read, 16)
    assert told, f"{service}, {after}: the user's process failed before"
    if service == "client":
        try:
            os.kill(int(told), signal.SIGKILL)
        except ProcessLookupError:
            assert after == "Disconnect"
    else:
        connection = lab.bus()
        pid = process_of(connection, NAMES[service])
        os.kill(pid, signal.SIGKILL)
        lab.until(f"{service} comes back", lambda: process_of(connection, NAMES[service]) not in (None, pid))
    os.write(go_write, b"x")
    _, status = os.waitpid(user, 0)
    assert status == 0, f"{service} killed after {after}"
    for end in (go_read, go_write, told_read):
        os.close(end)


def process_of(connection, name):
    """The process that owns a name; nothing while nobody does."""
    bus = "org.freedesktop.DBus"
    try:
        return call(connection, bus, "/", bus, "GetConnectionUnixProcessID", name)
    except Refused:
        return None


def the_user(uid, after, go, told):
    lab.become(uid)
    connection = lab.with_signals()
    session = lab.new_tunnel(connection, lab.import_profile(connection, "killed"))
    pid = session.get("backend_pid")
    for name in STEPS:
        step(session, name)
        if name == after:
            break
    os.write(told, str(pid).encode())
    assert os.read(go, 1) == b"x"
    outcome = "went on"
    try:
        for name in STEPS[STEPS.index(after) + 1:]:
            step(session, name)
    except Refused as refused:
        outcome = f"was refused ({refused.text})"
        try:
            session("Disconnect")
        except Refused:
            pass
    print(f"killed after {after}: the session {outcome}", flush=True)
    # Whatever became of it, nothing is left of it, and the next one works.
    listed = lambda: call(connection, SESSIONS, SESSIONS_PATH, SESSIONS, "FetchAvailableSessions")
    lab.until("no session is left", lambda: listed() == [])
    session = lab.new_tunnel(connection, lab.import_profile(connection, "again"))
    session("Ready")
    session("Connect")
    lab.until("a connection", lambda: session.get("status")[1] == 7)
    session("Disconnect")


def left(uid):
    """One that is connected and left alone."""
    lab.become(int(uid))
    connection = lab.bus()
    session = lab.new_tunnel(connection, lab.import_profile(connection, "left"))
    session("Connect")
    lab.until("a connection", lambda: session.get("status")[1] == 7)


if __name__ == "__main__":
    lab.main({"many": many, "killed": killed, "left": left})
