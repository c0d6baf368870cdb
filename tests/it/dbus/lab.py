"""What the D-Bus scenarios share: calls as different users, and following a session.

Runs as root on Debian's python3-dbus, which is libdbus and so an implementation of its own. Each call of a user is made
by a process of that user, since the bus asks the kernel who connects.
"""

import json
import os
import sys
import time
import traceback

import dbus
import dbus.mainloop.glib
from gi.repository import GLib

CONFIG, SESSIONS, BACKENDS = "net.openvpn.v3.configuration", "net.openvpn.v3.sessions", "net.openvpn.v3.backends"
LOG, NETCFG = "net.openvpn.v3.log", "net.openvpn.v3.netcfg"
CONFIG_PATH, SESSIONS_PATH = "/net/openvpn/v3/configuration", "/net/openvpn/v3/sessions"
SESSION1 = "io.github.tunless.Session1"
PROPERTIES = "org.freedesktop.DBus.Properties"
LONGEST = 30


def service_uid():
    return int(os.environ["LAB_SERVICE_UID"])


def bus():
    """A connection of the current user to the lab's bus."""
    return dbus.bus.BusConnection(os.environ["DBUS_SYSTEM_BUS_ADDRESS"])


def plain(value):
    """Without the library's types, so that it can be compared and printed."""
    if isinstance(value, dbus.Boolean):
        return bool(value)
    if isinstance(value, (dbus.Byte, int)):
        return int(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


class Refused(Exception):
    """An error of the other side: its name on the bus, and its text."""

    def __init__(self, name, text):
        super().__init__(f"{name}: {text}")
        self.name, self.text = name, text


# Methods whose last argument may be of any type.
VARIANTS = {"Set": "ssv", "SetOverride": "sv"}


def call(connection, name, path, interface, method, *args, timeout=10):
    try:
        found = connection.call_blocking(name, path, interface, method, VARIANTS.get(method), args, timeout=timeout)
    except dbus.DBusException as error:
        raise Refused(error.get_dbus_name(), error.get_dbus_message()) from None
    return plain(found)


def typed(connection, name, path, interface, method, signature, *args):
    """With the types written out, for callers that send wrong ones on purpose."""
    try:
        return plain(connection.call_blocking(name, path, interface, method, signature, args, timeout=10))
    except dbus.DBusException as error:
        raise Refused(error.get_dbus_name(), error.get_dbus_message()) from None


def as_user(uid, work):
    """The result of `work(connection)`, done by a process of that user; what it raises is raised here."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            try:
                told = {"value": work(bus())}
            except Refused as refused:
                told = {"name": refused.name, "text": refused.text}
            os.write(writing, json.dumps(told).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the process of user {uid} failed"
    told = json.loads(text)
    if "name" in told:
        raise Refused(told["name"], told["text"])
    return told["value"]


def expect(what, uid, work, name, text):
    """`work` has to be refused to that user, with that error's name (its end) and text (a part)."""
    try:
        value = as_user(uid, work)
    except Refused as refused:
        assert refused.name.endswith(name), f"{what}: {refused}"
        assert text in refused.text, f"{what}: {refused}"
        return
    raise AssertionError(f"{what}: user {uid} was not refused but got {value!r}")


def profile_text():
    with open(os.environ["LAB_PROFILE"], encoding="utf-8") as file:
        return file.read()


def until(what, look, limit=LONGEST):
    """Looks until something true is found, and gives it."""
    deadline = time.monotonic() + limit
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not in {limit} s: {what}"
        time.sleep(0.01)


class Session:
    """A session of the current process's user, with everything that is told of it."""

    def __init__(self, connection, path):
        self.bus, self.path = connection, path
        self.statuses, self.lines, self.attention, self.events = [], [], [], []

    def follow(self):
        """Takes what the log service forwards; nothing else may send it."""
        owner = self.bus.get_name_owner(LOG)
        receive = self.bus.add_signal_receiver
        receive(self._status, "StatusChange", BACKENDS, owner, self.path)
        receive(self._line, "Log", BACKENDS, owner, self.path)
        receive(self._attention, "AttentionRequired", SESSIONS, None, self.path)
        receive(self._event, "SessionManagerEvent", SESSIONS, None, SESSIONS_PATH)
        self("LogForward", True)
        return self

    def _status(self, major, minor, text):
        self.statuses.append((int(major), int(minor), str(text)))

    def _line(self, group, category, text):
        self.lines.append((int(group), int(category), str(text)))

    def _attention(self, kind, group, text):
        self.attention.append((int(kind), int(group), str(text)))

    def _event(self, path, kind, owner):
        self.events.append((str(path), int(kind), int(owner)))

    def __call__(self, method, *args):
        return call(self.bus, SESSIONS, self.path, SESSIONS, method, *args)

    def get(self, name, interface=SESSIONS):
        return call(self.bus, SESSIONS, self.path, PROPERTIES, "Get", interface, name)

    def set(self, name, value):
        return call(self.bus, SESSIONS, self.path, PROPERTIES, "Set", SESSIONS, name, value)

    def minors(self):
        """Minor numbers of all statuses so far; those of major 3 with 300 added."""
        return [minor if major == 2 else 100 * major + minor for major, minor, _ in self.statuses]

    def provide(self, group, *values):
        for number, value in enumerate(values):
            self("UserInputProvide", dbus.UInt32(1), dbus.UInt32(group), dbus.UInt32(number), value)


def spin(what, look, limit=LONGEST):
    """Takes signals until something true is found."""
    context, deadline = GLib.MainContext.default(), time.monotonic() + limit
    while True:
        while context.pending():
            context.iteration(False)
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not in {limit} s: {what}"
        time.sleep(0.005)


def with_signals():
    """A connection of the current user that can take signals."""
    dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
    return bus()


def import_profile(connection, name, extra="", single_use=False, persistent=False):
    text = profile_text() + extra
    return call(connection, CONFIG, CONFIG_PATH, CONFIG, "Import", name, text, single_use, persistent)


def new_tunnel(connection, profile):
    path = call(connection, SESSIONS, SESSIONS_PATH, SESSIONS, "NewTunnel", dbus.ObjectPath(profile))
    return Session(connection, path)


def become(uid):
    """From here on this process is that user's."""
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


def main(scenarios):
    """Runs the scenario that the first argument names."""
    scenarios[sys.argv[1]](*sys.argv[2:])
    print("done:", sys.argv[1])
