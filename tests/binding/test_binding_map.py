"""map(): many flights at once, as an asynchronous iterator."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flights import current, descriptors, echo, flying, read_file, receive, until

import syslet_loop
from syslet_loop import _native, syslet

Run = Callable[[Any], Any]
Pair = tuple[socket.socket, socket.socket]


@syslet
def two(s: Any, first: int, second: int = 7) -> Any:
    return s.nop(first), s.nop(second)


@syslet
def nap(s: Any, seconds: float) -> Any:
    s.timeout(seconds)
    return s.nop(1)


@syslet
def open_only(s: Any, path: str) -> Any:
    return s.openat(path, os.O_RDONLY)


class Counted:
    """An iterable that knows how many of its items were taken."""

    def __init__(self, items: Any) -> None:
        self.items = iter(items)
        self.taken = 0

    def __iter__(self) -> Iterator[Any]:
        for item in self.items:
            self.taken += 1
            yield item


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    """Ten connected pairs of sockets that do not block."""
    made = [socket.socketpair() for _ in range(10)]
    for left, right in made:
        left.setblocking(False)
        right.setblocking(False)
    yield made
    for left, right in made:
        left.close()
        right.close()


async def collect(results: Any) -> list[Any]:
    return [pair async for pair in results]


# Order.


def test_results_come_with_their_items(run: Run) -> None:
    async def main() -> None:
        found = await collect(echo.map(range(1000)))
        assert found == [(number, number) for number in range(1000)]
        assert await collect(echo.map([])) == []
        assert await collect(echo.map(iter([5]))) == [(5, 5)]

    run(main())


def test_the_item_is_the_object_itself(run: Run) -> None:
    async def main() -> None:
        paths = [Path(__file__), Path("/proc/self/stat")]
        found = [item async for item, _ in read_file.map(paths, ordered=True)]
        assert [id(item) for item in found] == [id(path) for path in paths]

    run(main())


@pytest.mark.parametrize("ordered", [False, True])
def test_results_as_they_land_or_in_order(
    run: Run, pairs: list[Pair], ordered: bool
) -> None:
    async def main() -> None:
        lefts = [left for left, _ in pairs]
        task = asyncio.create_task(collect(receive.map(lefts, ordered=ordered)))
        await flying(10)
        for at in (3, 9, 0, 5, 1, 2, 4, 6, 8, 7):
            pairs[at][1].send(b"%d" % at)
            await flying(current().stats()["flying"] - 1)
        found = [int(data) for _, data in await task]
        expected = list(range(10)) if ordered else [3, 9, 0, 5, 1, 2, 4, 6, 8, 7]
        assert found == expected

    run(main())


def test_tuples_are_several_arguments(run: Run) -> None:
    async def main() -> None:
        items: list[Any] = [1, (2,), (3, 4), [5]]
        found = await collect(two.map(items[:3]))
        assert found == [(1, (1, 7)), ((2,), (2, 7)), ((3, 4), (3, 4))]
        with pytest.raises(TypeError, match="must be an integer, not list"):
            await collect(two.map(items))
        with pytest.raises(TypeError, match="takes from 1 to 2 positional arguments"):
            await collect(two.map([(1, 2, 3)]))
        with pytest.raises(TypeError, match="missing 1 required argument: 'first'"):
            await collect(two.map([()]))

    run(main())


# The limit.


@pytest.mark.parametrize("ordered", [False, True])
def test_no_more_than_the_limit_ahead(
    run: Run, pairs: list[Pair], ordered: bool
) -> None:
    async def main() -> None:
        items = Counted(left for left, _ in pairs)
        results = receive.map(items, limit=3, ordered=ordered)
        assert items.taken == 0
        task = asyncio.ensure_future(anext(results))
        await flying(3)
        assert items.taken == 3
        for received, (_, right) in enumerate(pairs, 1):
            right.send(b"x")
            await task
            assert items.taken <= received + 3
            assert current().stats()["flying"] <= 3
            if received < 10:
                task = asyncio.ensure_future(anext(results))
                await until(lambda: current().stats()["flying"] > 0)
        assert await collect(results) == []
        assert items.taken == 10

    run(main())


def test_in_order_the_slow_first_one_holds_the_rest(
    run: Run, pairs: list[Pair]
) -> None:
    """What has landed behind it counts as ahead: memory stays bounded."""

    async def main() -> None:
        items = Counted(left for left, _ in pairs)
        task = asyncio.create_task(
            collect(receive.map(items, limit=4, ordered=True)),
        )
        await flying(4)
        for _, right in pairs[1:]:
            right.send(b"x")
        await flying(1)
        assert items.taken == 4
        pairs[0][1].send(b"x")
        assert len(await task) == 10

    run(main())


@pytest.mark.parametrize("limit", [1, 2, 1000])
def test_limits_that_work(run: Run, limit: int) -> None:
    async def main() -> None:
        found = await collect(echo.map(range(100), limit=limit))
        assert [result for _, result in found] == list(range(100))
        naps = await collect(nap.map([0.001] * 5, limit=limit))
        assert [result for _, result in naps] == [1] * 5

    run(main())


@pytest.mark.parametrize(
    ("limit", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (_native.limits()["FLIGHTS_MAX"] + 1, ValueError),
        (10**30, ValueError),
        (1.5, TypeError),
        ("5", TypeError),
        (None, TypeError),
    ],
)
def test_limits_that_are_refused(limit: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        echo.map([1], limit=limit)


def test_calls_that_are_refused() -> None:
    with pytest.raises(TypeError, match="not iterable"):
        echo.map(5)
    with pytest.raises(TypeError):
        echo.map()
    with pytest.raises(TypeError):
        echo.map([1], 5)
    with pytest.raises(TypeError, match="workers"):
        echo.map([1], workers=3)

    @syslet
    def emitting(s: Any) -> None:
        s.emit(s.getppid())

    with pytest.raises(TypeError, match=r"emits values: use .*events"):
        emitting.map([1])


def test_an_asynchronous_iterable_is_refused() -> None:
    async def generate() -> Any:
        yield 1

    made = generate()
    with pytest.raises(TypeError, match="not iterable"):
        echo.map(made)


# The iterable.


def test_an_endless_iterable_is_left_early(run: Run) -> None:
    async def main() -> None:
        items = Counted(itertools.count())
        async for _, number in echo.map(items, limit=10):
            if number == 50:
                break
        assert items.taken <= 61
        async for _, result in nap.map(itertools.repeat(0.001), limit=10):
            assert result == 1
            break
        await flying(0)

    run(main())


def test_an_iterable_that_raises(run: Run, pairs: list[Pair]) -> None:
    def items() -> Iterator[Any]:
        yield from (left for left, _ in pairs[:3])
        raise LookupError("of the iterable")

    async def main() -> None:
        found = []
        for _, right in pairs[:3]:
            right.send(b"x")
        with pytest.raises(LookupError, match="of the iterable"):
            async for _, data in receive.map(items()):
                found.append(data)
        assert found == [b"x"] * 3

        results = receive.map(items())
        task = asyncio.create_task(collect(results))
        await flying(3)
        for _, right in pairs[:3]:
            right.send(b"y")
        with pytest.raises(LookupError, match="of the iterable"):
            await task
        assert await collect(results) == []

    run(main())


def test_an_iterable_that_uses_the_map_itself(run: Run) -> None:
    def items() -> Iterator[int]:
        yield 1
        with pytest.raises(RuntimeError, match="already being run"):
            anext(results).send(None)
        with pytest.raises(RuntimeError, match="already being run"):
            results.aclose().send(None)
        yield 2

    results = echo.map(items())

    async def main() -> None:
        assert await collect(results) == [(1, 1), (2, 2)]

    run(main())


def test_an_iterable_that_flies_syslets(run: Run) -> None:
    def items() -> Iterator[int]:
        for number in range(5):
            with contextlib.suppress(StopIteration):
                echo(number).send(None)
            yield number

    async def main() -> None:
        assert len(await collect(echo.map(items()))) == 5

    run(main())


# Errors.


def test_an_error_ends_it(run: Run, pairs: list[Pair]) -> None:
    async def main() -> None:
        before = descriptors()
        paths: list[Any] = [__file__, "/nothing", __file__]
        found = []
        results = open_only.map(paths, ordered=True)
        with pytest.raises(FileNotFoundError) as caught:
            async for _, fd in results:
                found.append(fd)
        assert caught.value.filename == "/nothing"
        assert caught.value.__notes__
        assert len(found) == 1
        os.close(found[0])
        assert await collect(results) == []
        assert descriptors() == before

    run(main())


def test_an_error_gives_up_what_is_in_the_air(run: Run, pairs: list[Pair]) -> None:
    async def main() -> None:
        with pytest.raises(OSError, match="Bad file descriptor"):
            await collect(receive.map([left for left, _ in pairs] + [99999]))
        await flying(0)

    run(main())


@pytest.mark.parametrize("ordered", [False, True])
def test_exceptions_as_results(run: Run, ordered: bool) -> None:
    async def main() -> None:
        items: list[Any] = [1, "two", 2**64, 4, (5, 6), None]
        found = await collect(
            echo.map(items, return_exceptions=True, ordered=ordered, limit=3)
        )
        kinds = [type(result) for _, result in found]
        assert kinds == [int, TypeError, OverflowError, int, TypeError, TypeError]
        assert [item for item, _ in found] == items
        paths = [__file__, "/nothing"]
        results = await collect(read_file.map(paths, return_exceptions=True))
        assert isinstance(dict(results)["/nothing"], FileNotFoundError)

    run(main())


def test_an_interrupt_is_no_result(run: Run) -> None:
    class Interrupting:
        def __index__(self) -> int:
            raise KeyboardInterrupt

    async def main() -> None:
        results = echo.map([1, Interrupting(), 2], return_exceptions=True)
        assert await anext(results) == (1, 1)
        with pytest.raises(KeyboardInterrupt):
            anext(results).send(None)
        assert await collect(results) == []

    run(main())


# Leaving.


def test_a_map_that_is_never_used(backend: str) -> None:
    items = Counted([1])
    results = echo.map(items)
    assert items.taken == 0
    del results
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()


def test_aclose(run: Run, pairs: list[Pair]) -> None:
    async def main() -> None:
        closed: list[str] = []

        def items() -> Iterator[Any]:
            try:
                yield from (left for left, _ in pairs)
            finally:
                closed.append("closed")

        pairs[3][1].send(b"x")
        results = receive.map(items(), limit=5)
        assert (await anext(results))[1] == b"x"
        assert current().stats()["flying"] == 4
        await results.aclose()
        assert closed == ["closed"]
        await flying(0)
        await results.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(results)
        unused = receive.map([1])
        await unused.aclose()
        assert await collect(unused) == []

    run(main())


def test_aclosing_closes_what_was_not_received(run: Run) -> None:
    async def main() -> None:
        before = descriptors()
        async with contextlib.aclosing(open_only.map([__file__] * 50)) as results:
            async for _, fd in results:
                os.close(fd)
                break
        await flying(0)
        assert descriptors() == before
        async for _, fd in open_only.map([__file__] * 50):
            os.close(fd)
            break
        await flying(0)
        assert descriptors() == before

    run(main())


def test_an_exception_in_the_body(run: Run, pairs: list[Pair]) -> None:
    async def main() -> None:
        pairs[0][1].send(b"x")
        with pytest.raises(LookupError):
            async for _ in receive.map(left for left, _ in pairs):
                raise LookupError
        await flying(0)

    run(main())


def test_a_cancellation_in_the_middle(run: Run, pairs: list[Pair]) -> None:
    async def main() -> None:
        lefts = [left for left, _ in pairs]
        task = asyncio.create_task(collect(receive.map(lefts)))
        await flying(10)
        pairs[0][1].send(b"x")
        await flying(9)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        await flying(0)
        pairs[1][1].send(b"kept")
        assert await receive(lefts[1]) == b"kept"

    run(main())


def test_a_cancelled_step_loses_nothing(run: Run, pairs: list[Pair]) -> None:
    """The iterator outlives the task that waited: its flights stay in the air."""

    async def main() -> None:
        results = receive.map([left for left, _ in pairs])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(results), 0.01)
        assert current().stats()["flying"] == 10
        for _, right in pairs:
            right.send(b"x")
        assert [data for _, data in await collect(results)] == [b"x"] * 10

    run(main())


def test_two_consumers(run: Run, pairs: list[Pair]) -> None:
    async def main() -> None:
        results = receive.map([left for left, _ in pairs])
        first = asyncio.ensure_future(anext(results))
        await flying(10)
        with pytest.raises(RuntimeError, match="another task waits"):
            await anext(results)
        with pytest.raises(RuntimeError, match="another task waits"):
            await results.aclose()
        pairs[4][1].send(b"x")
        assert (await first)[1] == b"x"
        await results.aclose()
        await flying(0)

    run(main())


def test_steps_are_awaited_once(run: Run) -> None:
    async def main() -> None:
        results = echo.map([1, 2])
        step = anext(results)
        assert await step == (1, 1)
        with pytest.raises(RuntimeError, match="cannot reuse already awaited step"):
            await step
        unused = anext(results)
        unused.close()
        assert await anext(results) == (2, 2)
        assert await anext(results, "default") == "default"
        assert results.__aiter__() is results

    run(main())


def test_on_another_loop(backend: str, pairs: list[Pair]) -> None:
    first, second = syslet_loop.new_event_loop(), syslet_loop.new_event_loop()
    results = receive.map([left for left, _ in pairs])
    pairs[0][1].send(b"x")

    async def take() -> Any:
        return await anext(results)

    assert first.run_until_complete(take())[1] == b"x"
    with pytest.raises(RuntimeError, match="belongs to another loop"):
        second.run_until_complete(take())
    first.run_until_complete(results.aclose())
    first.close()
    second.close()


def test_after_its_loop_was_closed(backend: str, pairs: list[Pair]) -> None:
    results = receive.map([left for left, _ in pairs])

    async def take() -> Any:
        return await anext(results)

    pairs[0][1].send(b"x")
    assert syslet_loop.run(take())[1] == b"x"
    with pytest.raises(RuntimeError):
        syslet_loop.run(take())
    syslet_loop.run(results.aclose())
    assert syslet_loop.run(collect(results)) == []


def test_many_maps_at_once(run: Run) -> None:
    async def main() -> None:
        maps = [collect(nap.map([0.001] * 50, limit=20)) for _ in range(20)]
        found = await asyncio.gather(*maps)
        assert [len(each) for each in found] == [50] * 20

    run(main())


def test_a_map_does_not_keep_the_loop(run: Run) -> None:
    """Flights that never wait are cut, so that others have their turn."""
    turns = 0

    async def main() -> None:
        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        await collect(echo.map(range(20_000)))
        task.cancel()
        assert turns >= 10

    run(main())


def test_two_iterators_in_one_cycle_are_collected(run: Run, pairs: list[Pair]) -> None:
    async def main() -> None:
        items: list[Any] = [pairs[0][0]]
        results = receive.map(iter(items))
        items.append(results)
        task = asyncio.ensure_future(anext(results))
        with pytest.raises(TypeError):
            await task
        del results, items, task
        gc.collect()
        await flying(0)

    run(main())
