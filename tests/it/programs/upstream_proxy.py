"""A proxy between a client and its server; it says on standard output what it was asked and by whom.

upstream_proxy.py LANGUAGE ADDRESS PORT [WORD=VALUE]...

LANGUAGE is http or socks. login=USER:PASSWORD lets nobody else in, offer=SCHEMES names the logins in the refusal
(Basic unless told otherwise), refuse=CODE refuses every way, name=NAME:ADDRESS resolves one name; no other is
resolved. Everything else is done as a proxy does it that wants to help nobody: in the order of the protocol.
"""

import base64
import socket
import sys
import threading

LANGUAGE, ADDRESS, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])
WORDS = dict(word.split("=", 1) for word in sys.argv[4:])
LOGIN = WORDS.get("login")
NAMES = dict([WORDS["name"].split(":")]) if "name" in WORDS else {}
LONGEST_HEAD = 8192


class Gone(Exception):
    pass


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def exactly(stream, count):
    data = b""
    while len(data) < count:
        piece = stream.recv(count - len(data))
        if not piece:
            raise Gone
        data += piece
    return data


def reach(host, port):
    if host not in NAMES:
        socket.inet_aton(host)
    return socket.create_connection((NAMES.get(host, host), port), timeout=10)


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def carry(client, server):
    server.settimeout(None)
    back = threading.Thread(target=pump, args=(server, client), daemon=True)
    back.start()
    pump(client, server)


def user_of(fields):
    for name, value in fields:
        if name.lower() == "proxy-authorization" and value.startswith("Basic "):
            return base64.b64decode(value[6:], validate=True).decode()
    return None


def serve_http(client):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += exactly(client, 1)
        if len(head) > LONGEST_HEAD:
            raise Gone
    first, *lines = head.decode().split("\r\n")
    fields = [line.split(": ", 1) for line in lines if line]
    method, target, version = first.split(" ")
    user = user_of(fields)
    say("%s %s %s by %s" % (method, target, version, (user or "nobody").split(":")[0]))
    for name, value in fields:
        if name.lower() not in ("host", "proxy-authorization"):
            say("%s is %s" % (name, value))
    if LOGIN and user != LOGIN:
        offers = WORDS.get("offer", 'Basic realm="a lab"').split(";")
        challenges = "".join("Proxy-Authenticate: %s\r\n" % offer for offer in offers)
        answer = "HTTP/1.1 407 Proxy Authentication Required\r\n%sContent-Length: 3\r\n\r\nno\n" % challenges
        client.sendall(answer.encode())
        return
    if "refuse" in WORDS:
        client.sendall(("HTTP/1.1 %s Not for you\r\n\r\n" % WORDS["refuse"]).encode())
        return
    host, port = target.rsplit(":", 1)
    server = reach(host, int(port))
    client.sendall(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 lab\r\n\r\n")
    carry(client, server)


def serve_socks(client):
    version, count = exactly(client, 2)
    offered = exactly(client, count)
    if version != 5:
        raise Gone
    wanted = 2 if LOGIN else 0
    if wanted not in offered:
        say("no login that fits among %s" % list(offered))
        client.sendall(b"\5\xff")
        return
    client.sendall(bytes([5, wanted]))
    user = "nobody"
    if LOGIN:
        _, length = exactly(client, 2)
        name = exactly(client, length).decode()
        password = exactly(client, exactly(client, 1)[0]).decode()
        user = name
        fits = "%s:%s" % (name, password) == LOGIN
        client.sendall(b"\1\0" if fits else b"\1\1")
        if not fits:
            say("refused %s" % name)
            return
    _, _, _, kind = exactly(client, 4)
    if kind == 3:
        host = exactly(client, exactly(client, 1)[0]).decode()
    else:
        host = socket.inet_ntop(*((socket.AF_INET, exactly(client, 4)) if kind == 1 else (socket.AF_INET6, exactly(client, 16))))
    port = int.from_bytes(exactly(client, 2), "big")
    say("SOCKS %s:%d by %s" % (host, port, user))
    server = reach(host, port)
    client.sendall(b"\5\0\0\1\0\0\0\0\0\0")
    carry(client, server)


def serve(client):
    try:
        {"http": serve_http, "socks": serve_socks}[LANGUAGE](client)
    except (Gone, OSError, ValueError) as error:
        say("gave up: %r" % error)
    finally:
        client.close()


listener = socket.create_server((ADDRESS, PORT))
say("serving")
while True:
    accepted, _ = listener.accept()
    threading.Thread(target=serve, args=(accepted,), daemon=True).start()
