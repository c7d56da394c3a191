"""Locks on files that wait without stopping a loop.

`flock`, `lockf` as in the fcntl module, `ofd_lock` for locks that belong to an open
file instead of the process, and `locked`, which is all of it in an `async with`. A lock
that is free is taken at once; one that is not is waited for by a native worker, or by
asking again and again when many wait already: a worker each would be too many.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from .language import Builder, syslet

__all__ = ["flock", "locked", "lockf", "ofd_lock"]

_OFD_SETLK, _OFD_SETLKW = 37, 38
# short type, whence; off_t start, length; pid
_FLOCK = struct.Struct("hh4xqqi4x")
_KINDS = {
    fcntl.LOCK_SH: fcntl.F_RDLCK,
    fcntl.LOCK_EX: fcntl.F_WRLCK,
    fcntl.LOCK_UN: fcntl.F_UNLCK,
}
_WORKERS_MAX = 16  # that wait for locks at once, in this process
_PAUSE_S, _PAUSE_MAX_S = 0.001, 0.05
_waiting = 0


@syslet
def _flock(s: Builder, fd: Any, operation: int) -> None:
    s.flock(fd, operation)


@syslet
def _fcntl(s: Builder, fd: Any, command: int, lock: bytearray) -> None:
    s.fcntl(fd, command, lock)


async def flock(fd: Any, operation: int) -> None:
    """As fcntl.flock: LOCK_SH, LOCK_EX or LOCK_UN; with LOCK_NB it does not wait.

    Raises BlockingIOError if it may not wait and another has it, else OSError.
    """
    now = operation | fcntl.LOCK_NB
    await _take(
        lambda: _flock(fd, now),
        lambda: _flock(fd, operation),
        operation,
    )


async def lockf(
    fd: Any, operation: int, length: int = 0, start: int = 0, whence: int = 0
) -> None:
    """As fcntl.lockf: a lock of the process on `length` bytes of a file; 0: the rest.

    Raises OSError (EAGAIN or EACCES if it may not wait), and ValueError for an
    operation that is none.
    """
    await _lock(fd, operation, length, start, whence, fcntl.F_SETLK, fcntl.F_SETLKW)


async def ofd_lock(
    fd: Any, operation: int, length: int = 0, start: int = 0, whence: int = 0
) -> None:
    """As lockf, but the lock belongs to the open file: others here have to wait too."""
    await _lock(fd, operation, length, start, whence, _OFD_SETLK, _OFD_SETLKW)


async def _lock(
    fd: Any,
    operation: int,
    length: int,
    start: int,
    whence: int,
    now: int,
    later: int,
) -> None:
    kind = _KINDS.get(operation & ~fcntl.LOCK_NB)
    if kind is None:
        raise ValueError("unrecognized lockf argument")
    lock = _FLOCK.pack(kind, whence, start, length, 0)
    await _take(
        lambda: _fcntl(fd, now, bytearray(lock)),
        lambda: _fcntl(fd, later, bytearray(lock)),
        operation,
    )


async def _take(
    now: Callable[[], Awaitable[None]],
    later: Callable[[], Awaitable[None]],
    operation: int,
) -> None:
    """Take a lock at once, or wait for it unless `operation` says not to."""
    global _waiting
    pause = _PAUSE_S
    while True:
        try:
            return await now()
        except OSError as error:
            busy = error.errno in (errno.EAGAIN, errno.EACCES)
            if not busy or operation & fcntl.LOCK_NB:
                raise
        if _waiting < _WORKERS_MAX:
            _waiting += 1
            try:
                return await later()
            finally:
                _waiting -= 1
        await asyncio.sleep(pause)
        pause = min(2 * pause, _PAUSE_MAX_S)


@syslet
def _open(s: Builder, path: Any, flags: int, mode: int) -> object:
    return s.openat(path, flags, mode)


@asynccontextmanager
async def locked(
    path: str | bytes | os.PathLike[Any],
    *,
    shared: bool = False,
    wait: bool = True,
) -> AsyncIterator[int]:
    """Hold a lock on a file, which is made if it is not there; gives its fd.

    Everybody who uses flock or `locked` on the file waits, in this process and others.
    BlockingIOError is raised if it is taken and `wait` is False.
    """
    fd = await _open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        await flock(fd, operation if wait else operation | fcntl.LOCK_NB)
        yield fd
    finally:
        os.close(fd)  # which gives the lock back
