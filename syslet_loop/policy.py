"""Ways to run on our loop, and asyncio's policies while it has them.

asyncio deprecates policies in 3.14 and removes them in 3.16, so nothing here touches
them until a program does: `EventLoopPolicy` is made on first access, it and `install`
warn where asyncio warns, and both are absent where asyncio has none.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import warnings
from collections.abc import Coroutine
from typing import Any, TypeVar

from .loop import EventLoop

_T = TypeVar("_T")
_HAS_POLICIES = sys.version_info < (3, 16)
_WARNS = sys.version_info >= (3, 14)


def new_event_loop() -> EventLoop:
    """A new loop; for `asyncio.Runner(loop_factory=...)` and everything like it.

    Raises ValueError if SYSLET_LOOP_BACKEND names no backend.
    """
    return EventLoop()


def run(main: Coroutine[Any, Any, _T], *, debug: bool | None = None) -> _T:
    """As asyncio.run, on a new loop of ours. Returns what `main` returns.

    Raises RuntimeError where a loop runs already.
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("syslet_loop.run() cannot be called from a running loop")
    with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
        return runner.run(main)


@functools.cache
def _policy() -> Any:
    """The class EventLoopPolicy, made once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        base: Any = asyncio.DefaultEventLoopPolicy
    doc = "asyncio's default policy with our loop, for asyncio.set_event_loop_policy."
    space = {"__doc__": doc, "__module__": __name__, "_loop_factory": EventLoop}
    return type("EventLoopPolicy", (base,), space)


_before: list[Any] = []  # the policy there was when ours was installed


def _install(*, loop: bool | None = None, aiofiles: bool = False) -> None:
    """Make our loop the default of asyncio.run and asyncio.new_event_loop.

    With `aiofiles`, have programs that import aiofiles get our files, on whichever
    loop they run; our loop is then left out, unless `loop` is true as well.
    """
    if aiofiles:
        from .files_shim import replace_aiofiles

        replace_aiofiles()
    if not aiofiles if loop is None else loop:
        _warn("install()", stacklevel=3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            before = asyncio.get_event_loop_policy()
            if type(before) is not _policy():
                _before[:] = [before]
            asyncio.set_event_loop_policy(_policy()())


def _uninstall() -> None:
    """Undo `install`, whatever of it was done."""
    from .files_shim import restore_aiofiles

    restore_aiofiles()
    if _before:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            asyncio.set_event_loop_policy(_before.pop())


def _warn(what: str, stacklevel: int) -> None:
    if _WARNS:
        warnings.warn(
            f"syslet_loop.{what} is about policies, which asyncio removes in 3.16: use "
            "asyncio.run(..., loop_factory=syslet_loop.new_event_loop)",
            DeprecationWarning,
            stacklevel=stacklevel + 1,
        )


def lookup(name: str) -> Any:
    """What a module's __getattr__ gives for a name of these, or AttributeError."""
    if _HAS_POLICIES and name == "EventLoopPolicy":
        _warn(name, stacklevel=3)
        return _policy()
    if _HAS_POLICIES and name == "install":
        return _install
    if _HAS_POLICIES and name == "uninstall":
        return _uninstall
    raise AttributeError(f"module 'syslet_loop' has no attribute {name!r}")


def __getattr__(name: str) -> Any:
    return lookup(name)
