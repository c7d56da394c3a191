"""The body of a request while it arrives.

The connection feeds it, a handler reads it; what nobody reads is bounded, because the
connection stops receiving at a limit. Whatever ends a body early (a client that goes
away, a chunk that is none, time that is up) is raised where the handler reads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .web_connection import Connection


class Body:
    """A stream of bytes, read by one task at a time."""

    __slots__ = ("_connection", "_error", "_parts", "_waiter", "ended", "size")

    def __init__(self, connection: Connection | None) -> None:
        self._connection = connection
        self._parts: deque[bytes] = deque()
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.ended = connection is None
        self.size = 0  # bytes that wait to be read

    # For the connection.

    def feed(self, data: bytes) -> None:
        """More has arrived."""
        self._parts.append(data)
        self.size += len(data)
        self._wake()

    def end(self) -> None:
        """That was all."""
        self.ended = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """No more will come; `error` says why."""
        if not self.ended and self._error is None:
            self._error = error
            self._wake()

    def forget(self) -> None:
        """Nobody will read what has arrived."""
        self._parts.clear()
        self.size = 0

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    # For handlers.

    def at_eof(self) -> bool:
        """Whether everything has been read."""
        return self.ended and not self._parts

    async def readany(self) -> bytes:
        """What there is, at least one byte; b"" at the end.

        Raises ConnectionResetError if the client went away, HTTPException if it sent
        something else than a body or was too slow.
        """
        while not self._parts:
            if self.ended:
                return b""
            if self._error is not None:
                raise self._error
            await self._more()
        part = self._parts.popleft()
        self.size -= len(part)
        if self._connection is not None:
            self._connection.body_was_read(self)
        return part

    async def _more(self) -> None:
        if self._waiter is not None:
            raise RuntimeError("another task waits for this body")
        assert self._connection is not None
        self._waiter = self._connection.body_is_wanted(self)
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def read(self, n: int = -1) -> bytes:
        """`n` bytes, fewer only at the end; all of it if `n` is negative."""
        parts: list[bytes] = []
        left = n
        while left and (part := await self.readany()):
            if 0 < left < len(part):
                self._parts.appendleft(part[left:])
                self.size += len(part) - left
                part = part[:left]
            parts.append(part)
            left -= len(part) if left > 0 else 0
        return b"".join(parts)

    async def iter_any(self) -> AsyncIterator[bytes]:
        """Pieces as they arrive."""
        while part := await self.readany():
            yield part

    async def iter_chunked(self, n: int) -> AsyncIterator[bytes]:
        """Pieces of at most `n` bytes, which are full but for the last one."""
        if n <= 0:
            raise ValueError(f"{n} is no number of bytes")
        while part := await self.read(n):
            yield part

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.iter_any()


NO_BODY = Body(None)
