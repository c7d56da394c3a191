"""One operation at a time on a file, and what all file objects share.

`in_turn` makes a method wait until the operations that were begun before it have
ended, in their order; a file's layers (text, buffer, raw) share one `Turns`. Used by
the files_* modules only. Whoever finds nobody before him waits for nothing.
"""

from __future__ import annotations

import asyncio
import functools
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, cast

_P = ParamSpec("_P")
_T = TypeVar("_T")
_F = TypeVar("_F", bound="HasTurns")


class HasTurns(Protocol):
    """What `in_turn` needs."""

    @property
    def _turns(self) -> Turns: ...


class Turns:
    """A lock without an owner, fair, and cheap while nobody waits."""

    __slots__ = ("busy", "waiting")

    def __init__(self) -> None:
        self.busy = False
        self.waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Wait for a turn that others have; afterwards it is the caller's."""
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.release()  # it came together with the cancellation
            raise

    def release(self) -> None:
        """End a turn; the first who waits has the next."""
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.busy = False


def in_turn(
    method: Callable[Concatenate[_F, _P], Awaitable[_T]],
) -> Callable[Concatenate[_F, _P], Coroutine[Any, Any, _T]]:
    """The method, one at a time for each file."""

    @functools.wraps(method)
    async def call(self: _F, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        turns = self._turns
        if turns.busy:
            await turns.wait()
        else:
            turns.busy = True
        try:
            return await method(self, *args, **kwargs)
        finally:
            if turns.waiting:
                turns.release()
            else:
                turns.busy = False

    return cast(Callable[Concatenate[_F, _P], Coroutine[Any, Any, _T]], call)


class AsyncFile(ABC):
    """What raw, buffered and text files have in common: lines, `async with`."""

    _turns: Turns

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    @property
    def _file(self) -> Self:
        """aiofiles' name for the file below; here there is none."""
        return self

    @abstractmethod
    def _check_open(self) -> None: ...

    @abstractmethod
    async def _close(self) -> None: ...

    @abstractmethod
    async def _readline(self, size: int | None) -> Any: ...

    @abstractmethod
    def _check(self, *, readable: bool = False, writable: bool = False) -> None: ...

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @in_turn
    async def close(self) -> None:
        """Write what is buffered and close; a second time does nothing."""
        await self._close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        line = b"" if self._turns.busy else self._next_line()
        if line or (line := await self._line_in_turn()):
            return line
        raise StopAsyncIteration

    def _next_line(self) -> Any:
        """The next line, if nothing has to be waited for; else something empty."""
        return b""

    @in_turn
    async def _line_in_turn(self) -> Any:
        self._check(readable=True)
        return await self._readline(-1)

    @in_turn
    async def readlines(self, hint: int | None = -1, /) -> list[Any]:
        """All lines, or so many that they are longer than `hint`."""
        self._check(readable=True)
        most = hint if hint is not None and hint > 0 else None
        lines: list[Any] = []
        total = 0
        while line := await self._readline(-1):
            lines.append(line)
            total += len(line)
            if most is not None and total > most:
                break
        return lines


class Layer(AsyncFile):
    """A file over another one, which says most of what there is to say about it."""

    _io: Any  # the AsyncFileIO below everything

    @abstractmethod
    def _attached(self) -> Any:
        """The file below. Raises ValueError if it was detached."""

    @property
    def name(self) -> Any:
        """The path or fd it was opened with."""
        return self._attached().name

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return bool(self._attached().closed)

    def fileno(self) -> int:
        """The fd."""
        return int(self._attached().fileno())

    def readable(self) -> bool:
        """Whether it was opened for reading; no await, as in aiofiles."""
        return bool(self._attached().readable())

    @in_turn
    async def writable(self) -> bool:
        """Whether it was opened for writing."""
        self._check_open()
        return bool(self._io._writable)

    @in_turn
    async def seekable(self) -> bool:
        """Whether it has a position."""
        self._check_open()
        return bool(self._io._can_seek())

    @in_turn
    async def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self.fileno())


class Wrapper:
    """What an awaitable file around one of io's needs for `async for`, `async with`."""

    readline: Callable[[], Awaitable[Any]]
    close: Callable[[], Awaitable[None]]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()
