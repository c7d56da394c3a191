"""The unbuffered file object: io.FileIO with awaitable methods, in syslets.

`AsyncFileIO` is what `files.open(..., buffering=0)` gives and what buffered files read
from and write to. Methods with an underscore are for the other files_* modules, which
hold the file's turn already; the public ones take turns. Nothing here buffers. Only
calls that cannot wait (lseek, isatty) are made directly.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .files_turns import AsyncFile, Turns, in_turn
from .language import syslet

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

CHUNK_BYTES = 8192
READ_BYTES_MAX = 1 << 30  # of one buffer: HEAP_BYTES_MAX in native/engine/limits.h
_PROBE_BYTES = 512


def _status(s: Any, fd: Any) -> list[Any]:
    """Size, mode and block size of an fd, as cells and so as ints."""
    st = s.fstat(fd)
    cells = [s.cell(0) for _ in range(3)]
    for cell, value in zip(cells, (st.size, st.mode, st.blksize), strict=True):
        s.set(cell, value)
    return cells


@syslet
def open_fd(s: Any, path: str, flags: int, mode: int) -> object:
    """Open, and what was opened: fd, size, mode, block size."""
    fd = s.openat(path, flags, mode)
    return fd, *_status(s, fd)


@syslet
def look_at(s: Any, fd: int) -> object:
    """What an open fd is: size, mode, block size."""
    return tuple(_status(s, fd))


@syslet
def read_some(s: Any, fd: int, size: int) -> object:
    """What one read gives."""
    return s.read(fd, size)


@syslet
def read_twice(s: Any, fd: int, size: int) -> object:
    """What is expected to be the rest of a file, and a look whether it was."""
    return s.read(fd, size), s.read(fd, _PROBE_BYTES)


@syslet
def read_into(s: Any, fd: int, memory: memoryview) -> object:
    """Fill memory with one read: the count."""
    return s.read(fd, memory)


@syslet
def write_some(s: Any, fd: int, data: bytes) -> object:
    """One write: the count."""
    return s.write(fd, data)


@syslet
def set_size(s: Any, fd: int, size: int) -> None:
    """Cut or extend a file."""
    s.ftruncate(fd, size)


@syslet
def close_fd(s: Any, fd: int) -> None:
    """Close, without waiting where closing may wait."""
    s.close(fd)


def byte_view(memory: WriteableBuffer, name: str) -> memoryview:
    """The bytes of a caller's memory. Raises TypeError unless they can be written."""
    try:
        view = memoryview(memory)
    except TypeError:
        view = None
    if view is None or view.readonly:
        kind = type(memory).__name__
        raise TypeError(
            f"{name}() argument must be read-write bytes-like object, not {kind}"
        )
    if not view.c_contiguous:
        raise BufferError("memoryview: underlying buffer is not C-contiguous")
    return view.cast("B") if view.nbytes else memoryview(bytearray())


class AsyncFileIO(AsyncFile):
    """io.FileIO, awaitable. Made by `files.open`, which owns the checks of arguments.

    The fd is this object's if `closefd`; then it is closed with it, and, with a
    ResourceWarning, when it is forgotten.
    """

    def __init__(
        self,
        fd: int,
        name: object,
        access: str,
        *,
        closefd: bool = True,
        status: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        super().__init__(Turns())
        self._fd = fd
        self._closefd = closefd
        self._name = name
        self._access = access
        self._size, self._st_mode, self._block = status
        self._readable = "r" in access or "+" in access
        self._writable = "r" not in access or "+" in access
        self._is_regular = stat.S_ISREG(self._st_mode)
        self._seekable: bool | None = True if self._is_regular else None

    def __repr__(self) -> str:
        kind = type(self).__name__
        if self._fd < 0:
            return f"<{kind} [closed]>"
        return f"<{kind} name={self._name!r} mode={self.mode!r}>"

    def __del__(self) -> None:
        fd = getattr(self, "_fd", -1)
        if fd >= 0 and self._closefd:
            warnings.warn(f"unclosed file {self!r}", ResourceWarning, 2, source=self)
            self._fd = -1
            os.close(fd)

    # What it is.

    @property
    def name(self) -> Any:
        """The path or fd it was opened with."""
        return self._name

    @property
    def mode(self) -> str:
        """As io.FileIO words it: always binary, 'rb+' for whatever does both."""
        if self._access[0] in "xa":
            return self._access[0] + "b" + self._access[1:]
        if self._readable:
            return "rb+" if self._writable else "rb"
        return "wb"

    @property
    def closefd(self) -> bool:
        """Whether closing this object closes the fd."""
        return self._closefd

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._fd < 0

    def fileno(self) -> int:
        """The fd. Raises ValueError when closed."""
        self._check_open()
        return self._fd

    def _check_open(self) -> None:
        if self._fd < 0:
            raise ValueError("I/O operation on closed file")

    def _check(self, *, readable: bool = False, writable: bool = False) -> None:
        if self._fd < 0:
            raise ValueError("I/O operation on closed file")
        if readable and not self._readable:
            raise io.UnsupportedOperation("File not open for reading")
        if writable and not self._writable:
            raise io.UnsupportedOperation("File not open for writing")

    def _can_seek(self) -> bool:
        if self._seekable is None:
            try:
                os.lseek(self._fd, 0, os.SEEK_CUR)
            except OSError:
                self._seekable = False
            else:
                self._seekable = True
        return self._seekable

    # What has been agreed on already: no turns, no checks of arguments.

    async def _read_some(self, size: int) -> bytes:
        data: bytes = await read_some(self._fd, min(size, READ_BYTES_MAX))
        return data

    async def _read_rest(self, parts: list[bytes], before: int = 0) -> None:
        """Everything to the end, in one flight if a file is as long as it was.

        `before` is the position, if there is one.
        """
        size = self._expect(before)
        if self._is_regular:
            data, more = await read_twice(self._fd, size)
            parts.append(data)
            if not more:
                return
            parts.append(more)
            size = min(max(2 * len(data), CHUNK_BYTES), READ_BYTES_MAX)
        while more := await read_some(self._fd, size):
            parts.append(more)
            if len(more) == size:
                size = min(2 * size, READ_BYTES_MAX)

    def _expect(self, before: int) -> int:
        """How many bytes to ask for when all are wanted."""
        if not self._is_regular:
            return CHUNK_BYTES
        if self._writable:
            self._size = os.fstat(self._fd).st_size
        if self._size == 0:
            return CHUNK_BYTES  # or a file of /proc, which does not tell
        return min(max(self._size - before, 0) + 1, READ_BYTES_MAX)

    async def _read_into(self, memory: memoryview) -> int:
        count: int = await read_into(self._fd, memory)
        return count

    async def _write_some(self, data: ReadableBuffer) -> int:
        count: int = await write_some(self._fd, data)
        return count

    async def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._closefd:
            await close_fd(fd)

    def _give_up(self) -> io.FileIO:
        """The same fd as io's own object; this one is closed then."""
        fd, self._fd = self._fd, -1
        file = io.FileIO(
            fd, self.mode.replace("b", "").replace("x", "r"), self._closefd
        )
        file.name = self._name
        return file

    async def _truncate_to(self, size: int) -> None:
        if size < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        await set_size(self._fd, size)

    # The public methods.

    @in_turn
    async def read(self, size: int | None = -1, /) -> bytes:
        """What one read gives, at most `size` bytes; everything if it is negative."""
        self._check(readable=True)
        if size is None or size < 0:
            return await self._read_all()
        return await self._read_some(size)

    @in_turn
    async def readall(self) -> bytes:
        """Everything to the end of the file."""
        self._check_open()
        return await self._read_all()

    async def _read_all(self) -> bytes:
        parts: list[bytes] = []
        before = os.lseek(self._fd, 0, os.SEEK_CUR) if self._can_seek() else 0
        await self._read_rest(parts, before)
        return b"".join(parts)

    @in_turn
    async def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer with one read: the count."""
        view = byte_view(buffer, "readinto")
        self._check(readable=True)
        return await self._read_into(view)

    @in_turn
    async def readline(self, size: int | None = -1, /) -> bytes:
        """One line. A pipe is read byte by byte, because nothing may be kept."""
        self._check(readable=True)
        return await self._readline(size)

    async def _readline(self, size: int | None) -> bytes:
        most = -1 if size is None else size
        can_seek = self._can_seek()
        line = b""
        while most < 0 or len(line) < most:
            left = CHUNK_BYTES if most < 0 else min(most - len(line), CHUNK_BYTES)
            chunk = await self._read_some(left if can_seek else 1)
            end = chunk.find(b"\n") + 1
            if end and end < len(chunk):
                os.lseek(self._fd, end - len(chunk), os.SEEK_CUR)
            line += chunk[:end] if end else chunk
            if end or not chunk:
                break
        return line

    @in_turn
    async def write(self, data: ReadableBuffer, /) -> int:
        """One write: how many bytes were taken."""
        self._check(writable=True)
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        return await self._write_some(memoryview(data))

    @in_turn
    async def writelines(self, lines: Iterable[ReadableBuffer], /) -> None:
        """Write each of them."""
        self._check_open()
        for line in lines:
            self._check(writable=True)
            await self._write_some(memoryview(line))

    @in_turn
    async def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a position: the new one."""
        self._check_open()
        return os.lseek(self._fd, offset, whence)

    @in_turn
    async def tell(self) -> int:
        """Where the next read or write happens."""
        self._check_open()
        return os.lseek(self._fd, 0, os.SEEK_CUR)

    @in_turn
    async def truncate(self, size: int | None = None, /) -> int:
        """Make the file this long; None is as far as the position."""
        self._check(writable=True)
        if size is None:
            size = os.lseek(self._fd, 0, os.SEEK_CUR)
        await self._truncate_to(size)
        return size

    @in_turn
    async def flush(self) -> None:
        """Nothing, there is no buffer; ValueError when closed."""
        self._check_open()

    @in_turn
    async def close(self) -> None:
        """Close it; a second time does nothing."""
        await self._close()

    @in_turn
    async def isatty(self) -> bool:
        """Whether it is a terminal."""
        self._check_open()
        return os.isatty(self._fd)

    @in_turn
    async def seekable(self) -> bool:
        """Whether it has a position."""
        self._check_open()
        return self._can_seek()

    @in_turn
    async def writable(self) -> bool:
        """Whether it was opened for writing."""
        self._check_open()
        return self._writable

    def readable(self) -> bool:
        """Whether it was opened for reading; no await, as in aiofiles."""
        self._check_open()
        return self._readable
