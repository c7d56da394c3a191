"""The event loop: asyncio's own machinery around a wait in our engine.

`EventLoop` inherits everything that happens once per connection or per loop from
asyncio's selector loop; what it replaces is the wait. Until the first flight that wait
is a plain epoll. From then on it is one turn of the engine: submit, wait in the ring
(which also watches the selector's epoll fd), resume flights in C. Programs come here
through policy.py; attach.py asks for the engine. Nothing here knows an operation.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import threading
from typing import TYPE_CHECKING, Any

from . import _native

BACKENDS = ("uring", "epoll")
_VARIABLE = "SYSLET_LOOP_BACKEND"


def chosen_backend() -> str:
    """The backend that SYSLET_LOOP_BACKEND asks for, or 'any'.

    Raises ValueError for a value that names none.
    """
    name = os.environ.get(_VARIABLE, "")
    if name and name not in BACKENDS:
        raise ValueError(f"{_VARIABLE} is {name!r}: it may be {' or '.join(BACKENDS)}")
    return name or "any"


def new_engine(loop: asyncio.AbstractEventLoop, backend: str) -> _native.Engine:
    """An engine for the flights of `loop`; it belongs to the calling thread.

    Raises OSError if `backend` is 'uring' and this process may not use io_uring.
    """
    try:
        engine = _native.Engine(backend)
    except OSError as error:
        if backend != "uring":
            raise
        raise OSError(
            error.errno,
            f"{_VARIABLE}=uring, but io_uring is not to be had here "
            f"({os.strerror(error.errno or 0)})",
        ) from None
    engine.loop = loop
    return engine


def retire(engine: _native.Engine) -> None:
    """Close the engine of a thread that no longer runs its loop.

    Raises RuntimeError if flights that it launched are still in the air.
    """
    if engine.stats()["flying"]:
        raise RuntimeError(
            "this loop has flights in the air that were started in another thread; "
            "a loop moves to another thread only when all have landed"
        )
    engine.close()
    # The engine may outlive its loop's run as another thread's last engine.
    engine.loop = engine.flush = None


class RingSelector(selectors.EpollSelector):
    """An epoll selector that waits inside the engine once there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.engine: _native.Engine | None = None

    def select(self, timeout: float | None = None) -> Any:
        """As selectors.EpollSelector.select; flights run meanwhile."""
        if self.engine is None:
            return super().select(timeout)
        if self.engine.turn(timeout):
            return super().select(0)
        return []


if TYPE_CHECKING:

    class _Base(asyncio.SelectorEventLoop):
        """What asyncio's own loops use of their base, which its stubs leave out."""

        _thread_id: int | None

        def _check_closed(self) -> None: ...
        def _check_running(self) -> None: ...

else:
    _Base = asyncio.SelectorEventLoop


class EventLoop(_Base):
    """An asyncio loop on which syslets fly. Arguments: none; made by new_event_loop.

    Beyond asyncio's loop it has `backend` (str: 'uring' or 'epoll') and `stats()`.
    Raises ValueError if SYSLET_LOOP_BACKEND names no backend.
    """

    def __init__(self) -> None:
        self._closed = True  # for __del__, if the next lines fail
        self._backend_wanted = chosen_backend()
        self._ring = RingSelector()
        super().__init__(self._ring)

    # The engine.

    @property
    def engine(self) -> _native.Engine:
        """The engine of this loop, made when first asked for.

        It belongs to the thread that asks: the one that runs the loop, if one does.
        Raises RuntimeError in other threads then, when an engine of another thread
        still has flights in the air, or when the loop is closed.
        """
        self._check_closed()
        engine = self._ring.engine
        if engine is not None and engine.is_mine:
            return engine
        if self._thread_id not in (None, threading.get_ident()):
            raise RuntimeError("this loop runs in another thread: its engine is there")
        self._leave_thread()
        engine = new_engine(self, self._backend_wanted)
        engine.watch(self._ring.fileno())
        self._ring.engine = engine
        return engine

    def _leave_thread(self) -> None:
        """Give up the engine of a thread that ran this loop before."""
        engine = self._ring.engine
        if engine is not None and not engine.is_mine:
            retire(engine)
            self._ring.engine = None

    @property
    def backend(self) -> str:
        """How misses wait: 'uring' or 'epoll'."""
        return (self._ring.engine or self.engine).backend

    def stats(self) -> dict[str, int]:
        """Counters since the engine was made, by name; docs/design.md explains them.

        May be called from any thread once the loop has had a flight.
        """
        return (self._ring.engine or self.engine).stats()

    # Running and closing.

    def run_forever(self) -> None:
        """Run until stop() is called."""
        self._check_closed()
        self._check_running()
        self._leave_thread()
        previous = _native.set_current(self._ring.engine)
        try:
            super().run_forever()
        finally:
            _native.set_current(previous)

    def close(self) -> None:
        """Cancel what is in the air, wait until it has landed, and close the loop.

        Raises RuntimeError while the loop runs, or when flights are in the air that
        were started in another thread.
        """
        engine = self._ring.engine
        if engine is not None and not self.is_running() and not self.is_closed():
            engine.close()
            engine.loop = None
            self._ring.engine = None
        super().close()
