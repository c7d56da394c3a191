"""Syslets on a loop that somebody else made: asyncio's and uvloop's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loop.sockets import open_pair

import syslet_loop
from syslet_loop import _native, attach, calls, syslet

pytestmark = pytest.mark.usefixtures("backend")
Factory = Callable[[], asyncio.AbstractEventLoop]
HERE = Path(__file__)


@syslet
def read_file(s: Any, path: str, size: int = 65536) -> Any:
    fd = s.openat(path, os.O_RDONLY)
    data = s.read(fd, size)
    s.close(fd)
    return data


@syslet
def save(s: Any, path: str) -> None:
    fd = s.openat(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    s.fsync(fd)
    s.close(fd)
    s.unlinkat(path)


def run(factory: Factory, main: Any) -> Any:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def test_worker_after_worker(foreign: Factory, tmp_path: Path) -> None:
    """Each is told to the loop that sleeps, not only the first few."""

    async def main() -> None:
        async with asyncio.timeout(60):
            for number in range(50):
                await calls.mkdirat(tmp_path / str(number))

    run(foreign, main())
    assert len(os.listdir(tmp_path)) == 50


def test_flights_that_end_at_once(foreign: Factory) -> None:
    async def main() -> list[bytes]:
        return [await read_file(str(HERE), 50) for _ in range(20)]

    assert run(foreign, main()) == [HERE.read_bytes()[:50]] * 20


def test_flights_that_wait(foreign: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        left, right = open_pair()
        with left, right:
            for number in range(20):
                loop.call_later(0.001, right.send, b"%d" % number)
                data = await asyncio.wait_for(calls.recv(left, 10), 5)
                assert data == b"%d" % number

    run(foreign, main())


def test_flights_that_wait_for_eventfds(foreign: Factory) -> None:
    """What one eventfd tells another arrives more than once."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        for number in range(1, 6):
            loop.call_later(0.001, os.eventfd_write, fd, number)
            async with asyncio.timeout(10):
                assert await calls.read(fd, 8) == number.to_bytes(8, sys.byteorder)
        os.close(fd)

    run(foreign, main())


def test_a_worker_after_the_other(foreign: Factory, tmp_path: Path) -> None:
    async def main() -> None:
        with open(tmp_path / "file", "wb") as file:
            for _ in range(30):
                async with asyncio.timeout(10):
                    await calls.fsync(file.fileno())
                    await save(str(tmp_path / "new"))

    run(foreign, main())


def test_many_flights_at_once(foreign: Factory, tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / str(number)).write_text(str(number))
    paths = [str(tmp_path / str(number)) for number in range(200)]

    async def main() -> list[bytes]:
        return [data async for _, data in read_file.map(paths, ordered=True)]

    assert run(foreign, main()) == [b"%d" % number for number in range(200)]


def test_a_cancelled_flight_takes_nothing(foreign: Factory) -> None:
    async def main() -> None:
        left, right = open_pair()
        with left, right:
            with pytest.raises(TimeoutError):
                await attach.with_timeout(calls.recv(left, 10), 0.02)
            await asyncio.sleep(0.01)
            right.send(b"kept")
            assert await calls.recv(left, 10) == b"kept"

    run(foreign, main())


def test_the_backend_is_the_chosen_one(foreign: Factory, backend: str) -> None:
    async def main() -> str:
        await calls.getppid()
        return attach.current_engine().backend

    assert run(foreign, main()) == backend


def test_workers_that_are_stuck_get_company(foreign: Factory, tmp_path: Path) -> None:
    for number in range(6):
        os.mkfifo(tmp_path / f"fifo{number}")

    async def main() -> None:
        stuck = [
            asyncio.ensure_future(calls.openat(str(tmp_path / f"fifo{n}"), os.O_RDONLY))
            for n in range(6)
        ]
        await asyncio.sleep(0)
        made = asyncio.ensure_future(calls.mkdirat(str(tmp_path / "made"), 0o700))
        await asyncio.wait_for(made, 10)
        assert (tmp_path / "made").is_dir()
        for task in stuck:
            task.cancel()
        await asyncio.wait(stuck)

    run(foreign, main())


def test_a_pause_after_the_budget_ends(foreign: Factory) -> None:
    @syslet
    def count(s: Any, times: int) -> Any:
        left = s.cell(0)
        s.set(left, times)
        with s.loop():
            s.getppid()
            s.break_if(s.add(left, -1) <= 0)
        return left

    assert run(foreign, count(20_000)) == 0


def test_the_engine_ends_with_its_loop(foreign: Factory) -> None:
    async def main() -> _native.Engine:
        await calls.getppid()
        return attach.current_engine()

    engine = run(foreign, main())
    assert engine.closed
    assert not attach._attachments


def test_a_loop_closed_with_flights_in_the_air(foreign: Factory) -> None:
    loop = foreign()
    left, right = open_pair()
    with left, right:

        async def start() -> asyncio.Future[bytes]:
            waiting = asyncio.ensure_future(calls.recv(left, 10))
            await asyncio.sleep(0.01)
            return waiting

        waiting = loop.run_until_complete(start())
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(waiting)
        loop.close()
    assert not attach._attachments


def test_a_foreign_loop_moves_to_another_thread(foreign: Factory) -> None:
    loop = foreign()
    found: list[Any] = []

    def work() -> None:
        found.append(loop.run_until_complete(read_file(str(HERE), 20)))

    work()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    work()
    loop.close()
    assert found == [HERE.read_bytes()[:20]] * 3


def test_two_foreign_loops_take_turns(foreign: Factory) -> None:
    loops = [foreign() for _ in range(2)]
    for _ in range(3):
        for loop in loops:
            data = loop.run_until_complete(read_file(str(HERE), 20))
            assert data == HERE.read_bytes()[:20]
    for loop in loops:
        loop.close()


def test_our_loop_after_a_foreign_one(foreign: Factory) -> None:
    async def read() -> Any:
        return await read_file(str(HERE), 20)

    kept = foreign()
    expected = HERE.read_bytes()[:20]
    assert kept.run_until_complete(read()) == expected
    assert syslet_loop.run(read()) == expected
    assert kept.run_until_complete(read()) == expected
    kept.close()


def test_there_is_no_engine_without_a_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        attach.current_engine()
