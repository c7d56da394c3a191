"""What a loop tells of its engine in numbers: the type of `loop.stats()`.

Used by loop.py; everything is counted in native/engine (stats.c).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypedDict, cast

if TYPE_CHECKING:
    from . import _native


class Stats(TypedDict):
    """An engine's counters since it was made, and its flights as they are now.

    All numbers are counts, but for `memory`, which is bytes.
    """

    atoms: int
    """Atoms that were executed, wherever."""
    inlined: int
    """Attempts that ended at once, on the loop's thread."""
    to_ring: int
    """Atoms that became a request or a wait for readiness."""
    to_worker: int
    """Flights that were handed to a worker."""
    to_kernel: int
    """Runs that a kernel with syslets was given (backend 'kernel')."""
    in_kernel: int
    """Atoms that it executed."""
    misses: Counter[str]
    """By operation: how often a flight left the thread at an atom of it.

    Those without a row in the operations table are called 'syscall N'. As with all
    numbers here, one minus an earlier one is what has happened in between.
    """
    enters: int
    """Kernel entries to submit or to wait."""
    submitted: int
    """Requests that the kernel took."""
    completed: int
    """Completions that were collected."""
    waits: int
    """Turns that were allowed to sleep."""
    wakeups: int
    """Turns that a worker, a signal handler or another thread woke."""
    stale: int
    """Completions whose flight was gone."""
    overflows: int
    """Times the completion queue had overflowed."""
    launched: int
    """Flights that were launched."""
    landed: int
    """Flights that have landed."""
    flying: int
    """Flights in the air now."""
    cancelling: int
    """Of these: cancelled, and somebody waits for their end."""
    abandoned: int
    """Of these: given up, and nobody does."""
    ready: int
    """Of these: they run in the next turn."""
    waiting: int
    """Of these: for a request in the ring, or for readiness."""
    working: int
    """Of these: on a worker, on the way to one or back."""
    paused: int
    """Of these: their reports have to be taken before they go on."""
    prepared: int
    """Flights that are not given back, in the air or not: each is a lease."""
    workers: int
    """Worker threads there are."""
    budget_cuts: int
    """Times a flight had to let others run."""
    memory: int
    """Bytes of new buffers that did not fit into their flights, now."""


def stats_of(engine: _native.Engine) -> Stats:
    """Raises RuntimeError if the engine is closed or the parent process's."""
    return cast(Stats, {**engine.stats(), "misses": Counter(engine.misses())})
