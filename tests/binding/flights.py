"""Syslets and waits that several tests of the binding use; no tests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from processes import check_process as check_process
from processes import in_process as in_process

from syslet_loop import _native, attach, syslet

PATIENCE_S = 20  # how long a test waits for what is certain to come


@syslet
def echo(s: Any, number: int) -> Any:
    """Give a number as it came, without waiting."""
    return s.nop(number)


@syslet
def read_file(s: Any, path: str, size: int = 65536) -> Any:
    fd = s.openat(path, os.O_RDONLY)
    data = s.read(fd, size)
    s.close(fd)
    return data


@syslet
def receive(s: Any, fd: int, size: int = 100) -> Any:
    return s.recv(fd, size)


@syslet
def receive_into(s: Any, fd: int, memory: bytearray) -> Any:
    return s.recv(fd, memory)


@syslet
def make_pipe(s: Any) -> Any:
    reader, writer = s.pipe2()
    return {"reader": reader, "writer": writer}


@syslet
def open_and_wait(s: Any, fd: int) -> Any:
    """Hold a descriptor of its own while it waits."""
    made = s.eventfd(0)
    data = s.recv(fd, 100)
    return made, data


@syslet
def lock_behind(s: Any, path: str, operation: int) -> Any:
    """Wait on a worker thread until a lock is free."""
    fd = s.openat(path, os.O_RDWR)
    s.flock(fd, operation)
    return fd


def descriptors() -> set[int]:
    """The open descriptors, without that of the listing itself."""
    names = os.listdir("/proc/self/fd")
    return {int(name) for name in names if os.path.exists(f"/proc/self/fd/{name}")}


def current() -> _native.Engine:
    """The engine of the running loop, of whatever kind it is."""
    return attach.current_engine()


async def until(condition: Callable[[], bool]) -> None:
    """Turn the loop until something is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0)


async def flying(count: int) -> None:
    """Turn the loop until exactly so many flights are in the air."""
    await until(lambda: current().stats()["flying"] == count)
