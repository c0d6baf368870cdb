"""WebSockets by every way through the proxy: websocket_client.py PROXY_PORT HOST PORT

By SOCKS5 and by HTTP CONNECT the library of Debian speaks; by a plain request in absolute form, which no library
does, the few bytes are written by hand (RFC 6455, sections 1.3 and 5.2).
"""

import asyncio
import base64
import os
import socket
import struct
import sys

import socks
import websockets

PROXY = ("127.0.0.1", int(sys.argv[1]))
HOST, PORT = sys.argv[2], int(sys.argv[3])
MESSAGES = ["hello", "x" * 200_000, "bye"]


async def by_library(kind):
    through = socks.create_connection((HOST, PORT), timeout=20, proxy_type=kind, proxy_addr=PROXY[0],
                                      proxy_port=PROXY[1], proxy_rdns=True)
    through.settimeout(None)
    through.setblocking(False)
    async with websockets.connect(f"ws://{HOST}:{PORT}/", sock=through, max_size=None) as client:
        for message in MESSAGES:
            await client.send(message)
            assert await client.recv() == message


def frame(text):
    body, mask = text.encode(), os.urandom(4)
    length = bytes([0x80 | len(body)]) if len(body) < 126 else b"\xff" + struct.pack(">Q", len(body))
    return b"\x81" + length + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(body))


def exactly(stream, count):
    data = stream.read(count)
    assert len(data) == count, f"{len(data)} of {count} bytes"
    return data


def message(stream):
    """One message, which may have come in several frames."""
    whole = b""
    while True:
        first, length = exactly(stream, 2)
        if length == 126:
            (length,) = struct.unpack(">H", exactly(stream, 2))
        elif length == 127:
            (length,) = struct.unpack(">Q", exactly(stream, 8))
        whole += exactly(stream, length)
        if first & 0x80:
            return whole.decode()


def by_absolute_form():
    with socket.create_connection(PROXY, timeout=20) as plain:
        key = base64.b64encode(os.urandom(16)).decode()
        plain.sendall((
            f"GET http://{HOST}:{PORT}/ HTTP/1.1\r\nHost: {HOST}:{PORT}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        ).encode())
        stream = plain.makefile("rb")
        status = stream.readline()
        assert b" 101 " in status, status
        while stream.readline().strip():
            pass
        for text in MESSAGES:
            plain.sendall(frame(text))
            assert message(stream) == text


asyncio.run(by_library(socks.SOCKS5))
asyncio.run(by_library(socks.HTTP))
by_absolute_form()
print("websockets work")
