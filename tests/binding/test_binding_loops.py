"""Loops that close, move, share threads and are interrupted, with flights about."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from flights import (
    descriptors,
    echo,
    flying,
    make_pipe,
    open_and_wait,
    read_file,
    receive,
    receive_into,
)

import syslet_loop
from syslet_loop import _native, calls, syslet

Run = Callable[[Any], Any]
Pair = tuple[socket.socket, socket.socket]


@syslet
def nap(s: Any, seconds: float) -> Any:
    s.timeout(seconds)


@syslet
def counting(s: Any, fd: int) -> None:
    """Emit for ever, with a wait in between."""
    with s.loop():
        s.emit((s.recv(fd, 10), s.eventfd(0)))


def in_threads(count: int, work: Callable[[], Any]) -> list[Any]:
    """Run `work` in so many threads at once; what they returned or raised."""
    found: list[Any] = []
    start = threading.Barrier(count)

    def call() -> None:
        start.wait()
        try:
            found.append(work())
        except BaseException as error:
            found.append(error)

    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks are destroyed while they wait, and asyncio would log that."""
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)


# Closing.


def close_in_the_air(flights: list[Any], count: int) -> list[asyncio.Task[Any]]:
    """Close a loop whose tasks still wait; the tasks, which nobody will run."""
    loop = syslet_loop.new_event_loop()

    async def start() -> list[asyncio.Task[Any]]:
        tasks = [loop.create_task(flight) for flight in flights]
        await flying(count)
        return tasks

    tasks = loop.run_until_complete(start())
    loop.close()
    return tasks


@pytest.mark.usefixtures("quiet")
def test_closing_with_tasks_that_wait(backend: str, pair: Pair) -> None:
    before = descriptors()
    target = bytearray(5)
    flights = [open_and_wait(pair[0]) for _ in range(20)]
    tasks = close_in_the_air([*flights, receive_into(pair[0], target), nap(9)], 22)
    assert descriptors() == before
    assert not any(task.done() for task in tasks)
    del tasks, flights
    gc.collect()
    target.append(0)
    pair[1].send(b"kept")
    assert pair[0].recv(10) == b"kept"


@pytest.mark.usefixtures("quiet")
def test_a_flight_whose_loop_was_closed_says_so(backend: str, pair: Pair) -> None:
    flight = receive(pair[0])
    tasks = close_in_the_air([flight], 1)
    with pytest.raises(RuntimeError, match="the loop was closed while syslet 'receiv"):
        flight.send(None)
    with pytest.raises(RuntimeError, match="cannot reuse"):
        flight.send(None)
    del tasks, flight
    gc.collect()


@pytest.mark.usefixtures("quiet")
def test_closing_with_iterators_that_wait(backend: str, pair: Pair) -> None:
    before = descriptors()

    async def events() -> None:
        async for _ in counting.events(pair[0]):
            raise AssertionError

    async def mapped() -> None:
        async for _ in open_and_wait.map([pair[0]] * 30, limit=20):
            raise AssertionError

    tasks = close_in_the_air([events(), mapped()], 21)
    assert descriptors() == before
    del tasks
    gc.collect()
    assert descriptors() == before


@pytest.mark.usefixtures("quiet")
def test_a_loop_that_is_never_closed(backend: str, pair: Pair) -> None:
    """It warns as asyncio's own does, and frees everything."""
    before = descriptors()

    def leave() -> None:
        loop = syslet_loop.new_event_loop()
        loop.run_until_complete(echo(1))

    leave()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        syslet_loop.run(echo(1))
        gc.collect()
    messages = [str(warning.message) for warning in caught]
    assert any("unclosed event loop" in message for message in messages), messages
    assert descriptors() == before


def test_a_closed_loop_takes_no_flights(backend: str) -> None:
    loop = syslet_loop.new_event_loop()
    loop.run_until_complete(echo(1))
    loop.close()
    loop.close()
    flight = echo(1)
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_until_complete(flight)
    flight.close()


def test_orphans_are_waited_for(backend: str, pair: Pair) -> None:
    """Closing right after cancelling, before anything has landed."""
    before = descriptors()
    loop = syslet_loop.new_event_loop()

    async def start() -> None:
        tasks = [asyncio.create_task(open_and_wait(pair[0])) for _ in range(50)]
        await flying(50)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    loop.run_until_complete(start())
    loop.close()
    assert descriptors() == before


# Threads.


def test_one_syslet_on_many_loops_in_many_threads(backend: str) -> None:
    expected = read_own()

    async def main() -> None:
        for number in range(50):
            data, value, _ = await asyncio.gather(
                read_file(__file__), echo(number), nap(0.0005)
            )
            assert (data, value) == (expected, number)
        async for item, result in echo.map(range(100)):
            assert item == result
        for fd in (await make_pipe()).values():
            os.close(fd)

    before = descriptors()
    assert in_threads(8, lambda: syslet_loop.run(main())) == [None] * 8
    assert descriptors() == before


def read_own() -> bytes:
    with open(__file__, "rb") as file:
        return file.read()


def test_two_loops_of_one_thread_take_turns(backend: str, pair: Pair) -> None:
    loops = [syslet_loop.new_event_loop() for _ in range(3)]

    async def start() -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(receive(pair[0], 1))
        await flying(1)
        return task

    tasks = [loop.run_until_complete(start()) for loop in loops]
    pair[1].send(b"abc")
    got = [
        loop.run_until_complete(task) for loop, task in zip(loops, tasks, strict=True)
    ]
    assert sorted(got) == [b"a", b"b", b"c"]
    for loop in loops:
        assert loop.run_until_complete(echo(4)) == 4
        loop.close()


def test_a_flight_is_not_stepped_from_another_thread(run: Run, pair: Pair) -> None:
    async def main() -> None:
        flight = receive(pair[0])
        flight.send(None)

        def meddle() -> str:
            try:
                flight.send(None)
            except RuntimeError as error:
                return str(error)
            return "nothing"

        assert await asyncio.to_thread(meddle) != "nothing"
        await flying(0)

    run(main())


def test_a_flight_that_another_thread_lets_go(run: Run, pair: Pair) -> None:
    async def main() -> None:
        before = descriptors()
        target = bytearray(5)
        for flight in (receive_into(pair[0], target), open_and_wait(pair[0])):
            flight.send(None)
            await flying(1)
            thread = threading.Thread(target=flight.close)
            thread.start()
            await asyncio.to_thread(thread.join)
            await flying(0)
        target.append(0)
        assert descriptors() - before == set()

    # The executor's thread wakes the loop: its descriptors are there from the start.
    async def warm() -> None:
        await asyncio.to_thread(int)
        await main()

    run(warm())


def test_events_from_another_thread_are_refused(run: Run, pair: Pair) -> None:
    async def main() -> None:
        events = counting.events(pair[0])
        first = asyncio.ensure_future(anext(events))
        await flying(1)

        async def elsewhere() -> None:
            await anext(events)

        with pytest.raises(RuntimeError, match=r"another (thread|task)"):
            await asyncio.to_thread(syslet_loop.run, elsewhere())
        pair[1].send(b"abc")
        data, fd = await first
        os.close(fd)
        assert data == b"abc"
        await events.aclose()
        await flying(0)

    run(main())


def test_an_engine_is_one_threads_own(backend: str) -> None:
    engine = _native.Engine(backend)
    (error,) = in_threads(1, lambda: engine.turn(0))
    assert isinstance(error, RuntimeError) and "another thread" in str(error)
    (error,) = in_threads(1, lambda: _native.set_current(engine))
    assert isinstance(error, RuntimeError)
    assert in_threads(1, lambda: engine.is_mine) == [False]
    engine.wake()
    assert engine.turn(5) is False
    engine.close()
    engine.close()
    assert engine.closed
    for use in (lambda: engine.turn(0), engine.stats, engine.fileno, engine.wake):
        with pytest.raises(RuntimeError, match="the engine is closed"):
            use()


def test_engines_that_are_asked_wrongly(backend: str) -> None:
    with pytest.raises(ValueError, match="'kernel', 'uring' or 'epoll', not 'best'"):
        _native.Engine("best")
    engine = _native.Engine(backend)
    with pytest.raises(ValueError, match="not a number"):
        engine.turn(float("nan"))
    with pytest.raises(TypeError):
        engine.turn("soon")
    with pytest.raises(ValueError, match="is no descriptor"):
        engine.watch(-5)
    assert engine.turn(-1) is False
    engine.close()


def test_an_unclosed_engine_warns(backend: str) -> None:
    with pytest.warns(ResourceWarning, match="unclosed engine"):
        _native.Engine(backend)


# Signals.


@pytest.mark.parametrize("forms", [1, 50])
def test_an_interrupt_ends_the_wait(backend: str, pair: Pair, forms: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.01, signal.raise_signal, signal.SIGINT)
        await asyncio.gather(*(open_and_wait(pair[0]) for _ in range(forms)))

    before = descriptors()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        syslet_loop.run(main())
    assert time.monotonic() - start < 10
    assert descriptors() == before


def test_an_interrupt_from_outside_ends_the_wait(backend: str, pair: Pair) -> None:
    """The signal comes while the engine waits, not while Python runs."""
    main_thread = threading.get_ident()

    async def main() -> None:
        def interrupt() -> None:
            ready.wait()
            time.sleep(0.02)
            signal.pthread_kill(main_thread, signal.SIGINT)

        ready = threading.Event()
        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            asyncio.get_running_loop().call_soon(ready.set)
            await receive(pair[0])
        finally:
            thread.join()

    with pytest.raises(KeyboardInterrupt):
        syslet_loop.run(main())
    pair[1].send(b"kept")
    assert pair[0].recv(10) == b"kept"


def test_a_handler_of_asyncio_runs_during_a_wait(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, pair[1].send, b"signal")
        loop.call_later(0.005, os.kill, os.getpid(), signal.SIGUSR1)
        try:
            assert await receive(pair[0], timeout=10) == b"signal"
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)

    run(main())


def test_a_handler_of_python_runs_during_a_wait(run: Run, pair: Pair) -> None:
    seen: list[int] = []

    def handle(number: int, frame: Any) -> None:
        seen.append(number)
        pair[1].send(b"handled")

    async def main() -> None:
        asyncio.get_running_loop().call_later(0, signal.setitimer, 0, 0.01)
        assert await receive(pair[0], timeout=10) == b"handled"

    before = signal.signal(signal.SIGALRM, handle)
    try:
        run(main())
    finally:
        signal.signal(signal.SIGALRM, before)
    assert seen == [signal.SIGALRM]


def test_many_signals_break_nothing(run: Run, pair: Pair, tmp_path: Any) -> None:
    """Workers and waits are interrupted again and again, and all comes right."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(100_000))
    content = path.read_bytes()

    async def main() -> None:
        for _ in range(20):
            results = [read_file(path, 1 << 20) for _ in range(10)]
            assert await asyncio.gather(*results) == [content] * 10
            await calls.fsync(await_fd)
            await nap(0.001)

    before = signal.signal(signal.SIGALRM, lambda number, frame: None)
    await_fd = os.open(path, os.O_RDWR)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        run(main())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        os.close(await_fd)


def test_a_callback_that_raises_leaves_flights_alone(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        raised: list[Any] = []
        loop.set_exception_handler(lambda _, context: raised.append(context))
        task = asyncio.create_task(receive(pair[0]))
        await flying(1)
        loop.call_soon(lambda: 1 // 0)
        pair[1].send(b"x")
        assert await task == b"x"
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(receive(pair[0]), 0.001)
        assert len(raised) == 1

    run(main())
