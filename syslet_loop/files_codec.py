"""How text becomes bytes and back: what encoding, errors and newline of a file mean.

`codec_for` checks the three as io.TextIOWrapper does, by asking it, and remembers the
answer; `Codec` makes the decoders and encodes. `Cookie` is a position in a text file,
in the form that io gives to it. Used by files_text.py and files_open.py.
"""

from __future__ import annotations

import codecs
import functools
import io
import locale
import sys
from typing import Any, NamedTuple

# Encodings without state and without a mark at the start: str.encode does it.
_PLAIN = frozenset({"utf-8", "ascii", "iso8859-1"})


class Cookie(NamedTuple):
    """Where to begin, in which state, and how much to decode and skip there."""

    start: int
    flags: int = 0
    feed: int = 0
    skip: int = 0
    is_end: bool = False

    def pack(self) -> int:
        """The number that tell() gives: the position, if there is nothing else."""
        return (
            self.start
            | self.flags << 64
            | self.feed << 128
            | self.skip << 192
            | int(self.is_end) << 256
        )

    @classmethod
    def unpack(cls, number: int) -> Cookie:
        """The parts of such a number."""
        words = [number >> shift & (1 << 64) - 1 for shift in (0, 64, 128, 192)]
        return cls(words[0], words[1], words[2], words[3], bool(number >> 256))


class Codec:
    """One combination of encoding, errors and newline."""

    def __init__(self, encoding: str, errors: str, newline: str | None) -> None:
        self.encoding = encoding
        self.errors = errors
        self.newline = newline
        self.universal = not newline  # None or ''
        self.translates = newline is None
        # What "\n" becomes, if something else; and what ends a line.
        self.written = newline if newline in ("\r", "\r\n") else None
        self.end = newline or "\n"
        info = codecs.lookup(encoding)
        self._decoder = info.incrementaldecoder
        self._encoder = info.incrementalencoder
        self.is_plain = info.name in _PLAIN
        # 0 is no state of theirs, and given it they crash (CPython 3.11 to 3.13).
        self.has_no_zero = info.name.startswith(("iso2022", "hz"))

    def decoder(self) -> Any:
        """A new incremental decoder, which also knows about newlines."""
        if self._decoder is None:
            raise LookupError(f"{self.encoding}: no incremental decoder")
        decoder: Any = self._decoder(self.errors)
        if self.universal:
            return io.IncrementalNewlineDecoder(decoder, self.translates)
        return decoder

    def encoder(self) -> Any:
        """A new incremental encoder; None if str.encode does it."""
        if self.is_plain:
            return None
        if self._encoder is None:
            raise LookupError(f"{self.encoding}: no incremental encoder")
        return self._encoder(self.errors)


def codec_for(encoding: str | None, errors: str | None, newline: str | None) -> Codec:
    """The codec of a file. Raises what io.open raises for arguments that are wrong."""
    if encoding is None or encoding == "locale":
        utf8 = sys.flags.utf8_mode and encoding is None
        encoding = "utf-8" if utf8 else locale.getencoding()
    return _codec_for(encoding, errors, newline)


@functools.lru_cache(maxsize=64)
def _codec_for(encoding: str, errors: str | None, newline: str | None) -> Codec:
    judge = io.TextIOWrapper(io.BytesIO(), encoding, errors, newline)
    return Codec(judge.encoding, judge.errors or "strict", newline)
