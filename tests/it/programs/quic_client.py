"""A QUIC client through SOCKS5 UDP ASSOCIATE: quic_client.py PROXY_PORT HOST PORT AUTHORITY

aioquic speaks to a port of the loopback, from which every datagram goes on with the header of RFC 1928, section 7.
"""

import asyncio
import hashlib
import os
import socket
import struct
import sys

from aioquic.asyncio.client import connect
from aioquic.quic.configuration import QuicConfiguration

PROXY = ("127.0.0.1", int(sys.argv[1]))
HOST, PORT, AUTHORITY = sys.argv[2], int(sys.argv[3]), sys.argv[4]
DOWN_BYTES, UP_BYTES = 2_000_000, 500_000


class Wrap(asyncio.DatagramProtocol):
    """Between the client's port and the proxy's."""

    def __init__(self, relay):
        self.relay, self.client, self.transport = relay, None, None
        name = HOST.encode()
        self.header = b"\0\0\0\x03" + bytes([len(name)]) + name + struct.pack(">H", PORT)

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, source):
        if source == self.relay:
            # The answer's header has an IPv4 address.
            assert data[:4] == b"\0\0\0\x01", data[:4]
            self.transport.sendto(data[10:], self.client)
        else:
            self.client = source
            self.transport.sendto(self.header + data, self.relay)


def associate():
    control = socket.create_connection(PROXY, timeout=20)
    control.sendall(b"\x05\x01\x00")
    assert control.recv(2) == b"\x05\x00"
    control.sendall(b"\x05\x03\x00\x01\0\0\0\0\0\0")
    reply = control.recv(10)
    assert reply[:4] == b"\x05\x00\x00\x01", reply
    return control, (socket.inet_ntoa(reply[4:8]), struct.unpack(">H", reply[8:])[0])


async def main():
    control, relay = associate()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Wrap(relay), local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    configuration = QuicConfiguration(alpn_protocols=["lab"], server_name=HOST, idle_timeout=30)
    configuration.load_verify_locations(AUTHORITY)
    async with connect("127.0.0.1", port, configuration=configuration, local_port=0) as client:
        reader, writer = await client.create_stream()
        body = os.urandom(UP_BYTES)
        writer.write(struct.pack(">Q", DOWN_BYTES) + body)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 60)
        assert answer[:32] == hashlib.sha256(body).digest(), "the upload came broken"
        assert answer[32:] == bytes(i % 251 for i in range(DOWN_BYTES)), f"{len(answer) - 32} bytes came"
    control.close()
    print("QUIC works")


asyncio.run(main())
