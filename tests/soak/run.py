"""Mixed work for a long time: `python -m tests.soak.run --seconds 600 --seed 1`.

Forty tasks do random jobs, a third of which are cancelled at random; ten connections
exchange numbered blocks all the while. Prints throughput, memory and descriptors; exits
1 if a byte was lost or misdelivered, something failed, hung, or grew. `make soak` runs
it, for SECONDS.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import statistics
import sys
import time
import warnings
from typing import Any

import syslet_loop
from tests.soak.jobs import JOBS, WHOLE, World
from tests.soak.servers import Failures

TASKS, BYSTANDERS = 40, 10
CANCELLED = 0.3
JOB_LIMIT_S = 60.0  # a job that takes longer hangs
ROWS = 20
GROWTH_BYTES = 16 << 20  # of RSS, between the first and the last third
GROWTH_PART = 0.15
GROWTH_S = 20  # a shorter run is warming up all the time


def rss() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def dropped_datagrams() -> int:
    """How many the kernel has dropped so far because a socket's buffer was full."""
    with open("/proc/net/snmp") as file:
        names, values = (line.split() for line in file if line.startswith("Udp:"))
    return int(values[names.index("RcvbufErrors")])


class Soak:
    """One run on one loop."""

    def __init__(self, seed: int, seconds: float) -> None:
        self.rng = random.Random(seed)
        self.seconds = seconds
        self.failures = Failures()
        self.world = World(self.failures)
        self.moved = self.jobs = self.cancelled = self.blocks = 0
        self.memory: list[int] = []

    async def work(self, rng: random.Random, end: float) -> None:
        """One job after the other."""
        weights = list(JOBS.values())
        while time.monotonic() < end:
            job = rng.choices(list(JOBS), weights)[0]
            task = asyncio.ensure_future(job(self.world, rng))
            if job not in WHOLE and rng.random() < CANCELLED:
                await asyncio.wait([task], timeout=rng.random() ** 3 * 0.05)
                self.cancelled += task.cancel()
            done, _ = await asyncio.wait([task], timeout=JOB_LIMIT_S)
            if not done:
                self.failures.note(f"{job.__name__} hangs: {task.get_stack()}")
                task.cancel()
                return
            self.look_at(job.__name__, task)

    def look_at(self, name: str, task: asyncio.Future[int]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self.failures.note(f"{name}: {type(error).__name__}: {error}")
        else:
            self.jobs += 1
            self.moved += task.result()

    async def stand_by(self, rng: random.Random, end: float) -> None:
        """A connection that lives through everything, and loses nothing."""
        address = rng.choice(self.world.servers.echoes)
        reader, writer = await asyncio.open_connection(*address)
        number = 0
        try:
            while time.monotonic() < end:
                block = number.to_bytes(8, "big") * rng.randrange(1, 2000)
                writer.write(block)
                async with asyncio.timeout(JOB_LIMIT_S):
                    if await reader.readexactly(len(block)) != block:
                        raise AssertionError(f"block {number} differs")
                number += 1
                self.blocks += 1
                self.moved += 2 * len(block)
                await asyncio.sleep(rng.random() * 0.01)
        except Exception as error:
            self.failures.note(f"a bystander: {type(error).__name__}: {error}")
        finally:
            writer.close()

    async def report(self, end: float) -> None:
        loop: Any = asyncio.get_running_loop()
        start, step = time.monotonic(), self.seconds / ROWS
        print("   time    jobs  cancelled  MB/s   RSS MB  fds  tasks  flights  threads")
        moved = 0
        for row in range(1, ROWS + 1):
            await asyncio.sleep(max(0, start + row * step - time.monotonic()))
            self.memory.append(rss())
            print(
                f"{time.monotonic() - start:7.1f} {self.jobs:7} {self.cancelled:10}"
                f" {(self.moved - moved) / step / 1e6:5.0f} {rss() / 1e6:8.1f}"
                f" {descriptors():4} {len(asyncio.all_tasks()):6}"
                f" {loop.stats()['flying']:8} {len(os.listdir('/proc/self/task')):8}",
                flush=True,
            )
            moved = self.moved
            if self.failures:
                return

    def note_context(self, loop: Any, context: dict[str, Any]) -> None:
        """The loop's exception handler: nothing may come here."""
        error = context.get("exception")
        self.failures.note(f"{context.get('message')}: {error!r}")

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self.note_context)
        await self.world.servers.start()
        end = time.monotonic() + self.seconds
        workers = [
            loop.create_task(self.work(random.Random(self.rng.random()), end))
            for _ in range(TASKS)
        ]
        workers += [
            loop.create_task(self.stand_by(random.Random(self.rng.random()), end))
            for _ in range(BYSTANDERS)
        ]
        await self.report(end)
        _, hanging = await asyncio.wait(workers, timeout=JOB_LIMIT_S)
        for task in hanging:
            self.failures.note(f"hangs at the end: {task!r}")
            task.cancel()
        await self.world.servers.stop()
        await self.settle()

    async def settle(self) -> None:
        """Orphans land when what they wait for is over."""
        loop: Any = asyncio.get_running_loop()
        deadline = time.monotonic() + JOB_LIMIT_S
        while loop.stats()["prepared"] and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        if loop.stats()["prepared"]:
            self.failures.note(f"flights are left: {loop.stats()}")

    def check_growth(self) -> None:
        third = len(self.memory) // 3
        if third < 2 or self.seconds < GROWTH_S:
            return
        before = statistics.median(self.memory[third : 2 * third])
        after = statistics.median(self.memory[-third:])
        if after > before * (1 + GROWTH_PART) + GROWTH_BYTES:
            self.failures.note(f"RSS grew from {before} to {after} bytes")


def soak(seed: int, seconds: float) -> Failures:
    """Run on a loop of the backend that the environment names."""
    before, dropped = descriptors(), dropped_datagrams()
    one = Soak(seed, seconds)
    sys.unraisablehook = lambda what: one.failures.note(f"unraisable: {what!r}")
    with asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as runner:
        loop: Any = runner.get_loop()
        print(f"seed {seed}, {seconds:g} s, backend {loop.backend}", flush=True)
        runner.run(one.run())
    one.world.folder.cleanup()
    one.check_growth()
    gc.collect()
    if descriptors() > before:
        one.failures.note(f"{before} descriptors became {descriptors()}")
    dropped = dropped_datagrams() - dropped
    if one.world.lost_datagrams > dropped:
        one.failures.note(f"{one.world.lost_datagrams} datagrams lost, {dropped} known")
    print(
        f"{one.jobs} jobs, {one.cancelled} cancelled, {one.blocks} numbered blocks, "
        f"{one.moved / 1e6:.0f} MB, {one.world.lost_datagrams} datagrams lost "
        f"(the kernel dropped {dropped})"
    )
    return one.failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)  # of fork with threads about
    failures = soak(arguments.seed, arguments.seconds)
    for failure in failures:
        print(f"FAILED: {failure}")
    print("nothing lost, nothing left" if not failures else f"{len(failures)} failures")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
