"""What all tests share: the leak gate.

After each test the process has the descriptors and threads it had before, and every
engine that was made has been closed, which an engine refuses while a flight or a lease
is left. Nothing here makes loops; tests/loop/conftest.py does.
"""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from syslet_loop import _native, attach, loop

ENDING_S = 10.0  # on a busy machine; threads end a moment after they were told to


def descriptors() -> dict[int, str]:
    """The open descriptors and what they are."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the one of the listing itself
            continue
    return found


def threads() -> dict[str, str]:
    """The kernel's numbers of this process's threads, native ones too, and their names.

    Without those that the kernel makes for requests of a ring (iou-wrk-…): they end
    when it has taken a closed ring apart, which may be long after a test.
    """
    found = {}
    for number in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{number}/comm") as file:
                found[number] = file.read().strip()
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
    return {n: name for n, name in found.items() if not name.startswith("iou-")}


def wait_for_threads(before: dict[str, str]) -> dict[str, str]:
    """Those that did not end in time."""
    end = time.monotonic() + ENDING_S
    while True:
        left = {n: name for n, name in threads().items() if n not in before}
        if not left or time.monotonic() >= end:
            return left
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def nothing_leaks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The gate; a test that fails anyway says more than its leaks."""
    engines: list[weakref.ref[_native.Engine]] = []
    make = loop.new_engine

    def noted(*args: Any) -> _native.Engine:
        engine = make(*args)
        engines.append(weakref.ref(engine))
        return engine

    monkeypatch.setattr(loop, "new_engine", noted)
    monkeypatch.setattr(attach, "new_engine", noted)
    threads_before, before = threads(), descriptors()
    yield
    if descriptors().keys() != before.keys():
        gc.collect()
    after = descriptors()
    assert after.keys() == before.keys(), f"descriptors: {before} became {after}"
    alive = [engine for ref in engines if (engine := ref()) is not None]
    assert all(engine.closed for engine in alive), "an engine was left open"
    left = wait_for_threads(threads_before)
    assert not left, f"threads left: {left} {threading.enumerate()}"
