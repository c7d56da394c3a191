"""The servers that a soak talks to, and the bytes that both sides can make from a seed.

A connection begins with a head that says what is wanted: everything back, bytes that
the client can check, or a word about bytes that the server checks. Used by jobs.py.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from typing import Any

HEAD = struct.Struct("!cIQ")  # what, how many bytes, the seed of them
ECHO, SEND, CHECK = b"e", b"s", b"c"
Address = tuple[str, int]


def made(seed: int, count: int) -> bytes:
    """Bytes that are the same wherever they are made."""
    return random.Random(seed).randbytes(count)


class Failures(list[str]):
    """What went wrong; a soak fails if it is not empty."""

    def note(self, what: str) -> None:
        if len(self) < 50:
            self.append(what)


class EchoProtocol(asyncio.Protocol):
    """Everything back, with the flow control that a program should have."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()

    def eof_received(self) -> bool:
        self.transport.close()
        return True


class BufferedEcho(asyncio.BufferedProtocol):
    """The same through a buffer of its own."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.buffer = bytearray(10_000)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self.buffer)

    def buffer_updated(self, count: int) -> None:
        self.transport.write(bytes(self.buffer[:count]))

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()

    def eof_received(self) -> bool:
        self.transport.close()
        return True


class UdpEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.transport.sendto(data, address)


async def _serve_one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    what, count, seed = HEAD.unpack(await reader.readexactly(HEAD.size))
    if what == SEND:
        writer.write(made(seed, count))
    elif what == CHECK:
        same = await reader.readexactly(count) == made(seed, count)
        writer.write(b"same" if same else b"else")
    while what == ECHO and (data := await reader.read(5000)):
        writer.write(data)
        await writer.drain()
    await writer.drain()


class Servers:
    """All of them on the loopback interface; `addresses` of TCP echo, by its kind."""

    def __init__(self) -> None:
        self.connections: set[asyncio.Task[Any]] = set()

    async def _stream(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            await _serve_one(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # a client that was cancelled, or that reset the connection
        finally:
            self.connections.discard(task)
            writer.close()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self.streams = await asyncio.start_server(self._stream, "127.0.0.1", 0)
        self.plain = await loop.create_server(EchoProtocol, "127.0.0.1", 0)
        self.buffered = await loop.create_server(BufferedEcho, "127.0.0.1", 0)
        self.udp, _ = await loop.create_datagram_endpoint(
            UdpEcho, local_addr=("127.0.0.1", 0)
        )
        self.udp_address: Address = self.udp.get_extra_info("sockname")
        self.address: Address = self.streams.sockets[0].getsockname()
        self.echoes: list[Address] = [
            server.sockets[0].getsockname() for server in (self.plain, self.buffered)
        ]

    async def stop(self) -> None:
        for server in (self.streams, self.plain, self.buffered):
            server.close()
        self.udp.close()
        while self.connections:
            await asyncio.sleep(0.01)


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection so that the other side gets ECONNRESET."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
