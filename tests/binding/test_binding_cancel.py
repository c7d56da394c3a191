"""Cancellation in each phase of a flight, and what it leaves behind."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flights import (
    current,
    descriptors,
    echo,
    flying,
    lock_behind,
    make_pipe,
    open_and_wait,
    receive,
    until,
)

from syslet_loop import calls, syslet

Run = Callable[[Any], Any]
Pair = tuple[socket.socket, socket.socket]
LOCK_EX = fcntl.LOCK_EX


@syslet
def accept(s: Any, listener: int) -> Any:
    return s.accept(listener)


@syslet
def open_fifo(s: Any, path: str) -> Any:
    return s.openat(path, os.O_RDONLY)


@syslet
def count_up(s: Any, word: memoryview, fd: int) -> Any:
    """Count before and after a wait."""
    s.umem_add(word, 1)
    s.recv(fd, 10)
    s.umem_add(word, 1)


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task that then must end as cancelled, at once."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


def test_before_it_started(run: Run) -> None:
    async def main() -> None:
        await calls.getppid()
        before = current().stats()["launched"]
        await cancelled(asyncio.create_task(make_pipe()))
        assert current().stats()["launched"] == before

    run(main())


def test_while_it_waits_for_a_socket(run: Run, pair: Pair) -> None:
    async def main() -> None:
        task = asyncio.create_task(receive(pair[0]))
        await flying(1)
        await cancelled(task)
        await flying(0)
        pair[1].send(b"kept")
        assert await receive(pair[0]) == b"kept"

    run(main())


def test_while_it_waits_for_a_worker(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()

    async def main() -> None:
        before = descriptors()
        with open(path, "rb+") as holder:
            fcntl.flock(holder, LOCK_EX)
            task = asyncio.create_task(lock_behind(path, LOCK_EX))
            await flying(1)
            await cancelled(task)
            await flying(0)
        assert descriptors() == before
        os.close(await lock_behind(path, LOCK_EX))

    run(main())


def test_while_it_opens_a_fifo(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)

    async def main() -> None:
        task = asyncio.create_task(open_fifo(path))
        await flying(1)
        await cancelled(task)
        await flying(0)

    run(main())


def test_its_own_descriptors_are_closed(run: Run, pair: Pair) -> None:
    async def main() -> None:
        before = descriptors()
        tasks = [asyncio.create_task(open_and_wait(pair[0])) for _ in range(20)]
        await flying(20)
        assert len(descriptors() - before) >= 20
        for task in tasks:
            await cancelled(task)
        await flying(0)
        assert descriptors() == before

    run(main())


def test_no_further_atom_runs(run: Run, pair: Pair) -> None:
    async def main() -> None:
        word = bytearray(8)
        task = asyncio.create_task(count_up(word, pair[0]))
        await flying(1)
        await cancelled(task)
        pair[1].send(b"late")
        await flying(0)
        assert word[0] == 1

    run(main())


def test_after_the_result_has_come(run: Run, pair: Pair) -> None:
    """The task had not been told: what it would have got is let go, all of it."""

    async def main() -> None:
        await calls.getppid()
        before = descriptors()
        for is_cancelled in (True, False, True):
            task = asyncio.create_task(open_and_wait(pair[0]))
            await flying(1)
            pair[1].send(b"x")
            engine = current()
            while current().stats()["flying"]:
                engine.turn(1)  # lands it; the task has its next step still before it
            assert len(descriptors() - before) == 1
            assert not task.done()
            if is_cancelled:
                await cancelled(task)
            else:
                made, data = await task
                assert data == b"x"
                os.close(made)
            assert descriptors() == before

    run(main())


def test_a_result_and_a_cancellation_race(run: Run, pair: Pair) -> None:
    """Whoever wins, the descriptor is the winner's or closed, and no byte is new."""

    async def main() -> None:
        before = descriptors()
        received = cancellations = 0
        for number in range(200):
            task = asyncio.create_task(open_and_wait(pair[0]))
            for _ in range(number % 4 + 1):
                await asyncio.sleep(0)
            pair[1].send(b"x")
            for _ in range(number % 3):
                await asyncio.sleep(0)
            task.cancel()
            try:
                made, data = await task
            except asyncio.CancelledError:
                cancellations += 1
                await flying(0)
            else:
                os.close(made)
                received += len(data)
            assert descriptors() == before
        assert received + cancellations == 200

    run(main())


def test_cancelled_twice(run: Run, pair: Pair) -> None:
    async def main() -> None:
        task = asyncio.create_task(receive(pair[0]))
        await flying(1)
        assert task.cancel()
        assert task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not task.cancel()
        await flying(0)

    run(main())


def test_the_message_arrives(run: Run, pair: Pair) -> None:
    async def outer() -> None:
        await receive(pair[0])

    async def main() -> None:
        task = asyncio.create_task(outer())
        await flying(1)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task

    run(main())


def test_a_task_may_go_on_after_it(run: Run, pair: Pair) -> None:
    async def stubborn() -> bytes:
        try:
            await receive(pair[0])
        except asyncio.CancelledError:
            data: bytes = await receive(pair[0])
            return data
        raise AssertionError

    async def main() -> None:
        task = asyncio.create_task(stubborn())
        await flying(1)
        task.cancel()
        await asyncio.sleep(0)
        await flying(1)
        pair[1].send(b"second")
        assert await task == b"second"

    run(main())


# Time limits.


def test_the_timeout_argument(run: Run, pair: Pair) -> None:
    async def main() -> None:
        before = descriptors()
        with pytest.raises(TimeoutError):
            await open_and_wait(pair[0], timeout=0.01)
        await flying(0)
        assert descriptors() == before
        with pytest.raises(TimeoutError):
            await receive(pair[0], timeout=0)
        assert await echo(1, timeout=5) == 1
        assert await echo(1, timeout=None) == 1
        pair[1].send(b"in time")
        assert await receive(pair[0], timeout=5) == b"in time"

    run(main())


def test_the_timeout_argument_in_tasks(run: Run, pair: Pair) -> None:
    async def main() -> None:
        waiting = [receive(pair[0], timeout=0.01) for _ in range(50)]
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(error, TimeoutError) for error in errors)
        task = asyncio.create_task(receive(pair[0], timeout=3600))
        await flying(1)
        await cancelled(task)
        await flying(0)

    run(main())


def test_asyncios_time_limits(run: Run, pair: Pair) -> None:
    async def main() -> None:
        before = descriptors()
        for _ in range(20):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await open_and_wait(pair[0])
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(open_and_wait(pair[0]), 0.001)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(open_and_wait(pair[0]), 0)
        await flying(0)
        assert descriptors() == before

    run(main())


def test_a_late_connection_is_closed(run: Run) -> None:
    """What an accept brings after its task has gone does not stay open."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            address = listener.getsockname()
            before = descriptors()
            for _ in range(30):
                task = asyncio.create_task(accept(listener))
                await flying(1)
                with socket.create_connection(address):
                    task.cancel()
                    try:
                        os.close(await task)
                    except asyncio.CancelledError:
                        await flying(0)
            assert descriptors() == before

    run(main())


def test_many_cancelled_at_once(run: Run, pair: Pair) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(receive(pair[0])) for _ in range(2000)]
        await flying(2000)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        await flying(0)
        pair[1].send(b"kept")
        assert await receive(pair[0]) == b"kept"

    run(main())


def test_workers_come_back_after_many_cancellations(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()

    async def main() -> None:
        before = descriptors()
        with open(path, "rb+") as holder:
            fcntl.flock(holder, LOCK_EX)
            for _ in range(3):
                flights = [lock_behind(path, LOCK_EX) for _ in range(50)]
                tasks = [asyncio.create_task(flight) for flight in flights]
                await flying(50)
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                await flying(0)
            made = asyncio.create_task(calls.mkdirat(tmp_path / "made", 0o700))
            await until(made.done)
        assert descriptors() == before

    run(main())
