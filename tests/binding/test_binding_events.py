"""events(): the values that one run emits, as an asynchronous iterator."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from flights import current, descriptors, echo, flying, until

import syslet_loop
from syslet_loop import syslet

Run = Callable[[Any], Any]
Pair = tuple[socket.socket, socket.socket]


@syslet
def count_down(s: Any, start: int) -> None:
    """Emit start, start - 1 … 1 without waiting."""
    left = s.cell(0)
    s.set(left, start)
    with s.loop():
        s.emit(left)
        s.break_if(s.add(left, -1) <= 0)


@syslet
def each_message(s: Any, fd: int) -> None:
    """Emit what arrives until the other side has closed."""
    buffer = s.buffer(100)
    with s.loop():
        n = s.recv(fd, buffer)
        s.break_if(n <= 0)
        s.emit(n)


@syslet
def open_many(s: Any, count: int) -> None:
    left = s.cell(0)
    s.set(left, count)
    with s.loop():
        s.emit((s.eventfd(0), left))
        s.break_if(s.add(left, -1) <= 0)


@syslet
def count_in(s: Any, word: bytearray, count: int) -> None:
    """Emit, and say in memory how far it came."""
    left = s.cell(0)
    s.set(left, count)
    with s.loop():
        s.umem_add(word, 1)
        s.emit(left)
        s.break_if(s.add(left, -1) <= 0)


@syslet
def fail_late(s: Any, path: str) -> None:
    s.emit("first")
    s.emit(s.eventfd(0))
    s.openat(path, os.O_RDONLY)
    s.emit("never")


@syslet
def open_then_wait(s: Any, fd: int) -> None:
    kept = s.eventfd(0)
    s.emit(s.eventfd(0))
    s.recv(fd, 10)
    s.emit(kept)


async def collect(events: Any) -> list[Any]:
    return [value async for value in events]


# Order and kinds.


@pytest.mark.parametrize("queue", [1, 2, 3, 64, 1000])
def test_values_come_in_order(run: Run, queue: int) -> None:
    async def main() -> None:
        found = await collect(count_down.events(500, queue=queue))
        assert found == list(range(500, 0, -1))

    run(main())


def test_values_of_every_kind(run: Run) -> None:
    marker = object()

    @syslet
    def say(s: Any, given: Any) -> Any:
        number = s.nop(3)
        data = s.getrandom(5)
        for value in (number, data, given, marker, None, (number, {"a": [number]})):
            s.emit(value)
        return number

    async def main() -> None:
        given = ["given"]
        found = await collect(say.events(given))
        assert found[0] == 3 and len(found[1]) == 5
        assert found[2] is given and found[3] is marker
        assert found[4:] == [None, (3, {"a": [3]})]

    run(main())


def test_values_as_they_come(run: Run, pair: Pair) -> None:
    async def main() -> None:
        events = each_message.events(pair[0])
        for size in (1, 5, 100):
            task = asyncio.ensure_future(anext(events))
            await flying(1)
            pair[1].send(b"x" * size)
            assert await task == size
        pair[1].close()
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        assert await anext(events, "default") == "default"
        assert events.__aiter__() is events

    run(main())


def test_without_a_value(run: Run) -> None:
    async def main() -> None:
        assert await collect(echo.events(5)) == []

    run(main())


def test_calls_that_are_refused() -> None:
    with pytest.raises(TypeError, match=r"'count_down' emits values: use 'async for"):
        count_down(5)
    with pytest.raises(TypeError, match="missing 1 required argument"):
        count_down.events()
    with pytest.raises(TypeError, match="unexpected keyword argument 'limit'"):
        count_down.events(5, limit=3)
    for queue in (0, -1, 10**9, 10**30):
        with pytest.raises(ValueError):
            count_down.events(5, queue=queue)
    for wrong in ("5", 1.0, None):
        with pytest.raises(TypeError):
            count_down.events(5, queue=wrong)


def test_a_parameter_called_queue(run: Run) -> None:
    @syslet
    def own(s: Any, queue: int) -> None:
        s.emit(queue)

    async def main() -> None:
        assert await collect(own.events(queue=9999999)) == [9999999]

    run(main())


def test_arguments_are_converted_at_the_first_step(run: Run) -> None:
    async def main() -> None:
        events = count_down.events("five")
        with pytest.raises(TypeError, match="must be an integer"):
            await anext(events)
        assert await collect(events) == []

    run(main())


# Back-pressure.


@pytest.mark.parametrize("queue", [1, 4, 64])
def test_a_full_queue_holds_the_flight(run: Run, queue: int) -> None:
    async def main() -> None:
        word = bytearray(8)
        events = count_in.events(word, 1000, queue=queue)
        assert int.from_bytes(word, "little") == 0
        received = 0
        async for _ in events:
            received += 1
            for _ in range(3):
                await asyncio.sleep(0)
            assert int.from_bytes(word, "little") <= received + queue
        assert received == 1000

    run(main())


def test_values_not_taken_stay_there(run: Run) -> None:
    async def main() -> None:
        events = count_down.events(10, queue=3)
        assert await anext(events) == 10
        for _ in range(10):
            await asyncio.sleep(0)
        assert await collect(events) == list(range(9, 0, -1))

    run(main())


# Leaving.


def test_leaving_early_gives_the_flight_up(run: Run, pair: Pair) -> None:
    async def main() -> None:
        pair[1].send(b"x")
        async for size in each_message.events(pair[0]):
            assert size == 1
            break
        await flying(0)
        pair[1].send(b"kept")
        assert pair[0].recv(10) == b"kept"

    run(main())


@pytest.mark.parametrize("queue", [1, 5, 64])
def test_descriptors_that_nobody_received_are_closed(run: Run, queue: int) -> None:
    async def main() -> None:
        before = descriptors()
        async for fd, left in open_many.events(20, queue=queue):
            os.close(fd)
            if left == 18:
                break
        await flying(0)
        assert descriptors() == before
        events = open_many.events(20, queue=queue)
        fd, _ = await anext(events)
        assert fd in descriptors()
        await events.aclose()
        await flying(0)
        assert descriptors() - before == {fd}
        os.close(fd)

    run(main())


def test_descriptors_that_were_received_stay(run: Run) -> None:
    async def main() -> None:
        before = descriptors()
        fds = [fd async for fd, _ in open_many.events(50)]
        assert descriptors() - before == set(fds)
        for fd in fds:
            os.close(fd)

    run(main())


def test_what_was_not_emitted_is_closed(run: Run, pair: Pair) -> None:
    async def main() -> None:
        before = descriptors()
        async with contextlib.aclosing(open_then_wait.events(pair[0])) as events:
            os.close(await anext(events))
        await flying(0)
        assert descriptors() == before
        events = open_then_wait.events(pair[0])
        os.close(await anext(events))
        pair[1].send(b"x")
        os.close(await anext(events))
        assert await collect(events) == []
        assert descriptors() == before

    run(main())


def test_aclose(run: Run, pair: Pair) -> None:
    async def main() -> None:
        unused = count_down.events(5)
        await unused.aclose()
        assert await collect(unused) == []
        events = each_message.events(pair[0])
        task = asyncio.ensure_future(anext(events))
        await flying(1)
        with pytest.raises(RuntimeError, match="another task waits"):
            await events.aclose()
        task.cancel()
        await asyncio.wait([task])
        assert current().stats()["flying"] == 1
        await events.aclose()
        await events.aclose()
        await flying(0)
        assert await collect(events) == []

    run(main())


def test_never_used() -> None:
    target = bytearray(8)
    events = count_in.events(target, 5)
    del events
    gc.collect()
    target.append(0)


def test_an_exception_in_the_body(run: Run) -> None:
    async def main() -> None:
        before = descriptors()
        with pytest.raises(LookupError, match="body"):
            async for fd, _ in open_many.events(100, queue=3):
                os.close(fd)
                raise LookupError("body")
        await flying(0)
        assert descriptors() == before

    run(main())


def test_a_cancellation_in_the_middle(run: Run, pair: Pair) -> None:
    async def main() -> None:
        before = descriptors()
        task = asyncio.create_task(collect(open_then_wait.events(pair[0])))
        await flying(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        await flying(0)
        # The one that was received is the task's, which did not close it.
        (left,) = descriptors() - before
        os.close(left)

    run(main())


def test_a_cancelled_step_loses_nothing(run: Run, pair: Pair) -> None:
    async def main() -> None:
        events = each_message.events(pair[0])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(events), 0.01)
        pair[1].send(b"xyz")
        assert await anext(events) == 3
        await events.aclose()
        await flying(0)

    run(main())


def test_two_consumers(run: Run, pair: Pair) -> None:
    async def main() -> None:
        events = each_message.events(pair[0])
        first = asyncio.ensure_future(anext(events))
        await flying(1)
        with pytest.raises(RuntimeError, match="another task waits"):
            await anext(events)
        pair[1].send(b"x")
        assert await first == 1
        await events.aclose()
        await flying(0)

    run(main())


def test_consumers_that_take_turns(run: Run) -> None:
    async def main() -> None:
        events = count_down.events(100, queue=2)
        found: list[int] = []

        async def consume() -> None:
            for _ in range(50):
                with contextlib.suppress(RuntimeError):
                    found.append(await anext(events, 0))
                await asyncio.sleep(0)

        await asyncio.gather(consume(), consume())
        found += await collect(events)
        assert [number for number in found if number] == list(range(100, 0, -1))

    run(main())


# Errors.


def test_an_error_comes_behind_the_values(run: Run) -> None:
    async def main() -> None:
        before = descriptors()
        events = fail_late.events("/nothing")
        assert await anext(events) == "first"
        fd = await anext(events)
        with pytest.raises(FileNotFoundError) as caught:
            await anext(events)
        assert caught.value.filename == "/nothing"
        assert "eventfd = " in caught.value.__notes__[0]
        assert descriptors() - before == {fd}
        os.close(fd)
        assert await collect(events) == []

    run(main())


def test_a_value_that_cannot_be_made(run: Run, pair: Pair) -> None:
    class Picky(NamedTuple):
        fd: int
        left: int

    def refuse(cls: Any, fd: int, left: int) -> Any:
        raise LookupError("refused")

    @syslet
    def say(s: Any, fd: int) -> None:
        s.emit("first")
        s.emit(Picky(s.eventfd(0), 2))
        s.recv(fd, 10)
        s.emit("never")

    async def main() -> None:
        before = descriptors()
        Picky.__new__ = refuse  # type: ignore[method-assign]
        events = say.events(pair[0])
        assert await anext(events) == "first"
        with pytest.raises(LookupError, match="refused"):
            await anext(events)
        assert await collect(events) == []
        await flying(0)
        assert descriptors() == before

    run(main())


def test_a_value_whose_making_uses_the_iterator(run: Run) -> None:
    class Curious(NamedTuple):
        left: int

    @syslet
    def say(s: Any) -> None:
        s.emit(Curious(s.nop(1)))
        s.emit(Curious(s.nop(2)))

    def ask(cls: Any, left: int) -> Any:
        with pytest.raises(RuntimeError, match="already being run"):
            anext(events).send(None)
        return left

    Curious.__new__ = ask  # type: ignore[method-assign]
    events = say.events()

    async def main() -> None:
        assert await collect(events) == [1, 2]

    run(main())


def test_a_value_whose_making_lets_the_iterator_go(run: Run, pair: Pair) -> None:
    """The last reference goes while the flight reports."""

    class Careless(NamedTuple):
        fd: int

    holder: list[Any] = []

    @syslet
    def say(s: Any, fd: int) -> None:
        s.recv(fd, 1)
        s.emit(Careless(s.eventfd(0)))
        s.recv(fd, 1)

    def drop(cls: Any, fd: int) -> Any:
        holder.clear()
        gc.collect()
        return fd

    async def main() -> None:
        before = descriptors()
        Careless.__new__ = drop  # type: ignore[method-assign]
        holder.append(say.events(pair[0]))
        step = anext(holder[0])
        step.send(None)
        step.close()
        del step
        await flying(1)
        pair[1].send(b"x")
        await flying(0)
        assert descriptors() == before

    run(main())


# Loops.


def test_on_another_thread_or_after_the_end(backend: str, pair: Pair) -> None:
    events = each_message.events(pair[0])

    async def take() -> Any:
        return await anext(events)

    pair[1].send(b"x")
    assert syslet_loop.run(take()) == 1
    with pytest.raises(RuntimeError, match="the loop was closed while"):
        syslet_loop.run(take())
    assert syslet_loop.run(collect(events)) == []


def test_values_that_arrived_outlive_the_loop(backend: str) -> None:
    before = descriptors()

    async def take() -> tuple[Any, Any]:
        events = open_many.events(5)
        return events, await anext(events)

    events, (fd, left) = syslet_loop.run(take())
    assert left == 5
    os.close(fd)
    assert len(descriptors() - before) == 4
    del events
    gc.collect()
    assert descriptors() == before


def test_an_iterator_in_a_cycle_is_collected(run: Run) -> None:
    class Word(bytearray):
        events: Any = None

    async def main() -> None:
        word = Word(8)
        seen = weakref.ref(word)
        word.events = count_in.events(word, 5)
        del word
        gc.collect()
        assert seen() is None
        word = Word(8)
        seen = weakref.ref(word)
        word.events = count_in.events(word, 5)
        assert await anext(word.events) == 5
        await until(lambda: current().stats()["flying"] == 0)
        del word
        gc.collect()
        assert seen() is None

    run(main())
