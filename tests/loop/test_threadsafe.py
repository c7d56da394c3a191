"""call_soon_threadsafe: from threads and signal handlers, and around the loop's end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from typing import Any

import pytest
from peers import caught, on_loop, turns, until


@contextlib.contextmanager
def in_thread(target: Any, *args: Any) -> Any:
    """A thread that has ended afterwards."""
    thread = threading.Thread(target=target, args=args)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(20)
        assert not thread.is_alive()


@on_loop
async def test_it_wakes_a_loop_that_sleeps() -> None:
    loop = asyncio.get_running_loop()
    for _ in range(20):
        woken = loop.create_future()

        def call(woken: Any = woken) -> None:
            time.sleep(0.002)
            loop.call_soon_threadsafe(woken.set_result, time.monotonic())

        with in_thread(call):
            called = await woken
            assert time.monotonic() - called < 2


@on_loop
async def test_the_order_of_each_thread_is_kept() -> None:
    loop = asyncio.get_running_loop()
    seen: dict[int, list[int]] = {number: [] for number in range(4)}

    def call(number: int) -> None:
        for count in range(500):
            loop.call_soon_threadsafe(seen[number].append, count)

    with contextlib.ExitStack() as stack:
        for number in seen:
            stack.enter_context(in_thread(call, number))
        await until(lambda: all(len(each) == 500 for each in seen.values()))
    assert all(each == list(range(500)) for each in seen.values())


@on_loop
async def test_all_that_was_asked_before_is_called_together() -> None:
    """Also from the loop's own thread it is one queue."""
    loop = asyncio.get_running_loop()
    seen: list[int] = []
    for number in range(3):
        loop.call_soon_threadsafe(seen.append, number * 2)
        loop.call_soon(seen.append, number * 2 + 1)
    assert seen == []
    await asyncio.sleep(0)
    assert seen == list(range(6))


@on_loop
async def test_a_handle_is_cancelled() -> None:
    loop = asyncio.get_running_loop()
    seen: list[int] = []
    handle = loop.call_soon_threadsafe(seen.append, 1)
    assert isinstance(handle, asyncio.Handle)
    handle.cancel()
    await turns()
    assert seen == []


@on_loop
async def test_a_failure_is_reported() -> None:
    loop = asyncio.get_running_loop()
    contexts = caught()
    with in_thread(loop.call_soon_threadsafe, int, "no number"):
        await until(lambda: contexts)
    assert isinstance(contexts[0]["exception"], ValueError)


@on_loop
async def test_from_a_signal_handler() -> None:
    """A plain handler interrupts the wait, and what it asks for is done at once."""
    loop = asyncio.get_running_loop()
    woken = loop.create_future()

    def send() -> None:
        time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGUSR1)

    previous = signal.signal(
        signal.SIGUSR1, lambda *_: loop.call_soon_threadsafe(woken.set_result, None)
    )
    try:
        for _ in range(5):
            with in_thread(send):
                await asyncio.wait_for(woken, 10)
            woken = loop.create_future()
    finally:
        signal.signal(signal.SIGUSR1, previous)


@on_loop
async def test_signal_handlers_of_the_loop() -> None:
    loop = asyncio.get_running_loop()
    seen: list[Any] = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "first")
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "second")
    os.kill(os.getpid(), signal.SIGUSR1)
    assert seen == [], "it is called by the loop"
    await until(lambda: seen)
    assert seen == ["second"]
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert loop.remove_signal_handler(signal.SIGUSR1) is False
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    for wrong in (signal.SIGKILL, signal.SIGSTOP):
        with pytest.raises(RuntimeError, match="cannot be caught"):
            loop.add_signal_handler(wrong, print)
    with pytest.raises(ValueError):
        loop.add_signal_handler(1000, print)
    with pytest.raises(TypeError):
        loop.add_signal_handler("SIGUSR1", print)

    async def coroutine() -> None:
        pass

    with pytest.raises(TypeError, match="coroutines cannot be used"):
        loop.add_signal_handler(signal.SIGUSR1, coroutine)


@on_loop
async def test_signal_handlers_are_for_the_main_thread() -> None:
    loop = asyncio.get_running_loop()
    seen: list[Exception] = []

    def add() -> None:
        try:
            loop.add_signal_handler(signal.SIGUSR1, print)
        except (ValueError, RuntimeError) as error:
            seen.append(error)

    with in_thread(add):
        await until(lambda: seen)


@on_loop
async def test_several_signals() -> None:
    loop = asyncio.get_running_loop()
    seen: list[int] = []
    numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
    for number in numbers:
        loop.add_signal_handler(number, seen.append, number)
    for _ in range(3):
        for number in numbers:
            signal.raise_signal(number)
        await until(lambda: set(seen) == set(numbers))
        seen.clear()
    for number in numbers:
        assert loop.remove_signal_handler(number)


def test_closing_removes_signal_handlers(runner: asyncio.Runner) -> None:
    loop = runner.get_loop()
    loop.add_signal_handler(signal.SIGUSR2, print)
    assert signal.getsignal(signal.SIGUSR2) is not signal.SIG_DFL
    runner.close()
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1


def test_before_the_loop_runs(runner: asyncio.Runner) -> None:
    loop = runner.get_loop()
    seen: list[int] = []
    with in_thread(loop.call_soon_threadsafe, seen.append, 1):
        pass
    assert seen == []
    runner.run(turns(1))
    assert seen == [1]


def test_stopping_from_another_thread(runner: asyncio.Runner) -> None:
    loop = runner.get_loop()
    for _ in range(5):

        def stop() -> None:
            time.sleep(0.002)
            loop.call_soon_threadsafe(loop.stop)

        with in_thread(stop):
            loop.run_forever()
        assert not loop.is_running()


def test_after_the_end(runner: asyncio.Runner) -> None:
    loop = runner.get_loop()
    runner.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_soon_threadsafe(print)


def test_while_the_loop_ends(runner: asyncio.Runner) -> None:
    """Threads call until they are refused; nothing worse happens to them."""
    loop = runner.get_loop()
    ends: list[str] = []

    def call() -> None:
        try:
            while True:
                loop.call_soon_threadsafe(int)
        except RuntimeError as error:
            ends.append(str(error))

    with in_thread(call), in_thread(call):
        runner.run(asyncio.sleep(0.02))
        runner.close()
    assert ends == ["Event loop is closed"] * 2


@on_loop
async def test_coroutines_of_other_threads() -> None:
    loop = asyncio.get_running_loop()
    results: list[Any] = []

    async def double(number: int) -> int:
        await asyncio.sleep(0.001)
        return number * 2

    def call() -> None:
        futures = [
            asyncio.run_coroutine_threadsafe(double(number), loop)
            for number in range(20)
        ]
        results.append([future.result(10) for future in futures])

    with in_thread(call):
        await until(lambda: results)
    assert results == [[number * 2 for number in range(20)]]


def test_a_loop_in_another_thread(runner: asyncio.Runner) -> None:
    """The loop is made, run and closed there; this thread only asks."""
    ready = threading.Event()
    loops: list[Any] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        stop = loops[0].create_future()
        loops.append(stop)
        ready.set()
        await stop

    def run() -> None:
        try:
            runner.run(main())
        finally:
            runner.close()

    async def answer() -> int:
        await asyncio.sleep(0.001)
        return threading.get_ident()

    with in_thread(run) as thread:
        assert ready.wait(10)
        loop, stop = loops
        future = asyncio.run_coroutine_threadsafe(answer(), loop)
        assert future.result(10) == thread.ident
        loop.call_soon_threadsafe(stop.set_result, None)
    assert loop.is_closed()
