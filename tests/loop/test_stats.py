"""loop.stats(): flights by state and place, misses by operation, waits and wake-ups."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import syslet_loop
from syslet_loop import calls, ops, syslet

# sched_get_priority_max
PRIORITY_MAX = 146 if ops.MACHINE == "x86_64" else 125
STATES = ("flying", "cancelling", "abandoned")
PLACES = ("ready", "waiting", "working", "paused")


@syslet
def yield_raw(s: Any) -> None:
    """A system call that has no row in the operations table."""
    s.syscall(PRIORITY_MAX, 0)


@syslet
def count_down(s: Any, start: int) -> None:
    left = s.cell(0)
    s.set(left, start)
    with s.loop():
        s.emit(left)
        s.break_if(s.add(left, -1) <= 0)


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


def of(stats: Any, names: tuple[str, ...]) -> dict[str, int]:
    return {name: stats[name] for name in names if stats[name]}


def test_a_wait_for_a_socket_is_waiting_and_a_miss_of_its_operation(
    backend: str,
) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with pair() as (left, right):
            tasks = [asyncio.ensure_future(calls.recv(left, 10)) for _ in range(3)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            stats = loop.stats()
            assert of(stats, STATES) == {"flying": 3}
            assert of(stats, PLACES) == {"waiting": 3}
            assert stats["misses"] == {"recvfrom": 3}
            assert stats["to_ring"] == 3
            for _ in tasks:
                right.send(b"x")
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.gather(*tasks)
            assert of(loop.stats(), STATES + PLACES) == {}

    syslet_loop.run(main())


def test_misses_add_up_to_the_ring_s_and_the_workers(backend: str) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with pair() as (left, right):
            for _ in range(5):
                waits = asyncio.ensure_future(calls.recv(left, 1))
                await asyncio.sleep(0)
                await calls.send(right, b"x")
                await waits
            before = loop.stats()
            await calls.timeout(0.001)
            await calls.getpid()
            await yield_raw()
        stats = loop.stats()
        between = {name: stats[name] - before[name] for name in stats}
        assert between["misses"] == {"nanosleep": 1, "syscall 146": 1}
        assert between["launched"] == 3
        assert sum(stats["misses"].values()) == stats["to_ring"] + stats["to_worker"]
        assert stats["misses"]["recvfrom"] == 5
        assert stats["misses"]["syscall 146"] == 1
        assert "getpid" not in stats["misses"]

    syslet_loop.run(main())


def test_a_fifo_nobody_opens_is_working(tmp_path: Any, backend: str) -> None:
    path = str(tmp_path / "fifo")
    os.mkfifo(path)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        opens = asyncio.ensure_future(calls.openat(path, os.O_WRONLY))
        while not loop.stats()["flying"]:
            await asyncio.sleep(0)
        stats = loop.stats()
        assert stats["working"] + stats["waiting"] == 1
        assert stats["misses"] == {"openat": 1}
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        os.close(await opens)
        os.close(reader)

    syslet_loop.run(main())


def test_a_fifo_that_was_opened_at_once_and_waits_for_a_writer(
    tmp_path: Any, backend: str
) -> None:
    """It leaves the thread after its last atom."""
    path = str(tmp_path / "fifo")
    os.mkfifo(path)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        opens = asyncio.ensure_future(calls.openat(path, os.O_RDONLY))
        while not loop.stats()["flying"]:
            await asyncio.sleep(0)
        assert loop.stats()["misses"] == {"openat": 1}
        assert loop.stats()["working"] == 1
        writer = await asyncio.to_thread(os.open, path, os.O_WRONLY)
        os.close(await opens)
        os.close(writer)

    syslet_loop.run(main())


def test_a_full_report_queue_is_paused(backend: str) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        events = count_down.events(5, queue=1)
        found = [await anext(events)]
        await asyncio.sleep(0)
        assert of(loop.stats(), PLACES) == {"paused": 1}
        found += [number async for number in events]
        assert found == [5, 4, 3, 2, 1]
        assert of(loop.stats(), STATES + PLACES) == {}

    syslet_loop.run(main())


def test_threads_that_wake_the_loop_are_counted(backend: str) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        before = loop.stats()
        done = asyncio.Event()

        def wake_a_sleeper() -> None:
            while loop.stats()["waits"] == before["waits"]:
                os.sched_yield()
            loop.call_soon_threadsafe(done.set)

        thread = threading.Thread(target=wake_a_sleeper)
        thread.start()
        await done.wait()
        thread.join()
        after = loop.stats()
        assert after["waits"] > before["waits"]
        assert after["wakeups"] == before["wakeups"] + 1

    syslet_loop.run(main())


def test_any_thread_may_ask(backend: str) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with pair() as (left, right):
            task = asyncio.ensure_future(calls.recv(left, 1))
            await asyncio.sleep(0)
            assert (await asyncio.to_thread(loop.stats))["waiting"] == 1
            right.send(b"x")
            assert await task == b"x"

    syslet_loop.run(main())
