"""The awaitable of one run: a coroutine object to asyncio, awaited once."""

from __future__ import annotations

import asyncio
import collections.abc
import gc
import inspect
import socket
import sys
import types
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from flights import current, echo, flying, read_file, receive, until

import syslet_loop
from syslet_loop import calls, syslet

Run = Callable[[Any], Any]
Pair = tuple[socket.socket, socket.socket]


@syslet
def nap(s: Any, seconds: float) -> Any:
    s.timeout(seconds)
    return s.nop(5)


# What it looks like.


def test_it_is_a_coroutine_object() -> None:
    flight = echo(1)
    assert isinstance(flight, collections.abc.Coroutine)
    assert isinstance(flight, collections.abc.Awaitable)
    assert asyncio.iscoroutine(flight)
    assert inspect.isawaitable(flight)
    assert not asyncio.isfuture(flight)
    assert not asyncio.iscoroutinefunction(echo)
    assert flight.__await__() is flight
    flight.close()


def test_its_names() -> None:
    flight = echo(1)
    assert (flight.__name__, flight.__qualname__) == ("echo", "echo")
    assert repr(flight) == "<flight of echo, not awaited>"
    assert not [name for name in dir(flight) if name.startswith(("cr_", "gi_"))]
    flight.close()
    assert repr(flight) == "<flight of echo, done>"

    @syslet(name="called")
    def inner(s: Any) -> Any:
        return s.getppid()

    made = inner()
    assert made.__name__ == "called"
    assert made.__qualname__.endswith("test_its_names.<locals>.inner")
    made.close()


def test_it_cannot_be_made_or_changed_by_hand() -> None:
    flight = echo(1)
    with pytest.raises(TypeError):
        type(flight)()
    with pytest.raises(AttributeError):
        flight.something = 1
    with pytest.raises(TypeError):
        type("Mine", (type(flight),), {})
    flight.close()


def test_repr_in_the_air(run: Run, pair: Pair) -> None:
    async def main() -> None:
        flight = receive(pair[0])
        task = asyncio.create_task(flight)
        await flying(1)
        assert repr(flight) == "<flight of receive, in the air>"
        assert "receive" in repr(task)
        assert task.get_coro() is flight
        task.print_stack(file=open("/dev/null", "w"))  # noqa: SIM115
        pair[1].send(b"x")
        await task
        assert repr(flight) == "<flight of receive, done>"
        assert "receive" in repr(task)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        run(main())


# By hand: send, throw, close.


def step(flight: Any, value: Any = None) -> Any:
    """What a flight gives when it ends at once."""
    with pytest.raises(StopIteration) as caught:
        flight.send(value)
    return caught.value.value


def test_send_runs_it(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        assert step(echo(7)) == 7
        assert step(calls.timeout(0)) == 0
        with pytest.raises(StopIteration) as caught:
            next(iter(echo(8).__await__()))
        assert caught.value.value == 8
        flight = echo(9)
        with pytest.raises(TypeError, match="can't send non-None value"):
            flight.send(1)
        assert step(flight) == 9
        nothing = tmp_path / "nothing"
        assert not nothing.exists()  # now the kernel knows without looking
        with pytest.raises(FileNotFoundError):
            read_file(str(nothing)).send(None)

    run(main())


def test_results_of_many_stops_stay_apart(run: Run) -> None:
    """The StopIteration of one result is not used again while somebody has it."""

    async def main() -> None:
        kept = []
        for number in range(10):
            flight = echo(number)
            try:
                next(flight)
            except StopIteration as stop:
                kept.append(stop)
        assert [stop.value for stop in kept] == list(range(10))
        assert len({id(stop) for stop in kept}) == 10

    run(main())


def test_results_that_are_none_tuples_or_exceptions(run: Run) -> None:
    @syslet
    def give(s: Any, value: Any) -> Any:
        s.getppid()
        return value

    class Delegate:
        def __init__(self, value: Any) -> None:
            self.value = value

        def __await__(self) -> Any:
            return (yield from give(self.value).__await__())

    async def main() -> None:
        stop = StopIteration(3)
        for value in (None, (), (1, 2), stop, ValueError("no"), KeyError, [1]):
            assert await give(value) is value
            assert await Delegate(value) is value
            assert step(give(value)) is value

    run(main())


def test_without_a_loop() -> None:
    flight = echo(1)
    with pytest.raises(RuntimeError, match="no running event loop"):
        flight.send(None)
    with pytest.raises(RuntimeError, match="cannot reuse"):
        flight.send(None)


def test_throw_before_the_first_step() -> None:
    flight = echo(1)
    with pytest.raises(KeyError, match="mine"):
        flight.throw(KeyError("mine"))
    with pytest.raises(RuntimeError, match="cannot reuse already awaited syslet"):
        flight.send(None)
    with pytest.raises(RuntimeError, match="cannot reuse already awaited syslet"):
        flight.throw(KeyError)
    flight.close()


def test_forms_of_throw() -> None:
    with pytest.raises(KeyError) as caught:
        echo(1).throw(KeyError)
    assert caught.value.args == ()
    with pytest.raises(KeyError) as caught:
        echo(1).throw(KeyError, "value")
    assert caught.value.args == ("value",)
    error = KeyError("own")
    with pytest.raises(KeyError) as caught:
        echo(1).throw(KeyError, error)
    assert caught.value is error
    try:
        raise LookupError
    except LookupError as raised:
        traceback = raised.__traceback__
    with pytest.raises(KeyError) as caught:
        echo(1).throw(KeyError, None, traceback)
    assert isinstance(caught.value.__traceback__, types.TracebackType)


@pytest.mark.parametrize("args", [(), (5,), ("text",), (int,), (1, 2, 3, 4)])
def test_throw_of_what_is_no_exception(args: tuple[Any, ...]) -> None:
    flight = echo(1)
    with pytest.raises(TypeError):
        flight.throw(*args)
    flight.close()


def test_throw_into_the_air(run: Run, pair: Pair) -> None:
    async def main() -> None:
        flight = receive(pair[0])
        future = flight.send(None)
        assert asyncio.isfuture(future)
        with pytest.raises(LookupError):
            flight.throw(LookupError("away"))
        with pytest.raises(RuntimeError, match="cannot reuse"):
            flight.send(None)
        await flying(0)
        assert not future.done()

    run(main())


def test_close_in_the_air(run: Run, pair: Pair) -> None:
    async def main() -> None:
        flight = receive(pair[0])
        flight.send(None)
        flight.close()
        flight.close()
        await flying(0)
        pair[1].send(b"kept")
        assert await receive(pair[0]) == b"kept"

    run(main())


def test_a_step_too_early_goes_on_waiting(run: Run, pair: Pair) -> None:
    """Whoever sends into a flight whose future is not done is told as by a future."""

    async def main() -> None:
        flight = receive(pair[0])
        flight.send(None)
        with pytest.raises(RuntimeError, match="await wasn't used with future"):
            flight.send(None)
        await flying(0)

    run(main())


# Once only.


def test_awaiting_twice(run: Run, pair: Pair) -> None:
    async def main() -> None:
        flight = echo(1)
        assert await flight == 1
        with pytest.raises(RuntimeError, match="cannot reuse already awaited syslet"):
            await flight
        failing = read_file("/nothing")
        with pytest.raises(FileNotFoundError):
            await failing
        with pytest.raises(RuntimeError, match="cannot reuse"):
            await failing

    run(main())


def test_awaiting_in_two_tasks(run: Run, pair: Pair) -> None:
    async def both(flight: Any) -> Any:
        return await flight

    async def main() -> None:
        flight = receive(pair[0])
        first = asyncio.create_task(both(flight))
        await flying(1)
        second = asyncio.create_task(both(flight))
        await asyncio.wait([second], timeout=0.5)
        assert second.done(), "it waits too"
        with pytest.raises(RuntimeError, match="awaited already"):
            await second
        pair[1].send(b"first")
        assert await first == b"first"

    run(main())


def test_an_argument_that_awaits_its_own_flight(run: Run) -> None:
    class Curious:
        flight: Any = None

        def __index__(self) -> int:
            with pytest.raises(ValueError, match="already being run"):
                self.flight.send(None)
            with pytest.raises(ValueError, match="already being run"):
                self.flight.throw(KeyError)
            with pytest.raises(ValueError, match="already being run"):
                self.flight.close()
            assert repr(self.flight) == "<flight of echo, running>"
            return 6

    async def main() -> None:
        curious = Curious()
        flight = echo(curious)
        curious.flight = flight
        assert await flight == 6
        del curious.flight

    run(main())


# Never awaited.


def test_never_awaited_warns() -> None:
    data = bytearray(5)
    with pytest.warns(RuntimeWarning, match="syslet 'echo' was never awaited"):
        echo(data)
    assert sys.getrefcount(data) == 2


def test_never_awaited_in_a_cycle_warns() -> None:
    holder: dict[str, Any] = {}
    holder["flight"] = echo(holder)
    with pytest.warns(RuntimeWarning, match="syslet 'echo' was never awaited"):
        del holder
        gc.collect()


def test_a_closed_or_a_cancelled_one_does_not_warn(run: Run) -> None:
    async def main() -> None:
        echo(1).close()
        task = asyncio.create_task(echo(2))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        gc.collect()

    run(main())


def test_one_that_was_never_awaited_keeps_its_exception() -> None:
    """The end of a flight does not disturb an exception on its way."""
    with (
        pytest.warns(RuntimeWarning, match="never awaited"),
        pytest.raises(ZeroDivisionError),
    ):
        [echo(1), 1 // 0]


def test_a_suspended_one_that_goes_is_given_up(run: Run, pair: Pair) -> None:
    async def main() -> None:
        flight = receive(pair[0])
        flight.send(None)
        await flying(1)
        del flight
        await flying(0)
        pair[1].send(b"kept")
        assert await receive(pair[0]) == b"kept"

    run(main())


def test_a_closed_one_in_a_cycle_is_collected(run: Run, pair: Pair) -> None:
    class Number:
        flight: Any = None

        def fileno(self) -> int:
            return pair[0].fileno()

    async def main() -> None:
        number = Number()
        number.flight = receive(number)
        number.flight.send(None)
        number.flight.close()
        await flying(0)
        seen = weakref.ref(number)
        del number
        gc.collect()
        assert seen() is None

    run(main())


def test_a_task_that_everybody_forgot_goes_on(run: Run, pair: Pair) -> None:
    """A flight in the air keeps its task, as a watched descriptor does."""
    found: list[bytes] = []

    async def reader() -> None:
        found.append(await receive(pair[0]))

    async def main() -> None:
        asyncio.create_task(reader())  # noqa: RUF006
        await flying(1)
        gc.collect()
        pair[1].send(b"x")
        await until(lambda: bool(found))
        assert found == [b"x"]

    run(main())


def test_timeouts_take_no_warning_with_them(run: Run) -> None:
    """A flight with a time limit that is not awaited to its first step."""

    async def main() -> None:
        task = asyncio.create_task(nap(5, timeout=1))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TypeError):
            await nap(5, timeout="soon")
        del task
        gc.collect()

    run(main())


# In asyncio's hands.


def test_ways_to_run_it(run: Run, pair: Pair) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await asyncio.create_task(echo(1), name="named") == 1
        assert await asyncio.ensure_future(echo(2)) == 2
        assert await loop.create_task(nap(0.001)) == 5
        assert await asyncio.gather(echo(3), nap(0.001), echo(4)) == [3, 5, 4]
        assert await asyncio.wait_for(echo(5), 5) == 5
        assert await asyncio.wait_for(nap(0.001), 5) == 5
        assert await asyncio.shield(nap(0.001)) == 5
        done = [await first for first in asyncio.as_completed([echo(6), nap(0.01)])]
        assert done == [6, 5]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(flight) for flight in (echo(7), nap(0.001))]
        assert [task.result() for task in tasks] == [7, 5]

    run(main())


def test_the_loop_runs_it_itself(backend: str) -> None:
    loop = syslet_loop.new_event_loop()
    assert loop.run_until_complete(echo(1)) == 1
    assert loop.run_until_complete(nap(0.001)) == 5
    with pytest.raises(FileNotFoundError):
        loop.run_until_complete(read_file("/nothing"))
    loop.close()
    assert syslet_loop.run(echo(2)) == 2
    with asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as runner:
        assert runner.run(nap(0.001)) == 5


def test_from_another_thread(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        def ask() -> Any:
            return asyncio.run_coroutine_threadsafe(nap(0.001), loop).result(10)

        assert await asyncio.to_thread(ask) == 5

    run(main())


def test_a_group_cancels_its_flights(run: Run, pair: Pair) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(receive(pair[0]))
                group.create_task(read_file("/nothing"))
        assert isinstance(caught.value.exceptions[0], FileNotFoundError)
        await flying(0)

    run(main())


def test_a_shield_keeps_it_in_the_air(run: Run, pair: Pair) -> None:
    async def main() -> None:
        inner = asyncio.create_task(receive(pair[0]))
        outer = asyncio.ensure_future(asyncio.shield(inner))
        await flying(1)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert current().stats()["flying"] == 1
        pair[1].send(b"still")
        assert await inner == b"still"

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")
def test_eager_tasks(run: Run, pair: Pair) -> None:
    async def main() -> None:
        is_uvloop = isinstance(asyncio.get_running_loop(), uvloop.Loop)
        if is_uvloop and (3, 13) <= sys.version_info < (3, 13, 3):
            pytest.skip("uvloop's eager tasks need a later Python 3.13")
        factory: Any = getattr(asyncio, "eager_task_factory")  # noqa: B009
        asyncio.get_running_loop().set_task_factory(factory)
        task = asyncio.create_task(echo(3))
        assert task.done() and task.result() == 3
        waiting = asyncio.create_task(receive(pair[0]))
        assert current().stats()["flying"] == 1
        pair[1].send(b"x")
        assert await waiting == b"x"

    run(main())


def test_a_thousand_at_once(run: Run) -> None:
    async def main() -> None:
        assert await asyncio.gather(*map(echo, range(1000))) == list(range(1000))
        naps = [nap(0.001) for _ in range(1000)]
        assert await asyncio.gather(*naps) == [5] * 1000
        timed = [asyncio.wait_for(nap(0.001), 30) for _ in range(1000)]
        assert await asyncio.gather(*timed) == [5] * 1000
        assert current().stats()["flying"] == 0

    run(main())


def test_a_thousand_readers_of_one_socket(run: Run, pair: Pair) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(receive(pair[0], 1)) for _ in range(1000)]
        await flying(1000)
        data = bytes(range(250)) * 4
        await asyncio.get_running_loop().sock_sendall(pair[1], data)
        assert sorted(b"".join(await asyncio.gather(*tasks))) == sorted(data)

    run(main())


def test_debug_mode(backend: str) -> None:
    async def main() -> None:
        assert await nap(0.001) == 5
        assert await asyncio.gather(echo(1), nap(0.001)) == [1, 5]

    syslet_loop.run(main(), debug=True)
