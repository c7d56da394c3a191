"""Loops that go wrong in every way the runner must notice; test_runner.py uses them.

Each function is a factory for `run.py --loop tests.conformance.faulty:NAME`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import unittest
from pathlib import Path

from . import loops


def refusing() -> asyncio.AbstractEventLoop:
    raise OSError("no loop today")


def crashing() -> asyncio.AbstractEventLoop:
    os.kill(os.getpid(), signal.SIGABRT)
    raise AssertionError


def leaving() -> asyncio.AbstractEventLoop:
    os._exit(0)


def hanging() -> asyncio.AbstractEventLoop:
    while True:
        signal.pause()


def skipping() -> asyncio.AbstractEventLoop:
    raise unittest.SkipTest("not on this loop")


def asyncios() -> asyncio.AbstractEventLoop:
    return loops.ORIGINAL()


class _Noisy(asyncio.SelectorEventLoop):
    """It fails when nobody can catch it."""

    def __del__(self) -> None:
        raise OSError("too late")


def noisy() -> asyncio.AbstractEventLoop:
    return _Noisy()


class _Sound(asyncio.SelectorEventLoop):
    pass


def unsteady() -> asyncio.AbstractEventLoop:
    """Fails once: the file that the environment names says whether it did."""
    was = Path(os.environ["UNSTEADY"])
    if was.exists():
        return _Sound()
    was.touch()
    raise OSError("no loop yet")
