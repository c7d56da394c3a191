"""Signals reach Python promptly, whatever the loop waits in."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time

import pytest


def test_a_signal_handler_runs_on_the_loop(runner: asyncio.Runner) -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        came = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, came.set_result, None)
        start = loop.time()
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        await asyncio.wait_for(came, 5)
        timer.join()
        assert loop.remove_signal_handler(signal.SIGUSR1)
        return loop.time() - start

    assert runner.run(main()) < 2


def test_an_interrupt_ends_a_long_wait(runner: asyncio.Runner) -> None:
    async def main() -> None:
        await asyncio.sleep(30)

    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        runner.run(main())
    timer.join()
    assert time.monotonic() - start < 5


def test_a_plain_python_handler_runs_during_the_wait(runner: asyncio.Runner) -> None:
    seen: list[float] = []
    previous = signal.signal(signal.SIGALRM, lambda *_: seen.append(time.monotonic()))

    async def main() -> float:
        start = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        await asyncio.sleep(0.3)
        return start

    try:
        start = runner.run(main())
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert len(seen) == 1
    assert seen[0] - start < 0.25


def test_many_signals_do_not_stop_the_loop(runner: asyncio.Runner) -> None:
    ticks: list[int] = []
    previous = signal.signal(signal.SIGALRM, lambda *_: ticks.append(1))

    async def main() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for _ in range(50):
            await asyncio.sleep(0.002)
        signal.setitimer(signal.ITIMER_REAL, 0)

    try:
        runner.run(main())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert len(ticks) > 20


def test_an_exception_of_a_handler_comes_out_of_the_loop(
    runner: asyncio.Runner,
) -> None:
    class Stop(BaseException):
        pass

    def handler(*_: object) -> None:
        raise Stop

    previous = signal.signal(signal.SIGALRM, handler)

    async def main() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        await asyncio.sleep(5)

    try:
        with pytest.raises(Stop):
            runner.run(main())
    finally:
        signal.signal(signal.SIGALRM, previous)
