"""Which engine a flight gets: that of the running loop, ours or somebody else's.

On our own loop it is the loop's. On asyncio's or uvloop's it is made at the first
flight, watched with add_reader, and closed when the loop is; nothing else changes for
that loop. Imported by the binding when a flight first needs it, and called by it once
per loop and thread, through the hook that is installed below.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Awaitable
from typing import TypeVar

from . import _native, trace
from .loop import EventLoop, new_engine, retire
from .settings import chosen_backend, chosen_bounds

_T = TypeVar("_T")


class _Attachment:
    """An engine that a foreign loop turns. The loop owns it, by its reader.

    So a loop that is dropped without being closed can be collected with its engine.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.process = os.getpid()
        self.engine = engine = new_engine(loop, chosen_backend(), chosen_bounds())
        try:
            self.fd = engine.fileno()
            loop.add_reader(self.fd, self.turn)
        except BaseException:
            engine.close()
            raise
        engine.flush = self.schedule
        _attachments[loop] = weakref.ref(self)
        self._hook()

    def turn(self) -> None:
        """What the loop calls; it may still have a call for a closed engine."""
        if not self.engine.closed:
            self.engine.turn(0)

    def schedule(self, seconds: float) -> None:
        """Have the loop turn the engine although its fd may stay silent."""
        if seconds > 0:
            self.loop.call_later(seconds, self.turn)
        else:
            self.loop.call_soon(self.turn)

    def _hook(self) -> None:
        """Have the engine closed just before its loop.

        The hook is an attribute of the loop object. A loop that takes none keeps its
        engine until another foreign loop has its first flight.
        """
        self._close_loop = self.loop.close
        try:
            self.loop.close = self.close  # type: ignore[method-assign]
        except AttributeError:
            _hookless.add(self)

    def _unhook(self) -> None:
        """Take the hook away, unless somebody has put his own over it."""
        _hookless.discard(self)
        if getattr(self.loop, "__dict__", {}).get("close") == self.close:
            del self.loop.close

    def close(self) -> None:
        """What stands for the loop's close."""
        if not self.loop.is_running():
            self.end()
        self._close_loop()

    def end(self) -> None:
        """Cancel the flights, wait until they have landed, free the engine.

        Raises RuntimeError, and changes nothing, when flights are in the air that were
        started in another thread.
        """
        if self.fd < 0:
            return
        if self.loop.is_closed() or self.process != os.getpid():
            # A closed loop takes no calls, and a child's epoll set is its parent's.
            self.engine.flush = None
            self.engine.close()
        else:
            self.loop.remove_reader(self.fd)
            try:
                self.engine.close()
            except BaseException:
                self.loop.add_reader(self.fd, self.turn)
                raise
        self._let_go()

    def leave_thread(self) -> None:
        """Give up the engine of a thread that ran this loop before.

        Raises RuntimeError if flights that it launched are still in the air.
        """
        retire(self.engine)
        self.loop.remove_reader(self.fd)
        self._let_go()

    def _let_go(self) -> None:
        """Afterwards nothing leads from the loop to here, or back."""
        self.fd = -1
        trace.finish(self.engine)
        self.engine.loop = self.engine.flush = None
        if _attachment_of(self.loop) is self:
            del _attachments[self.loop]
        self._unhook()


_attachments: weakref.WeakKeyDictionary[
    asyncio.AbstractEventLoop, weakref.ref[_Attachment]
] = weakref.WeakKeyDictionary()
_hookless: set[_Attachment] = set()


def _attachment_of(loop: asyncio.AbstractEventLoop) -> _Attachment | None:
    found = _attachments.get(loop)
    return None if found is None else found()


def current_engine() -> _native.Engine:
    """The engine of the running loop. Raises RuntimeError when no loop runs."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, EventLoop):
        engine = loop.engine
        _native.set_current(engine)
        return engine
    found = _attachment_of(loop)
    if found is not None:
        if found.engine.is_mine:
            return found.engine
        found.leave_thread()
    for orphan in list(_hookless):
        if orphan.loop.is_closed() and orphan.engine.is_mine:
            orphan.end()
    return _Attachment(loop).engine


def flying(loop: asyncio.AbstractEventLoop) -> int:
    """How many flights of a loop, of whatever kind, are in the air."""
    if isinstance(loop, EventLoop):
        engine = loop._engine
    else:
        found = _attachment_of(loop)
        engine = None if found is None else found.engine
    return 0 if engine is None else engine.flying


async def with_timeout(flight: Awaitable[_T], seconds: float) -> _T:
    """Await `flight`; TimeoutError after `seconds`, and the flight is cancelled."""
    async with asyncio.timeout(seconds):
        return await flight


_native.set_attach(current_engine)
