"""Files without a thread pool: aiofiles' interface over syslets.

`async with files.open(path) as f: text = await f.read()`. Signatures, results and
errors are those of the built-in open and of io's classes. What the page cache has is read
inside the `await`; only a call that would wait leaves the thread. Each file does one
operation at a time, in the order they were asked for. Works on every asyncio loop.
"""

from __future__ import annotations

from .files_buffers import (
    AsyncBufferedIOBase,
    AsyncBufferedRandom,
    AsyncBufferedReader,
    AsyncBufferedWriter,
)
from .files_open import Opening, open
from .files_raw import AsyncFileIO
from .files_text import AsyncTextIOWrapper

__all__ = [
    "AsyncBufferedIOBase",
    "AsyncBufferedRandom",
    "AsyncBufferedReader",
    "AsyncBufferedWriter",
    "AsyncFileIO",
    "AsyncTextIOWrapper",
    "Opening",
    "open",
]
