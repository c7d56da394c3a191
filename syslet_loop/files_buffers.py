"""The public buffered files: what of the operations a reader, a writer, both have.

Made by `files.open`. Each method takes the file's turn, checks, and leaves the work to
files_buffered.py. Errors are those of io's classes of the same names.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .files_buffered import Buffered
from .files_raw import AsyncFileIO, byte_view
from .files_turns import in_turn

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class AsyncBufferedIOBase(Buffered):
    """The methods of every buffered file; those it was not opened for refuse."""

    @in_turn
    async def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes, fewer only at the end; everything if it is negative."""
        if size is not None and size < -1:
            raise ValueError("read length must be non-negative or -1")
        self._check(readable=True)
        if size is None or size < 0:
            return await self._read_all()
        return await self._read(size)

    @in_turn
    async def read1(self, size: int = -1, /) -> bytes:
        """At most so many bytes, with at most one read."""
        self._check(readable=True, what="read1")
        return await self._read1(size)

    @in_turn
    async def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer, less only at the end: the count."""
        view = byte_view(buffer, "readinto")
        self._check(readable=True, what="readinto")
        return await self._read_into(view, False)

    @in_turn
    async def readinto1(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer with at most one read: the count."""
        view = byte_view(buffer, "readinto1")
        self._check(readable=True, what="readinto1")
        return await self._read_into(view, True)

    async def readline(self, size: int | None = -1, /) -> bytes:
        """One line, or so many bytes of it."""
        if size == -1 and not self._turns.busy:
            line = self._next_line()
            if line:
                return line
        return await self._readline_in_turn(size)

    @in_turn
    async def _readline_in_turn(self, size: int | None) -> bytes:
        self._check(readable=True)
        return await self._readline(size)

    @in_turn
    async def write(self, data: ReadableBuffer, /) -> int:
        """Write it, later at the latest when closing: its length."""
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        self._check(writable=True)
        return await self._write(data)

    @in_turn
    async def writelines(self, lines: Iterable[ReadableBuffer], /) -> None:
        """Write each of them."""
        self._check_open()
        for line in lines:
            if isinstance(line, str):
                raise TypeError("a bytes-like object is required, not 'str'")
            self._check(writable=True)
            await self._write(line)

    @in_turn
    async def seek(self, target: int, whence: int = 0, /) -> int:
        """Go to a position: the new one."""
        self._check_position("seek")
        return await self._seek(target, whence)

    @in_turn
    async def tell(self) -> int:
        """The position, whatever was read ahead or is not written yet."""
        self._attached()
        return self._tell()

    @in_turn
    async def truncate(self, size: int | None = None, /) -> int:
        """Write what is buffered, then make the file this long."""
        self._check_position("truncate")
        if not self._io._writable:
            raise io.UnsupportedOperation("truncate")
        return await self._truncate(size)

    @in_turn
    async def flush(self) -> None:
        """Write what is buffered."""
        self._check_position("flush")
        await self._flush_all()

    def _check_position(self, name: str) -> None:
        if self._attached().closed:
            raise ValueError(f"{name} of closed file")

    def detach(self) -> io.FileIO:
        """The file without its buffer, as io's own object, which does not await.

        What is buffered is written first. This object is of no use afterwards.
        """
        raw = self._attached()
        self._settle()
        self._raw = None
        return raw._give_up()


class AsyncBufferedReader(AsyncBufferedIOBase):
    """io.BufferedReader, awaitable."""

    @in_turn
    async def peek(self, size: int = 0, /) -> bytes:
        """What was read ahead, or is now with one read; the position stays."""
        if self._attached().closed:
            raise ValueError("peek of closed file")
        if self._pending:
            await self._flush()
        if self._used >= len(self._ahead):
            await self._fill()
        return self._ahead[self._used :]


class AsyncBufferedWriter(AsyncBufferedIOBase):
    """io.BufferedWriter, awaitable."""


class AsyncBufferedRandom(AsyncBufferedReader):
    """io.BufferedRandom, awaitable: for reading and writing, with a position."""

    def __init__(self, raw: AsyncFileIO, size: int) -> None:
        if not raw._can_seek():
            raise io.UnsupportedOperation("File or stream is not seekable.")
        super().__init__(raw, size)
