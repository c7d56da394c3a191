"""run_in_executor: results, errors, cancelling and the end, next to asyncio's."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import threading
import weakref
from typing import Any

import pytest
from peers import caught, on_loop, turns, until

import syslet_loop

Pool = concurrent.futures.ThreadPoolExecutor


class Thing:
    """Something that a weak reference can be made of."""


def fail(error: BaseException) -> None:
    raise error


@on_loop
async def test_results_and_arguments() -> None:
    loop = asyncio.get_running_loop()
    thing = Thing()
    assert await loop.run_in_executor(None, lambda *args: args, 1, "2") == (1, "2")
    assert await loop.run_in_executor(executor=None, func=lambda: thing) is thing
    future = loop.run_in_executor(None, threading.current_thread)
    assert type(future) is asyncio.Future
    assert future.get_loop() is loop
    thread = await future
    assert thread is not threading.current_thread()
    assert thread.name == "asyncio_0"
    numbers = range(50)
    found = await asyncio.gather(
        *(loop.run_in_executor(None, abs, -n) for n in numbers)
    )
    assert found == list(numbers)


@on_loop
async def test_errors() -> None:
    loop = asyncio.get_running_loop()
    error = OSError(5, "five")
    with pytest.raises(OSError) as info:
        await loop.run_in_executor(None, fail, error)
    assert info.value is error
    with pytest.raises(TimeoutError, match="why"):
        await loop.run_in_executor(None, fail, TimeoutError("why"))
    with pytest.raises(asyncio.CancelledError, match="why"):
        await loop.run_in_executor(None, fail, concurrent.futures.CancelledError("why"))


@on_loop
async def test_the_context_stays_here() -> None:
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(1)
    loop = asyncio.get_running_loop()
    seen: list[int] = []
    future = loop.run_in_executor(None, variable.get)
    future.add_done_callback(lambda _: seen.append(variable.get()))
    assert await future == 0
    assert await asyncio.to_thread(variable.get) == 1
    assert seen == [1]


@on_loop
async def test_cancelling_what_waits() -> None:
    loop = asyncio.get_running_loop()
    gate, ran = threading.Event(), []
    with Pool(1) as pool:
        first = loop.run_in_executor(pool, gate.wait)
        second = loop.run_in_executor(pool, ran.append, 1)
        assert second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        await turns()
        gate.set()
        assert await first is True
        assert await loop.run_in_executor(pool, ran.append, 2) is None
    assert ran == [2]


@on_loop
async def test_cancelling_what_runs() -> None:
    loop = asyncio.get_running_loop()
    gate, contexts = threading.Event(), caught()
    with Pool(1) as pool:
        future = loop.run_in_executor(pool, gate.wait)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.01)
        assert future.cancelled()
        gate.set()
        assert await loop.run_in_executor(pool, abs, -1) == 1
    await turns()
    assert contexts == []


@on_loop
async def test_cancelled_by_the_executor() -> None:
    loop = asyncio.get_running_loop()
    gate = threading.Event()
    pool = Pool(1)
    first = loop.run_in_executor(pool, gate.wait)
    second = loop.run_in_executor(pool, abs, -1)
    pool.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(asyncio.CancelledError):
        await second
    assert second.cancelled()
    gate.set()
    assert await first is True
    with pytest.raises(RuntimeError, match="after shutdown"):
        loop.run_in_executor(pool, abs, -1)


class Immediate(concurrent.futures.Executor):
    """Runs at once, in the caller's thread, and gives what `make` makes."""

    make: Any = concurrent.futures.Future

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        future = self.make()
        future.set_result(function(*args))
        return future


class Doubled(concurrent.futures.Future[int]):
    def result(self, timeout: float | None = None) -> int:
        return super().result(timeout) * 2


@on_loop
async def test_executors_of_the_program() -> None:
    loop = asyncio.get_running_loop()
    pool = Immediate()
    assert await loop.run_in_executor(pool, abs, -3) == 3
    pool.make = Doubled
    assert await loop.run_in_executor(pool, abs, -3) == 6
    pool.make = loop.create_future
    assert await loop.run_in_executor(pool, abs, -3) == 3
    pool.make = Thing
    Thing.set_result = lambda self, result: None  # type: ignore[attr-defined]
    with pytest.raises(
        AssertionError, match=r"concurrent\.futures\.Future is expected"
    ):
        loop.run_in_executor(pool, abs, -3)


@on_loop
async def test_a_result_that_somebody_else_has_set() -> None:
    loop, contexts = asyncio.get_running_loop(), caught()
    gate = threading.Event()
    future = loop.run_in_executor(None, gate.wait)
    future.set_result("mine")
    gate.set()
    assert await future == "mine"
    await until(lambda: contexts)
    assert isinstance(contexts[0]["exception"], AssertionError)


@on_loop
async def test_the_default_executor() -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(TypeError):
        loop.set_default_executor(Immediate())
    loop.set_default_executor(Pool(1, thread_name_prefix="mine"))
    thread = await loop.run_in_executor(None, threading.current_thread)
    assert thread.name == "mine_0"
    await loop.shutdown_default_executor()
    assert not thread.is_alive()
    with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
        loop.run_in_executor(None, abs, -1)
    with Pool(1) as pool:
        assert await loop.run_in_executor(pool, abs, -1) == 1


@on_loop
async def test_nothing_is_held() -> None:
    loop = asyncio.get_running_loop()
    with Pool(1) as pool:
        thing = Thing()
        ref = weakref.ref(thing)
        future = loop.run_in_executor(pool, lambda kept: kept, thing)
        assert await future is thing
        del thing, future
        await loop.run_in_executor(pool, abs, -1)
        await turns()
        if ref() is not None:
            gc.collect()
        assert ref() is None


@on_loop
async def test_debug_mode() -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    assert await loop.run_in_executor(None, abs, -1) == 1

    async def coroutine() -> None:
        """Not something to call in a thread."""

    for wrong in (coroutine, coroutine(), 1):
        with pytest.raises(TypeError):
            loop.run_in_executor(None, wrong)
        if asyncio.iscoroutine(wrong):
            wrong.close()


def test_the_loop_is_closed_meanwhile(runner: asyncio.Runner) -> None:
    gate = threading.Event()
    loop = runner.get_loop()
    with Pool(1) as pool:
        future = loop.run_in_executor(pool, gate.wait)
        runner.close()
        with pytest.raises(RuntimeError, match="closed"):
            loop.run_in_executor(pool, abs, -1)
        gate.set()
    assert not future.done()


def test_a_loop_that_overrides_what_is_used() -> None:
    seen: list[str] = []

    class Loop(syslet_loop.EventLoop):
        def create_future(self) -> Any:
            seen.append("future")
            return super().create_future()

        def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> Any:
            seen.append("call")
            return super().call_soon_threadsafe(*args, **kwargs)

    with asyncio.Runner(loop_factory=Loop) as runner:

        async def main() -> None:
            seen.clear()
            await asyncio.get_running_loop().run_in_executor(None, abs, -1)
            assert seen == ["future", "call"]

        runner.run(main())
