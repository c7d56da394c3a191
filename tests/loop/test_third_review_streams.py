"""Streams that a third reading of the native loop found in danger.

What runs between two parts of one write, and two who ask for the same socket at once.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import sys
import threading
from typing import Any

from peers import Recorder, on_loop, read_exactly, turns, until, wired
from test_datagram import HERE

# Code that runs between two parts of a stream.


class Writes:
    """Writes when nobody refers to it any more."""

    def __init__(self, transport: Any, data: bytes) -> None:
        self.transport = transport
        self.data = data

    def __del__(self) -> None:
        self.transport.write(self.data)


kept: contextvars.ContextVar[Any] = contextvars.ContextVar("kept")


@on_loop
async def test_a_write_when_a_context_ends() -> None:
    """It does not get between the parts of another that is sent bit by bit."""
    async with wired() as (transport, _, peer):
        big = os.urandom(4 << 20)

        def first() -> None:
            kept.set(Writes(transport, b"late"))
            transport.write(bytes(len(big)))

        contextvars.copy_context().run(first)
        assert transport.get_write_buffer_size()
        await read_exactly(peer, len(big))
        await until(lambda: not transport.get_write_buffer_size())
        await turns()
        transport.write(big)
        data = await read_exactly(peer, len(big) + 4)
        assert data in (big + b"late", b"late" + big)


# Two who ask for the socket at once.


@on_loop
async def test_the_socket_is_asked_for_while_it_is_made() -> None:
    """As by another thread: there is one object, which has the descriptor alone."""
    loop = asyncio.get_running_loop()
    found: list[Any] = []

    class Asking(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            sys.setprofile(ask)
            try:
                found.append(transport.get_extra_info("socket"))
            finally:
                sys.setprofile(None)
            made.append(self)

    def ask(frame: Any, event: str, argument: Any) -> None:
        if frame.f_code is socket.socket.__init__.__code__ and event == "return":
            sys.setprofile(None)
            found.append(made_transport().get_extra_info("socket"))

    def made_transport() -> Any:
        return protocol.transport

    made: list[Asking] = []
    protocol = Asking()
    server = await loop.create_server(lambda: protocol, *HERE)
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        await until(lambda: made)
        number = found[0].fileno()
        assert {each.fileno() for each in found} == {number}
        assert {each._sock for each in found} == {found[0]._sock}
        client.send(b"x")
        await until(lambda: protocol.data == b"x")
        client.close()
        await protocol.lost
    assert {each.fileno() for each in found} == {-1}
    server.close()
    await server.wait_closed()


@on_loop
async def test_threads_ask_for_the_socket() -> None:
    loop = asyncio.get_running_loop()
    interval = sys.getswitchinterval()
    made: list[Recorder] = []
    found: set[Any] = set()

    def factory() -> Recorder:
        made.append(Recorder())
        return made[-1]

    def ask(transport: Any, start: threading.Barrier) -> None:
        start.wait()
        found.add(transport.get_extra_info("socket")._sock)

    server = await loop.create_server(factory, *HERE)
    sys.setswitchinterval(1e-6)
    try:
        for count in range(1, 11):
            with socket.create_connection(server.sockets[0].getsockname()):
                await until(lambda n=count: len(made) == n and made[-1].told)
                start = threading.Barrier(4)
                threads = [
                    threading.Thread(target=ask, args=(made[-1].transport, start))
                    for _ in range(4)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                assert len(found) == count
            await made[-1].lost
    finally:
        sys.setswitchinterval(interval)
    server.close()
    await server.wait_closed()
