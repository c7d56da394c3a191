"""Question: what do whole files, atomic writes and trees cost, against every peer?

Peers: plain synchronous code, aiofiles on uvloop, aiofile (caio), asyncio.to_thread,
anyio.Path. A peer that is not installed is left out.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sysconfig
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiofiles
import aiofiles.os
import uvloop

import syslet_loop
from benchmarks.files import FILES, drop_caches, make_files, on, with_open
from benchmarks.files import with_os_calls as with_os
from benchmarks.measure import Result, Row, interleave, table
from syslet_loop.files_bulk import read_many
from syslet_loop.files_tree import walk
from syslet_loop.files_whole import read_bytes, write_bytes

try:
    import aiofile
except ImportError:
    aiofile = None
try:
    import anyio
except ImportError:
    anyio = None

ATOMIC_BYTES = 4096
AT_ONCE = 64
OS, OPEN = "os.open/os.read/os.close", "open().read()"
Runner = asyncio.Runner


async def bounded(work: Callable[[str], Awaitable[object]], paths: list[str]) -> None:
    """One coroutine per file, at most AT_ONCE at work."""
    todo = iter(paths)

    async def one() -> None:
        for path in todo:
            await work(path)

    await asyncio.gather(*(one() for _ in range(AT_ONCE)))


async def one_by_one(paths: list[str]) -> None:
    """await read_bytes(path)."""
    for path in paths:
        await read_bytes(path)


async def many(paths: list[str], limit: int = 64) -> None:
    """async for … in read_many(paths)."""
    async for _ in read_many(paths, limit=limit):
        pass


async def with_aiofiles(paths: list[str]) -> None:
    """aiofiles, a task per file."""

    async def read(path: str) -> None:
        async with aiofiles.open(path, "rb") as file:
            await file.read()

    await asyncio.gather(*map(read, paths))


async def with_aiofile(paths: list[str]) -> None:
    """aiofile on caio's preferred backend."""

    async def read(path: str) -> None:
        async with aiofile.async_open(path, "rb") as file:
            await file.read()

    await bounded(read, paths)


async def in_threads(paths: list[str]) -> None:
    """asyncio.to_thread(Path.read_bytes), a task per file."""
    await asyncio.gather(*(asyncio.to_thread(Path(path).read_bytes) for path in paths))


async def with_anyio(paths: list[str]) -> None:
    """anyio.Path(path).read_bytes()."""
    await bounded(lambda path: anyio.Path(path).read_bytes(), paths)


def readers(paths: list[str], ours: Runner, theirs: Runner, plain: Runner) -> list[Row]:
    """Everybody who reads the files, the peers last."""
    rows = [
        Row("read_bytes, one by one", on(ours, one_by_one, paths)),
        Row("read_many", on(ours, many, paths)),
        Row("read_many, limit 256", on(ours, many, paths, limit=256)),
        Row("read_bytes on asyncio's loop", on(plain, one_by_one, paths)),
        Row("aiofiles, uvloop", on(theirs, with_aiofiles, paths)),
        Row("asyncio.to_thread", on(plain, in_threads, paths)),
    ]
    if aiofile is not None:
        rows.append(Row("aiofile", on(plain, with_aiofile, paths)))
    if anyio is not None:
        rows.append(Row("anyio.Path", on(plain, with_anyio, paths)))
    return rows


def small_files(rounds: int, cold: bool) -> list[Result]:
    """1000 small files, cached or after drop_caches."""
    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder,
        Runner(loop_factory=syslet_loop.new_event_loop) as ours,
        Runner(loop_factory=uvloop.new_event_loop) as theirs,
        Runner(loop_factory=asyncio.SelectorEventLoop) as plain,
    ):
        paths = make_files(folder)
        rows = [Row(OPEN, lambda: with_open(paths)), Row(OS, lambda: with_os(paths))]
        rows += readers(paths, ours, theirs, plain)
        if cold:
            rows = [rows[1], *rows[2:5], rows[6]]
            for row in rows:
                row.prepare = drop_caches
        return interleave(rows, rounds, FILES)


# Atomic writes.


def write_atomically(path: str) -> None:
    """What a careful program does, synchronously."""
    temporary = f"{path}.{secrets.token_hex(8)}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    os.write(fd, bytes(ATOMIC_BYTES))
    os.fsync(fd)
    os.close(fd)
    os.rename(temporary, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)


def atomic_writes(rounds: int, count: int) -> list[Result]:
    """Files of 4 KiB; the base is the thread pool."""

    async def threads(paths: list[str]) -> None:
        work = [asyncio.to_thread(write_atomically, path) for path in paths]
        await asyncio.gather(*work)

    async def flights(paths: list[str]) -> None:
        data = bytes(ATOMIC_BYTES)
        await bounded(lambda path: write_bytes(path, data, atomic=True), paths)

    def synchronous(paths: list[str]) -> None:
        for path in paths:
            write_atomically(path)

    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder,
        Runner(loop_factory=syslet_loop.new_event_loop) as ours,
        Runner(loop_factory=asyncio.SelectorEventLoop) as plain,
    ):
        paths = [os.path.join(folder, str(number)) for number in range(count)]
        rows = [
            Row("asyncio.to_thread, gathered", on(plain, threads, paths)),
            Row("write_bytes(atomic=True)", on(ours, flights, paths)),
            Row("one after the other", lambda: synchronous(paths)),
        ]
        return interleave(rows, rounds, count)


# Trees.


async def walk_with_aiofiles(top: str) -> None:
    """aiofiles has no walk; this is one on its scandir."""
    todo = [top]
    while todo:
        with await aiofiles.os.scandir(todo.pop()) as found:
            todo += [e.path for e in found if e.is_dir(follow_symlinks=False)]


async def walk_ours(top: str) -> None:
    """async for … in walk(top)."""
    async for _ in walk(top):
        pass


def walks(rounds: int, top: str, cold: bool) -> tuple[list[Result], int]:
    """The Python installation; the unit is a directory."""
    count = sum(1 for _ in os.walk(top))

    def plainly() -> None:
        for _ in os.walk(top):
            pass

    def run(runner: Runner, work: Callable[[str], Any]) -> Callable[[], None]:
        return lambda: runner.run(work(top))

    with (
        Runner(loop_factory=syslet_loop.new_event_loop) as ours,
        Runner(loop_factory=uvloop.new_event_loop) as theirs,
    ):
        rows = [
            Row("os.walk", plainly),
            Row("walk", run(ours, walk_ours)),
            Row("aiofiles.os.scandir, uvloop", run(theirs, walk_with_aiofiles)),
        ]
        for row in rows:
            row.prepare = drop_caches if cold else None
        return interleave(rows, rounds, count), count


def report(quick: bool) -> str:
    """All tables as Markdown."""
    top = sysconfig.get_path("stdlib")
    is_root = os.geteuid() == 0
    text = ["## Whole files, atomic writes, trees", "", "1000 small files, cached:", ""]
    budget = {"read_bytes, one by one": 3.0}
    text += [table(small_files(3 if quick else 15, False), "file", budget), ""]
    if is_root:
        found = small_files(2 if quick else 7, True)
        budget = {"read_many, limit 256": 6.0}
        text += ["After drop_caches:", "", table(found, "file", budget), ""]
    found = atomic_writes(2 if quick else 7, 50 if quick else 1000)
    budget = {"write_bytes(atomic=True)": 1.0}
    text += ["Atomic writes of 4 KiB:", "", table(found, "file", budget), ""]
    for cold in (False, True) if is_root else (False,):
        found, count = walks(2 if quick else 7, top, cold)
        title = f"Walk of {count} directories, {'cold' if cold else 'cached'}:"
        text += [title, "", table(found, "directory"), ""]
    return "\n".join(text).rstrip()
