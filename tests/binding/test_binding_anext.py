"""anext() with a default, which asks for an awaitable's iterator before each step.

It must get on with what waits already, while two tasks that await one object are told
apart however late the second one comes.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable
from typing import Any

import pytest
from flights import flying, receive, until
from kinds import FOREIGN

import syslet_loop
from syslet_loop import calls, syslet

Run = Callable[[Any], Any]
Pair = tuple[socket.socket, socket.socket]


@syslet
def each_message(s: Any, fd: int) -> None:
    """Emit the sizes of what arrives until the other side has closed."""
    buffer = s.buffer(100)
    with s.loop():
        n = s.recv(fd, buffer)
        s.break_if(n <= 0)
        s.emit(n)


class Messages:
    """An iterator of the program's own over awaitables of ours."""

    def __init__(self, give: Callable[[], Any]) -> None:
        self.give = give

    def __aiter__(self) -> Messages:
        return self

    def __anext__(self) -> Any:
        return self.give()


async def value_or(iterator: Any, default: Any = "default") -> Any:
    return await anext(iterator, default)


def events(sock: socket.socket) -> Any:
    return each_message.events(sock)


def results(sock: socket.socket) -> Any:
    return receive.map([sock] * 3)


def flights(sock: socket.socket) -> Any:
    return Messages(lambda: receive(sock))


def socket_calls(sock: socket.socket) -> Any:
    return Messages(lambda: asyncio.get_running_loop().sock_recv(sock, 100))


kinds = pytest.mark.parametrize("make", [events, results, flights, socket_calls])


@pytest.fixture(autouse=True)
def socket_calls_are_ours(request: pytest.FixtureRequest) -> None:
    """asyncio's and uvloop's socket calls are coroutines, judged elsewhere."""
    chosen = getattr(request.node, "callspec", None)
    params = {} if chosen is None else chosen.params
    if params.get("make") is socket_calls and params.get("run") in FOREIGN:
        pytest.skip("a socket call of another loop")


async def waiting(task: asyncio.Task[Any]) -> None:
    """The task has a future to wait for."""
    await until(lambda: task._fut_waiter is not None)  # type: ignore[attr-defined]


async def over(task: asyncio.Task[Any]) -> None:
    """What it waits for is done, and it has not run since."""
    future = task._fut_waiter  # type: ignore[attr-defined]
    while not future.done():
        await asyncio.sleep(0)
    assert task._fut_waiter is future  # type: ignore[attr-defined]


# A value or the default.


def test_a_value_then_the_default(run: Run, pair: Pair) -> None:
    async def main() -> None:
        iterator = each_message.events(pair[0])
        for size in (1, 5, 100):
            task = asyncio.create_task(value_or(iterator))
            await waiting(task)
            pair[1].send(b"x" * size)
            assert await task == size
        task = asyncio.create_task(value_or(iterator))
        await waiting(task)
        pair[1].close()
        assert await task == "default"
        assert await anext(iterator, None) is None

    run(main())


@kinds
def test_a_value_that_has_to_be_waited_for(run: Run, pair: Pair, make: Any) -> None:
    async def main() -> None:
        iterator = make(pair[0])
        for _ in range(3):
            task = asyncio.create_task(value_or(iterator))
            await waiting(task)
            pair[1].send(b"x")
            assert await task in (1, b"x", (pair[0], b"x"))

    run(main())


@pytest.mark.parametrize("make", [socket_calls])
def test_a_step_that_waits_more_than_once(run: Run, pair: Pair, make: Any) -> None:
    """Somebody else takes what it was woken for."""

    async def main() -> None:
        task = asyncio.create_task(value_or(make(pair[0])))
        for _ in range(3):
            await waiting(task)
            pair[1].send(b"taken")
            await over(task)
            assert pair[0].recv(100) == b"taken"
        await waiting(task)
        pair[1].send(b"kept")
        assert await task == b"kept"

    run(main())


# Given up while it waits.


@kinds
def test_a_cancelled_wait(run: Run, pair: Pair, make: Any) -> None:
    async def main() -> None:
        iterator = make(pair[0])
        task = asyncio.create_task(value_or(iterator))
        await waiting(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        pair[1].send(b"kept")
        assert await anext(iterator, None) in (4, b"kept", (pair[0], b"kept"))

    run(main())


@kinds
def test_a_timeout(run: Run, pair: Pair, make: Any) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await anext(make(pair[0]), None)

    run(main())


@kinds
def test_thrown_into_and_closed(run: Run, pair: Pair, make: Any) -> None:
    """By hand, while what it waits for is not done; nothing is refused."""

    async def main() -> None:
        for end in ("throw", "close", "drop"):
            body = value_or(make(pair[0]))
            future = body.send(None)
            assert asyncio.isfuture(future)
            if end == "throw":
                with pytest.raises(LookupError):
                    body.throw(LookupError())
            elif end == "close":
                body.close()
            del body
            gc.collect()
            if make is not socket_calls:  # which its loop holds while it waits
                await flying(0)
            future.cancel()
        await calls.timeout(0)

    run(main())


# Two tasks and one object.


async def both(awaitable: Any) -> Any:
    return await awaitable


@kinds
@pytest.mark.parametrize("late", [False, True])
def test_the_second_is_refused(run: Run, pair: Pair, make: Any, late: bool) -> None:
    """Also when the wait is over and the first has not been told yet."""

    async def main() -> None:
        one = anext(make(pair[0]))
        first = asyncio.create_task(both(one))
        await waiting(first)
        if late:
            pair[1].send(b"x")
            await over(first)
        with pytest.raises(RuntimeError, match="is being awaited already"):
            await one
        if not late:
            pair[1].send(b"x")
        assert await first in (1, b"x", (pair[0], b"x"))

    run(main())


def test_the_second_may_come_through_a_default(run: Run, pair: Pair) -> None:
    async def main() -> None:
        step = anext(each_message.events(pair[0]))
        first = asyncio.create_task(both(step))
        await waiting(first)
        with pytest.raises(RuntimeError, match="is being awaited already"):
            await anext(Messages(lambda: step), None)
        pair[1].send(b"x")
        assert await first == 1

    run(main())


def test_whoever_only_asks_changes_nothing(run: Run, pair: Pair) -> None:
    async def main() -> None:
        flight = receive(pair[0])
        first = asyncio.create_task(both(flight))
        await waiting(first)
        assert flight.__await__() is flight
        pair[1].send(b"x")
        assert await first == b"x"

    run(main())


def test_without_tasks(backend: str, pair: Pair) -> None:
    """A driver of its own: callbacks of the loop, no task at all."""
    loop = syslet_loop.new_event_loop()
    found: list[Any] = []

    def drive(body: Any, future: Any = None) -> None:
        try:
            future = body.send(None)
        except StopIteration as stop:
            found.append(stop.value)
            loop.stop()
        else:
            future._asyncio_future_blocking = False
            future.add_done_callback(lambda _: drive(body))

    loop.call_soon(drive, value_or(each_message.events(pair[0])))
    loop.call_later(0.001, pair[1].send, b"three"[:3])
    loop.run_forever()
    loop.close()
    assert found == [3]
