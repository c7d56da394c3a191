"""syslet_loop: an asyncio event loop whose unit of work is a program of system calls.

Public names and nothing else. `new_event_loop` and `run` give the loop, `syslet` makes
awaitable chains of system calls, `calls` has every operation as one awaitable; these
also fly on a loop that somebody else made. A program that only wants the loop does not
pay for the language: it is imported when one of its names is first asked for.

PYTEST_DONT_REWRITE (pytest rewrites the asserts of a package that brings a plugin, and
would warn where this one was imported before)
"""

import sys as _sys
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if _sys.platform != "linux":
    raise ImportError(
        "syslet_loop runs on Linux only: its loop and its chains are system calls of "
        f"the Linux kernel, and this is {_sys.platform}"
    )

from . import policy
from .loop import EventLoop
from .policy import new_event_loop, run

if _TYPE_CHECKING:
    from . import attach as attach
    from . import calls, files, memory
    from . import web as web
    from .language import Atom, Cell, Memory, Param, address, program, syslet
    from .workers import serve

__version__ = "0.1.0"

__all__ = [
    "Atom",
    "Cell",
    "EventLoop",
    "Memory",
    "Param",
    "address",
    "calls",
    "files",
    "memory",
    "new_event_loop",
    "program",
    "run",
    "serve",
    "syslet",
]

_MODULES = ("attach", "calls", "files", "memory", "web")
_LANGUAGE = ("Atom", "Cell", "Memory", "Param", "address", "program", "syslet")


def __getattr__(name: str) -> _Any:
    if name in _LANGUAGE:
        from . import language

        found = {each: getattr(language, each) for each in _LANGUAGE}
        globals().update(found)
        return found[name]
    if name in _MODULES:
        from importlib import import_module

        return import_module(f".{name}", __name__)
    if name == "serve":
        from .workers import serve

        globals()[name] = serve
        return serve
    return policy.lookup(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LANGUAGE, *_MODULES, "serve"})
