"""Reading and writing at a place, in vectors, around the cache; and advice about it.

These are the calls of the os module on descriptors the caller owns, each one flight.
The `direct_*` ones are for descriptors opened with O_DIRECT: a try that is promised not
to wait would wait for the device there, so they leave the thread at once. Memory for
them has to be aligned, which `aligned_buffer` and `direct_buffers` are.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Awaitable, Sequence
from typing import Any

from . import _native, calls
from .language import ASYNC, Builder, syslet

__all__ = [
    "aligned_buffer",
    "direct_buffers",
    "direct_pread",
    "direct_pwrite",
    "fadvise",
    "fallocate",
    "open_fd",
    "pread",
    "pread_into",
    "preadv",
    "pwrite",
    "pwritev",
    "sync_file_range",
]

Path = str | bytes | os.PathLike[Any]


@syslet
def pread(s: Builder, fd: Any, size: int, offset: Any) -> object:
    """Up to `size` bytes at `offset`, as bytes; fewer only at the end of the file."""
    return s.pread(fd, size, offset)


@syslet
def pread_into(s: Builder, fd: Any, buffer: memoryview, offset: Any) -> object:
    """Read at `offset` into memory of the caller; how many bytes."""
    return s.pread(fd, buffer, offset)


@syslet
def pwrite(s: Builder, fd: Any, data: Any, offset: Any) -> object:
    """Write all of `data` at `offset`; how many bytes, fewer if the disk is full."""
    return s.pwrite(fd, data, offset)


@syslet
def direct_pread(s: Builder, fd: Any, buffer: memoryview, offset: Any) -> object:
    """Read into aligned memory from an fd opened with O_DIRECT; how many bytes."""
    return s.pread(fd, buffer, offset, atom_flags=ASYNC)


@syslet
def direct_pwrite(s: Builder, fd: Any, data: Any, offset: Any) -> object:
    """Write aligned memory to an fd opened with O_DIRECT; how many bytes."""
    return s.pwrite(fd, data, offset, atom_flags=ASYNC)


@syslet
def fallocate(s: Builder, fd: Any, mode: int, offset: Any, length: Any) -> None:
    """Make room for, or with a mode free, a part of a file."""
    s.fallocate(fd, mode, offset, length)


@syslet
def fadvise(s: Builder, fd: Any, offset: Any, length: Any, advice: int) -> None:
    """Say how a part of a file will be used, with os.POSIX_FADV_*."""
    s.fadvise(fd, offset, length, advice)


@syslet
def sync_file_range(s: Builder, fd: Any, offset: Any, length: Any, flags: int) -> None:
    """Write a part of a file to the disk; `flags` are those of sync_file_range(2)."""
    s.sync_file_range(fd, offset, length, flags)


@syslet
def _open(s: Builder, path: Any, flags: int, mode: int) -> object:
    return s.openat(path, flags, mode)


def open_fd(path: Path, flags: int, mode: int = 0o777) -> Awaitable[int]:
    """As os.open: a descriptor that the caller owns and no child inherits.

    Raises OSError with the path.
    """
    return _open(path, flags, mode)


def preadv(fd: Any, buffers: Sequence[Any], offset: int, flags: int = 0) -> Any:
    """Read at `offset` into several pieces of memory, as os.preadv does.

    Gives how many bytes. `flags` are os.RWF_*.
    """
    if flags:
        return calls.preadv2(fd, list(buffers), offset, flags)
    return calls.preadv(fd, list(buffers), offset)


def pwritev(fd: Any, buffers: Sequence[Any], offset: int, flags: int = 0) -> Any:
    """Write several pieces of memory at `offset`, as os.pwritev does.

    Gives how many bytes. `flags` are os.RWF_*.
    """
    if flags:
        return calls.pwritev2(fd, list(buffers), offset, flags)
    return calls.pwritev(fd, list(buffers), offset)


def aligned_buffer(size: int) -> memoryview:
    """Zeroed memory of `size` bytes that begins at a page, as O_DIRECT wants it."""
    return memoryview(mmap.mmap(-1, size))


def direct_buffers(count: int, size: int) -> list[memoryview]:
    """`count` pieces of zeroed memory of `size` bytes, each beginning at a page.

    They are registered together with the ring of the running loop, which makes reads
    and writes of files opened with O_DIRECT cheaper on that loop; where there is no
    ring, or RLIMIT_MEMLOCK or a limit of the engine forbids it, they are memory like
    any other. It is given back when the last piece is. Whoever takes pages out of it
    (madvise with MADV_DONTNEED) has other pages than the kernel from then on.

    Raises ValueError if `count` or `size` is below 1, OSError if there is no memory,
    RuntimeError outside of a loop.
    """
    if count < 1 or size < 1:
        raise ValueError("count and size must be at least 1")
    stride = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    whole = memoryview(_native.FixedMemory(count * stride))
    return [whole[at : at + size] for at in range(0, count * stride, stride)]
