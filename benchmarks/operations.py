"""One operation of one loop, timed: `python -m benchmarks.operations LOOP ROW SECONDS`.

Started by scheduling.py. Runs batches until the time is over and prints the lower
quartile of them as JSON, in nanoseconds per operation: other processes only add.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import socket
import sys
import time
from collections.abc import Awaitable, Callable

from benchmarks.loops import new_event_loop

Batch = Callable[[asyncio.AbstractEventLoop], Awaitable[int]]
TURNS, PER_TURN = 20, 500
WAITING = ("subprocess",)  # elapsed time; everything else is the process' CPU time


def nothing() -> None:
    """The callback."""


async def call_soon(loop: asyncio.AbstractEventLoop) -> int:
    """A callback that schedules itself: a turn of the loop each."""
    left = 10_000
    done = loop.create_future()

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            done.set_result(None)

    loop.call_soon(step)
    await done
    return 10_000


async def batches(loop: asyncio.AbstractEventLoop) -> int:
    """Ready callbacks, 500 to a turn of the loop."""
    for _ in range(TURNS):
        for _ in range(PER_TURN):
            loop.call_soon(nothing)
        await asyncio.sleep(0)
    return TURNS * PER_TURN


async def sleep(loop: asyncio.AbstractEventLoop) -> int:
    """A turn of the loop each."""
    for _ in range(10_000):
        await asyncio.sleep(0)
    return 10_000


async def call_later_cancel(loop: asyncio.AbstractEventLoop) -> int:
    """Timers that are all there before the first of them is cancelled."""
    handles = [loop.call_later(60, nothing) for _ in range(10_000)]
    for handle in handles:
        handle.cancel()
    await asyncio.sleep(0)
    return 10_000


async def timeouts(loop: asyncio.AbstractEventLoop) -> int:
    """A timeout around something that takes a turn."""
    for _ in range(3000):
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
    return 3000


async def timers(loop: asyncio.AbstractEventLoop) -> int:
    """Timers of up to a millisecond, in no order."""
    count = TURNS * PER_TURN
    dice = random.Random(1)
    delays = [dice.random() / 1000 for _ in range(count)]
    done = loop.create_future()
    for delay in delays:
        loop.call_later(delay, nothing)
    loop.call_later(0.003, done.set_result, None)
    await done
    return count


async def tasks(loop: asyncio.AbstractEventLoop) -> int:
    """Tasks that wait for one turn."""
    for _ in range(5):
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(1000)))
    return 5000


async def futures(loop: asyncio.AbstractEventLoop) -> int:
    """Futures that a callback resolves."""
    for _ in range(5000):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future
    return 5000


async def executor(loop: asyncio.AbstractEventLoop) -> int:
    """There and back."""
    for _ in range(300):
        await loop.run_in_executor(None, nothing)
    return 300


async def threadsafe(loop: asyncio.AbstractEventLoop) -> int:
    """A thread waking the loop, which wakes the thread."""

    def ping() -> None:
        for _ in range(300):
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()

    await loop.run_in_executor(None, ping)
    return 300


async def socketpair(loop: asyncio.AbstractEventLoop) -> int:
    """A message of 64 bytes that never has to wait."""
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        for _ in range(5000):
            await loop.sock_sendall(left, b"x" * 64)
            await loop.sock_recv(right, 1024)
    return 5000


async def subprocess(loop: asyncio.AbstractEventLoop) -> int:
    """The shortest program."""
    for _ in range(10):
        process = await asyncio.create_subprocess_exec("/bin/true")
        await process.wait()
    return 10


def life(name: str) -> int:
    """new_event_loop, one turn, close."""
    for _ in range(20):
        loop = new_event_loop(name)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    return 20


def plain_socketpair() -> int:
    """The same messages without a loop."""
    left, right = socket.socketpair()
    with left, right:
        for _ in range(5000):
            left.send(b"x" * 64)
            right.recv(1024)
    return 5000


def plain_subprocess() -> int:
    """The same program without a loop."""
    for _ in range(10):
        pid = os.posix_spawn("/bin/true", ["true"], os.environ)
        os.waitpid(pid, 0)
    return 10


PLAIN = "floor sync"
PLAIN_BATCHES = {"socketpair": plain_socketpair, "subprocess": plain_subprocess}
BATCHES: dict[str, Batch] = {
    "call_soon": call_soon,
    "batches": batches,
    "sleep": sleep,
    "call_later_cancel": call_later_cancel,
    "timeouts": timeouts,
    "timers": timers,
    "tasks": tasks,
    "futures": futures,
    "executor": executor,
    "threadsafe": threadsafe,
    "socketpair": socketpair,
    "subprocess": subprocess,
}


def measure(
    batch: Callable[[], int], seconds: float, clock: Callable[[], int]
) -> float:
    """The lower quartile, in nanoseconds per operation; the first does not count.

    The garbage collector runs, as it does in programs.
    """
    batch()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found) < 3:
        gc.collect()
        start = clock()
        operations = batch()
        found.append((clock() - start) / operations)
    return sorted(found)[len(found) // 4]


def main() -> None:
    """See the head of this file."""
    name, row, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    clock = time.perf_counter_ns if row in WAITING else time.process_time_ns
    if name == PLAIN:
        found = measure(PLAIN_BATCHES[row], seconds, clock)
    elif row == "life":
        found = measure(lambda: life(name), seconds, clock)
    else:
        loop = new_event_loop(name)
        asyncio.set_event_loop(loop)
        batch = BATCHES[row]
        found = measure(lambda: loop.run_until_complete(batch(loop)), seconds, clock)
    print(json.dumps({"ns": found}))


if __name__ == "__main__":
    main()
