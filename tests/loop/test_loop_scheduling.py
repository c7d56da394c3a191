"""Callbacks, timers, tasks, executors: the same on asyncio's loop and on ours."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import threading
import time
from typing import Any

import pytest


def test_callbacks_run_in_the_order_they_were_given(runner: asyncio.Runner) -> None:
    seen: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in range(100):
            loop.call_soon(seen.append, number)
        await asyncio.sleep(0)

    runner.run(main())
    assert seen == list(range(100))


def test_timers_fire_in_the_order_of_their_times(runner: asyncio.Runner) -> None:
    seen: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        loop.call_later(0.03, seen.append, "third")
        loop.call_later(0.01, seen.append, "first")
        loop.call_at(start + 0.02, seen.append, "second")
        loop.call_later(0.015, seen.append, "never").cancel()
        await asyncio.sleep(0.05)
        assert 0.05 <= loop.time() - start < 1

    runner.run(main())
    assert seen == ["first", "second", "third"]


def test_an_idle_loop_sleeps_as_long_as_it_should(runner: asyncio.Runner) -> None:
    async def main() -> tuple[float, float]:
        cpu, start = time.process_time(), time.monotonic()
        await asyncio.sleep(0.2)
        return time.monotonic() - start, time.process_time() - cpu

    elapsed, cpu = runner.run(main())
    assert 0.19 < elapsed < 1.5
    assert cpu < 0.1


def test_another_thread_wakes_a_waiting_loop(runner: asyncio.Runner) -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        woken = loop.create_future()
        start = loop.time()
        thread = threading.Timer(
            0.05, loop.call_soon_threadsafe, (woken.set_result, None)
        )
        thread.start()
        await asyncio.wait_for(woken, 30)
        thread.join()
        return loop.time() - start

    assert runner.run(main()) > 0.04


def test_many_threads_wake_the_loop_at_once(runner: asyncio.Runner) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        done = asyncio.Event()

        def note(number: int) -> None:
            seen.append(number)
            if len(seen) == 800:
                done.set()

        def work(first: int) -> None:
            for number in range(first, first + 100):
                loop.call_soon_threadsafe(note, number)

        workers = [threading.Thread(target=work, args=(k * 100,)) for k in range(8)]
        for worker in workers:
            worker.start()
        await asyncio.wait_for(done.wait(), 10)
        for worker in workers:
            worker.join()
        return seen

    assert sorted(runner.run(main())) == list(range(800))


def test_callbacks_keep_their_context(runner: asyncio.Runner) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
    seen: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        variable.set(1)
        loop.call_soon(lambda: seen.append(variable.get()))
        variable.set(2)
        loop.call_later(0.001, lambda: seen.append(variable.get()))
        variable.set(3)
        await asyncio.sleep(0.02)

    runner.run(main())
    assert seen == [1, 2]


def test_an_exception_in_a_callback_goes_to_the_handler(runner: asyncio.Runner) -> None:
    contexts: list[dict[str, Any]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: contexts.append(context))
        loop.call_soon(lambda: 1 // 0)
        await asyncio.sleep(0.01)

    runner.run(main())
    assert [type(each["exception"]) for each in contexts] == [ZeroDivisionError]


def test_groups_and_timeouts(runner: asyncio.Runner) -> None:
    async def slow() -> None:
        await asyncio.sleep(10)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await slow()
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(slow())
                group.create_task(asyncio.to_thread(lambda: 1 // 0))
        assert caught.group_contains(ZeroDivisionError)

    runner.run(main())


def test_executors(runner: asyncio.Runner) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        calls = (loop.run_in_executor(None, pow, 2, n) for n in range(20))
        return list(await asyncio.gather(*calls))

    assert runner.run(main()) == [2**n for n in range(20)]


def test_an_asynchronous_generator_is_closed_with_the_loop(
    runner: asyncio.Runner,
) -> None:
    closed: list[bool] = []

    async def numbers() -> Any:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    async def main() -> Any:
        generator = numbers()
        await anext(generator)
        return generator

    kept = runner.run(main())
    runner.close()
    assert closed == [True]
    del kept
    gc.collect()


def test_debug_mode_names_slow_callbacks(
    runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.slow_callback_duration = 0.01
        loop.call_soon(time.sleep, 0.03)
        await asyncio.sleep(0.05)
        loop.set_debug(False)

    with caplog.at_level(logging.WARNING, "asyncio"):
        runner.run(main())
    assert "took" in caplog.text


def test_a_running_loop_cannot_be_closed(runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(RuntimeError, match="running"):
            loop.close()

    runner.run(main())


def test_stop_ends_run_forever_after_the_tick(runner: asyncio.Runner) -> None:
    loop = runner.get_loop()
    seen: list[str] = []
    loop.call_soon(seen.append, "before")
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, "after")
    loop.run_forever()
    assert seen == ["before", "after"]


def test_a_closed_loop_says_so(runner: asyncio.Runner) -> None:
    loop = runner.get_loop()
    runner.close()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(print)
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_forever()


@pytest.mark.parametrize("delay", [0, -1])
def test_timers_that_are_due_already_keep_their_order(
    runner: asyncio.Runner, delay: float
) -> None:
    seen: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        when = loop.time() + delay
        for number in range(50):
            loop.call_at(when + number * 1e-6, seen.append, number)
        await asyncio.sleep(0.02)

    runner.run(main())
    assert seen == list(range(50))
