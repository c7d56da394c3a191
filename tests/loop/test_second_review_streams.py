"""Streams that a program has changed: before they are connected, and in the middle.

What a second reading of the native streams found. What is done to a reader before its
connection is respected as what is done afterwards, on asyncio's loop and on ours; and a
stream that is taken apart while it is being changed is not written to.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from peers import PATIENCE_S, on_loop, until

from syslet_loop import _native


async def connected(
    change: Callable[[asyncio.StreamReader], None],
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, socket.socket]:
    """A stream whose reader is changed before it is connected, and the other end."""
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    change(reader)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.create_connection(lambda: protocol, sock=left)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop), right


@on_loop
async def test_feed_data_of_the_instance_from_the_start() -> None:
    fed = bytearray()

    def change(reader: Any) -> None:
        reader.feed_data = fed.extend

    reader, writer, peer = await connected(change)
    peer.send(b"to the method")
    await until(lambda: fed)
    assert fed == b"to the method"
    del reader.feed_data  # type: ignore[method-assign]
    peer.send(b"to the buffer")
    assert await reader.read(99) == b"to the buffer"
    writer.close()
    await writer.wait_closed()
    peer.close()


@on_loop
async def test_other_attributes_do_no_harm() -> None:
    def change(reader: Any) -> None:
        reader.name = "mine"

    reader, writer, peer = await connected(change)
    peer.send(b"x")
    assert await reader.read(99) == b"x"
    assert reader.name == "mine"  # type: ignore[attr-defined]
    writer.close()
    await writer.wait_closed()
    peer.close()


@on_loop
async def test_create_future_of_the_loop_itself() -> None:
    loop: Any = asyncio.get_running_loop()
    reader, writer, peer = await connected(lambda reader: None)
    made: list[asyncio.Future[Any]] = []

    async def read_later() -> None:
        loop.call_soon(peer.send, b"x")
        assert await reader.read(9) == b"x"

    for _ in range(3):  # whatever is remembered of the loop
        await read_later()
    create = loop.create_future
    loop.create_future = lambda: made.append(create()) or made[-1]
    try:
        await read_later()
    finally:
        del loop.create_future
    assert len(made) == 1
    writer.close()
    await writer.wait_closed()
    peer.close()


# Taken apart.


class Breaking:
    """A value that takes a stream apart when it is asked what it is, or at its end."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __bool__(self) -> bool:
        vars(self.stream).clear()
        return True

    def __float__(self) -> float:
        vars(self.stream).clear()
        return 100.0

    def __del__(self) -> None:
        vars(self.stream).clear()


class Quiet(asyncio.Transport):
    """A transport for what is never sent."""

    def is_closing(self) -> bool:
        return True


def adopted() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    assert _native.adopt_stream(protocol) is not None
    return reader


def alone(test: Callable[[], None]) -> None:
    async def main() -> None:
        test()

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))


@pytest.mark.parametrize("name", ["_eof", "_paused", "_limit"])
def test_a_reader_that_a_value_takes_apart(name: str) -> None:
    def test() -> None:
        reader: Any = adopted()
        setattr(reader, name, Breaking(reader))
        assert reader._waiter is None  # it has begun anew

    alone(test)


@pytest.mark.parametrize("way", ["set_exception", "_transport"])
def test_a_reader_that_an_end_takes_apart(way: str) -> None:
    def test() -> None:
        reader: Any = adopted()
        name = "_exception" if way == "set_exception" else way
        setattr(reader, name, Breaking(reader))
        if way == "set_exception":
            reader.set_exception(OSError())
        else:
            reader._transport = None
        assert reader._waiter is None

    alone(test)


def test_a_writer_that_an_end_takes_apart() -> None:
    writers: list[Any] = []

    def test() -> None:
        reader = asyncio.StreamReader()
        protocol: Any = asyncio.StreamReaderProtocol(
            reader, lambda _, writer: writers.append(writer)
        )
        assert _native.adopt_stream(protocol) is not None
        protocol.connection_made(Quiet())
        (writer,) = writers
        assert type(writer) is _native.StreamWriter
        writer._complete_fut = Breaking(writer)
        writer._complete_fut = None
        assert writer._reader is None  # it has begun anew
        writer._transport = Quiet()

    alone(test)


class Waiter:
    """A reader's waiter whose wake-up takes the reader apart."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader

    def set_result(self, _: None) -> None:
        vars(self.reader).clear()


def test_a_reader_that_its_waiter_takes_apart() -> None:
    def test() -> None:
        reader: Any = adopted()
        reader._waiter = Waiter(reader)
        reader.feed_data(b"nobody gets this")
        assert not reader._buffer

    alone(test)
