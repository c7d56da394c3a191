"""What our loop has and asyncio's has not: the engine, its threads, its end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from loop.sockets import open_pair

import syslet_loop
from syslet_loop import EventLoop, calls, syslet

WORDS = Path(__file__).read_bytes()[:100]


@syslet
def read_file(s: Any, path: str, size: int = 65536) -> Any:
    fd = s.openat(path, os.O_RDONLY)
    data = s.read(fd, size)
    s.close(fd)
    return data


def in_thread(work: Any) -> Any:
    """Run `work` in another thread; what it returned or raised."""
    found: list[Any] = []

    def call() -> None:
        try:
            found.append(work())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return found[0]


def test_there_is_no_engine_before_the_first_wait() -> None:
    loop = syslet_loop.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    assert loop._engine is None
    assert loop.run_until_complete(read_file(__file__, 100)) == WORDS
    assert loop._engine is not None
    loop.close()


def test_backend_and_stats_tell_about_the_engine(backend: str) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        assert loop.backend == backend
        before = loop.stats()["launched"]
        await read_file(__file__)
        assert loop.stats()["launched"] == before + 1
        elsewhere = await asyncio.to_thread(loop.stats)
        assert elsewhere["launched"] == before + 1
        assert await asyncio.to_thread(lambda: loop.backend) == backend

    syslet_loop.run(main())


def test_flights_wait_beside_everything_else(backend: str) -> None:
    async def main() -> list[bytes]:
        loop = asyncio.get_running_loop()
        left, right = open_pair()
        with left, right:
            waiting = [asyncio.ensure_future(calls.recv(left, 1)) for _ in range(3)]
            await asyncio.sleep(0.01)
            loop.call_later(0.01, right.send, b"x")
            await asyncio.to_thread(right.send, b"y")
            await loop.sock_sendall(right, b"z")
            return await asyncio.wait_for(asyncio.gather(*waiting), 5)

    assert sorted(syslet_loop.run(main())) == [b"x", b"y", b"z"]


def test_an_unknown_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSLET_LOOP_BACKEND", "best")
    with pytest.raises(ValueError, match="kernel, uring or epoll"):
        syslet_loop.new_event_loop()


def test_a_loop_moves_to_another_thread(backend: str) -> None:
    loop = syslet_loop.new_event_loop()

    def read() -> Any:
        return loop.run_until_complete(read_file(__file__, 100))

    assert read() == WORDS
    first = loop.engine
    assert in_thread(read) == WORDS
    assert first.closed
    assert read() == WORDS
    loop.close()


def test_a_loop_with_flights_in_the_air_stays_where_it_is(backend: str) -> None:
    loop = syslet_loop.new_event_loop()
    left, right = open_pair()
    with left, right:
        waiting = loop.create_task(calls.recv(left, 10))
        loop.run_until_complete(asyncio.sleep(0.01))
        error = in_thread(loop.run_forever)
        assert isinstance(error, RuntimeError)
        assert "in the air" in str(error)
        right.send(b"still here")
        assert loop.run_until_complete(waiting) == b"still here"
    loop.close()


def test_other_threads_cannot_take_the_engine_of_a_running_loop() -> None:
    async def main() -> tuple[Any, Any]:
        loop: Any = asyncio.get_running_loop()
        property_error = await asyncio.to_thread(in_thread, lambda: loop.engine)
        run_error = await asyncio.to_thread(in_thread, loop.run_forever)
        return property_error, run_error

    for error in syslet_loop.run(main()):
        assert isinstance(error, RuntimeError)


def test_closing_lands_what_is_in_the_air(backend: str) -> None:
    loop = syslet_loop.new_event_loop()
    left, right = open_pair()
    with left, right:
        tasks = [loop.create_task(calls.recv(left, 10)) for _ in range(20)]
        loop.run_until_complete(asyncio.sleep(0.01))
        assert loop.stats()["flying"] == 20
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()
    assert loop.is_closed()


def test_loops_in_many_threads(backend: str) -> None:
    async def main() -> list[bytes]:
        reads = [read_file(__file__, 100) for _ in range(50)]
        return list(await asyncio.gather(*reads))

    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(syslet_loop.run(main())))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[WORDS] * 50] * 4


def test_loops_one_after_the_other_leave_nothing(backend: str) -> None:
    for _ in range(50):
        assert syslet_loop.run(_read()) == WORDS


async def _read() -> bytes:
    data: bytes = await read_file(__file__, 100)
    return data


def test_an_interrupted_run_closes_everything(backend: str) -> None:
    async def main() -> None:
        left, right = open_pair()
        with left, right:
            waiting = asyncio.ensure_future(calls.recv(left, 10))
            await asyncio.sleep(0.01)
            raise KeyboardInterrupt
        await waiting

    with pytest.raises(KeyboardInterrupt):
        syslet_loop.run(main())


def test_with_a_time_limit(backend: str) -> None:
    async def main() -> None:
        left, right = open_pair()
        with left, right:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await calls.recv(left, 10)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(calls.recv(left, 10), 0.02)
            right.send(b"late")
            assert await calls.recv(left, 10) == b"late"

    syslet_loop.run(main())


def test_a_forked_child_makes_its_own_loop(backend: str) -> None:
    """In a process of its own: forking with threads about is the point of it."""
    script = """
import asyncio, os, warnings
import syslet_loop
from syslet_loop import calls
warnings.simplefilter("ignore")

async def child():
    return await calls.getppid()

async def main():
    await calls.getppid()
    pid = os.fork()
    if pid == 0:
        asyncio._set_running_loop(None)
        os._exit(0 if syslet_loop.run(child()) > 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    await calls.getppid()

syslet_loop.run(main())
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_debug_is_passed_on() -> None:
    async def main() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert syslet_loop.run(main(), debug=True) is True
    assert syslet_loop.run(main()) is bool(sys.flags.dev_mode)


def test_run_refuses_to_be_nested() -> None:
    async def main() -> None:
        inner = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="running"):
            syslet_loop.run(inner)
        inner.close()

    syslet_loop.run(main())


def test_a_running_loop_cannot_be_run(backend: str) -> None:
    """CPython 3.13.0's own loop loses its state here, so it is no judge."""

    async def main() -> bytes:
        with pytest.raises(RuntimeError, match="already running"):
            asyncio.get_running_loop().run_forever()
        return await _read()

    assert syslet_loop.run(main()) == WORDS


def test_new_event_loop_is_a_loop_factory() -> None:
    with asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as runner:
        assert isinstance(runner.get_loop(), EventLoop)
        assert runner.run(_read()) == WORDS


def test_one_task_cannot_keep_the_loop() -> None:
    """Flights that never miss are cut, so that others have their turn."""
    turns = 0

    async def hog() -> None:
        while turns < 3:
            await calls.getppid()

    async def other() -> None:
        nonlocal turns
        while turns < 3:
            turns += 1
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.wait_for(asyncio.gather(hog(), other()), 30)

    syslet_loop.run(main())


def test_a_budget_is_of_one_task() -> None:
    """Many tasks of one tick do not share a budget: hardly one of them is cut."""

    async def main() -> int:
        await asyncio.gather(*(calls.getppid() for _ in range(5000)))
        loop = asyncio.get_running_loop()
        assert isinstance(loop, EventLoop)
        return loop.stats()["budget_cuts"]

    assert syslet_loop.run(main()) <= 5
