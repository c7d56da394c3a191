"""Many files at once, and large files in chunks: results as they come.

`read_many` and `stat_many` have at most `limit` flights in the air and take from the
iterable only what they can use; `iter_chunks` reads ahead. All three are asynchronous
generators: who leaves early cancels what is in the air, and descriptors are closed.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, TypeVar

from .files_whole import _finish_reading, _read, new_bytes
from .language import Builder, syslet

__all__ = ["iter_chunks", "read_many", "stat_many"]

P = TypeVar("P", bound="str | bytes | os.PathLike[Any]")

_CHUNK_BYTES = 1 << 20

# struct statx: blksize; nlink, uid, gid, mode; ino, size, blocks; times; devices.
_STATX = struct.Struct("<4xI8x3IH2x3Q8xqI4x16xqI4xqI4x4I")


def _make_stat(data: bytes) -> os.stat_result:
    """A struct statx as os.stat has it."""
    blksize, nlink, uid, gid, mode, ino, size, blocks, *rest = _STATX.unpack_from(data)
    (a, a_ns, c, c_ns, m, m_ns, rdev_major, rdev_minor, dev_major, dev_minor) = rest
    return os.stat_result(
        (
            *(mode, ino, os.makedev(dev_major, dev_minor), nlink, uid, gid, size),
            *(a, m, c, a + a_ns * 1e-9, m + m_ns * 1e-9, c + c_ns * 1e-9),
            *(a * 10**9 + a_ns, m * 10**9 + m_ns, c * 10**9 + c_ns),
            *(blksize, blocks, os.makedev(rdev_major, rdev_minor)),
        )
    )


def _status(s: Builder, path: Any, flags: int) -> object:
    record = s.statx(path, flags)
    record.layout = record.layout._replace(make=_make_stat)
    return record


@syslet
def _stat(s: Builder, path: Any) -> object:
    return _status(s, path, 0)


@syslet
def _lstat(s: Builder, path: Any) -> object:
    return _status(s, path, 0x100)  # AT_SYMLINK_NOFOLLOW


@syslet
def _open(s: Builder, path: Any) -> object:
    fd = s.openat(path, os.O_RDONLY)
    st = s.fstat(fd)
    return fd, st.mode, st.size


@syslet
def _chunk(s: Builder, fd: Any, size: int, offset: Any) -> object:
    own = s.dup(fd)  # the generator closes its own when it is left
    return s.pread(own, size, offset)


@syslet
def _chunk_into(s: Builder, fd: Any, memory: memoryview, offset: Any) -> object:
    own = s.dup(fd)
    return s.pread(own, memory, offset)


@syslet
def _next(s: Builder, fd: Any, size: int) -> object:
    own = s.dup(fd)
    return s.read(own, size)


async def read_many(
    paths: Iterable[P],
    *,
    limit: int = 64,
    ordered: bool = False,
    return_exceptions: bool = False,
) -> AsyncIterator[tuple[P, Any]]:
    """Pairs of a path and the content of its file (bytes), or what went wrong with it.

    At most `limit` files are at work at once; pairs come as they are ready, or in the
    order of `paths` if `ordered`. With `return_exceptions` an OSError takes the place
    of the content; without, the first failure is raised and ends it.
    """
    results = _read.map(
        paths, limit=limit, ordered=ordered, return_exceptions=return_exceptions
    )
    async for path, result in results:
        if isinstance(result, tuple):
            data, fd = result
            if fd >= 0:
                try:
                    data = await _finish_reading(path, data, fd)
                except OSError as error:
                    if not return_exceptions:
                        raise
                    data = error
            yield path, data
        else:
            yield path, result


async def stat_many(
    paths: Iterable[P],
    *,
    follow_symlinks: bool = True,
    limit: int = 64,
    ordered: bool = False,
    return_exceptions: bool = False,
) -> AsyncIterator[tuple[P, Any]]:
    """Pairs of a path and its os.stat_result, or what went wrong with it.

    The options are those of read_many; without `follow_symlinks` it is about a symbolic
    link itself.
    """
    one = _stat if follow_symlinks else _lstat
    async for pair in one.map(
        paths, limit=limit, ordered=ordered, return_exceptions=return_exceptions
    ):
        yield pair


async def iter_chunks(
    path: str | bytes | os.PathLike[Any],
    size: int = _CHUNK_BYTES,
    *,
    readahead: int = 4,
) -> AsyncIterator[bytes]:
    """The content of a file in chunks of `size` bytes; only the last one is smaller.

    `readahead` chunks are read at once. A file that grows meanwhile is read to the end
    that is found then. Raises OSError with the path, and ValueError if `size` or
    `readahead` is below 1.
    """
    if size < 1 or readahead < 1:
        raise ValueError("size and readahead must be at least 1")
    fd, mode, length = await _open(path)
    try:
        if not stat.S_ISREG(mode) or length == 0 or size < 2:
            async for chunk in _in_turn(fd, size):
                yield chunk
            return
        made: dict[int, bytes] = {}
        places = _places(fd, size, length, made)
        ahead = _chunk_into.map(places, limit=readahead, ordered=True)
        at = 0
        async for (_, _, at), count in ahead:
            chunk = made.pop(at)
            if count < size:
                chunk = await _filled(fd, size, at, chunk[:count])
            if chunk:
                yield chunk
            if len(chunk) < size:
                return
        at += size
        while chunk := await _filled(fd, size, at, b""):
            yield chunk
            at += len(chunk)
    except IsADirectoryError as error:
        error.filename = os.fspath(path)
        raise
    finally:
        os.close(fd)


def _places(
    fd: int, size: int, length: int, made: dict[int, bytes]
) -> Iterator[tuple[int, memoryview, int]]:
    """What to read where: into the chunks themselves, which are kept in `made`."""
    for at in range(0, length, size):
        made[at], view = new_bytes(size)
        yield fd, view, at


async def _filled(fd: int, size: int, offset: int, data: bytes) -> bytes:
    """`data` and what follows it, until there are `size` bytes or no more."""
    while len(data) < size:
        more = await _chunk(fd, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


async def _in_turn(fd: int, size: int) -> AsyncIterator[bytes]:
    """Chunks of what has no size that could be known: pipes, files of /proc."""
    data = b""
    while more := await _next(fd, size - len(data)):
        data += more
        if len(data) == size:
            yield data
            data = b""
    if data:
        yield data
