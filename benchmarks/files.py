"""Question: what does reading a small file cost, awaited, against everything else?

The announcement's own test (open, read, close of 1000 small random files), cached and
after drop_caches. Contenders: plain system calls from Python, open().read(), one
syslet awaited at a time, the same through .map, aiofiles gathered on uvloop.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiofiles
import uvloop

import syslet_loop
from benchmarks.measure import Result, Row, interleave, table
from syslet_loop import syslet

FILES = 1000
SIZE_MAX = 4096
CACHED_BUDGET, UNCACHED_BUDGET = {"await one by one": 1.15}, {".map, limit 256": 6.0}


@syslet
def read_file(s, path, size=65536):
    fd = s.openat(path, os.O_RDONLY)
    data = s.read(fd, size)
    s.close(fd)
    return data


def make_files(folder: str) -> list[str]:
    """1000 files of 1 to 4096 random bytes, in a shuffled order."""
    dice = random.Random(1)
    paths = []
    for number in range(FILES):
        path = Path(folder, f"{number:04}")
        path.write_bytes(dice.randbytes(dice.randint(1, SIZE_MAX)))
        paths.append(str(path))
    dice.shuffle(paths)
    return paths


def with_os_calls(paths: list[str]) -> None:
    """The synchronous loop every other contender is measured against."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.read(fd, 65536)
        os.close(fd)


def with_open(paths: list[str]) -> None:
    """The usual Python."""
    for path in paths:
        with open(path, "rb") as file:
            file.read()


async def one_by_one(paths: list[str]) -> None:
    """One await per file."""
    for path in paths:
        await read_file(path)


async def mapped(paths: list[str], limit: int = 64) -> None:
    """All files through one .map."""
    async for _ in read_file.map(paths, limit=limit):
        pass


async def gathered_aiofiles(paths: list[str]) -> None:
    """aiofiles, one task per file."""

    async def read(path: str) -> bytes:
        async with aiofiles.open(path, "rb") as file:
            return await file.read()

    await asyncio.gather(*(read(path) for path in paths))


async def gathered_syslets(paths: list[str]) -> None:
    """The same with our awaitables, one task per file."""
    await asyncio.gather(*(read_file(path) for path in paths))


def on(
    runner: asyncio.Runner,
    work: Callable[..., Coroutine[Any, Any, None]],
    paths: list[str],
    **options: int,
) -> Callable[[], None]:
    """A contender that runs `work` on a loop that exists already."""
    return lambda: runner.run(work(paths, **options))


def drop_caches() -> None:
    """Needs root; the page cache and the dentries go."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def cached(rounds: int) -> list[Result]:
    """Everything in the page cache."""
    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as ours,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as theirs,
    ):
        paths = make_files(folder)
        rows = [
            Row("os.open/os.read/os.close", lambda: with_os_calls(paths)),
            Row("open().read()", lambda: with_open(paths)),
            Row("await one by one", on(ours, one_by_one, paths)),
            Row(".map", on(ours, mapped, paths)),
            Row("gather of syslets", on(ours, gathered_syslets, paths)),
            Row("aiofiles gathered, uvloop", on(theirs, gathered_aiofiles, paths)),
        ]
        return interleave(rows, rounds, FILES)


def uncached(rounds: int) -> list[Result]:
    """After drop_caches, before each run of each contender."""
    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder,
        asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as ours,
    ):
        paths = make_files(folder)
        rows = [
            Row("os.open/os.read/os.close", lambda: with_os_calls(paths)),
            Row("await one by one", on(ours, one_by_one, paths)),
            Row(".map, limit 64", on(ours, mapped, paths)),
            Row(".map, limit 256", on(ours, mapped, paths, limit=256)),
        ]
        for row in rows:
            row.prepare = drop_caches
        return interleave(rows, rounds, FILES)


def report(quick: bool) -> str:
    """Both halves as Markdown."""
    text = ["## 1000 small files", "", "Cached:", ""]
    text += [table(cached(3 if quick else 21), "file", CACHED_BUDGET), ""]
    if os.geteuid() == 0:
        found = table(uncached(2 if quick else 7), "file", UNCACHED_BUDGET)
        text += ["After drop_caches:", "", found]
    else:
        text += ["After drop_caches: not measured, it needs root."]
    return "\n".join(text)
