"""call_later and call_at: order, cancelling, odd times, and what a TimerHandle is."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from typing import Any

import pytest
from loop.sockets import make_pair
from peers import on_loop, turns, until

import syslet_loop


@on_loop
async def test_handles_of_timers() -> None:
    loop = asyncio.get_running_loop()
    before = loop.time()
    later = loop.call_later(100, print)
    at = loop.call_at(before + 50, print)
    for handle in (later, at):
        assert isinstance(handle, asyncio.TimerHandle)
        assert isinstance(handle, asyncio.Handle)
        assert handle.cancelled() is False
        assert weakref.ref(handle)() is handle
    assert before + 100 <= later.when() <= loop.time() + 100
    assert at.when() == before + 50
    whole = loop.call_at(10**9, print)
    assert whole.when() == 10**9
    for handle in (later, at, whole):
        handle.cancel()
        assert handle.cancelled() is True
        handle.cancel()
    assert at.when() == before + 50, "a cancelled one still knows its time"


@on_loop
async def test_delays_that_are_whole_numbers() -> None:
    loop = asyncio.get_running_loop()
    for delay in (0, 1, True, -5, 2**53 + 1, 2**70):
        before = loop.time()
        handle = loop.call_later(delay, print)
        assert type(handle.when()) is float
        assert before + delay <= handle.when() <= loop.time() + delay
        handle.cancel()
    for delay in (10**400, "1"):
        with pytest.raises((OverflowError, TypeError)):
            loop.call_later(delay, print)


@on_loop
async def test_comparing_handles() -> None:
    loop = asyncio.get_running_loop()
    one, two = loop.call_at(10**9, print), loop.call_at(10**9 + 1, print)
    same, other = loop.call_at(10**9, print), loop.call_at(10**9, print, "argument")
    assert one < two and two > one and one <= two and two >= one
    assert one <= same and one >= same and not one < same and not one > same
    assert one == same and hash(one) == hash(same)
    assert one != two and one != other and one != 10**9
    assert sorted([two, one]) == [one, two]
    with pytest.raises(TypeError):
        assert one < 5
    same.cancel()
    assert one != same
    for handle in (one, two, other):
        handle.cancel()


@on_loop
async def test_the_order_is_that_of_the_times() -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    times = [start + number * 1e-5 for number in range(2000)]
    random.Random(1).shuffle(times)
    seen: list[float] = []
    for when in times:
        loop.call_at(when, seen.append, when)
    await until(lambda: len(seen) == 2000)
    assert seen == sorted(times)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 6, 21, 22, 300])
@pytest.mark.parametrize("seed", range(6))
def test_times_ages_and_cancellations_beside_a_model(count: int, seed: int) -> None:
    """Many with the same time, some cancelled at any place of the heap."""
    dice, seen, kept = random.Random(seed), [], []

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        start = loop.time()
        alive = []
        for number in range(count):
            when = start - dice.randrange(max(count // 3, 1))
            handle = loop.call_at(when, seen.append, (when, number))
            alive.append(((when, number), handle))
            if dice.random() < 0.3:
                _, gone = alive.pop(dice.randrange(len(alive)))
                gone.cancel()
        kept.extend(sorted(key for key, _ in alive))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    syslet_loop.run(main())
    assert seen == kept


@on_loop
async def test_none_is_early() -> None:
    loop = asyncio.get_running_loop()
    early: list[float] = []
    done: list[int] = []

    def check(when: float) -> None:
        done.append(1)
        # asyncio allows for the resolution of the clock, which is a nanosecond.
        if loop.time() < when - 1e-6:
            early.append(when - loop.time())

    for number in range(100):
        when = loop.time() + number * 0.00037
        loop.call_at(when, check, when)
    await until(lambda: len(done) == 100)
    assert early == []


@on_loop
async def test_equal_times_are_all_called_once() -> None:
    loop = asyncio.get_running_loop()
    when = loop.time() + 0.002
    seen: list[int] = []
    for number in range(100):
        loop.call_at(when, seen.append, number)
    await until(lambda: len(seen) >= 100)
    await turns()
    assert sorted(seen) == list(range(100))


@on_loop
async def test_timers_of_the_past_run_in_the_next_turn() -> None:
    """After what was to be called soon, and never within call_at() itself."""
    loop = asyncio.get_running_loop()
    seen: list[str] = []
    loop.call_soon(seen.append, "soon")
    loop.call_later(0, seen.append, "zero")
    loop.call_soon(seen.append, "soon")
    loop.call_at(0, seen.append, "at the beginning")
    loop.call_later(-5, seen.append, "five seconds ago")
    assert seen == []
    await turns()
    assert seen == ["soon", "soon", "at the beginning", "five seconds ago", "zero"]


@on_loop
async def test_a_timer_that_is_made_in_a_timer_waits_a_turn() -> None:
    loop = asyncio.get_running_loop()
    seen: list[str] = []

    def first() -> None:
        seen.append("first")
        loop.call_later(0, seen.append, "third")
        loop.call_soon(seen.append, "second")

    loop.call_at(0, first)
    await until(lambda: len(seen) == 3)
    assert seen == ["first", "second", "third"]


@on_loop
async def test_data_comes_before_a_timer_that_is_due() -> None:
    """So a timeout does not strike when the data is there already."""
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right):
        seen: list[str] = []

        def read() -> None:
            seen.append("data")
            loop.remove_reader(left)

        loop.add_reader(left, read)
        loop.call_later(0, seen.append, "timer")
        right.send(b"x")
        await until(lambda: len(seen) == 2)
        assert seen == ["data", "timer"]


@on_loop
async def test_cancelled_timers_are_not_called() -> None:
    loop = asyncio.get_running_loop()
    seen: list[Any] = []
    when = loop.time() + 0.002
    handles = [loop.call_at(when, seen.append, number) for number in range(300)]
    for handle in handles[::3]:
        handle.cancel()
    handles[1].cancel()
    await until(lambda: len(seen) >= 199)
    await turns()
    assert sorted(seen) == [n for n in range(300) if n % 3 and n != 1]
    handles[2].cancel()
    assert handles[2].cancelled(), "too late, but it says so"


@on_loop
async def test_a_timer_cancels_another_that_is_due_too() -> None:
    loop = asyncio.get_running_loop()
    seen: list[str] = []
    second = loop.call_at(2, seen.append, "second")
    loop.call_at(1, second.cancel)
    loop.call_at(3, seen.append, "third")
    await turns()
    assert seen == ["third"]


@on_loop
async def test_a_cancelled_timer_lets_go_of_everything() -> None:
    class Held:
        def method(self) -> None:
            pass

    loop = asyncio.get_running_loop()
    held, argument = Held(), Held()
    references = [weakref.ref(held), weakref.ref(argument)]
    handle = loop.call_later(1000, held.method, argument)
    handle.cancel()
    del held, argument
    gc.collect()
    assert [reference() for reference in references] == [None, None]


@on_loop
async def test_a_timer_lets_go_once_it_was_called() -> None:
    class Held:
        def method(self) -> None:
            pass

    loop = asyncio.get_running_loop()
    held = Held()
    reference = weakref.ref(held)
    loop.call_later(0, held.method)
    del held
    await turns()
    gc.collect()
    assert reference() is None


@on_loop
async def test_very_long_delays() -> None:
    loop = asyncio.get_running_loop()
    handles = [
        loop.call_later(delay, print)
        for delay in (86400, 10**9, 10**18, 1e300, float("inf"))
    ]
    await asyncio.sleep(0.002)
    for handle in handles[:-1]:
        handle.cancel()
    await asyncio.sleep(0.002)
    handles[-1].cancel()
    await asyncio.sleep(0.002)


@on_loop
async def test_wrong_times() -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(TypeError, match="delay must not be None"):
        loop.call_later(None, print)
    with pytest.raises(TypeError, match="when cannot be None"):
        loop.call_at(None, print)
    with pytest.raises(TypeError):
        loop.call_later("1", print)
    with pytest.raises(TypeError):
        loop.call_later(0, print, end="")


@on_loop
async def test_another_clock() -> None:
    """Tests of programs put a clock of their own in the place of loop.time."""
    loop = asyncio.get_running_loop()
    now = 1000.0
    loop.time = lambda: now  # type: ignore[method-assign]
    try:
        seen: list[int] = []
        later = loop.call_later(60, seen.append, 1)
        loop.call_at(1059, seen.append, 0)
        assert later.when() == 1060
        await turns()
        assert seen == []
        now = 1059.5
        await turns()
        assert seen == [0]
        now = 1060
        await turns()
        assert seen == [0, 1]
    finally:
        del loop.time


@on_loop
async def test_the_clock() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop.time(), float)
    times = [loop.time() for _ in range(100)]
    assert times == sorted(times)


def test_timers_outlive_a_run_but_not_the_loop(runner: asyncio.Runner) -> None:
    class Held:
        def method(self) -> None:
            raise AssertionError

    loop = runner.get_loop()
    seen: list[int] = []
    loop.call_later(0.002, seen.append, 1)
    runner.run(turns(1))
    runner.run(asyncio.sleep(0.005))
    assert seen == [1]
    held = Held()
    reference = weakref.ref(held)
    handle = loop.call_later(1000, held.method)
    runner.close()
    del held, handle
    gc.collect()
    assert reference() is None
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_later(1, print)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_at(1, print)


def test_what_remains_is_called_after_an_interrupted_run(
    runner: asyncio.Runner,
) -> None:
    loop = runner.get_loop()
    seen: list[str] = []

    def leave() -> None:
        raise KeyboardInterrupt

    loop.call_at(1, seen.append, "before")
    loop.call_at(2, leave)
    loop.call_at(3, seen.append, "after")
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert seen == ["before"]
    loop.run_until_complete(turns())
    assert seen == ["before", "after"]
