"""A QUIC server: quic_server.py ADDRESS PORT CERTIFICATE KEY

A stream's eight first bytes say how many bytes to send back after the hash of what came.
"""

import asyncio
import hashlib
import struct
import sys

from aioquic.asyncio import serve
from aioquic.quic.configuration import QuicConfiguration


def on_stream(reader, writer):
    asyncio.ensure_future(answer(reader, writer))


async def answer(reader, writer):
    data = await reader.read()
    (wanted,) = struct.unpack(">Q", data[:8])
    writer.write(hashlib.sha256(data[8:]).digest())
    writer.write(bytes(i % 251 for i in range(wanted)))
    writer.write_eof()


async def main(address, port, certificate, key):
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["lab"], idle_timeout=30)
    configuration.load_cert_chain(certificate, key)
    await serve(address, port, configuration=configuration, stream_handler=on_stream)
    print("serving", flush=True)
    await asyncio.Future()


asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]))
