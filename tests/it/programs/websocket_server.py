"""A WebSocket server that sends every message back: websocket_server.py ADDRESS PORT"""

import asyncio
import sys

import websockets


async def echo(socket, _path=None):
    async for message in socket:
        await socket.send(message)


async def main(address, port):
    async with websockets.serve(echo, address, port, max_size=None):
        print("serving", flush=True)
        await asyncio.Future()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
