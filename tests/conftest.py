"""What all tests share: the leak gate.

After each test the process has the descriptors and threads it had before; every
engine that was made has been closed, which an engine refuses while a flight is left;
every call of a syslet is gone, and with it what was lent to it; and the resident memory
has not grown by more than an allocator may keep. Nothing here makes loops;
tests/loop/conftest.py does.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from syslet_loop import _native, attach, loop

KEPT_BYTES = 48 << 20  # what imports, caches and arenas of one test may add for good
SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")  # it keeps what was freed
ENDING_S = 10.0  # on a busy machine; threads end a moment after they were told to

# A shell starts what it puts into the background with SIGINT ignored, and then nothing
# would end the wait that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


def resident() -> int:
    """Bytes of memory that this process has in use."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def resident_of_need() -> int:
    """The same without what the allocator keeps for later."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
    return resident()


def doing(number: str) -> str:
    """What the kernel says of a thread, for the report of one that should be gone."""
    found = []
    for name in ("stat", "wchan", "syscall", "stack"):
        with (
            contextlib.suppress(OSError),
            open(f"/proc/self/task/{number}/{name}") as f,
        ):
            found.append(f.read().strip()[:500])
    return "; ".join(found)


def wait_for_threads(before: dict[str, str]) -> dict[str, str]:
    """Those that did not end in time."""
    end = time.monotonic() + ENDING_S
    while True:
        left = {n: name for n, name in threads().items() if n not in before}
        if not left:
            return left
        if time.monotonic() >= end:
            return {n: f"{name}: {doing(n)}" for n, name in left.items()}
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
    runs_before, memory_before = _native.runs(), resident()
    yield
    if descriptors().keys() != before.keys() or _native.runs() != runs_before:
        gc.collect()
    after = descriptors()
    assert after.keys() == before.keys(), f"descriptors: {before} became {after}"
    alive = [engine for ref in engines if (engine := ref()) is not None]
    assert all(engine.closed for engine in alive), "an engine was left open"
    runs = _native.runs() - runs_before
    assert runs <= 0, f"{runs} calls of syslets are left, with what was lent to them"
    if resident() - memory_before > KEPT_BYTES and not SANITIZED:
        grown = resident_of_need() - memory_before
        assert grown <= KEPT_BYTES, f"resident memory grew by {grown} bytes"
    left = wait_for_threads(threads_before)
    assert not left, f"threads left: {left} {threading.enumerate()}"
