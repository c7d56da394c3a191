"""What buffered binary files do: reading ahead, writing behind, positions.

The base of the classes in files_buffers.py, over an AsyncFileIO whose turns they share;
the text layer uses the methods with an underscore. What was read ahead is `_ahead` from
`_used` on, what is to be written is `_pending`, and never are both there. Bytes are
moved by slices and by the kernel, not one by one.
"""

from __future__ import annotations

import contextlib
import io
import os
from typing import TYPE_CHECKING

from .files_raw import AsyncFileIO
from .files_turns import Layer

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Buffered(Layer):
    """The state and the operations of buffered files."""

    _io: AsyncFileIO

    def __init__(self, raw: AsyncFileIO, size: int) -> None:
        super().__init__(raw._turns)
        self._raw: AsyncFileIO | None = raw
        self._io = raw
        self._buffer_size = size
        self._ahead = b""
        self._used = 0
        self._pending = bytearray()
        self._lost: int | None = None  # where a cancelled call may not have left us

    def __repr__(self) -> str:
        kind = type(self).__name__
        if self._raw is None:
            return f"<{kind} [detached]>"
        return f"<{kind} name={self._raw.name!r}>"

    def __del__(self) -> None:
        if getattr(self, "_pending", b"") and self._raw is not None:
            with contextlib.suppress(OSError):
                self._flush_now()

    # What it is.

    def _attached(self) -> AsyncFileIO:
        if self._raw is None:
            raise ValueError("raw stream has been detached")
        return self._raw

    @property
    def raw(self) -> AsyncFileIO:
        """The unbuffered file."""
        return self._io

    @property
    def mode(self) -> str:
        """The mode of the unbuffered file."""
        return self._attached().mode

    def _check_open(self) -> None:
        self._attached()._check_open()

    def _check(
        self, *, readable: bool = False, writable: bool = False, what: str = "read"
    ) -> None:
        raw = self._raw
        if raw is None:
            raise ValueError("raw stream has been detached")
        if raw._fd < 0:
            doing = "write to" if writable else f"{what.rstrip('1')} of"
            raise ValueError(f"{doing} closed file")
        if readable and not raw._readable:
            raise io.UnsupportedOperation(what.replace("into", ""))
        if writable and not raw._writable:
            raise io.UnsupportedOperation("write")

    # Reading. What a cancelled call had read already is put back in `_ahead`.

    async def _fetch(self, size: int) -> bytes:
        """One read from the file, where nothing has been read ahead."""
        before = self._where()
        try:
            return await self._io._read_some(size)
        except BaseException:
            self._lost = before
            raise

    async def _fetch_into(self, view: memoryview) -> int:
        """One read into a caller's memory."""
        before = self._where()
        try:
            return await self._io._read_into(view)
        except BaseException:
            self._lost = before
            raise

    def _where(self) -> int | None:
        """The file's own position; None if it has none."""
        if self._lost is not None:
            self._go_back()
        raw = self._io
        return os.lseek(raw._fd, 0, os.SEEK_CUR) if raw._can_seek() else None

    def _go_back(self) -> None:
        """Return to where a read began that was cancelled, wherever it ended."""
        if self._lost is not None and not self._io.closed:
            os.lseek(self._io._fd, self._lost, os.SEEK_SET)
        self._lost = None

    def _put_back(self, parts: list[bytes]) -> None:
        self._ahead = b"".join([*parts, self._ahead[self._used :]])
        self._used = 0

    async def _fill(self) -> bytes:
        """Read ahead; the old must have been used up."""
        self._ahead, self._used = b"", 0
        self._ahead = await self._fetch(self._buffer_size)
        return self._ahead

    def _take(self, size: int) -> bytes:
        """At most `size` bytes of what was read ahead."""
        start = self._used
        data = self._ahead[start : start + size]
        self._used = start + len(data)
        return data

    async def _read(self, size: int) -> bytes:
        if self._pending:
            await self._flush()
        data = self._take(size)
        if len(data) == size:
            return data
        parts = [data] if data else []
        size -= len(data)
        try:
            while size > 0:
                if size >= self._buffer_size:
                    self._ahead, self._used = b"", 0
                    data = await self._fetch(size - size % self._buffer_size)
                else:
                    await self._fill()
                    data = self._take(size)
                if not data:
                    break
                parts.append(data)
                size -= len(data)
        except BaseException:
            self._put_back(parts)
            raise
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _read_all(self) -> bytes:
        if self._pending:
            await self._flush()
        before = self._where()
        parts = [self._ahead[self._used :]] if self._used < len(self._ahead) else []
        old = sum(map(len, parts))
        self._ahead, self._used = b"", 0
        try:
            await self._io._read_rest(parts, before or 0)
        except BaseException:
            self._put_back(parts)
            if before is not None:
                self._lost = before + len(self._ahead) - old
            raise
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _read1(self, size: int) -> bytes:
        """What is there, or what one read gives."""
        if self._pending:
            await self._flush()
        if size < 0:
            size = self._buffer_size
        if self._used < len(self._ahead):
            return self._take(size)
        self._ahead, self._used = b"", 0
        return await self._fetch(size) if size else b""

    async def _read_into(self, view: memoryview, once: bool) -> int:
        """Fill memory; with `once` as far as one read does."""
        if self._pending:
            await self._flush()
        done = 0
        try:
            while done < len(view):
                left = len(view) - done
                if self._used >= len(self._ahead):
                    if left > self._buffer_size:
                        self._ahead, self._used = b"", 0
                        count = await self._fetch_into(view[done:])
                        done += count
                        if count and not once:
                            continue
                        break
                    if (once and done) or not await self._fill():
                        break
                data = self._take(left)
                view[done : done + len(data)] = data
                done += len(data)
        except BaseException:
            self._put_back([bytes(view[:done])])
            raise
        return done

    def _next_line(self) -> bytes:
        start = self._used
        end = self._ahead.find(b"\n", start) + 1
        if end and not self._pending:
            self._used = end
            return self._ahead[start:end]
        return b""

    async def _readline(self, size: int | None = -1) -> bytes:
        most = -1 if size is None else size
        if self._pending:
            await self._flush()
        parts: list[bytes] = []
        try:
            while most != 0:
                start = self._used
                limit = len(self._ahead) if most < 0 else start + most
                end = self._ahead.find(b"\n", start, limit) + 1
                data = self._ahead[start : end or limit]
                self._used = start + len(data)
                if end and not parts:
                    return data
                parts.append(data)
                most -= len(data) if most > 0 else 0
                if end or most == 0 or not await self._fill():
                    break
        except BaseException:
            self._put_back(parts)
            raise
        return b"".join(parts)

    # Writing.

    async def _write(self, data: ReadableBuffer) -> int:
        """As io does it: kept while it fits, else written before it."""
        view = data if isinstance(data, bytes) else memoryview(data).cast("B")
        size = len(view)
        if self._ahead or self._lost is not None:
            self._rewind()
        pending = self._pending
        if len(pending) + size <= self._buffer_size:
            pending += view
            return size
        if pending:
            await self._flush()
        rest = memoryview(view)
        while len(rest) > self._buffer_size:
            rest = rest[await self._io._write_some(rest) :]
        self._pending += rest
        return size

    async def _flush(self) -> None:
        """Write it; what a cancelled write had written it may write again."""
        while self._pending:
            count = await self._io._write_some(bytes(self._pending))
            del self._pending[:count]

    async def _flush_all(self) -> None:
        if self._io._writable:
            await self._flush()
            self._rewind()

    def _rewind(self) -> None:
        """Bring the file's own position to where the reader is."""
        if self._lost is not None:
            self._go_back()
        ahead = len(self._ahead) - self._used
        self._ahead, self._used = b"", 0
        if ahead:
            os.lseek(self._io._fd, -ahead, os.SEEK_CUR)

    def _flush_now(self) -> None:
        """Write without awaiting: for detach, and for a file that was forgotten."""
        while self._pending and self._io._fd >= 0:
            del self._pending[: os.write(self._io._fd, self._pending)]

    def _settle(self) -> None:
        """Write and rewind without awaiting, for detach."""
        self._check_open()
        self._flush_now()
        if self._io._can_seek():
            self._rewind()

    # Positions.

    def _tell(self) -> int:
        if self._lost is not None:
            self._go_back()
        position = os.lseek(self._io.fileno(), 0, os.SEEK_CUR)
        return position - (len(self._ahead) - self._used) + len(self._pending)

    async def _seek(self, target: int, whence: int) -> int:
        if whence not in (0, 1, 2, getattr(os, "SEEK_DATA", 3), os.SEEK_HOLE):
            raise ValueError(f"whence value {whence} unsupported")
        self._check_open()
        if not self._io._can_seek():
            raise io.UnsupportedOperation("File or stream is not seekable.")
        if self._pending:
            await self._flush()
        if self._lost is not None:
            self._go_back()
        fd = self._io._fd
        if whence in (0, 1) and self._ahead:
            here = os.lseek(fd, 0, os.SEEK_CUR) - (len(self._ahead) - self._used)
            step = target - here if whence == 0 else target
            if 0 <= self._used + step <= len(self._ahead):
                self._used += step
                return here + step
        if whence == 1:
            target -= len(self._ahead) - self._used
        position = os.lseek(fd, target, whence)
        self._ahead, self._used = b"", 0
        return position

    async def _close(self) -> None:
        raw = self._attached()
        if raw.closed:
            return
        try:
            if self._pending:
                await self._flush()
        finally:
            self._pending.clear()
            self._ahead, self._used = b"", 0
            await raw._close()

    async def _truncate(self, size: int | None) -> int:
        await self._flush()
        self._rewind()
        if size is None:
            size = self._tell()
        await self._io._truncate_to(size)
        return size
