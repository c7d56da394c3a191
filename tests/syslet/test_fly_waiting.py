"""Syslets that wait for a clock: constants, parameters, cancellation, both backends."""

from __future__ import annotations

import asyncio
import time

import pytest

import syslet_loop
from syslet_loop import calls, syslet


@syslet
def nap(s, seconds):
    s.timeout(seconds)
    return s.getppid()


@syslet
def short_nap(s):
    s.timeout(0.01)


@pytest.fixture(params=["uring", "epoll"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Runs a coroutine on a loop of ours with one of the backends."""
    monkeypatch.setenv("SYSLET_LOOP_BACKEND", request.param)

    def runner(main):
        with asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as loop:
            return loop.run(main)

    return runner


def test_a_timeout_lasts_as_long_as_its_argument(run) -> None:
    async def main() -> None:
        start = time.monotonic()
        assert await nap(0.05) > 0
        assert 0.05 <= time.monotonic() - start < 2
        await short_nap()
        await calls.timeout(0.01)

    run(main())


def test_timeouts_overlap(run) -> None:
    async def main() -> None:
        start = time.monotonic()
        await asyncio.gather(*(nap(0.1) for _ in range(200)))
        assert time.monotonic() - start < 5

    run(main())


def test_a_cancelled_timeout_lands_at_once(run) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await nap(3600)
        loop = asyncio.get_running_loop()
        while loop.stats()["flying"]:
            await asyncio.sleep(0)

    run(main())
