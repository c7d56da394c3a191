"""Question: how fast is one large file, in order and at random; who waits meanwhile?

In order: 1 GiB in chunks of 1 MiB, while a task on the same loop wants to run every
5 ms; how late it is at the 99th percentile is printed for everybody. At random: reads
of 4 KiB at several depths, buffered and with O_DIRECT, against caio's backends and fio.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any

import aiofiles
import uvloop

import syslet_loop
from benchmarks.files import drop_caches
from benchmarks.measure import Row, interleave, table
from syslet_loop.files_bulk import iter_chunks
from syslet_loop.files_direct import (
    aligned_buffer,
    direct_buffers,
    direct_pread,
    open_fd,
    pread,
    pwrite,
)

MIB = 1 << 20
TICK_S = 0.005
BLOCK = 4096
DEPTHS = (1, 8, 32, 128)
CAIO = ("linux_uring_asyncio", "linux_aio_asyncio", "thread_aio_asyncio")

Work = Callable[[], Coroutine[Any, Any, None]]


def make_file(path: str, size: int) -> None:
    """Random bytes, on the disk."""
    part = os.urandom(MIB)
    with open(path, "wb") as file:
        for _ in range(size // MIB):
            file.write(part)
        os.fsync(file.fileno())


# In order.


class Ticker:
    """A task that wants to run every 5 ms, and how late it was, in ms."""

    def __init__(self) -> None:
        self.late: list[float] = []

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            due = time.perf_counter() + TICK_S
            await asyncio.sleep(TICK_S)
            self.late.append((time.perf_counter() - due) * 1e3)

    def percentile(self) -> str:
        """The 99th, or a dash."""
        if len(self.late) < 2:
            return "-"
        return f"{statistics.quantiles(self.late, n=100)[98]:.1f}"


def with_ticker(runner: asyncio.Runner, work: Work, ticker: Ticker) -> None:
    """One run of `work` beside the ticker."""

    async def main() -> None:
        task = asyncio.create_task(ticker.run())
        await asyncio.sleep(0)
        await work()
        task.cancel()

    runner.run(main())


def read_plainly(path: str) -> None:
    """os.read in a loop."""
    fd = os.open(path, os.O_RDONLY)
    while os.read(fd, MIB):
        pass
    os.close(fd)


def read_and_keep(path: str) -> None:
    """The same, with each chunk kept until the next is there, as whoever uses it does.

    Two of them take turns in the processor's cache then, as with a coroutine.
    """
    fd = os.open(path, os.O_RDONLY)
    chunk = os.read(fd, MIB)
    while chunk:
        chunk = os.read(fd, MIB)
    os.close(fd)


def write_plainly(path: str, size: int) -> None:
    """os.write in a loop."""
    data = bytes(MIB)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for _ in range(size // MIB):
        os.write(fd, data)
    os.close(fd)


async def read_ours(path: str) -> None:
    """iter_chunks."""
    async for _ in iter_chunks(path, MIB):
        pass


async def write_ours(path: str, size: int) -> None:
    """pwrite, one flight per chunk."""
    data = bytes(MIB)
    fd = await open_fd(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in range(size // MIB):
        await pwrite(fd, data, number * MIB)
    os.close(fd)


async def write_ours_mapped(path: str, size: int) -> None:
    """pwrite.map, two flights in the air: the way to the worker and back overlaps."""
    data = bytes(MIB)
    fd = await open_fd(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    chunks = ((fd, data, number * MIB) for number in range(size // MIB))
    async for _ in pwrite.map(chunks, limit=2):
        pass
    os.close(fd)


async def read_aiofiles(path: str) -> None:
    """aiofiles, in chunks."""
    async with aiofiles.open(path, "rb") as file:
        while await file.read(MIB):
            pass


async def write_aiofiles(path: str, size: int) -> None:
    """aiofiles, in chunks."""
    data = bytes(MIB)
    async with aiofiles.open(path, "wb") as file:
        for _ in range(size // MIB):
            await file.write(data)


def in_order(folder: str, size: int, rounds: int, writes: bool) -> str:
    """A table with one more column: how late the ticker was."""
    path = os.path.join(folder, "written" if writes else "large")
    if writes:
        plain: dict[str, Callable[[], None]] = {
            "os.write": lambda: write_plainly(path, size)
        }
        works: dict[str, Work] = {
            "ours": lambda: write_ours(path, size),
            "ours with map": lambda: write_ours_mapped(path, size),
            "aiofiles, uvloop": lambda: write_aiofiles(path, size),
        }
        budget = {"ours": 0.95, "ours with map": 0.95}
    else:
        plain = {
            "os.read": lambda: read_plainly(path),
            "os.read, keeping": lambda: read_and_keep(path),
        }
        works = {
            "ours": lambda: read_ours(path),
            "aiofiles, uvloop": lambda: read_aiofiles(path),
        }
        budget = {"ours": 0.95}
    tickers = {name: Ticker() for name in works}
    with (
        asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as ours,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as theirs,
    ):
        rows = [Row(name, work) for name, work in plain.items()]
        for name, work in works.items():
            runner = theirs if name.endswith("uvloop") else ours
            run = partial(with_ticker, runner, work, tickers[name])
            rows.append(Row(name, run))
        found = table(interleave(rows, rounds, size // MIB), "MiB", budget)
    late = ", ".join(f"{name} {each.percentile()} ms" for name, each in tickers.items())
    if writes:
        os.unlink(path)
    return f"{found}\n\nA task on the same loop is late, 99th percentile: {late}."


# At random.


def places(size: int, count: int, seed: int) -> Iterator[int]:
    """Where to read."""
    dice = random.Random(seed)
    return iter([dice.randrange(size // BLOCK) * BLOCK for _ in range(count)])


async def random_ours(fd: int, offsets: Iterator[int], depth: int) -> None:
    """Buffered: map, with as many flights as the depth."""
    items = ((fd, BLOCK, offset) for offset in offsets)
    async for _ in pread.map(items, limit=depth):
        pass


async def random_ours_direct(
    fd: int, offsets: Iterator[int], depth: int, registered: bool = False
) -> None:
    """O_DIRECT: memory that is aligned goes round."""
    count = 4 * depth
    if registered:
        free = direct_buffers(count, BLOCK)
    else:
        free = [aligned_buffer(BLOCK) for _ in range(count)]
    items = ((fd, free.pop(), offset) for offset in offsets)
    async for (_, buffer, _), _ in direct_pread.map(items, limit=depth):
        free.append(buffer)


async def random_caio(
    context: Any, fd: int, offsets: Iterator[int], depth: int
) -> None:
    """caio: as many tasks as the depth."""

    async def one() -> None:
        for offset in offsets:
            await context.read(BLOCK, fd, offset)

    await asyncio.gather(*(one() for _ in range(depth)))


def caio_rows(fd: int, fresh: Callable[[], Iterator[int]], depth: int) -> list[Row]:
    """One row for each backend of caio that is there."""
    rows = []
    for name in CAIO:
        try:
            module = importlib.import_module(f"caio.{name}")
        except ImportError:
            continue

        async def main(module: Any = module) -> None:
            async with module.AsyncioContext(max_requests=max(depth, 2)) as context:
                await random_caio(context, fd, fresh(), depth)

        title = f"caio {name.removesuffix('_asyncio')}"
        rows.append(Row(title, lambda main=main: asyncio.run(main())))
    return rows


def fio(path: str, depth: int, direct: bool, seconds: float) -> float | None:
    """Nanoseconds per read of fio's io_uring engine; None if there is no fio."""
    if shutil.which("fio") is None:
        return None
    command = ["fio", "--name=read", f"--filename={path}", "--rw=randread"]
    command += [f"--bs={BLOCK}", f"--iodepth={depth}", "--ioengine=io_uring"]
    command += [f"--direct={int(direct)}", f"--runtime={seconds}", "--time_based"]
    command += ["--readonly", "--output-format=json"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    if done.returncode != 0:
        return None
    text = done.stdout[done.stdout.index(b"{") :]
    return 1e9 / float(json.loads(text)["jobs"][0]["read"]["iops"])


def at_random(path: str, size: int, rounds: int, count: int, direct: bool) -> str:
    """A table per depth."""
    flags = os.O_RDONLY | (os.O_DIRECT if direct else 0)
    text = []
    fd = os.open(path, flags)
    works: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {"ours": random_ours}
    if direct:
        registered = partial(random_ours_direct, registered=True)
        works = {"ours": random_ours_direct, "ours, registered buffers": registered}
    with asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as ours:
        for depth in DEPTHS:
            seeds = iter(range(10**6))

            def fresh(seeds: Iterator[int] = seeds) -> Iterator[int]:
                return places(size, count, next(seeds))

            rows = [
                Row(name, lambda w=work, d=depth, f=fresh: ours.run(w(fd, f(), d)))
                for name, work in works.items()
            ]
            rows += caio_rows(fd, fresh, depth)
            if os.geteuid() == 0 and not direct:
                for row in rows:
                    row.prepare = drop_caches
            able, refused = working(rows)
            found = table(interleave(able, rounds, count), "read")
            lines = (f"| {name} | - | {why} | - |" for name, why in refused.items())
            found = "\n".join([found, *lines])
            its = fio(path, depth, direct, 1 if rounds < 5 else 3)
            end = f"\n\nfio's io_uring engine: {its:.0f} ns per read." if its else ""
            text += [f"Depth {depth}:", "", found + end, ""]
    os.close(fd)
    return "\n".join(text)


def working(rows: list[Row]) -> tuple[list[Row], dict[str, str]]:
    """Those that can do it at all, and what the others say.

    caio reads into bytes objects that it makes, whose memory is not aligned.
    """
    kept, refused = rows[:1], {}
    for row in rows[1:]:
        try:
            row.run()
        except (OSError, SystemError) as error:  # which is how caio says so
            refused[row.name] = f"cannot: {error}"
        else:
            kept.append(row)
    return kept, refused


def report(quick: bool) -> str:
    """Everything as Markdown."""
    size = (64 if quick else 1024) * MIB
    rounds, count = (2, 2000) if quick else (7, 20000)
    text = ["## One large file", ""]
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        path = os.path.join(folder, "large")
        make_file(path, size)
        for writes in (False, True):
            title = "Written" if writes else "Read"
            text += [f"{title} in chunks of 1 MiB, {size // MIB} MiB:", ""]
            text += [in_order(folder, size, rounds, writes), ""]
        for direct in (False, True):
            text += [f"Random reads of 4 KiB, {'O_DIRECT' if direct else 'buffered'}:"]
            text += ["", at_random(path, size, rounds, count, direct)]
    return "\n".join(text).rstrip()
