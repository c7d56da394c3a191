"""Whatever is done two thousand times leaves memory and descriptors as they were."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import socket
import sys
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
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
from syslet_loop import calls, memory, syslet

Run = Callable[[Any], Any]
Pair = tuple[socket.socket, socket.socket]
Deed = Callable[[Pair], Awaitable[Any]]

TIMES = 2000
LOOPS = 300
ROUNDS = 4
ROUNDS = 3  # dicts and caches grow by leaps: a leak grows every time
SLACK_BLOCKS = 200  # a tenth of a block per time would be 200: free lists, caches
NAME = "\N{SNOWMAN}/nothing"


@syslet
def many(s, a, b, c, d, e, f, g, h, path, data: bytearray):  # type: ignore
    fd = s.openat(path, os.O_RDONLY)
    s.close(fd)
    s.getrandom(data)
    return {"all": [s.nop(each) for each in (a, b, c, d, e, f, g, h)], "data": data}


@syslet
def say(s: Any, count: int) -> None:
    left = s.cell(0)
    s.set(left, count)
    with s.loop():
        s.emit((left, s.eventfd(0)))
        s.break_if(s.add(left, -1) <= 0)


@syslet
def nap(s: Any, seconds: float) -> Any:
    s.timeout(seconds)


async def awaited(pair: Pair) -> None:
    assert await echo(12345678) == 12345678


async def bytes_read(pair: Pair) -> None:
    await read_file(Path("/proc/self/comm"), size=100)


async def many_arguments(pair: Pair) -> None:
    target = bytearray(10)
    path = Path("/proc/self/comm")
    await many(10**6, 2, 3, 4, e=5, f=6, g=7, h=8, path=path, data=target)


async def waited(pair: Pair) -> None:
    task = asyncio.create_task(receive(pair[0]))
    await asyncio.sleep(0)
    pair[1].send(b"x")
    await task


async def napped(pair: Pair) -> None:
    await nap(0.00001)


async def failed(pair: Pair) -> None:
    with contextlib.suppress(FileNotFoundError):
        await read_file(NAME)


async def failed_binding(pair: Pair) -> None:
    for wrong in (None, "text", 2**70):
        with contextlib.suppress(TypeError, OverflowError):
            await echo(wrong)
    with contextlib.suppress(TypeError):
        await receive_into(pair[0], b"readonly")
    with contextlib.suppress(TypeError):
        echo(1, 2)
    with contextlib.suppress(TypeError):
        echo(nothing=5)


async def cancelled(pair: Pair) -> None:
    task = asyncio.create_task(open_and_wait(pair[0]))
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def cancelled_before(pair: Pair) -> None:
    task = asyncio.create_task(receive_into(pair[0], bytearray(10)))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def timed_out(pair: Pair) -> None:
    with contextlib.suppress(TimeoutError):
        await receive_into(pair[0], bytearray(10), timeout=0)


async def thrown(pair: Pair) -> None:
    flight = open_and_wait(pair[0])
    flight.send(None)
    with contextlib.suppress(LookupError):
        flight.throw(LookupError())


async def dropped(pair: Pair) -> None:
    open_and_wait(pair[0]).send(None)


async def never_awaited(pair: Pair) -> None:
    receive_into(pair[0], bytearray(10))


async def reused(pair: Pair) -> None:
    flight = echo(1)
    await flight
    with contextlib.suppress(RuntimeError):
        await flight


async def owned(pair: Pair) -> None:
    for fd in (await make_pipe()).values():
        os.close(fd)


async def mapped(pair: Pair) -> None:
    async for _ in echo.map([1000, 2000, (3000,)], limit=2):
        pass
    async for _ in nap.map([0, 0.00001], ordered=True):
        pass


async def mapped_with_errors(pair: Pair) -> None:
    items = [NAME, 5, "/proc/self/comm"]
    async for _ in read_file.map(items, return_exceptions=True):
        pass
    with contextlib.suppress(TypeError, FileNotFoundError):
        async for _ in read_file.map(items):
            pass


async def mapped_and_left(pair: Pair) -> None:
    left = pair[0]
    step = anext(receive.map(iter([left, left, left])))
    step.send(None)
    step.close()


async def events(pair: Pair) -> None:
    async for _, fd in say.events(3, queue=2):
        os.close(fd)


async def events_left(pair: Pair) -> None:
    async for _, fd in say.events(5, queue=2):
        os.close(fd)
        break


async def cffi_memory(pair: Pair) -> None:
    pair[1].send(b"1234")
    assert await receive_into(pair[0], memory.new("char[4]")) == 4


async def single_calls(pair: Pair) -> None:
    stat = await calls.fstatat("/proc/self/exe")
    assert stat.st_size
    await calls.getppid()
    with contextlib.suppress(OSError):
        await calls.openat(NAME, os.O_RDONLY)


async def made(pair: Pair) -> None:
    """A syslet itself, with its plan."""

    @syslet
    def local(s: Any, number: int, text: str = "default") -> Any:
        return [s.nop(number), {"text": text, "const": object()}]

    repr(local)
    await local(3)


DEEDS: list[Deed] = [
    *(awaited, bytes_read, many_arguments, waited, napped, failed, failed_binding),
    *(cancelled, cancelled_before, timed_out, thrown, dropped, never_awaited),
    *(reused, owned, mapped, mapped_with_errors, mapped_and_left, events),
    *(events_left, cffi_memory, single_calls),
]


async def repeat(deed: Deed, pair: Pair, times: int) -> int:
    """Do it so often, wait until all has landed, and count the memory in use."""
    for _ in range(times):
        await deed(pair)
    await flying(0)
    await asyncio.sleep(0)
    gc.collect()
    return sys.getallocatedblocks()


async def measure(deed: Deed, pair: Pair, times: int) -> None:
    """The interpreter's own pools fill up for a while: a leak grows in each round."""
    await repeat(deed, pair, times // 4)
    fds, objects = descriptors(), len(gc.get_objects())
    grown = []
    for _ in range(ROUNDS):
        before = await repeat(deed, pair, 1)
        grown.append(await repeat(deed, pair, times) - before)
        assert descriptors() == fds
        if grown[-1] <= SLACK_BLOCKS:
            break
    assert min(grown) <= SLACK_BLOCKS, f"{grown} blocks more after {times} times each"
    objects = len(gc.get_objects()) - objects
    assert objects <= SLACK_BLOCKS, f"{objects} objects more"


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_nothing_grows(run: Run, pair: Pair, deed: Deed) -> None:
    with warnings.catch_warnings():
        if deed is never_awaited:
            warnings.simplefilter("ignore", RuntimeWarning)
        run(measure(deed, pair, TIMES))


def test_syslets_themselves_do_not_leak(run: Run, pair: Pair) -> None:
    run(measure(made, pair, 400))


def test_loops_do_not_leak(backend: str, pair: Pair) -> None:
    async def main() -> None:
        task = asyncio.create_task(open_and_wait(pair[0]))
        await flying(1)
        await nap(0)
        task.cancel()

    def loops(count: int) -> int:
        for _ in range(count):
            syslet_loop.run(main())
        gc.collect()
        return sys.getallocatedblocks()

    loops(50)
    fds = descriptors()
    counts = [loops(LOOPS) for _ in range(ROUNDS)]
    assert descriptors() == fds
    grown = [after - before for before, after in itertools.pairwise(counts)]
    # The gate of the tests notes each engine: one block for each loop is its own.
    assert min(grown) <= LOOPS + SLACK_BLOCKS, grown


def resident_kib() -> int:
    with open("/proc/self/status") as file:
        (line,) = [line for line in file if line.startswith("VmRSS")]
    return int(line.split()[1])


@pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""),
    reason="freed memory is kept for a while",
)
def test_the_engines_own_memory_does_not_grow(run: Run, tmp_path: Path) -> None:
    """What the interpreter's counters cannot see: computed buffers, flights, plans."""
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 18))

    async def main() -> None:
        for _ in range(50):
            await read_file(path, 1 << 20)
        before = resident_kib()
        for _ in range(500):
            assert len(await read_file(path, 1 << 20)) == 1 << 18
        assert resident_kib() - before < 50_000, "a tenth of what passed through"

    run(main())
