"""map() and the budget of a turn: one flight waits for the next, others run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import syslet_loop
from syslet_loop import _native
from syslet_loop.files_whole import _read as read

TURN_ATOMS_MAX = _native.limits()["TURN_ATOMS_MAX"]
FILES = TURN_ATOMS_MAX  # a few atoms each: several turns


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return str(path)


@pytest.mark.parametrize("limit", [1, 2, 64, 256])
@pytest.mark.parametrize("ordered", [True, False])
def test_everything_comes(
    run: Callable[[Any], Any], path: str, limit: int, ordered: bool
) -> None:
    async def main() -> None:
        results = read.map([path] * FILES, limit=limit, ordered=ordered)
        assert [data async for _, (data, _) in results] == [b"content"] * FILES

    run(main())


def test_few_flights_are_made_to_wait(path: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, syslet_loop.EventLoop)
        async for _ in read.map([path] * FILES, limit=256):
            pass
        stats = loop.stats()
        turns = stats["atoms"] / TURN_ATOMS_MAX + 1
        assert 0 < stats["budget_cuts"] <= 2 * turns

    syslet_loop.run(main())


def test_others_run_meanwhile(run: Callable[[Any], Any], path: str) -> None:
    async def main() -> None:
        ticks = 0
        over = False

        async def tick() -> None:
            nonlocal ticks
            while not over:
                ticks += 1
                await asyncio.sleep(0)

        ticker = asyncio.create_task(tick())
        async for _ in read.map([path] * FILES, limit=256):
            pass
        over = True
        await ticker
        assert ticks >= 3

    run(main())


@pytest.mark.parametrize("limit", [2, 64])
def test_one_that_never_lands_stops_nobody(
    run: Callable[[Any], Any], tmp_path: Path, path: str, limit: int
) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)

    async def main() -> None:
        for at in (0, 1, FILES // 3, FILES - 1):
            paths = [path] * FILES
            paths[at] = fifo
            results = read.map(paths, limit=limit)
            for _ in range(FILES - 1):
                item, _ = await asyncio.wait_for(anext(results), 60)
                assert item == path
            await results.aclose()  # type: ignore[attr-defined]

    run(main())


def test_cancelled_between_turns(run: Callable[[Any], Any], path: str) -> None:
    async def consume() -> None:
        async for _ in read.map([path] * 100 * FILES, limit=64):
            pass

    async def main() -> None:
        for turns in range(12):
            task = asyncio.create_task(consume())
            for _ in range(turns):
                await asyncio.sleep(0)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())


def test_with_a_default(run: Callable[[Any], Any], path: str) -> None:
    """anext() with a default asks for the iterator before each step of it."""

    async def main() -> None:
        results = read.map([path] * FILES, limit=64)
        count = 0
        while await anext(results, None) is not None:
            count += 1
        assert count == FILES

    run(main())
