"""Which streams become ours, that the rest stay asyncio's, and the awaitables as such.

What the methods do is compared with asyncio's in test_streams_native.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from syslet_loop import _native


class Transport(asyncio.Transport):
    """One that does nothing."""

    def is_closing(self) -> bool:
        return True


def made() -> tuple[asyncio.StreamReader, asyncio.StreamReaderProtocol]:
    reader = asyncio.StreamReader()
    return reader, asyncio.StreamReaderProtocol(reader)


def adopted() -> tuple[asyncio.StreamReader, Any]:
    reader, protocol = made()
    feeder = _native.adopt_stream(protocol)
    assert feeder is not None
    return reader, feeder


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine function runs on asyncio's own loop."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


# Adoption.


@in_loop
async def test_a_reader_changes_its_class_and_nothing_else() -> None:
    reader, protocol = made()
    reader.feed_data(b"before")
    before = repr(reader)
    assert _native.adopt_stream(protocol) is not None
    assert type(reader) is _native.StreamReader
    assert isinstance(reader, asyncio.StreamReader)
    assert repr(reader) == before
    assert await reader.read(100) == b"before"
    assert _native.adopt_stream(protocol) is not None  # once more changes nothing


@in_loop
async def test_what_is_not_exactly_asyncios_stays_as_it_is() -> None:
    class Reader(asyncio.StreamReader):
        pass

    class Protocol(asyncio.StreamReaderProtocol):
        pass

    reader = Reader()
    assert _native.adopt_stream(asyncio.StreamReaderProtocol(reader)) is None
    assert type(reader) is Reader
    plain = asyncio.StreamReader()
    assert _native.adopt_stream(Protocol(plain)) is None
    assert _native.adopt_stream(asyncio.Protocol()) is None
    protocol = asyncio.StreamReaderProtocol(plain)
    protocol.data_received = print  # type: ignore
    assert _native.adopt_stream(protocol) is None
    assert type(plain) is asyncio.StreamReader


@in_loop
async def test_a_changed_class_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for owner, name in (
        (asyncio.StreamReader, "read"),
        (asyncio.StreamReaderProtocol, "data_received"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, lambda *args: None)
            reader, protocol = made()
            assert _native.adopt_stream(protocol) is None
            assert type(reader) is asyncio.StreamReader
    assert adopted()


@in_loop
async def test_a_method_of_the_instance_is_called() -> None:
    reader, feeder = adopted()
    fed: list[bytes] = []
    reader.feed_data = fed.append  # type: ignore
    _native.feed_stream(feeder, b"abc")
    assert fed == [b"abc"]
    del reader.feed_data

    async def until(separator: bytes) -> bytes:
        return b"mine"

    reader.readuntil = until  # type: ignore
    assert await reader.readline() == b"mine"


@in_loop
async def test_a_reader_that_is_gone_takes_nothing() -> None:
    reader, protocol = made()
    feeder = _native.adopt_stream(protocol)
    assert feeder is not None
    reference = weakref.ref(reader)
    del reader
    gc.collect()
    assert reference() is None
    _native.feed_stream(feeder, b"abc")
    assert _native.adopt_stream(protocol) is None


@in_loop
async def test_the_callback_of_a_server_is_put_back() -> None:
    calls: list[Any] = []

    async def connected(reader: Any, writer: Any) -> None:
        calls.append((reader, writer, protocol._client_connected_cb))
        writer.transport.abort = lambda: None

    reader = asyncio.StreamReader()
    protocol: Any = asyncio.StreamReaderProtocol(reader, connected)
    assert _native.adopt_stream(protocol) is not None
    assert protocol._client_connected_cb is not connected
    protocol.connection_made(Transport())
    assert protocol._client_connected_cb is connected
    await protocol._task
    ((given, writer, callback),) = calls
    assert given is reader and callback is connected
    assert type(writer) is _native.StreamWriter
    assert isinstance(writer, asyncio.StreamWriter)
    # A transport that is given this protocol later finds nothing left to do.
    assert _native.adopt_stream(protocol) is not None
    assert protocol._client_connected_cb is connected


# The awaitables.


@in_loop
async def test_they_are_coroutines_to_asyncio() -> None:
    reader, feeder = adopted()
    _native.feed_stream(feeder, b"abcdefgh\n")
    coroutine = reader.read(1)
    assert isinstance(coroutine, Coroutine) and asyncio.iscoroutine(coroutine)
    assert inspect.isawaitable(coroutine) and not asyncio.isfuture(coroutine)
    assert coroutine.__qualname__ == "StreamReader.read"
    assert coroutine.__name__ == "read"
    task = asyncio.create_task(coroutine)
    assert "StreamReader.read" in repr(task)
    assert await task == b"a"
    assert await asyncio.wait_for(reader.readexactly(1), 1) == b"b"
    assert await asyncio.gather(reader.read(1), reader.read(1)) == [b"c", b"d"]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readuntil(b"x"), 0.01)
    assert [line async for line in with_end(reader)] == [b"efgh\n"]


def with_end(reader: asyncio.StreamReader) -> asyncio.StreamReader:
    reader.feed_eof()
    return reader


@in_loop
async def test_each_may_be_awaited_once() -> None:
    reader, feeder = adopted()
    waiting: Any = reader.read(1)
    first = asyncio.create_task(waiting)
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="being awaited already"):
        await waiting
    _native.feed_stream(feeder, b"a")
    assert await first == b"a"
    for use in (waiting.send, waiting.throw):
        with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
            use(None if use == waiting.send else KeyError)
    waiting.close()
    with pytest.raises(TypeError, match="just-started"):
        fresh: Any = reader.read(1)
        try:
            fresh.send(1)
        finally:
            fresh.close()


@in_loop
async def test_throw_and_close_end_the_wait() -> None:
    reader: Any = adopted()[0]
    for end in (
        lambda each: each.close(),
        lambda each: each.throw(KeyError("thrown")),
    ):
        waiting = reader.readline()
        waiting.send(None)
        assert reader._waiter is not None
        with contextlib.suppress(KeyError):
            end(waiting)
        assert reader._waiter is None
    unused = reader.read(1)
    with pytest.raises(KeyError, match="thrown"):
        unused.throw(KeyError("thrown"))


@in_loop
async def test_one_that_is_dropped_lets_others_wait() -> None:
    reader: Any = adopted()[0]
    waiting = reader.read(1)
    waiting.send(None)
    del waiting
    assert reader._waiter is None
    with pytest.warns(RuntimeWarning, match=r"'StreamReader\.readexactly' was never"):
        reader.readexactly(1)


@in_loop
async def test_a_buffer_in_use_is_not_moved() -> None:
    reader, feeder = adopted()
    _native.feed_stream(feeder, b"abcd")
    with memoryview(reader._buffer):  # type: ignore
        with pytest.raises(BufferError):
            await reader.read(2)
        with pytest.raises(BufferError):
            _native.feed_stream(feeder, b"e" * 10000)
    assert await reader.read(100) == b"abcd"


@in_loop
async def test_the_buffer_is_a_bytearray_like_any_other() -> None:
    reader, feeder = adopted()
    buffer: bytearray = reader._buffer  # type: ignore
    model = bytearray()
    for size in (1, 100, 5000, 20000, 3, 64, 9000, 0, 1):
        data = bytes(size % 251 for size in range(size))
        _native.feed_stream(feeder, data)
        model += data
        half = len(model) // 2
        assert await reader.read(half) == model[:half]
        del model[:half]
        assert buffer == model and buffer + b"x" == model + b"x"
        buffer += b"y"
        model += b"y"
    assert buffer.pop(0) == model.pop(0)
    assert await reader.read(1 << 20) == model
    buffer.insert(0, 65)
    assert await reader.read(5) == b"A"


def test_a_wait_of_a_loop_that_is_gone_is_collected() -> None:
    async def wait() -> None:
        reader, _ = adopted()
        alive.append(weakref.ref(reader))
        await reader.read(1)

    alive: list[weakref.ref[asyncio.StreamReader]] = []
    loop = asyncio.new_event_loop()
    task = loop.create_task(wait())
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.set_exception_handler(lambda *args: None)
    loop.close()
    task._log_destroy_pending = False  # type: ignore
    del task, loop
    gc.collect()
    assert [reference() for reference in alive] == [None]
