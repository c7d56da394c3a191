"""Whole files: read, write, append, replace, copy, each one or two syslets.

Imported by programs and by the other files_* modules. What is raised is what the
synchronous functions raise, with the path that was passed. `atomic=True` writes a file
beside the target and renames it: whoever opens the target finds all of the old content
or all of the new one, and no failure or cancellation leaves the temporary file behind.
"""

from __future__ import annotations

import asyncio
import errno
import locale
import os
import secrets
from typing import Any

from . import _native, calls, memory
from .files_copy import copyfile
from .language import Builder, syslet

__all__ = [
    "append_bytes",
    "copyfile",
    "read_bytes",
    "read_text",
    "write_bytes",
    "write_text",
]

Path = str | bytes | os.PathLike[Any]

_FIRST_BYTES = 65528  # with the other buffer, what a flight has room for by itself
_PART_BYTES = 1 << 20  # of a large file, at once
_NAME_KEPT = 200  # bytes of the target's name: a name has at most 255
_CREATE = os.O_WRONLY | os.O_CREAT


# Reading.


@syslet
def _read(s: Builder, path: Any) -> object:
    """A file that fits: its bytes and -1. Any other: some bytes, and the open fd."""
    fd = s.openat(path, os.O_RDONLY)
    left = s.cell(-1)
    data = s.buffer(_FIRST_BYTES)
    # Not `read`: the kernel may then be able to tell the end of a file from a pause.
    n = s.pread(fd, data, 0, check=False)
    more = s.pread(fd, s.buffer(8), n, check=False)
    with s.if_(more == 0):
        s.close(fd)
    with s.otherwise():
        s.set(left, fd)
    return data, left


@syslet
def _read_into(s: Builder, fd: Any, part: memoryview, offset: Any) -> object:
    own = s.dup(fd)  # the caller may close its own at once when it is cancelled
    return s.pread(own, part, offset)


@syslet
def _read_next(s: Builder, fd: Any) -> object:
    """What comes next, b"" at the end."""
    own = s.dup(fd)
    return s.read(own, 65536)


@syslet
def _size_of(s: Builder, fd: Any) -> object:
    return s.fstat(fd).size


async def read_bytes(path: Path) -> bytes:
    """All of a file, as bytes.

    What has no size that could be known, as files of /proc and pipes, is read to its
    end. Raises OSError with the path, as the built-in open does.
    """
    data, fd = await _read(path)
    return data if fd < 0 else await _finish_reading(path, data, fd)


async def _finish_reading(path: Path, data: bytes, fd: int) -> bytes:
    """The whole file of which `_read` gave the beginning; closes `fd`."""
    try:
        size = await _size_of(fd)
        if len(data) == _FIRST_BYTES and size > len(data):
            data = await _read_large(fd, data, size)
            if len(data) < size:
                return data  # it shrank
        else:
            data = b""  # nobody knows how large: from the start again, in turn
        parts = [data]
        if data:
            os.lseek(fd, len(data), os.SEEK_SET)
        while part := await _read_next(fd):
            parts.append(part)
        return b"".join(parts) if len(parts) > 1 else data
    except IsADirectoryError as error:
        error.filename = os.fspath(path)
        raise
    finally:
        os.close(fd)


def new_bytes(size: int) -> tuple[bytes, memoryview]:
    """A bytes object, and its memory to read into.

    Nobody else has seen the object yet, so its bytes may still be written; two bytes or
    more, because Python has the smaller ones already.
    """
    data = _native.new_bytes(size)
    return data, memory.view(memory.ffi.from_buffer(data))


async def _read_large(fd: int, start: bytes, size: int) -> bytes:
    """A file of `size` bytes, or as much of it as there is, read where it will stay."""
    data, view = new_bytes(size)
    at = len(start)
    view[:at] = start
    while at < size:
        got = await _read_into(fd, view[at : at + _PART_BYTES], at)
        if got == 0:
            return data[:at]
        at += got
    return data


async def read_text(
    path: Path,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> str:
    """All of a text file, as str.

    `encoding` (default: the locale's), `errors` and `newline` mean what they mean for
    the built-in open. Raises OSError with the path, UnicodeDecodeError, or LookupError
    for an encoding that does not exist.
    """
    data = await read_bytes(path)
    text = data.decode(encoding or locale.getencoding(), errors or "strict")
    if newline is None and "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text


# Writing.


@syslet
def _write(
    s: Builder, path: Any, flags: int, data: Any, minus_size: int, syncs: int
) -> object:
    """How much was written; the fd if that is not all, else -1."""
    fd = s.openat(path, flags)
    left, missing = s.cell(-1), s.cell()
    n = s.write(fd, data)
    s.set(missing, n)
    s.add(missing, minus_size)
    with s.if_(missing != 0):
        s.set(left, fd)
        s.stop_if(s.nop() == 0)
    with s.if_(s.nop(syncs) != 0):
        s.fsync(fd)
    s.close(fd)
    return n, left


@syslet
def _write_part(s: Builder, fd: Any, data: Any) -> object:
    own = s.dup(fd)
    return s.write(own, data)


def _keep_mode(s: Builder, path: Any, fd: Any) -> None:
    """What replaces a file may be read and written by the same people."""
    old = s.openat(path, os.O_PATH | os.O_NOFOLLOW, check=False)
    with s.if_(old >= 0):
        st = s.fstat(old)
        s.close(old)
        s.fchmod(fd, st.mode, check=False)


@syslet
def _replace(
    s: Builder,
    path: Any,
    temporary: Any,
    folder: Any,
    data: Any,
    minus_size: int,
    stopping: bytearray,
) -> None:
    """Write beside the target and rename; reports 0, or an errno and nothing stays."""
    result = s.cell()
    fd = s.openat(temporary, _CREATE | os.O_EXCL)
    with s.loop():  # which is left when something fails, and runs once
        _keep_mode(s, path, fd)
        s.set(result, s.write(fd, data, check=False))
        s.break_if(result < 0)
        short = s.add(result, minus_size)
        with s.if_(short < 0):  # the kernel says why when it is asked for more
            s.set(result, s.write(fd, data, check=False))
            s.break_if(result < 0)
            s.set(result, -errno.EIO)
            s.break_if(result < 0)
        s.set(result, s.fsync(fd, check=False))
        s.break_if(result < 0)
        s.set(result, -errno.ECANCELED)
        s.break_if(s.umem_add(stopping, 0) != 0)
        s.set(result, s.renameat2(temporary, path, check=False))
        s.break_if(result < 0)
        where = s.openat(folder, os.O_RDONLY | os.O_DIRECTORY, check=False)
        with s.if_(where >= 0):
            s.set(result, s.fsync(where, check=False))
        s.emit(result)
        s.stop_if(s.nop() == 0)
    s.unlinkat(temporary, check=False)
    s.emit(result)


async def write_bytes(
    path: Path, data: Any, *, atomic: bool = False, fsync: bool = False
) -> int:
    """Make a file with this content, or give it this content; how many bytes it has.

    `data` is bytes or anything with the buffer protocol. `fsync`: it is on the disk
    when this returns. `atomic`: so is its name, and at no time has it part of the
    content. A symbolic link is replaced then, not followed. Raises OSError with the
    path; with `atomic` the file is then as it was.
    """
    size = len(data) if isinstance(data, bytes) else memoryview(data).nbytes
    if atomic:
        await _write_atomically(path, data, size)
    else:
        await _write_plainly(path, os.O_TRUNC, data, size, fsync)
    return size


async def append_bytes(path: Path, data: Any, *, fsync: bool = False) -> int:
    """Write behind the end of a file, which is made if it is not there.

    Gives how many bytes were written, which is all. Raises OSError with the path.
    """
    size = len(data) if isinstance(data, bytes) else memoryview(data).nbytes
    await _write_plainly(path, os.O_APPEND, data, size, fsync)
    return size


async def write_text(
    path: Path,
    text: str,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    *,
    atomic: bool = False,
    fsync: bool = False,
) -> int:
    """Make a text file with this content; how many characters it has.

    `encoding`, `errors` and `newline` as for the built-in open, `atomic` and `fsync` as
    for write_bytes. Raises TypeError for what is no str, UnicodeEncodeError before
    anything is opened, and OSError with the path.
    """
    if not isinstance(text, str):
        raise TypeError(f"data must be str, not {type(text).__name__}")
    written = text.replace("\n", newline) if newline in ("\r", "\r\n") else text
    data = written.encode(encoding or locale.getencoding(), errors or "strict")
    await write_bytes(path, data, atomic=atomic, fsync=fsync)
    return len(text)


async def _write_plainly(
    path: Path, how: int, data: Any, size: int, syncs: bool
) -> None:
    try:
        n, fd = await _write(path, _CREATE | how, data, -size, syncs)
        if fd >= 0:
            await _write_rest(fd, memoryview(data).cast("B")[n:], syncs)
    except OSError as error:
        error.filename = os.fspath(path)
        raise


async def _write_rest(fd: int, data: memoryview, syncs: bool) -> None:
    """The disk is full, or a limit is reached: the next attempt says which."""
    try:
        while data:
            data = data[await _write_part(fd, data) :]
        if syncs:
            await calls.fsync(fd)
    finally:
        os.close(fd)


async def _write_atomically(path: Path, data: Any, size: int) -> None:
    """Whoever cancels this waits until the flight has cleaned up, or has finished."""
    name = os.fspath(path)
    temporary, folder = _beside(name)
    stopping = bytearray(8)
    # Not a task: a loop that is about to end would cancel that.
    flight = _replace.events(name, temporary, folder, data, -size, stopping)
    cancelled = None
    result = -errno.ECANCELED
    while True:
        try:
            result = await anext(flight)
        except StopAsyncIteration:
            break
        except asyncio.CancelledError as error:
            stopping[0] = 1
            cancelled = error
        except OSError as error:
            error.filename = name
            raise
    if cancelled is not None:
        raise cancelled
    if result < 0:
        raise OSError(-result, os.strerror(-result), name)


def _beside(name: str | bytes) -> tuple[str | bytes, str | bytes]:
    """A name for a temporary file in the folder of `name`, and the folder."""
    token = secrets.token_hex(8)
    if isinstance(name, bytes):
        folder, last = os.path.split(name)
        short = b".%s.%s.tmp" % (last[:_NAME_KEPT], token.encode())
        return os.path.join(folder, short), folder or b"."
    folder_, last_ = os.path.split(name)
    kept = os.fsdecode(os.fsencode(last_)[:_NAME_KEPT])
    return os.path.join(folder_, f".{kept}.{token}.tmp"), folder_ or "."
