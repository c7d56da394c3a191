"""Foreign loops that end with flights in the air, are dropped, or forked."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import warnings
import weakref
from pathlib import Path
from typing import Any

import pytest
import uvloop
from attached import (
    Factory,
    Pair,
    descriptors,
    flying,
    lines,
    nap,
    receive,
    receive_into,
    started,
)
from processes import check_process

from syslet_loop import attach, calls, files, syslet

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks are destroyed while they wait, and asyncio would log that."""
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)


@pytest.mark.usefixtures("quiet")
def test_closed_with_flights_of_each_kind(
    foreign: Factory, pair: Pair, tmp_path: Path
) -> None:
    """On the ring, on a worker, on a clock; with memory and descriptors lent."""
    before = descriptors()
    os.mkfifo(tmp_path / "fifo")
    memory = bytearray(10)
    loop = foreign()

    async def events() -> None:
        async for _ in lines.events(pair[0]):
            raise AssertionError

    tasks = started(
        loop,
        receive(pair[0]),
        receive_into(pair[0], memory),
        nap(3600),
        calls.openat(str(tmp_path / "fifo"), os.O_RDONLY),
        events(),
    )
    loop.close()
    assert loop.is_closed()
    assert descriptors() == before
    assert not any(task.done() for task in tasks)
    pair[1].send(b"kept")
    assert pair[0].recv(10) == b"kept"
    loop.close()
    del tasks
    gc.collect()
    memory.append(0)  # nobody holds it


@pytest.mark.usefixtures("quiet")
def test_a_flight_whose_loop_was_closed_says_so(foreign: Factory, pair: Pair) -> None:
    loop = foreign()
    flight = receive(pair[0])
    tasks = started(loop, flight)
    loop.close()
    with pytest.raises(RuntimeError, match="the loop was closed while syslet 'receiv"):
        flight.send(None)
    del tasks
    gc.collect()


def test_closed_right_after_cancelling(foreign: Factory, pair: Pair) -> None:
    before = descriptors()
    loop = foreign()
    tasks = started(loop, *(receive(pair[0]) for _ in range(50)))
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.wait(tasks))
    loop.close()
    assert descriptors() == before


def test_a_loop_does_not_close_while_it_runs(foreign: Factory, pair: Pair) -> None:
    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(receive(pair[0]))
        await flying(1)
        with pytest.raises(RuntimeError):
            loop.close()
        pair[1].send(b"still there")
        return await task

    with asyncio.Runner(loop_factory=foreign) as runner:
        assert runner.run(main()) == b"still there"


def test_many_runs_one_after_the_other(foreign: Factory, tmp_path: Path) -> None:
    """Nothing of a loop is left but what the program keeps."""
    before = descriptors()
    loops: list[weakref.ref[Any]] = []

    async def main(number: int) -> int:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await files.write_bytes(tmp_path / str(number), b"data")
        await nap(0.0001)
        return len(await files.read_bytes(tmp_path / str(number)))

    for number in range(30):
        with asyncio.Runner(loop_factory=foreign) as runner:
            assert runner.run(main(number)) == 4
    assert descriptors() == before
    del runner
    gc.collect()
    assert [ref() for ref in loops] == [None] * 30
    assert not attach._attachments


def test_a_closed_loop_has_its_own_close_again(foreign: Factory) -> None:
    loop = foreign()
    loop.run_until_complete(calls.getppid())
    assert "close" in vars(loop)
    loop.close()
    assert "close" not in vars(loop)


def test_a_hook_over_ours_stays(foreign: Factory) -> None:
    closed = []
    loop = foreign()
    loop.run_until_complete(calls.getppid())
    inner = loop.close

    def close() -> None:
        closed.append(loop)
        inner()

    loop.close = close  # type: ignore[method-assign]
    thread = threading.Thread(target=loop.run_until_complete, args=(nap(0.001),))
    thread.start()  # an engine of its own, with a hook of its own
    thread.join()
    loop.close()
    assert closed == [loop] and loop.is_closed()
    assert not attach._attachments


class Stubborn(asyncio.SelectorEventLoop):
    """A loop whose close cannot be replaced."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "close":
            raise AttributeError(name)
        super().__setattr__(name, value)


@pytest.mark.usefixtures("quiet")
def test_a_loop_that_takes_no_hook(pair: Pair) -> None:
    before = descriptors()
    loop = Stubborn()
    tasks = started(loop, receive(pair[0]), nap(3600))
    loop.close()
    assert len(attach._hookless) == 1
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(calls.getppid())
        assert not attach._hookless
    assert descriptors() == before
    del tasks
    gc.collect()


def test_a_loop_that_is_dropped_is_collected(pair: Pair) -> None:
    """As asyncio's: with a warning, and nothing of it stays."""
    before = descriptors()

    def drop() -> weakref.ref[Any]:
        loop = asyncio.SelectorEventLoop()
        loop.run_until_complete(calls.getppid())
        return weakref.ref(loop)

    dropped = drop()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # The thread keeps the engine of the last loop until there is another.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(calls.getppid())
        gc.collect()
    assert dropped() is None
    assert any("unclosed event loop" in str(each.message) for each in caught)
    assert descriptors() == before


def test_cancelled_between_two_calls_of_a_worker(
    foreign: Factory, tmp_path: Path
) -> None:
    """What a cancelled flight has opened is closed, although it lands later."""
    os.mkfifo(tmp_path / "fifo")

    @syslet
    def open_both(s: Any, first: str, second: str) -> Any:
        one = s.openat(first, os.O_RDONLY)
        return one, s.openat(second, os.O_RDONLY)

    async def main() -> None:
        await calls.getppid()
        before = descriptors()
        for _ in range(5):
            task = asyncio.ensure_future(
                open_both(__file__, str(tmp_path / "fifo"))  # waits for a writer
            )
            await flying(1)
            task.cancel()
            await asyncio.wait([task])
            await flying(0)
            assert task.cancelled()
            assert descriptors() == before

    with asyncio.Runner(loop_factory=foreign) as runner:
        runner.run(main())


CLOSED_BY_A_CHILD = """
import asyncio, os, socket
from syslet_loop import attach, calls

left, right = socket.socketpair()
left.setblocking(False)
loop = asyncio.SelectorEventLoop()

async def start():
    task = asyncio.ensure_future(calls.recv(left, 10))
    while attach.flying(loop) != 1:
        await asyncio.sleep(0)
    return task

task = loop.run_until_complete(start())
pid = os.fork()
if pid == 0:
    loop.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
right.send(b"landed")
print(loop.run_until_complete(asyncio.wait_for(task, 20)))
loop.close()
left.close()
right.close()
"""


def test_a_child_closes_the_parents_loop(backend: str) -> None:
    assert check_process(CLOSED_BY_A_CHILD, backend) == "b'landed'\n"


def test_the_loop_of_uvloop_run(pair: Pair) -> None:
    """uvloop.run makes, ends and closes the loop itself."""

    async def main() -> bytes:
        asyncio.get_running_loop().call_later(0.001, pair[1].send, b"uv")
        return await receive(pair[0])

    assert uvloop.run(main()) == b"uv"
    assert not attach._attachments
