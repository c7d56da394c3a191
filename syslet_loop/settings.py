"""What the environment says about a loop: its backend, and its bounds.

Read when a loop is made, so that a mistake is an error there and not at the first wait.
Every bound has a largest value of the engine's own (native/engine/limits.h), which is
its default; reaching one slows down or is a plain error, see docs/design.md. Used by
loop.py, attach.py and doctor.py.
"""

from __future__ import annotations

import os

from .program_format import LIMITS

BACKENDS = ("kernel", "uring", "epoll")
BACKEND = "SYSLET_LOOP_BACKEND"
# Of the environment: the engine's name of it, least and largest value.
BOUNDS = {
    "SYSLET_LOOP_WORKERS": ("workers", 2, LIMITS["WORKERS_MAX"]),
    "SYSLET_LOOP_FLIGHTS": ("flights", 1, LIMITS["FLIGHTS_MAX"]),
    "SYSLET_LOOP_ENTRIES": ("sq_entries", 2, LIMITS["CQ_ENTRIES"] // 4),
    "SYSLET_LOOP_MEMORY": ("memory", 1, (1 << 63) - 1),
}


def chosen_backend() -> str:
    """The backend that SYSLET_LOOP_BACKEND asks for, or 'any'.

    Raises ValueError for a value that names none.
    """
    name = os.environ.get(BACKEND, "")
    if name and name not in BACKENDS:
        names = f"{', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}"
        raise ValueError(f"{BACKEND} is {name!r}: it may be {names}")
    return name or "any"


def chosen_bounds() -> dict[str, int]:
    """Arguments for an engine, of those bounds that the environment sets.

    Raises ValueError for a value that is no number or out of range.
    """
    found = {}
    for variable, (name, least, most) in BOUNDS.items():
        text = os.environ.get(variable)
        if text:
            if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
                raise ValueError(
                    f"{variable} is {text!r}: it may be a number from {least} to {most}"
                )
            found[name] = int(text)
    return found
