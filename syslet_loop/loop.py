"""The event loop: asyncio's selector loop with a native half.

`EventLoop` inherits what happens once per connection or per loop from asyncio; what
runs per callback or packet (scheduling, timers, ticks, transports, socket calls) is in
C, in `_native.Loop`. Its wait is one turn of the engine: submit, wait in the ring,
collect what transports and readers wait for, resume flights. The engine is made when
first needed. Programs come here through policy.py; attach.py asks for the engine.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import sys
import threading
from asyncio import events
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _native, trace
from .connections import Connections
from .executors import Executors
from .processes import Processes
from .settings import BACKEND, chosen_backend, chosen_bounds
from .stats import Stats, stats_of

if sys.version_info < (3, 12):
    # Later asyncio does it: what a child is signalled is not told to the parent.
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))


# What a backend that was asked for needs, for the error when it is missing.
_NEEDS = {
    "uring": "io_uring is",
    "kernel": "a kernel that executes syslets (/dev/syslet, docs/kernel.md) is",
}


def new_engine(
    loop: asyncio.AbstractEventLoop, backend: str, bounds: dict[str, int]
) -> _native.Engine:
    """An engine for the flights of `loop`; it belongs to the calling thread.

    Raises OSError if `backend` is 'uring' and this process may not use io_uring, or if
    it is 'kernel' and this kernel executes no syslets, or not for this process.
    """
    try:
        engine = _native.Engine(backend, **bounds)
    except OSError as error:
        if backend not in _NEEDS:
            raise
        raise OSError(
            error.errno,
            f"{BACKEND}={backend}, but {_NEEDS[backend]} not to be had here "
            f"({os.strerror(error.errno or 0)})",
        ) from None
    engine.loop = loop
    trace.begin(engine)
    return engine


def retire(engine: _native.Engine) -> None:
    """Close the engine of a thread that no longer runs its loop.

    Raises RuntimeError if flights that it launched are still in the air.
    """
    if engine.flying:
        raise RuntimeError(
            "this loop has flights in the air that were started in another thread; "
            "a loop moves to another thread only when all have landed"
        )
    engine.close()
    trace.finish(engine)
    # The engine may outlive its loop's run as another thread's last engine.
    engine.loop = engine.flush = None


class Readers:
    """What stands for asyncio's selector: it tells what add_reader registered.

    Nothing waits here; the engine does.
    """

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop

    def get_key(self, fd: int) -> selectors.SelectorKey:
        """As a selector's. Raises KeyError for a descriptor that is not registered."""
        read, write = self._loop._reader_of(fd)
        if read is None and write is None:
            raise KeyError(f"{fd!r} is not registered")
        reading = selectors.EVENT_READ if read is not None else 0
        writing = selectors.EVENT_WRITE if write is not None else 0
        return selectors.SelectorKey(fd, fd, reading | writing, (read, write))

    def close(self) -> None:
        """Nothing is held."""


if TYPE_CHECKING:

    class _Base(_native.Loop, asyncio.SelectorEventLoop):
        """What asyncio's own loops use of their base, which its stubs leave out."""

        _thread_id: int | None
        _csock: Any
        _internal_fds: int

        def __init__(self, selector: Any) -> None: ...
        def _check_closed(self) -> None: ...
        def _check_running(self) -> None: ...
        def _asyncgen_firstiter_hook(self, agen: Any) -> None: ...
        def _asyncgen_finalizer_hook(self, agen: Any) -> None: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...
        def _make_self_pipe(self) -> None: ...
        def _close_self_pipe(self) -> None: ...

else:
    _Base = _native.Loop


class EventLoop(Connections, Executors, Processes, _Base):
    """An asyncio loop on which syslets fly. Arguments: none; made by new_event_loop.

    Beyond asyncio's loop it has `backend` (str: 'kernel', 'uring' or 'epoll') and
    `stats()`.
    Raises ValueError if SYSLET_LOOP_BACKEND names no backend, or another of its
    variables (settings.py) no bound.
    """

    # Every attribute that asyncio's constructors set, so that there is no dictionary:
    # method calls on a loop without one are faster (docs/rationale.md).
    __slots__ = (
        "_asyncgens",
        "_asyncgens_shutdown_called",
        "_at_close",
        "_backend_wanted",
        "_bounds",
        "_children",
        "_clock_resolution",
        "_coroutine_origin_tracking_enabled",
        "_coroutine_origin_tracking_saved_depth",
        "_csock",
        "_current_handle",
        "_default_executor",
        "_exception_handler",
        "_executor_shutdown_called",
        "_internal_fds",
        "_listeners",
        "_old_agen_hooks",
        "_selector",
        "_signal_handlers",
        "_ssock",
        "_thread_id",
        "_timer_cancelled_count",
        "_transports",
        "_unix_server_sockets",
        "slow_callback_duration",
    )

    def __init__(self) -> None:
        self._closed = True  # for __del__, if the next lines fail
        self._backend_wanted = chosen_backend()
        self._bounds = chosen_bounds()
        self._listeners: dict[Any, _native.Listener] = {}
        self._children: dict[int, Any] = {}
        self._at_close: set[Callable[[asyncio.AbstractEventLoop], None]] = set()
        super().__init__(Readers(self))

    # The engine.

    @property
    def engine(self) -> _native.Engine:
        """The engine of this loop, made when first asked for.

        It belongs to the thread that asks: the one that runs the loop, if one does.
        Raises RuntimeError in other threads then, when an engine of another thread
        still has flights in the air, or when the loop is closed.
        """
        self._check_closed()
        engine = self._engine
        if engine is not None and engine.is_mine:
            return engine
        if self._thread_id not in (None, threading.get_ident()):
            raise RuntimeError("this loop runs in another thread: its engine is there")
        self._leave_thread()
        return self._need_engine()

    def _make_engine(self) -> _native.Engine:
        """A new engine, for the native half, which keeps it."""
        engine = new_engine(self, self._backend_wanted, self._bounds)
        if self._debug:
            trace.watch(engine)
        if self._thread_id is not None:
            _native.set_current(engine)
        return engine

    def _leave_thread(self) -> None:
        """Give up the engine of a thread that ran this loop before."""
        engine = self._engine
        if engine is not None and not engine.is_mine:
            retire(engine)
            self._engine = None

    @property
    def backend(self) -> str:
        """How misses wait: 'uring' or 'epoll'; 'kernel': as 'uring', in the kernel too.

        The engine is made to find out, if it has not been. Raises OSError if
        SYSLET_LOOP_BACKEND asks for one that cannot be had.
        """
        return (self._engine or self.engine).backend

    def stats(self) -> Stats:
        """Counters since the engine was made, and what is in the air: see `Stats`.

        May be called from any thread once the loop has an engine.
        """
        return stats_of(self._engine or self.engine)

    # Running and closing.

    def run_forever(self) -> None:
        """Run until stop() is called."""
        self._check_closed()
        self._check_running()
        self._leave_thread()
        if self._debug:
            trace.watch(self._engine)
        previous = _native.set_current(self._engine)
        hooks = sys.get_asyncgen_hooks()
        try:
            self._set_coroutine_origin_tracking(self._debug)
            self._thread_id = threading.get_ident()
            sys.set_asyncgen_hooks(
                firstiter=self._asyncgen_firstiter_hook,
                finalizer=self._asyncgen_finalizer_hook,
            )
            events._set_running_loop(self)
            self._run_until_stopped()
        finally:
            self._stopping = False
            self._thread_id = None
            events._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*hooks)
            _native.set_current(previous)

    def _run_until_stopped(self) -> None:
        """Ticks in C, unless a program has put its own tick in their place."""
        if getattr(self._run_once, "__func__", None) is None:
            self._run_ticks()
            return
        while True:
            self._run_once()
            if self._stopping:
                return

    def at_close(self, close: Callable[[asyncio.AbstractEventLoop], None]) -> None:
        """Have `close(loop)` called when this loop is closed, before anything else."""
        self._at_close.add(close)

    def close(self) -> None:
        """Cancel what is in the air, wait until it has landed, and close the loop.

        Raises RuntimeError while the loop runs, or when flights are in the air that
        were started in another thread.
        """
        engine = self._engine
        if not self.is_running():
            while self._at_close:
                self._at_close.pop()(self)
        if engine is not None and not self.is_running() and not self.is_closed():
            engine.close()
            trace.finish(engine)
            engine.loop = None
            self._engine = None
        super().close()
        self._listeners.clear()
        self._let_go()
        self._leave_children()

    # Waking up: the engine does it, so a pipe is made only for Python's signal
    # handlers, which can write to nothing else.

    def _make_self_pipe(self) -> None:
        self._ssock = self._csock = None
        self._internal_fds += 1  # the engine's

    def _close_self_pipe(self) -> None:
        if self._csock is not None:
            super()._close_self_pipe()
        else:
            self._internal_fds -= 1

    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> None:  # type: ignore[override]
        """As asyncio: call `callback(*args)` in the loop when the signal comes."""
        if self._csock is None and not self._closed:
            super()._make_self_pipe()
            self._internal_fds -= 1
        super().add_signal_handler(sig, callback, *args)
