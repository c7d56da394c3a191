"""The loops that are compared: ours, asyncio's and the peers that are installed.

Used by the benchmarks that compare loops and by the processes they start. A peer that
is missing is named in the report and left out of its tables; nothing here imports one
before it is asked for. `before` is our loop from another checkout, built there: the
folder in BENCH_BEFORE. `epoll` is our loop on its other backend, compared as a peer of
servers when `--loops` names it.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import importlib.util
import os
import sys

OURS, BEFORE, EPOLL = "ours", "before", "epoll"
MODULES = {
    "asyncio": "asyncio",
    "uvloop": "uvloop",
    "rloop": "rloop",
    "blazio": "blazio",
    EPOLL: "syslet_loop",
    BEFORE: "syslet_loop",
    OURS: "syslet_loop",
}
NOT_PEERS = (BEFORE, OURS)


def new_event_loop(name: str) -> asyncio.AbstractEventLoop:
    """A new loop of that kind; ImportError if it is not installed."""
    if name == BEFORE and sys.path[0] != os.environ["BENCH_BEFORE"]:
        sys.path.insert(0, os.environ["BENCH_BEFORE"])
    if name == EPOLL:
        os.environ["SYSLET_LOOP_BACKEND"] = EPOLL  # in the processes of servers
    loop: asyncio.AbstractEventLoop
    loop = importlib.import_module(MODULES[name]).new_event_loop()
    return loop


def installed(wanted: list[str] | None = None) -> list[str]:
    """The loops that can be compared here; ours is always the last."""
    found = [n for n, module in MODULES.items() if importlib.util.find_spec(module)]
    if "BENCH_BEFORE" not in os.environ:
        found.remove(BEFORE)
    wanted = wanted or [name for name in found if name != EPOLL]
    return [name for name in found if name in (*wanted, BEFORE)]


def versions() -> str:
    """One sentence for the head of a report."""
    said = []
    for name, module in MODULES.items():
        if name in ("asyncio", EPOLL, *NOT_PEERS):
            continue
        if importlib.util.find_spec(module):
            said.append(f"{name} {importlib.metadata.version(module)}")
        else:
            said.append(f"{name} is not installed")
    python = ".".join(map(str, sys.version_info[:3]))
    return f"Peers: asyncio of Python {python}, {', '.join(said)}."
