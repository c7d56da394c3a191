"""What a test may not leave: descriptors, and on its loop tasks and flights.

Used by the fixture `syslet_no_leaks`. A test with a loop is looked at inside that loop,
by an asynchronous fixture of its framework (watch_asyncio, watch_anyio), because the
framework cancels what is left before anybody else can see it.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import time
from collections.abc import AsyncIterator, Iterator

import pytest

PATIENCE_S = 0.5  # for what is about to end by itself
PAUSE_S = 0.001


def descriptors() -> dict[int, str]:
    """The open descriptors and what they are."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the one of the listing itself
            continue
    return found


def new_descriptors(before: dict[int, str]) -> dict[int, str]:
    """Those that were not there, after the garbage has been collected."""
    if descriptors().keys() - before.keys():
        gc.collect()
    now = descriptors()
    return {fd: name for fd, name in now.items() if fd not in before}


def told(left: dict[int, str]) -> list[str]:
    return [f"descriptor {fd}: {name}" for fd, name in sorted(left.items())]


class Verdict:
    """Fails a test with what it left, unless it has failed anyway."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._session = request.session
        self._failed = request.session.testsfailed

    @property
    def is_needed(self) -> bool:
        """A traceback keeps things alive, and says more than they do."""
        return bool(self._session.testsfailed == self._failed)

    def give(self, left: list[str]) -> None:
        if left:
            text = "\n  ".join(["this test left behind:", *left])
            pytest.fail(text, pytrace=False)


def watched(request: pytest.FixtureRequest) -> Iterator[None]:
    """The fixture: in the loop of the test, or here if it has none."""
    from . import MAY_LEAK

    if request.node.get_closest_marker(MAY_LEAK) is not None:
        yield
        return
    inside = _fixture_of(request.node)
    if inside is not None:
        request.getfixturevalue(inside)
        yield
        return
    verdict, before = Verdict(request), descriptors()
    yield
    if verdict.is_needed:
        verdict.give(told(new_descriptors(before)))


def _fixture_of(item: pytest.Item) -> str | None:
    """The fixture that runs in the loop of this test."""
    manager = item.config.pluginmanager
    marker = item.get_closest_marker("asyncio")
    is_coroutine = inspect.iscoroutinefunction(getattr(item, "function", None))
    if marker is not None and is_coroutine and manager.has_plugin("asyncio"):
        if not manager.has_plugin("syslet_watch_asyncio"):
            pytest.fail("syslet_no_leaks needs pytest-asyncio 0.24 or newer", False)
        from .watch_asyncio import name_of

        return name_of(marker, item.config)
    is_anyios = "anyio_backend" in getattr(item, "fixturenames", ())
    if is_anyios and manager.has_plugin("syslet_watch_anyio"):
        return "_syslet_watch_anyio"
    return None


class Loop:
    """What there was on the running loop before a test."""

    def __init__(self) -> None:
        from syslet_loop import attach

        self._flying = attach.flying
        self._loop = asyncio.get_running_loop()
        # What a loop opens when it first needs it is not the test's.
        attach.current_engine()
        self._watch_once()
        self._tasks = asyncio.all_tasks()
        self._flights = attach.flying(self._loop)
        self._descriptors = descriptors()

    def _watch_once(self) -> None:
        reader, writer = os.pipe()
        self._loop.add_reader(reader, gc.isenabled)
        self._loop.remove_reader(reader)
        os.close(reader)
        os.close(writer)

    def _tasks_left(self) -> list[str]:
        left = asyncio.all_tasks() - self._tasks - {asyncio.current_task()}
        return [_described(task) for task in left if not _is_runners(task)]

    def _flights_left(self) -> list[str]:
        count = self._flying(self._loop) - self._flights
        return [f"{count} flight{'s' * (count > 1)} in the air"] if count > 0 else []

    def _descriptors_left(self) -> dict[int, str]:
        left = new_descriptors(self._descriptors)
        for pipe in ("_ssock", "_csock"):  # of a loop that handles signals
            sock = getattr(self._loop, pipe, None)
            if sock is not None:
                left.pop(sock.fileno(), None)
        return left

    async def left(self) -> list[str]:
        """What is there now, and does not go away in a moment."""
        end = time.monotonic() + PATIENCE_S
        while True:
            found = [*self._tasks_left(), *self._flights_left()]
            found += told(self._descriptors_left())
            if not found or time.monotonic() > end:
                return sorted(found)
            await asyncio.sleep(PAUSE_S)


def _is_runners(task: asyncio.Task[object]) -> bool:
    """Whether it is the task that AnyIO's runner waits in for the current step."""
    return _name(task).startswith("TestRunner.")


def _name(task: asyncio.Task[object]) -> str:
    """The name of its coroutine function."""
    return getattr(task.get_coro(), "__qualname__", repr(task.get_coro()))


def _described(task: asyncio.Task[object]) -> str:
    """A task in one line: its name, its coroutine, and where that waits."""
    frames = task.get_stack(limit=1)
    where = f" at {frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else ""
    return f"task {task.get_name()!r} of {_name(task)}(){where}"


async def watched_inside(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """The fixture's part in the loop of the test."""
    verdict, loop = Verdict(request), Loop()
    yield
    if verdict.is_needed:
        verdict.give(await loop.left())
