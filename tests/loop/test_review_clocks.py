"""Calls of other threads, and clocks in Python, that a reading of the loop found.

A call between the loop's look at its queue and its sleep has to wake it; a clock may
take its time, cancel timers, or fail. asyncio's loop is the judge.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from peers import PATIENCE_S, Recorder, wired

ours = pytest.mark.parametrize("runner", ("plain", "uring", "epoll"), indirect=True)


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


class Stopping(Recorder):
    """Stops the loop when it is given something."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        asyncio.get_running_loop().stop()


def turn(loop: asyncio.AbstractEventLoop) -> None:
    """Let it turn a few times, whoever has stopped it before."""
    for _ in range(4):
        loop.call_soon(loop.stop)
        loop.run_forever()


@pytest.mark.parametrize("failing", (1, 2))
def test_a_clock_that_fails_in_debug_mode(runner: asyncio.Runner, failing: int) -> None:
    """Before a callback or after it: data that came is read all the same, once."""
    with made_with(runner, FailingClock) as loop:
        connection = wired(Stopping)
        _, protocol, peer = loop.run_until_complete(connection.__aenter__())
        turn(loop)
        loop.set_debug(True)
        loop.slow_callback_duration = 1000
        peer.send(b"all of it")
        loop.failing = failing
        try:
            with pytest.raises(ZeroDivisionError):
                loop.run_forever()
        finally:
            loop.failing = 0
            turn(loop)
            assert protocol.data == b"all of it"
            loop.run_until_complete(connection.__aexit__(None, None, None))
