"""Foreign loops in many threads, of several kinds, and in debug mode."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from attached import (
    Factory,
    Pair,
    nap,
    receive,
    started,
)

import syslet_loop
from syslet_loop import attach, files

pytestmark = pytest.mark.usefixtures("backend")


def test_loops_of_all_kinds_in_threads(foreign: Factory, tmp_path: Path) -> None:
    """Each has its engine; one syslet flies on all of them at once."""
    errors: list[BaseException] = []
    start = threading.Barrier(6)

    async def main(name: str) -> None:
        for number in range(20):
            path = tmp_path / f"{name}-{number}"
            await asyncio.gather(nap(0.001), files.write_bytes(path, name.encode()))
            assert await files.read_bytes(path) == name.encode()

    def work(name: str, factory: Factory) -> None:
        start.wait()
        try:
            for _ in range(3):
                with asyncio.Runner(loop_factory=factory) as runner:
                    runner.run(main(name))
        except BaseException as error:
            errors.append(error)

    factories: list[Factory] = [syslet_loop.new_event_loop, foreign, foreign] * 2
    threads = [
        threading.Thread(target=work, args=(str(number), factory))
        for number, factory in enumerate(factories)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert not attach._attachments


def test_flights_of_another_thread_are_not_closed(foreign: Factory, pair: Pair) -> None:
    """Closing is refused, as on our loop, and the thread can still end them."""
    loop = foreign()
    tasks: list[asyncio.Future[Any]] = []
    may_end, is_flying = threading.Event(), threading.Event()

    def work() -> None:
        tasks.extend(started(loop, receive(pair[0])))
        is_flying.set()
        may_end.wait()
        pair[1].send(b"landed")
        loop.run_until_complete(asyncio.wait(tasks))

    thread = threading.Thread(target=work)
    thread.start()
    is_flying.wait()
    try:
        with pytest.raises(RuntimeError, match="another thread"):
            loop.close()
        assert not loop.is_closed()
    finally:
        may_end.set()
        thread.join()
    assert tasks[0].result() == b"landed"
    loop.close()
    assert not attach._attachments


def test_debug_mode(
    foreign: Factory, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio checks the thread of each call then; nothing is slow or said."""

    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = 60
        await asyncio.gather(*(nap(0.001) for _ in range(20)))
        with contextlib.suppress(TimeoutError):
            await attach.with_timeout(receive(pair[0]), 0.01)
        async for item, _ in nap.map([0.001] * 20, limit=5):
            assert item == 0.001
        pair[1].send(b"debugged")
        assert await receive(pair[0]) == b"debugged"

    with asyncio.Runner(debug=True, loop_factory=foreign) as runner:
        runner.run(main())
    said = [each for each in caplog.records if each.levelno > logging.DEBUG]
    assert said == []
