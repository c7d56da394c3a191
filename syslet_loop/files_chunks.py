"""What text files do: chunks of a binary file decoded, cut into lines, and encoded.

The base of AsyncTextIOWrapper in files_text.py. Decoding is that of the codecs'
incremental decoders; what is written is handed to the buffered file below in chunks.
One chunk costs calls; one character never does.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

from .files_buffers import AsyncBufferedIOBase
from .files_codec import Codec
from .files_turns import Layer

_CHUNK = 8192


class Text(Layer):
    """The state and the operations of text files."""

    def __init__(
        self,
        buffer: AsyncBufferedIOBase,
        codec: Codec,
        mode: str,
        line_buffering: bool = False,
    ) -> None:
        super().__init__(buffer._turns)
        self._buffer: AsyncBufferedIOBase | None = buffer
        self._under = buffer
        self._io = buffer._io
        self._codec = codec
        self._mode = mode
        self._line_buffering = line_buffering
        raw = buffer._io
        self._decoder: Any = codec.decoder() if raw._readable else None
        self._encoder: Any = codec.encoder() if raw._writable else None
        if self._encoder is not None and raw._can_seek() and buffer._tell():
            self._encoder.setstate(0)  # no mark in the middle of a file
        self._decoded = ""
        self._used = 0
        self._ratio = 0.0  # bytes for each character, in the last chunk
        # The decoder's state before the chunk that `_decoded` is of, and the chunk.
        self._snapshot: tuple[int, bytes] | None = None
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    def __repr__(self) -> str:
        if self._buffer is None:
            return f"<{type(self).__name__} [detached]>"
        name, mode, encoding = self.name, self._mode, self.encoding
        kind = type(self).__name__
        return f"<{kind} name={name!r} mode={mode!r} encoding={encoding!r}>"

    def __del__(self) -> None:
        if getattr(self, "_pending", None) and self._buffer is not None:
            with contextlib.suppress(OSError):
                self._hand_on_now()

    # What it is.

    def _attached(self) -> AsyncBufferedIOBase:
        if self._buffer is None:
            raise ValueError("underlying buffer has been detached")
        return self._buffer

    @property
    def buffer(self) -> AsyncBufferedIOBase:
        """The binary file below."""
        return self._under

    @property
    def mode(self) -> str:
        """The mode it was opened with."""
        return self._mode

    @property
    def encoding(self) -> str:
        """The encoding's name, as it was given."""
        return self._codec.encoding

    @property
    def errors(self) -> str:
        """What happens to what cannot be decoded or encoded."""
        return self._codec.errors

    @property
    def newlines(self) -> Any:
        """The line ends seen so far."""
        return getattr(self._decoder, "newlines", None)

    @property
    def line_buffering(self) -> bool:
        """Whether a written line is flushed."""
        return self._line_buffering

    def _check_open(self) -> None:
        if self._buffer is None:
            raise ValueError("underlying buffer has been detached")
        if self._buffer._io._fd < 0:
            raise ValueError("I/O operation on closed file.")

    def _check(self, *, readable: bool = False, writable: bool = False) -> None:
        self._check_open()
        if readable and self._decoder is None:
            raise io.UnsupportedOperation("not readable")
        if writable and not self._io._writable:
            raise io.UnsupportedOperation("not writable")

    # Reading. A cancelled call gives back what it has decoded.

    async def _more(self, wanted: int = 0) -> bytes:
        """Decode the next chunk into `_decoded`; b'' at the end of the file.

        A chunk is larger if so many characters are wanted and their bytes are likely
        to be more.
        """
        size = max(_CHUNK, int(max(self._ratio, 1.0) * wanted))
        decoder = self._decoder
        can_tell = self._io._can_seek()
        before, flags = decoder.getstate() if can_tell else (b"", 0)
        data = await self._under._read1(size)
        self._decoded, self._used = decoder.decode(data, not data), 0
        self._ratio = len(data) / len(self._decoded) if self._decoded else 0.0
        if can_tell:
            self._snapshot = (flags, before + data)
        return data

    def _take(self, size: int) -> str:
        start = self._used
        text = self._decoded[start : start + size]
        self._used = start + len(text)
        return text

    def _forget(self) -> None:
        self._decoded, self._used, self._snapshot = "", 0, None

    async def _read(self, size: int) -> str:
        if self._pending:
            await self._hand_on()
        if size < 0:
            text: str = self._decoded[self._used :]
            text += self._decoder.decode(await self._under._read_all(), True)
            self._forget()
            return text
        start = _Mark(self)
        parts = [self._take(size)]
        left = size - len(parts[0])
        try:
            while left > 0:
                data = await self._more(left)
                start.note(data)
                if not data and not self._decoded:
                    break
                parts.append(self._take(left))
                left -= len(parts[-1])
        except BaseException:
            start.restore(parts)
            raise
        return parts[0] if len(parts) == 1 else "".join(parts)

    def _next_line(self) -> str:
        start = self._used
        end = -1 if self._pending else self._line_end(start, -1)
        if end < 0:
            return ""
        self._used = end
        return self._decoded[start:end]

    async def _readline(self, size: int | None = -1) -> str:
        if self._pending:
            await self._hand_on()
        most = -1 if size is None else size
        end = self._line_end(self._used, most)
        if end >= 0:
            line = self._decoded[self._used : end]
            self._used = end
            return line
        start = _Mark(self)
        parts = [self._decoded[self._used :]]
        try:
            while end < 0:
                data = await self._more()
                start.note(data)
                if not data and not self._decoded:
                    self._forget()
                    break
                left = most - sum(map(len, parts)) if most >= 0 else -1
                is_split = self._codec.end == "\r\n" and parts[-1][-1:] == "\r"
                if is_split and self._decoded[0] == "\n" and left:
                    end = 1
                else:
                    end = self._line_end(0, left)
                parts.append(self._decoded[:end] if end >= 0 else self._decoded)
                self._used = len(parts[-1])
        except BaseException:
            start.restore(parts)
            raise
        return "".join(parts)

    def _line_end(self, start: int, most: int) -> int:
        """Where a line ends or is as long as it may be; -1 if not in this chunk."""
        text, codec = self._decoded, self._codec
        limit = len(text) if most < 0 else min(start + most, len(text))
        if codec.universal and not codec.translates:
            end = text.find("\n", start, limit)
            carriage = text.find("\r", start, limit if end < 0 else end)
            if carriage >= 0:
                end = carriage
                end += end + 1 < limit and text[end + 1] == "\n"
            end += 1
        else:
            end = text.find(codec.end, start, limit)
            end += len(codec.end) if end >= 0 else 1
        if end:
            return end
        return limit if 0 <= most <= len(text) - start else -1

    # Writing.

    async def _write(self, text: str) -> int:
        if not isinstance(text, str):
            kind = type(text).__name__
            raise TypeError(f"write() argument must be str, not {kind}")
        size, codec = len(text), self._codec
        flushes = self._line_buffering and ("\n" in text or "\r" in text)
        if codec.written and "\n" in text:
            text = text.replace("\n", codec.written)
        if self._encoder is not None:
            data = self._encoder.encode(text)
        else:
            data = text.encode(codec.encoding, codec.errors)
        if self._pending and self._pending_bytes + len(data) > _CHUNK:
            await self._hand_on()
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= _CHUNK or flushes:
            await self._hand_on()
        if flushes:
            await self._under._flush_all()
        if self._decoder is not None:
            self._forget()
            self._decoder.reset()
        return size

    def _take_pending(self) -> bytes:
        data = b"".join(self._pending)
        self._pending, self._pending_bytes = [], 0
        return data

    async def _hand_on(self) -> None:
        if self._pending:
            data = self._take_pending()
            try:
                await self._under._write(data)
            except BaseException:
                self._pending.insert(0, data)
                self._pending_bytes += len(data)
                raise

    def _hand_on_now(self) -> None:
        self._under._pending += self._take_pending()

    async def _flush(self) -> None:
        await self._hand_on()
        await self._under._flush_all()

    async def _close(self) -> None:
        buffer = self._attached()
        if buffer.closed:
            return
        try:
            await self._hand_on()
        finally:
            self._take_pending()
            self._forget()
            await buffer._close()


class _Mark:
    """Where a call began that needs several chunks, in case it is cancelled."""

    __slots__ = ("chunks", "decoded", "snapshot", "text", "used")

    def __init__(self, text: Text) -> None:
        self.text = text
        self.decoded, self.used = text._decoded, text._used
        self.snapshot = text._snapshot
        self.chunks: list[bytes] = []

    def note(self, data: bytes) -> None:
        """A chunk that was decoded."""
        if not self.chunks and self.snapshot is None:
            self.snapshot = self.text._snapshot
        else:
            self.chunks.append(data)

    def restore(self, parts: list[str]) -> None:
        """Have everything since the mark be as if it had just been decoded."""
        text = self.text
        rest = text._decoded[text._used :]
        text._decoded = "".join([self.decoded[: self.used], *parts, rest])
        text._used = self.used
        if self.snapshot is not None:
            flags, data = self.snapshot
            text._snapshot = (flags, data + b"".join(self.chunks))
