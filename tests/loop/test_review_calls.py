"""Objects that a reading of the native loop found in its way.

Deadlines that are no numbers, descriptors that nobody has, handles whose parts were
taken away, and buffers and protocols in Python that do what nobody expects of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import sys
import tracemalloc
from typing import Any

import pytest
from loop.sockets import make_pair
from peers import (
    PATIENCE_S,
    Recorder,
    on_loop,
    read_exactly,
    turns,
    until,
    wired,
)

import syslet_loop
from syslet_loop import _native

ours = pytest.mark.parametrize("runner", ("plain", "uring", "epoll"), indirect=True)
buffers_in_python = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="__buffer__ is new in 3.12"
)
FAR = 5_000_000  # a number that no descriptor has
PARTS = ("_args", "_callback", "_cancelled", "_context", "_loop", "_repr")
TIMER_PARTS = (*PARTS, "_scheduled", "_source_traceback", "_when")


# Times and descriptors that are none.


@ours
@on_loop
async def test_a_deadline_that_is_no_number() -> None:
    """asyncio takes it, and fails when it has to wait for it."""
    loop = asyncio.get_running_loop()
    for call in (loop.call_later, loop.call_at):
        with pytest.raises(ValueError, match="NaN"):
            call(float("nan"), print)
    woken = loop.create_future()
    loop.call_later(0.001, woken.set_result, None)
    await woken


@on_loop
async def test_a_descriptor_that_nobody_has() -> None:
    """It is refused, without a table as large as the number."""
    loop = asyncio.get_running_loop()
    tracemalloc.start()
    try:
        for add in (loop.add_reader, loop.add_writer):
            with pytest.raises(OSError) as refused:
                add(FAR, print)
            assert refused.value.errno == errno.EBADF
        assert tracemalloc.get_traced_memory()[1] < FAR
    finally:
        tracemalloc.stop()
    assert loop.remove_reader(FAR) is False
    assert loop.remove_writer(FAR) is False


# Handles that are taken to pieces: nothing breaks but themselves.


def take_apart(handle: Any, part: str, way: str) -> None:
    if way == "delete":
        delattr(handle, part)
    else:
        setattr(handle, part, None)


def use(handle: Any) -> None:
    """Whatever it says, it says it in Python."""
    for method in (handle.cancelled, handle.__repr__, handle.cancel, handle.__repr__):
        with contextlib.suppress(AttributeError, TypeError):
            method()


def turn(loop: asyncio.AbstractEventLoop) -> None:
    """Let it turn a few times, whoever has stopped it before."""
    for _ in range(4):
        loop.call_soon(loop.stop)
        loop.run_forever()


def run_all(loop: asyncio.AbstractEventLoop) -> None:
    """A handle that cannot even be reported ends the run, as in asyncio."""
    for _ in range(4):
        with contextlib.suppress(AttributeError, TypeError):
            turn(loop)


@ours
@pytest.mark.parametrize("way", ("delete", "none"))
@pytest.mark.parametrize("debug", (False, True))
def test_handles_without_a_part(runner: asyncio.Runner, way: str, debug: bool) -> None:
    """Run or cancelled; asyncio's heap of timers is lost with the time of one."""
    loop = runner.get_loop()
    loop.set_debug(debug)
    loop.set_exception_handler(lambda *_: None)
    for part in TIMER_PARTS:
        for used in (False, True):
            handles = [loop.call_later(0, int), loop.call_later(1000, int)]
            if part in PARTS:
                handles.append(loop.call_soon(int))
            for handle in handles:
                take_apart(handle, part, way)
                if used:
                    use(handle)
            run_all(loop)
            for handle in handles:
                use(handle)
    loop.run_until_complete(asyncio.wait_for(asyncio.sleep(0.001), PATIENCE_S))


@ours
def test_a_handle_without_its_loop_is_cancelled(runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        called: list[int] = []
        for make in (loop.call_soon, lambda *args: loop.call_later(0, *args)):
            handle = make(called.append, 1)
            handle._loop = None
            handle.cancel()
            assert handle.cancelled()
        await turns()
        assert called == []

    runner.run(main())


@ours
def test_a_timer_that_is_said_to_be_another_loop_s(runner: asyncio.Runner) -> None:
    """The other loop's timer with the same place in its queue is not taken out."""
    loop: Any = runner.get_loop()
    with contextlib.closing(syslet_loop.new_event_loop()) as other:
        handle: Any = loop.call_later(1000, print)
        woken = other.create_future()
        other.call_later(0.001, woken.set_result, None)
        handle._loop = other
        handle.cancel()
        other.run_until_complete(asyncio.wait_for(woken, PATIENCE_S))


# Objects of the program's that run Python code when they are looked at.


class Unclassed(asyncio.Protocol):
    """Does not say what it is."""

    @property
    def __class__(self) -> Any:
        raise ZeroDivisionError

    def __bool__(self) -> bool:
        raise ZeroDivisionError


@ours
@on_loop
async def test_a_protocol_that_does_not_say_what_it_is() -> None:
    """No transport is made. asyncio leaves one that says it was not closed."""
    loop = asyncio.get_running_loop()
    with make_pair() as (left, _), pytest.raises(ZeroDivisionError):
        _native.SocketTransport(loop, left, Unclassed())
    with make_pair() as (left, _), pytest.raises(ZeroDivisionError):
        await loop.create_connection(Unclassed, sock=left)
    async with wired() as (transport, protocol, peer):
        with pytest.raises(ZeroDivisionError):
            transport.set_protocol(Unclassed())
        transport.set_protocol(protocol)
        peer.send(b"x")
        await until(lambda: protocol.data)


class Buffer:
    """Bytes that something is done for before they are given."""

    def __init__(self, data: bytes, before: Any) -> None:
        self.data, self.before = data, before

    def __buffer__(self, flags: int) -> memoryview:
        self.before()
        return memoryview(self.data)


@buffers_in_python
@ours
@on_loop
async def test_writelines_of_a_list_that_changes() -> None:
    """It is written as it was; asyncio notices the change."""
    async with wired() as (transport, _, peer):
        rest = [b"%05d" % number for number in range(20_000)]
        junk: list[bytes] = []

        def change() -> None:
            items.clear()
            junk.extend(bytes(5) for _ in range(1000))

        items: list[Any] = [Buffer(b"first", change), *rest]
        transport.writelines(items)
        wanted = b"first" + b"".join(rest)
        assert await read_exactly(peer, len(wanted)) == wanted


@buffers_in_python
@ours
@pytest.mark.parametrize("others", ([], [b"more"], [b"m" * (1 << 20)]))
@on_loop
async def test_writelines_of_what_aborts(others: list[bytes]) -> None:
    """Nothing is kept for a connection that is lost, whose protocol is not told."""
    async with wired(Recorder) as (transport, protocol, _):
        transport.writelines([Buffer(b"x" * 100, transport.abort), *others])
        assert transport.get_write_buffer_size() == 0
        await protocol.lost
        transport.set_write_buffer_limits(high=0)
        await turns()
        assert protocol.told == ["made", "lost"]
