"""Reads of files of which only some pages are in the page cache.

The attempt reads up to the first page that is missing; the rest comes through the ring
or from a worker and has to land behind it.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import pytest

from syslet_loop import syslet

PAGE = 4096
PAGES = 24
CONTENT = random.Random(1).randbytes(PAGES * PAGE - 100)
AWAY = 5  # where reads begin that do not begin at 0


@syslet
def read(s: Any, path: str, size: int) -> Any:
    fd = s.openat(path, os.O_RDONLY)
    return s.read(fd, size)


@syslet
def read_behind(s: Any, path: str, size: int) -> Any:
    fd = s.openat(path, os.O_RDONLY)
    s.lseek(fd, AWAY, os.SEEK_SET)
    return s.read(fd, size)


@syslet
def pread(s: Any, path: str, size: int) -> Any:
    fd = s.openat(path, os.O_RDONLY)
    return s.pread(fd, size, AWAY)


@syslet
def preadv(s: Any, path: str, first: bytearray, second: bytearray) -> Any:
    fd = s.openat(path, os.O_RDONLY)
    return s.preadv(fd, [first, second], 0)


def keep(path: Path, pages: range) -> None:
    """Have just these pages in the cache, as far as the file system does as told."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # nothing is read ahead
        for page in pages:
            os.pread(fd, 1, page * PAGE)
    finally:
        os.close(fd)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(CONTENT)
    fd = os.open(made, os.O_RDONLY)
    os.fsync(fd)  # dirty pages would stay in the cache
    os.close(fd)
    return made


@pytest.mark.parametrize(
    "pages",
    [
        range(0),
        range(1),
        range(1, PAGES),
        range(7),
        range(0, PAGES, 2),
        range(0, PAGES, 5),
        range(PAGES - 1),
        range(PAGES),
    ],
    ids=str,
)
def test_every_byte_is_where_it_belongs(
    runner: asyncio.Runner, path: Path, pages: range
) -> None:
    for size in (len(CONTENT), len(CONTENT) + 1000, 3 * PAGE, 7 * PAGE, 7 * PAGE + 1):
        for plan, start in ((read, 0), (read_behind, AWAY), (pread, AWAY)):
            keep(path, pages)
            data = runner.run(plan(str(path), size))
            assert data == CONTENT[start : start + size], (plan, size)
        keep(path, pages)
        first, second = bytearray(size // 3), bytearray(size - size // 3)
        count = runner.run(preadv(str(path), first, second))
        assert count == min(size, len(CONTENT))
        assert (first + second)[:count] == CONTENT[:size]


@syslet
def ask_for_the_end(s: Any, path: str, gate: Any) -> Any:
    """Reads to the end, and asks at once whether there is more; then waits and asks."""
    fd = s.openat(path, os.O_RDWR | os.O_APPEND)
    data = s.pread(fd, 65536, 0)
    s.emit((data, s.pread(fd, 10, data.length)))
    s.read(gate, 1)
    s.emit(s.pread(fd, 10, data.length))
    data = s.pread(fd, 65536, 0)
    s.write(fd, b"own")
    s.emit(s.pread(fd, 10, data.length))


def test_an_end_is_known_only_to_the_next_atom(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    gate, opener = os.pipe()

    async def main() -> None:
        events = ask_for_the_end.events(path, gate)
        assert await anext(events) == (b"x" * 1000, b"")
        with path.open("ab") as file:
            file.write(b"new")
        os.write(opener, b"!")
        assert await anext(events) == b"new"
        assert await anext(events) == b"own"
        assert [event async for event in events] == []

    try:
        runner.run(main())
    finally:
        os.close(gate)
        os.close(opener)
