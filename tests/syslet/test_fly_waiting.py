"""Syslets that wait for a clock: constants, parameters, cancellation, on every loop."""

from __future__ import annotations

import asyncio
import time

import pytest

from syslet_loop import attach, calls, syslet


@syslet
def nap(s, seconds):
    s.timeout(seconds)
    return s.getppid()


@syslet
def short_nap(s):
    s.timeout(0.01)


def test_a_timeout_lasts_as_long_as_its_argument(runner: asyncio.Runner) -> None:
    async def main() -> None:
        start = time.monotonic()
        assert await nap(0.05) > 0
        assert 0.05 <= time.monotonic() - start < 2
        await short_nap()
        await calls.timeout(0.01)

    runner.run(main())


def test_timeouts_overlap(runner: asyncio.Runner) -> None:
    async def main() -> None:
        start = time.monotonic()
        await asyncio.gather(*(nap(0.1) for _ in range(200)))
        assert time.monotonic() - start < 5

    runner.run(main())


def test_a_cancelled_timeout_lands_at_once(runner: asyncio.Runner) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await nap(3600)
        loop = asyncio.get_running_loop()
        while attach.flying(loop):
            await asyncio.sleep(0)

    runner.run(main())
