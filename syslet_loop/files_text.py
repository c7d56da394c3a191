"""Text files: io.TextIOWrapper with awaitable methods.

Made by `files.open`. The work is in files_chunks.py; here are the public methods and
the positions, which are those of io.TextIOWrapper: numbers that seek() takes back,
whatever the encoding, and the place in the file where that says it all.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from .files_chunks import Text
from .files_codec import Cookie
from .files_turns import in_turn


class AsyncTextIOWrapper(Text):
    """io.TextIOWrapper, awaitable."""

    @in_turn
    async def read(self, size: int | None = -1, /) -> str:
        """So many characters, fewer only at the end; everything if it is negative."""
        self._check(readable=True)
        return await self._read(-1 if size is None else size)

    async def readline(self, size: int = -1, /) -> str:
        """One line, or so many characters of it."""
        if size == -1 and not self._turns.busy:
            line = self._next_line()
            if line:
                return line
        return await self._readline_in_turn(size)

    @in_turn
    async def _readline_in_turn(self, size: int | None) -> str:
        self._check(readable=True)
        return await self._readline(size)

    @in_turn
    async def write(self, text: str, /) -> int:
        """Write it, at the latest when closing: its length."""
        if not isinstance(text, str):
            kind = type(text).__name__
            raise TypeError(f"write() argument must be str, not {kind}")
        self._check(writable=True)
        return await self._write(text)

    @in_turn
    async def writelines(self, lines: Iterable[str], /) -> None:
        """Write each of them."""
        self._check_open()
        for line in lines:
            self._check(writable=True)
            await self._write(line)

    @in_turn
    async def flush(self) -> None:
        """Write what is buffered."""
        self._check_open()
        await self._flush()

    @in_turn
    async def truncate(self, size: int | None = None, /) -> int:
        """Write what is buffered, then make the file this many bytes long."""
        self._check_open()
        await self._flush()
        if not self._io._writable:
            raise io.UnsupportedOperation("truncate")
        return await self._under._truncate(size)

    @in_turn
    async def tell(self) -> int:
        """The position, for seek(); a number without further meaning."""
        self._check_open()
        if not self._io._can_seek():
            raise io.UnsupportedOperation("underlying stream is not seekable")
        await self._flush()
        return self._tell()

    def _tell(self) -> int:
        position = self._under._tell()
        if self._decoder is None or self._snapshot is None:
            return position
        flags, chunk = self._snapshot
        start = Cookie(position - len(chunk), flags)
        if self._used == 0:
            return start.pack()
        state = self._decoder.getstate()
        try:
            return self._find(start, chunk).pack()
        finally:
            self._decoder.setstate(state)

    def _find(self, start: Cookie, chunk: bytes) -> Cookie:
        """The place in a chunk after which so many characters have been decoded."""
        decoder = self._decoder

        def count(size: int, is_end: bool = False) -> int:
            decoder.setstate((b"", start.flags))
            return len(decoder.decode(chunk[:size], is_end))

        low, high = 0, len(chunk)
        while low < high:  # the first place with enough of them
            middle = (low + high) // 2
            if count(middle) >= self._used:
                high = middle
            else:
                low = middle + 1
        got, is_end = count(low), False
        held, flags = decoder.getstate()
        if got == self._used and not held:
            return Cookie(start.start + low, flags)
        if got < self._used:
            is_end = True  # the last of them came with the end of the file
        for before in range(low - 1, -1, -1):  # the last safe place in front of it
            got = count(before)
            held, flags = decoder.getstate()
            if not held and got <= self._used:
                feed = low - before
                skip = self._used - got
                return Cookie(start.start + before, flags, feed, skip, is_end)
        return Cookie(start.start, start.flags, low, self._used, is_end)

    @in_turn
    async def seek(self, cookie: int, whence: int = 0, /) -> int:
        """Go to a position that tell() gave, to 0, or to the end (0, SEEK_END)."""
        self._check_open()
        if not self._io._can_seek():
            raise io.UnsupportedOperation("underlying stream is not seekable")
        if whence == 1:
            if cookie != 0:
                raise io.UnsupportedOperation("can't do nonzero cur-relative seeks")
            await self._flush()
            cookie = self._tell()
        elif whence == 2:
            if cookie != 0:
                raise io.UnsupportedOperation("can't do nonzero end-relative seeks")
            return await self._seek_end()
        elif whence != 0:
            raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
        if cookie < 0:
            raise ValueError(f"negative seek position {cookie!r}")
        await self._flush()
        await self._restore(Cookie.unpack(cookie))
        return cookie

    async def _seek_end(self) -> int:
        await self._flush()
        self._forget()
        if self._decoder is not None:
            self._decoder.reset()
        position = await self._under._seek(0, 2)
        self._reset_encoder(position == 0)
        return position

    async def _restore(self, place: Cookie) -> None:
        await self._under._seek(place.start, 0)
        self._forget()
        is_start = place.start == 0 and place.flags == 0
        decoder = self._decoder
        if decoder is not None:
            if is_start or (self._codec.has_no_zero and not place.flags):
                decoder.reset()
            else:
                decoder.setstate((b"", place.flags))
            if place.skip:
                await self._skip(place)
            else:
                self._snapshot = (place.flags, b"")
        self._reset_encoder(is_start)

    async def _skip(self, place: Cookie) -> None:
        """Decode what a position says, and be behind so many characters of it."""
        data = await self._under._read(place.feed)
        self._snapshot = (place.flags, data)
        self._decoded = self._decoder.decode(data, place.is_end)
        if len(self._decoded) < place.skip:
            raise OSError("can't restore logical file position")
        self._used = place.skip

    def _reset_encoder(self, is_start: bool) -> None:
        if self._encoder is not None:
            if is_start:
                self._encoder.reset()
            else:
                self._encoder.setstate(0)

    def detach(self) -> Any:
        """The binary file below, as io's own object, which does not await.

        What is buffered is written first. This object is of no use afterwards.
        """
        under = self._attached()
        self._check_open()
        self._hand_on_now()
        size, raw = under._buffer_size, under.detach()
        self._buffer = None
        if self._io._readable and self._io._writable:
            return io.BufferedRandom(raw, size)
        kind = io.BufferedReader if self._io._readable else io.BufferedWriter
        return kind(raw, size)
