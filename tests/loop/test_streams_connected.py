"""Streams over real connections, on asyncio's loop and on ours, where they are in C.

What the classes do is in test_streams_native.py; this is about how they come to be used
and how they work with transports.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from certificate import client_context, server_context
from peers import on_loop, until

from syslet_loop import _native

PAYLOAD = os.urandom(1 << 20)


def is_ours() -> bool:
    return isinstance(asyncio.get_running_loop(), _native.Loop)


@contextlib.asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[tuple[Any, Any, Any, Any]]:
    """(reader, writer) of a client, then those of the server."""
    given: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def handle(reader: Any, writer: Any) -> None:
        given.set_result((reader, writer))
        await done.wait()

    context = options.pop("ssl", False)
    server = await asyncio.start_server(
        handle, "127.0.0.1", 0, ssl=server_context() if context else None, **options
    )
    address = server.sockets[0].getsockname()[:2]
    if context:
        options.update(ssl=client_context(), server_hostname="localhost")
    reader, writer = await asyncio.open_connection(*address, **options)
    try:
        yield reader, writer, *await given
    finally:
        done.set()
        for each in (writer, given.result()[1]):
            each.close()
            with contextlib.suppress(OSError):
                await each.wait_closed()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("tls", [False, True])
@on_loop
async def test_whose_classes_are_used(tls: bool) -> None:
    async with connected(ssl=tls) as (reader, writer, there, back):
        owner: Any = _native if is_ours() else asyncio
        assert type(reader) is type(there) is owner.StreamReader
        assert type(back) is owner.StreamWriter
        assert type(writer) is asyncio.StreamWriter
        assert "StreamWriter transport=<" in repr(back)
        writer.write(b"a line\nand")
        await writer.drain()
        assert await there.readline() == b"a line\n"
        back.write(b"an answer")
        await back.drain()
        back.write_eof() if not tls else back.close()
        assert await reader.read() == b"an answer"


@on_loop
async def test_a_pipe() -> None:
    loop = asyncio.get_running_loop()
    out, into = os.pipe()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(out, "rb", 0)
    )
    assert (type(reader) is _native.StreamReader) is is_ours()
    os.write(into, b"through")
    assert await reader.readexactly(7) == b"through"
    os.close(into)
    assert await reader.read() == b""
    transport.close()


@on_loop
async def test_a_full_buffer_pauses_and_a_reader_resumes() -> None:
    async with connected(limit=1 << 14) as (_reader, writer, there, back):
        writer.write(PAYLOAD)
        await until(lambda: not back.transport.is_reading())
        assert there._paused and len(there._buffer) > 2 << 14
        assert await there.readexactly(len(PAYLOAD)) == PAYLOAD
        assert back.transport.is_reading() and not there._paused
        await writer.drain()


@on_loop
async def test_lines_in_pieces_of_any_size() -> None:
    lines = [os.urandom(size).replace(b"\n", b"") + b"\n" for size in range(0, 900, 7)]
    whole = b"".join(lines)
    async with connected() as (_reader, writer, there, _back):

        async def send() -> None:
            for start in range(0, len(whole), 333):
                writer.write(whole[start : start + 333])
                await writer.drain()
                await asyncio.sleep(0)
            writer.write_eof()

        sending = asyncio.create_task(send())
        assert [line async for line in there] == lines
        assert there.at_eof()
        await sending


@on_loop
async def test_a_reset_is_raised_by_both() -> None:
    async with connected() as (_reader, writer, there, back):
        reading = asyncio.create_task(there.read(1))
        await asyncio.sleep(0)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()
        with pytest.raises(ConnectionResetError):
            await reading
        with pytest.raises(ConnectionResetError):
            await there.read(1)
        back.write(b"too late")
        with pytest.raises(ConnectionResetError):
            await back.drain()


@on_loop
async def test_drain_after_the_end() -> None:
    async with connected() as (_reader, _writer, _there, back):
        back.close()
        await back.wait_closed()
        with pytest.raises(ConnectionResetError, match="Connection lost"):
            await back.drain()


@on_loop
async def test_drain_waits_for_room() -> None:
    async with connected() as (reader, writer, _there, back):
        writer.transport.pause_reading()
        back.transport.set_write_buffer_limits(1000)
        while not back._protocol._paused:
            back.write(PAYLOAD)
        draining = asyncio.create_task(back.drain())
        await asyncio.sleep(0.01)
        assert not draining.done() and len(back._protocol._drain_waiters) == 1
        writer.transport.resume_reading()
        while not draining.done():
            await reader.read(1 << 16)
        assert not back._protocol._drain_waiters
        back.transport.abort()


@on_loop
async def test_data_for_a_reader_that_is_gone() -> None:
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    here.setblocking(False)
    protocol: Any = asyncio.StreamReaderProtocol(asyncio.StreamReader())
    await loop.create_connection(lambda: protocol, sock=here)
    assert protocol._stream_reader is None
    protocol.eof_received = lambda: False  # asyncio's keeps the connection
    there.send(b"nobody reads this")
    there.close()
    await protocol._closed
