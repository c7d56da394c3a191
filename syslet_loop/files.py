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
from .files_bulk import iter_chunks, read_many, stat_many
from .files_direct import (
    aligned_buffer,
    direct_buffers,
    direct_pread,
    direct_pwrite,
    fadvise,
    fallocate,
    open_fd,
    pread,
    pread_into,
    preadv,
    pwrite,
    pwritev,
    sync_file_range,
)
from .files_locks import flock, locked, lockf, ofd_lock
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
from .files_tree import Entry, copytree, glob, rmtree, scandir, walk
from .files_watch import Event, Watch, watch
from .files_whole import (
    append_bytes,
    copyfile,
    read_bytes,
    read_text,
    write_bytes,
    write_text,
)

__all__ = [
    "AsyncBufferedIOBase",
    "AsyncBufferedRandom",
    "AsyncBufferedReader",
    "AsyncBufferedWriter",
    "AsyncFileIO",
    "AsyncTextIOWrapper",
    "Entry",
    "Event",
    "Opening",
    "Watch",
    "aligned_buffer",
    "append_bytes",
    "copyfile",
    "copytree",
    "direct_buffers",
    "direct_pread",
    "direct_pwrite",
    "fadvise",
    "fallocate",
    "flock",
    "glob",
    "iter_chunks",
    "locked",
    "lockf",
    "ofd_lock",
    "open",
    "open_fd",
    "os",
    "pread",
    "pread_into",
    "preadv",
    "pwrite",
    "pwritev",
    "read_bytes",
    "read_many",
    "read_text",
    "replace_aiofiles",
    "restore_aiofiles",
    "rmtree",
    "scandir",
    "stat_many",
    "stderr",
    "stderr_bytes",
    "stdin",
    "stdin_bytes",
    "stdout",
    "stdout_bytes",
    "sync_file_range",
    "tempfile",
    "walk",
    "watch",
    "wrap",
    "write_bytes",
    "write_text",
]
