"""A temporary file that is memory while it is small: tempfile.SpooledTemporaryFile.

Made by files_temp.py. In memory io's own BytesIO does the work, at once; afterwards
the file of files_open.py does. What it has, it has in either form, awaitable as in
aiofiles.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from .files_turns import Turns, Wrapper, in_turn


class _Spool:
    """The file behind the object: `_file`, and whether it is a real one by now."""

    def __init__(self, memory: Any, max_size: int) -> None:
        self._file = memory
        self._max_size = max_size
        self._rolled = False


class AsyncSpooledTemporaryFile(Wrapper):
    """tempfile.SpooledTemporaryFile, awaitable. Made by `SpooledTemporaryFile`."""

    def __init__(
        self,
        memory: Any,
        real: Callable[[], Coroutine[Any, Any, Any]],
        max_size: int,
        mode: str,
    ) -> None:
        self._file = _Spool(memory, max_size)
        self._real = real
        self._mode = mode
        self._turns = Turns()

    async def _do(self, name: str, *args: Any) -> Any:
        result = getattr(self._file._file, name)(*args)
        return await result if inspect.isawaitable(result) else result

    async def _roll(self) -> None:
        """Move everything into a real file, with the position."""
        spool = self._file
        if spool._rolled:
            return
        memory = spool._file
        position = memory.tell()
        real = await self._real()
        if "b" in self._mode:
            await real.write(memory.getvalue())
        else:
            memory.flush()
            await real.buffer.write(memory.buffer.getvalue())
        await real.seek(position)
        spool._file, spool._rolled = real, True

    async def _check(self) -> None:
        spool = self._file
        too_large = spool._max_size and not spool._rolled
        if too_large and spool._file.tell() > spool._max_size:
            await self._roll()

    @in_turn
    async def rollover(self) -> None:
        """Make it a real file now."""
        await self._roll()

    @in_turn
    async def fileno(self) -> int:
        """The fd, of the real file that it is from now on."""
        await self._roll()
        return int(self._file._file.fileno())

    @in_turn
    async def write(self, data: Any) -> int:
        """Write it, into a real file from `max_size` on."""
        count: int = await self._do("write", data)
        await self._check()
        return count

    @in_turn
    async def writelines(self, lines: Iterable[Any]) -> None:
        """Write each of them."""
        await self._do("writelines", lines)
        await self._check()

    @in_turn
    async def truncate(self, size: int | None = None) -> int:
        """Make it this long."""
        most = self._file._max_size
        if size is not None and most and size > most:
            await self._roll()
        length: int = await self._do("truncate", size)
        return length

    @in_turn
    async def close(self) -> None:
        """Close it, and with that delete it."""
        await self._do("close")

    @in_turn
    async def flush(self) -> None:
        """Write what is buffered."""
        await self._do("flush")

    @in_turn
    async def isatty(self) -> bool:
        """Whether it is a terminal, which it is not."""
        return bool(await self._do("isatty"))

    @in_turn
    async def read(self, *args: Any) -> Any:
        """So much, or everything."""
        return await self._do("read", *args)

    @in_turn
    async def readline(self, *args: Any) -> Any:
        """One line."""
        return await self._do("readline", *args)

    @in_turn
    async def readlines(self, *args: Any) -> list[Any]:
        """All lines."""
        lines: list[Any] = await self._do("readlines", *args)
        return lines

    @in_turn
    async def seek(self, *args: Any) -> int:
        """Go to a position."""
        position: int = await self._do("seek", *args)
        return position

    @in_turn
    async def tell(self) -> int:
        """The position."""
        position: int = await self._do("tell")
        return position

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return bool(self._file._file.closed)

    @property
    def encoding(self) -> str:
        """The encoding, of a text file."""
        return str(self._file._file.encoding)

    @property
    def errors(self) -> str:
        """What happens to what cannot be encoded, in a text file."""
        return str(self._file._file.errors)

    @property
    def newlines(self) -> Any:
        """The line ends seen so far, in a text file."""
        return self._file._file.newlines

    @property
    def mode(self) -> str:
        """The mode."""
        return self._file._file.mode if self._file._rolled else self._mode

    @property
    def name(self) -> Any:
        """None, or what the real file's name is."""
        return self._file._file.name if self._file._rolled else None
