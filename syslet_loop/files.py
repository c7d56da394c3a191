"""Files without a thread pool: aiofiles' interface over syslets.

`async with files.open(path) as f: text = await f.read()`. Signatures, results and
errors are those of the built-in open and of io's classes. What the page cache has is
read inside the `await`; only a call that would wait leaves the thread. Each file does
one operation at a time, in the order they were asked for. Works on every asyncio loop.
"""

from __future__ import annotations

from . import files_os as os
from . import files_temp as tempfile
from .files_buffers import (
    AsyncBufferedIOBase,
    AsyncBufferedRandom,
    AsyncBufferedReader,
    AsyncBufferedWriter,
)
from .files_open import Opening, open
from .files_raw import AsyncFileIO
from .files_shim import replace_aiofiles, restore_aiofiles
from .files_stdio import (
    stderr,
    stderr_bytes,
    stdin,
    stdin_bytes,
    stdout,
    stdout_bytes,
    wrap,
)
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
    "os",
    "replace_aiofiles",
    "restore_aiofiles",
    "stderr",
    "stderr_bytes",
    "stdin",
    "stdin_bytes",
    "stdout",
    "stdout_bytes",
    "tempfile",
    "wrap",
]
