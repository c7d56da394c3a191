"""The loops that are compared: ours, asyncio's and the peers that are installed.

Used by the benchmarks that compare loops and by the processes they start. A peer that
is missing is named in the report and left out of its tables; nothing here imports one
before it is asked for.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import importlib.util
import sys

OURS = "ours"
MODULES = {
    "asyncio": "asyncio",
    "uvloop": "uvloop",
    "rloop": "rloop",
    "blazio": "blazio",
    OURS: "syslet_loop",
}


def new_event_loop(name: str) -> asyncio.AbstractEventLoop:
    """A new loop of that kind; ImportError if it is not installed."""
    loop: asyncio.AbstractEventLoop
    loop = importlib.import_module(MODULES[name]).new_event_loop()
    return loop


def installed(wanted: list[str] | None = None) -> list[str]:
    """The loops that can be compared here; ours is always the last."""
    found = [n for n, module in MODULES.items() if importlib.util.find_spec(module)]
    return [name for name in found if not wanted or name in wanted]


def versions() -> str:
    """One sentence for the head of a report."""
    said = []
    for name, module in MODULES.items():
        if name in ("asyncio", OURS):
            continue
        if importlib.util.find_spec(module):
            said.append(f"{name} {importlib.metadata.version(module)}")
        else:
            said.append(f"{name} is not installed")
    python = ".".join(map(str, sys.version_info[:3]))
    return f"Peers: asyncio of Python {python}, {', '.join(said)}."
