"""connect_read_pipe and connect_write_pipe: pipes, FIFOs, sockets, terminals."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import socket
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from peers import Recorder, caught, fill, on_loop, turns, until


@contextlib.asynccontextmanager
async def reading(factory: Any = Recorder) -> AsyncIterator[tuple[Any, Any, int]]:
    """(transport, protocol, the writing end)."""
    loop = asyncio.get_running_loop()
    mine, other = os.pipe()
    transport, protocol = await loop.connect_read_pipe(
        factory, os.fdopen(mine, "rb", 0)
    )
    try:
        yield transport, protocol, other
    finally:
        transport.close()
        await protocol.lost
        with contextlib.suppress(OSError):
            os.close(other)


@contextlib.asynccontextmanager
async def writing(factory: Any = Recorder) -> AsyncIterator[tuple[Any, Any, int]]:
    """(transport, protocol, the reading end)."""
    loop = asyncio.get_running_loop()
    other, mine = os.pipe()
    os.set_blocking(other, False)
    transport, protocol = await loop.connect_write_pipe(
        factory, os.fdopen(mine, "wb", 0)
    )
    try:
        yield transport, protocol, other
    finally:
        if not protocol.lost.done():
            transport.abort()
        await protocol.lost
        with contextlib.suppress(OSError):
            os.close(other)


async def drained(number: int) -> bytes:
    """All that comes out of a pipe."""
    data = bytearray()
    while True:
        try:
            more = os.read(number, 1 << 20)
        except BlockingIOError:
            await asyncio.sleep(0)
            continue
        if not more:
            return bytes(data)
        data += more


@on_loop
async def test_what_a_reading_transport_is() -> None:
    async with reading() as (transport, protocol, _):
        assert isinstance(transport, asyncio.ReadTransport)
        pipe = transport.get_extra_info("pipe")
        assert not os.get_blocking(pipe.fileno())
        assert transport.get_protocol() is protocol
        assert transport.is_reading()
        assert not transport.is_closing()
        assert f" fd={pipe.fileno()}" in repr(transport)
        assert transport.get_extra_info("socket", 1) == 1
        transport.close()
        transport.close()
        assert transport.is_closing()
        assert not transport.is_reading()
        assert protocol.told == ["made"]
        await protocol.lost
        assert protocol.told == ["made", "lost"]
        assert pipe.closed


@on_loop
async def test_reading() -> None:
    async with reading() as (transport, protocol, other):
        os.write(other, b"one")
        await until(lambda: protocol.data == b"one")
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        os.write(other, b"two")
        await asyncio.sleep(0.01)
        assert protocol.data == b"one"
        transport.resume_reading()
        transport.resume_reading()
        await until(lambda: protocol.data == b"onetwo")
        os.close(other)
        await protocol.lost
        assert protocol.told == ["made", "data", "data", "eof", "lost"]
        assert protocol.error is None


@on_loop
async def test_another_protocol() -> None:
    async with reading() as (transport, protocol, other):
        second = Recorder()
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        os.write(other, b"x")
        await until(lambda: second.data)
        transport.set_protocol(protocol)


@on_loop
async def test_what_a_writing_transport_is() -> None:
    async with writing() as (transport, protocol, _):
        assert isinstance(transport, asyncio.WriteTransport)
        pipe = transport.get_extra_info("pipe")
        assert not os.get_blocking(pipe.fileno())
        assert transport.get_protocol() is protocol
        assert transport.can_write_eof() is True
        assert transport.get_write_buffer_size() == 0
        assert transport.get_write_buffer_limits() == (16384, 65536)
        assert not transport.is_closing()
        assert f" fd={pipe.fileno()}" in repr(transport)
        transport.close()
        transport.close()
        assert transport.is_closing()
        await protocol.lost
        assert protocol.told == ["made", "lost"]
        assert pipe.closed


@on_loop
async def test_writing() -> None:
    async with writing() as (transport, _, other):
        for data in (b"bytes", bytearray(b"byte array"), memoryview(b"view")):
            transport.write(data)
            assert os.read(other, 100) == data
        transport.write(b"")
        transport.writelines([b"one ", b"two"])
        assert os.read(other, 100) == b"one two"


@pytest.mark.parametrize("way", ["close", "write_eof"])
@on_loop
async def test_the_end_comes_after_everything(way: str) -> None:
    async with writing() as (transport, protocol, other):
        transport.set_write_buffer_limits(0)
        size = fill(transport)
        assert protocol.told == ["made", "pause"]
        transport.write(b"last")
        getattr(transport, way)()
        assert transport.is_closing()
        await turns()
        assert not protocol.lost.done()
        data = await drained(other)
        assert len(data) == size + 4
        assert data.endswith(b"last")
        await protocol.lost
        assert protocol.error is None


@on_loop
async def test_flow_control() -> None:
    async with writing() as (transport, protocol, other):
        transport.set_write_buffer_limits(high=100_000, low=50_000)
        size = 0
        while "pause" not in protocol.told:
            transport.write(bytes(10_000))
            size += 10_000
        assert 100_000 < transport.get_write_buffer_size() <= 110_000
        taken = 0
        while "resume" not in protocol.told:
            with contextlib.suppress(BlockingIOError):
                taken += len(os.read(other, 1 << 16))
            await asyncio.sleep(0)
        assert transport.get_write_buffer_size() <= 50_000
        transport.close()
        assert taken + len(await drained(other)) == size


@on_loop
async def test_an_abort_drops_what_waits() -> None:
    async with writing() as (transport, protocol, other):
        size = fill(transport)
        transport.abort()
        await protocol.lost
        assert protocol.error is None
        assert len(await drained(other)) < size


@on_loop
async def test_a_reader_that_leaves() -> None:
    async with writing() as (transport, protocol, other):
        os.close(other)
        await protocol.lost
        assert protocol.told == ["made", "lost"]
        assert transport.is_closing()
        transport.write(b"dropped")
    async with writing() as (transport, protocol, other):
        caught()
        fill(transport)
        os.close(other)
        await protocol.lost
        assert isinstance(protocol.error, BrokenPipeError)


@on_loop
async def test_files_are_no_pipes(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    for connect, mode in (
        (loop.connect_read_pipe, "rb"),
        (loop.connect_write_pipe, "wb"),
    ):
        path = tmp_path / "file"
        path.touch()
        with (
            open(path, mode) as file,
            pytest.raises(ValueError, match=r"is (only )?for"),
        ):
            await connect(Recorder, file)


@on_loop
async def test_fifos(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    path = tmp_path / "fifo"
    os.mkfifo(path)
    end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sending, sender = await loop.connect_write_pipe(
        Recorder,
        open(path, "wb", 0),  # noqa: SIM115
    )
    taking, taker = await loop.connect_read_pipe(Recorder, os.fdopen(end, "rb", 0))
    sending.write(b"through the file system")
    await until(lambda: taker.data == b"through the file system")
    sending.close()
    await taker.lost
    await sender.lost
    assert taker.told[-2:] == ["eof", "lost"]
    assert taking.is_closing()


@on_loop
async def test_sockets_as_pipes() -> None:
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    taking, taker = await loop.connect_read_pipe(Recorder, left)
    sending, sender = await loop.connect_write_pipe(Recorder, right)
    sending.write(b"x")
    await until(lambda: taker.data)
    taking.close()
    await sender.lost
    await taker.lost
    assert sending.is_closing()


@on_loop
async def test_terminals() -> None:
    """The end of a terminal is EIO, which is no error to report."""
    loop = asyncio.get_running_loop()
    contexts = caught()
    master, slave = os.openpty()
    _, protocol = await loop.connect_read_pipe(Recorder, os.fdopen(master, "rb", 0))
    os.write(slave, b"typed")
    await until(lambda: protocol.data == b"typed")
    os.close(slave)
    await protocol.lost
    assert protocol.error is None or protocol.error.errno == errno.EIO
    assert contexts == []


@on_loop
async def test_devices() -> None:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        Recorder,
        open("/dev/null", "wb", 0),  # noqa: SIM115
    )
    transport.write(bytes(1 << 20))
    assert transport.get_write_buffer_size() == 0
    transport.close()
    await protocol.lost


@on_loop
async def test_much_through_a_pipe() -> None:
    loop = asyncio.get_running_loop()
    payload = os.urandom(2 << 20)
    one, two = os.pipe()
    _, taker = await loop.connect_read_pipe(Recorder, os.fdopen(one, "rb", 0))
    sending, sender = await loop.connect_write_pipe(Recorder, os.fdopen(two, "wb", 0))
    for at in range(0, len(payload), 70_000):
        sending.write(payload[at : at + 70_000])
    sending.close()
    await sender.lost
    await taker.lost
    assert taker.data == payload


def test_unclosed_pipes_warn(runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, two = os.pipe()
        await loop.connect_read_pipe(Recorder, os.fdopen(one, "rb", 0))
        await loop.connect_write_pipe(Recorder, os.fdopen(two, "wb", 0))

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        runner.run(main())
        runner.close()
        gc.collect()
    texts = [str(each.message) for each in seen]
    assert sum(text.startswith("unclosed transport <") for text in texts) == 2
