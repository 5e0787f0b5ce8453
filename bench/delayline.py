"""A slow line in user space: a TCP proxy that holds every byte back for a fixed time, each way.

`python bench/delayline.py LISTEN_ADDRESS:PORT TARGET_ADDRESS:PORT ONE_WAY_MS`. Bytes keep their order, bandwidth is
not limited, nothing is lost. For kernels without netem; what it does not show is TCP's slow start on a long line.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress

CHUNK = 65536


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Forward one direction: a queue of chunks, each with the time at which it is due."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def send() -> None:
        while True:
            due, data = await queue.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                break
            writer.write(data)
        with suppress(OSError, RuntimeError):
            writer.write_eof()

    sender = asyncio.create_task(send())
    data = b"-"
    while data:
        try:
            data = await reader.read(CHUNK)
        except OSError:
            data = b""
        queue.put_nowait((loop.time() + delay, data))
    await sender


async def serve(listen: tuple[str, int], target: tuple[str, int], delay: float) -> None:
    """Run until cancelled."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The kernel has already shaken hands with the client; on a real line that takes one round trip.
        await asyncio.sleep(2 * delay)
        try:
            far_reader, far_writer = await asyncio.open_connection(*target)
        except OSError:
            writer.close()
            return
        for each in (writer, far_writer):
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(pump(reader, far_writer, delay), pump(far_reader, writer, delay))
        for each in (writer, far_writer):
            each.close()

    server = await asyncio.start_server(one, *listen)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


def endpoint(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    return address, int(port)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(endpoint(sys.argv[1]), endpoint(sys.argv[2]), float(sys.argv[3]) / 1000))
