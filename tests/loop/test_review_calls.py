"""Calls and timers that a reading of the native loop found in danger.

A call of another thread that wakes nobody, deadlines that are no numbers, handles whose
parts were taken away, and clocks, buffers and protocols in Python that do what nobody
expects of them. Where asyncio's loop behaves as ours, it is the judge.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from peers import (
    PATIENCE_S,
    Recorder,
    on_loop,
    pair,
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


@contextlib.contextmanager
def made_with(runner: asyncio.Runner, part: type) -> Iterator[Any]:
    """A loop like the runner's, with methods of its own; closed afterwards."""
    kind = type(runner.get_loop())
    with contextlib.closing(type(part.__name__, (part, kind), {})()) as loop:
        yield loop


@contextlib.contextmanager
def runs_in_thread(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """The loop runs in another thread, from its very beginning."""
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


# Calls of other threads, between the loop's look at its queue and its sleep.


class Gate:
    """Where the loop stays until another thread has called something."""

    def __init__(self) -> None:
        super().__init__()
        self.there, self.open = threading.Event(), threading.Event()
        self.shut = False

    def pass_it(self) -> None:
        """Only the first time that it is shut."""
        if self.shut:
            self.shut = False
            self.there.set()
            assert self.open.wait(PATIENCE_S)

    def call_meanwhile(self) -> None:
        """From another thread; fails if the loop does not wake up for it."""
        assert self.there.wait(PATIENCE_S)
        called = threading.Event()
        self.call_soon_threadsafe(called.set)  # type: ignore[attr-defined]
        self.open.set()
        assert called.wait(PATIENCE_S)


class SlowToBegin(Gate):
    """Takes its time to make the engine, which is when it first waits."""

    def _make_engine(self) -> Any:
        engine = super()._make_engine()  # type: ignore[misc]
        self.pass_it()
        return engine


class SlowClock(Gate):
    """Takes its time to say how late it is."""

    def time(self) -> float:
        self.pass_it()
        return super().time()  # type: ignore[misc,no-any-return]


@ours
def test_a_call_while_the_engine_is_made(runner: asyncio.Runner) -> None:
    with made_with(runner, SlowToBegin) as loop:
        loop.shut = True
        with runs_in_thread(loop):
            loop.call_meanwhile()


def test_a_call_while_the_clock_is_asked(runner: asyncio.Runner) -> None:
    """The loop asks how long it may sleep, and then it may not at all."""
    with made_with(runner, SlowClock) as loop:
        loop.call_later(1000, print)
        loop.shut = True
        with runs_in_thread(loop):
            loop.call_meanwhile()


def test_calls_while_the_loop_begins(runner: asyncio.Runner) -> None:
    """As chance has it, with threads that take turns very often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(50):
            called = threading.Event()
            with (
                contextlib.closing(type(runner.get_loop())()) as loop,
                runs_in_thread(loop),
            ):
                loop.call_soon_threadsafe(called.set)
                assert called.wait(PATIENCE_S)
    finally:
        sys.setswitchinterval(before)


# Clocks.


class Canceller:
    """Whose clock cancels what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.handles: list[asyncio.TimerHandle] = []

    def time(self) -> float:
        while self.handles:
            self.handles.pop().cancel()
        return super().time()  # type: ignore[misc,no-any-return]


def test_a_clock_that_cancels_the_timers(runner: asyncio.Runner) -> None:
    with made_with(runner, Canceller) as loop:
        called = threading.Event()
        handles = [loop.call_at(1e9 + n, called.set) for n in range(3)]
        loop.handles.extend(handles)
        loop.call_soon(loop.call_soon, loop.stop)
        loop.run_forever()
        with runs_in_thread(loop):
            woken = threading.Event()
            loop.call_soon_threadsafe(woken.set)
            assert woken.wait(PATIENCE_S)
        assert all(handle.cancelled() for handle in handles)
        assert not called.is_set()


class FailingClock:
    """Whose clock fails once, when it is asked for the `failing`th time."""

    failing = 0

    def time(self) -> float:
        self.failing -= 1
        if self.failing == 0:
            raise ZeroDivisionError
        return super().time()  # type: ignore[misc,no-any-return]


@pytest.mark.parametrize("failing", (1, 2))
def test_a_clock_that_fails_in_debug_mode(
    runner: asyncio.Runner, failing: int, request: pytest.FixtureRequest
) -> None:
    """Before a callback or after it: data that came is read all the same, once."""
    with made_with(runner, FailingClock) as loop:
        if failing == 2 and isinstance(loop, syslet_loop.EventLoop):
            why = "the clock's exception becomes a SystemError after a callback"
            request.applymarker(pytest.mark.xfail(raises=SystemError, reason=why))
        connection = wired()
        _, protocol, peer = loop.run_until_complete(connection.__aenter__())
        loop.run_until_complete(turns())
        loop.set_debug(True)
        loop.slow_callback_duration = 1000
        peer.send(b"all of it")
        loop.failing = failing
        try:
            with pytest.raises(ZeroDivisionError):
                loop.run_forever()
        finally:
            loop.failing = 0
            come = until(lambda: protocol.data == b"all of it")
            loop.run_until_complete(asyncio.wait_for(come, PATIENCE_S))
            loop.run_until_complete(connection.__aexit__(None, None, None))


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


def run_all(loop: asyncio.AbstractEventLoop) -> None:
    """A handle that cannot even be reported ends the run, as in asyncio."""
    for _ in range(4):
        loop.call_soon(loop.stop)
        with contextlib.suppress(AttributeError, TypeError):
            loop.run_forever()


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
    with pair() as (left, _), pytest.raises(ZeroDivisionError):
        _native.SocketTransport(loop, left, Unclassed())
    with pair() as (left, _), pytest.raises(ZeroDivisionError):
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
