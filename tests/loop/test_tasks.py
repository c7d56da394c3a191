"""create_task, whose common case is made in C; asyncio's own is the judge."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import weakref
from collections.abc import Coroutine
from typing import Any

import pytest
from loop.sockets import loop_now

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE")


async def value() -> int:
    return 7


async def seen() -> str:
    return VARIABLE.get("nothing")


def test_a_name(runner: asyncio.Runner) -> None:
    async def main() -> None:
        for options, wanted in (
            ({}, "Task-"),
            ({"name": None}, "Task-"),
            ({"name": None, "context": None}, "Task-"),
            ({"name": "some"}, "some"),
            ({"na" + "me": 5}, "5"),
        ):
            task = loop_now().create_task(value(), **options)
            assert type(task) is asyncio.Task
            assert task.get_name().startswith(wanted)
            assert task in asyncio.all_tasks()
            assert await task == 7

    runner.run(main())


def test_a_context(runner: asyncio.Runner) -> None:
    async def main() -> None:
        make = loop_now().create_task
        context = contextvars.Context()
        context.run(VARIABLE.set, "given")
        VARIABLE.set("current")
        tasks = [
            make(seen()),
            make(seen(), context=None),
            make(seen(), context=context),
        ]
        tasks.append(make(seen(), name="n", context=context))
        VARIABLE.set("later")
        found = await asyncio.gather(*tasks)
        assert found == ["current", "current", "given", "given"]
        assert tasks[3].get_name() == "n"
        assert (
            tasks[3].get_context() is context if sys.version_info >= (3, 12) else True
        )

    runner.run(main())


def test_what_are_no_arguments(runner: asyncio.Runner) -> None:
    async def main() -> None:
        make: Any = loop_now().create_task
        for arguments, options in (
            ((), {}),
            ((7,), {}),
            ((value,), {}),
            ((None,), {"name": "n"}),
            ((), {"name": "n"}),
        ):
            with pytest.raises(TypeError):
                make(*arguments, **options)
        coroutine = value()
        for arguments, options in (
            ((coroutine, "name"), {}),
            ((coroutine,), {"nothing": 1}),
        ):
            with pytest.raises(TypeError):
                make(*arguments, **options)
        assert await make(coro=coroutine) == 7

    runner.run(main())


def test_what_is_no_context(ours: asyncio.Runner) -> None:
    """asyncio makes a task that can never run."""
    coroutine = value()

    async def main() -> None:
        with pytest.raises(TypeError, match=r"a contextvars\.Context was expected"):
            loop_now().create_task(coroutine, context="no context")

    ours.run(main())
    coroutine.close()


def test_a_factory(runner: asyncio.Runner) -> None:
    calls: list[tuple[Any, dict[str, Any]]] = []

    def factory(loop: Any, coro: Any, **options: Any) -> asyncio.Task[Any]:
        calls.append((loop, {k: v for k, v in options.items() if k != "name"}))
        return asyncio.Task(coro, loop=loop, **options)

    async def main() -> None:
        loop, context = loop_now(), contextvars.copy_context()
        assert loop.get_task_factory() is None
        loop.set_task_factory(factory)
        assert loop.get_task_factory() is factory
        task = loop.create_task(value(), name="made")
        assert task.get_name() == "made"
        assert [await task, await loop.create_task(value(), context=context)] == [7, 7]
        assert calls == [(loop, {}), (loop, {"context": context})]
        loop.set_task_factory(None)
        assert loop.get_task_factory() is None
        assert await loop.create_task(value()) == 7
        assert len(calls) == 2
        with pytest.raises(TypeError):
            loop.set_task_factory(5)

    runner.run(main())


def test_a_factory_that_fails(runner: asyncio.Runner) -> None:
    def factory(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    coroutine = value()

    async def main() -> None:
        loop_now().set_task_factory(factory)
        with pytest.raises(ZeroDivisionError):
            loop_now().create_task(coroutine)
        loop_now().set_task_factory(None)

    runner.run(main())
    coroutine.close()


class Another(asyncio.Task):  # type: ignore[type-arg]
    """What a program may put into the place of asyncio's class."""


def test_another_class(runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(asyncio.tasks, "Task", Another)
        tasks = [loop_now().create_task(value()) for _ in range(2)]
        tasks.append(loop_now().create_task(value(), name="n"))
        assert {type(task) for task in tasks} == {Another}
        monkeypatch.undo()
        assert await asyncio.gather(*tasks) == [7, 7, 7]

    runner.run(main())


@pytest.mark.parametrize("replacement", ["deleted", "no class"])
def test_no_class_at_all(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch, replacement: str
) -> None:
    coroutine = value()

    async def main() -> None:
        if replacement == "deleted":
            monkeypatch.delattr(asyncio.tasks, "Task")
        else:
            monkeypatch.setattr(asyncio.tasks, "Task", 5)
        with pytest.raises((AttributeError, TypeError)):
            loop_now().create_task(coroutine)
        monkeypatch.undo()

    runner.run(main())
    coroutine.close()


def test_a_closed_loop(runner: asyncio.Runner) -> None:
    loop, coroutine = runner.get_loop(), value()
    runner.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.create_task(coroutine)
    coroutine.close()


def test_where_it_was_made(runner: asyncio.Runner) -> None:
    """Debug mode: the last line of the traceback is that of the caller."""

    async def main() -> None:
        loop_now().set_debug(True)
        task = loop_now().create_task(value())
        assert task._source_traceback[-1].name == "main"
        assert await task == 7

    runner.run(main())


def test_before_the_loop_runs(runner: asyncio.Runner) -> None:
    loop = runner.get_loop()
    task = loop.create_task(value())
    assert loop.run_until_complete(task) == 7
    assert task.get_loop() is loop


def test_a_child_makes_none(runner: asyncio.Runner, backend: str) -> None:
    coroutine = value()

    async def main() -> None:
        loop = loop_now()
        child = os.fork()
        if child == 0:
            try:
                loop.create_task(coroutine)
            except RuntimeError:
                os._exit(7)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        is_ours = type(loop).__name__ == "EventLoop"
        assert status == (7 if is_ours else 0)

    runner.run(main())
    coroutine.close()


def test_nothing_is_kept(runner: asyncio.Runner) -> None:
    context = contextvars.copy_context()
    name = "a name that nobody else has"

    def counts() -> list[int]:
        things = (runner.get_loop(), context, name, asyncio.Task, value)
        return [sys.getrefcount(thing) for thing in things]

    async def main() -> None:
        make: Any = loop_now().create_task
        for _ in range(100):
            gone = [make(value()), make(value(), name=name)]
            gone.append(make(value(), name=name, context=context))
            await asyncio.gather(*gone)
            with pytest.raises(TypeError):
                make(5, name=name, context=context)
            with pytest.raises(TypeError):
                make()

    runner.run(main())
    before = counts()
    runner.run(main())
    assert counts() == before


def test_a_task_goes_when_it_is_done(runner: asyncio.Runner) -> None:
    async def waits(event: asyncio.Event) -> None:
        await event.wait()

    async def main() -> None:
        event = asyncio.Event()
        coroutine: Coroutine[Any, Any, None] = waits(event)
        task = loop_now().create_task(coroutine)
        watched = weakref.ref(task)
        event.set()
        await task
        del task, coroutine
        await asyncio.sleep(0)
        assert watched() is None

    runner.run(main())
