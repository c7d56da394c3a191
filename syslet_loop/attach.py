"""Which engine a flight gets: that of the running loop, ours or somebody else's.

On our own loop it is the loop's. On asyncio's or uvloop's it is made at the first
flight, watched with add_reader, and closed when the loop is; nothing else changes for
that loop. Imported by the binding when a flight first needs it, and called by it once
per loop and thread, through the hook that is installed below.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Awaitable
from typing import TypeVar

from . import _native, trace
from .loop import EventLoop, chosen_backend, new_engine, retire

_T = TypeVar("_T")
_engines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _native.Engine] = (
    weakref.WeakKeyDictionary()
)


def current_engine() -> _native.Engine:
    """The engine of the running loop. Raises RuntimeError when no loop runs."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, EventLoop):
        engine = loop.engine
        _native.set_current(engine)
        return engine
    found = _engines.get(loop)
    if found is not None and not found.closed:
        if found.is_mine:
            return found
        _detach(loop, found)
    return _attach(loop)


def _attach(loop: asyncio.AbstractEventLoop) -> _native.Engine:
    """Make an engine that a foreign loop turns whenever its fd is readable."""
    _close_orphans()
    engine = new_engine(loop, chosen_backend())
    try:
        fd = engine.fileno()
    except OSError:
        engine.close()
        raise
    engine.flush = lambda seconds: _schedule(loop, engine, seconds)
    loop.add_reader(fd, _turn, engine)
    _engines[loop] = engine
    _close_with(loop)
    return engine


def _schedule(
    loop: asyncio.AbstractEventLoop, engine: _native.Engine, seconds: float
) -> None:
    """Have the loop turn the engine although its fd may stay silent."""
    if seconds > 0:
        loop.call_later(seconds, _turn, engine)
    else:
        loop.call_soon(_turn, engine)


def _turn(engine: _native.Engine) -> None:
    """What the foreign loop calls; it may still have one call for a closed engine."""
    if not engine.closed:
        engine.turn(0)


def _detach(loop: asyncio.AbstractEventLoop, engine: _native.Engine) -> None:
    """Give up the engine of a thread that ran this loop before."""
    fd = engine.fileno()
    retire(engine)
    loop.remove_reader(fd)
    del _engines[loop]


def _close_with(loop: asyncio.AbstractEventLoop) -> None:
    """Have the engine closed just before its loop.

    The hook is an attribute of the loop object. A loop that takes none keeps its engine
    until another foreign loop has its first flight.
    """
    close = loop.close
    if getattr(close, "closes_engine", False):
        return

    def close_both() -> None:
        if not loop.is_running():
            _close_engine(loop)
        close()

    close_both.closes_engine = True  # type: ignore[attr-defined]
    with contextlib.suppress(AttributeError):
        loop.close = close_both  # type: ignore[method-assign]


def _close_engine(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the loop's flights, wait until they have landed, free the engine."""
    engine = _engines.get(loop)
    if engine is None:
        return
    if not engine.closed:
        if not loop.is_closed():
            loop.remove_reader(engine.fileno())
        engine.close()
    trace.finish(engine)
    engine.loop = engine.flush = None
    del _engines[loop]


def _close_orphans() -> None:
    """Look for engines whose loop was closed without a word."""
    for loop, engine in list(_engines.items()):
        if loop.is_closed() and engine.is_mine:
            _close_engine(loop)


async def with_timeout(flight: Awaitable[_T], seconds: float) -> _T:
    """Await `flight`; TimeoutError after `seconds`, and the flight is cancelled."""
    async with asyncio.timeout(seconds):
        return await flight


_native.set_attach(current_engine)
