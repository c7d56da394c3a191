"""syslet_loop: an asyncio event loop whose unit of work is a program of system calls.

Public names and nothing else. `syslet` makes awaitable chains of system calls,
`calls` has every operation as one awaitable, `new_event_loop` and `run` give the loop
they fly on; they also fly on a loop that somebody else made.
"""

import sys as _sys
from typing import Any as _Any

if _sys.platform != "linux":
    raise ImportError(
        "syslet_loop runs on Linux only: its loop and its chains are system calls of "
        f"the Linux kernel, and this is {_sys.platform}"
    )

from . import _native, attach, calls, memory, policy
from .loop import EventLoop
from .policy import new_event_loop, run
from .syslet import Atom, Cell, Memory, Param, address, program, syslet

__version__ = "0.1.0"

__all__ = [
    "Atom",
    "Cell",
    "EventLoop",
    "Memory",
    "Param",
    "address",
    "calls",
    "memory",
    "new_event_loop",
    "program",
    "run",
    "syslet",
]

_native.set_attach(attach.current_engine)


def __getattr__(name: str) -> _Any:
    return policy.lookup(name)
