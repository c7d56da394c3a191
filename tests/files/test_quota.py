"""EDQUOT: a real quota of btrfs where there can be one, and answers of a filter."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from disks import with_quota
from kinds import BACKENDS
from processes import check_process

from syslet_loop import _native, files

OLD = b"old" * 1000
LARGE = os.urandom(4 << 20)  # the quota is one megabyte
NUMBERS = {row["name"]: row["nr"] for row in _native.ops()}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with with_quota(tmp_path) as path:
        yield path


async def refused(path: Path, write: Callable[[], Awaitable[object]]) -> OSError:
    """The error of a write that meets the quota."""
    with pytest.raises(OSError) as caught:
        await write()
    assert caught.value.errno == errno.EDQUOT
    assert caught.value.filename == str(path)
    return caught.value


def test_a_quota_that_is_used_up(runner: asyncio.Runner, folder: Path) -> None:
    path, other = folder / "file", folder / "other"
    path.write_bytes(OLD)

    async def main() -> None:
        await refused(path, lambda: files.write_bytes(path, LARGE, atomic=True))
        assert path.read_bytes() == OLD and os.listdir(folder) == ["file"]
        await refused(path, lambda: files.append_bytes(path, LARGE))
        got = path.read_bytes()
        assert got == (OLD + LARGE)[: len(got)], "a part, and the right one"
        await files.os.remove(path)
        os.sync()
        await refused(other, lambda: files.write_bytes(other, LARGE, fsync=True))

    runner.run(main())


def test_a_file_object_over_its_quota(runner: asyncio.Runner, folder: Path) -> None:
    """As with io's, the rest stays in the buffer and closing says it again."""

    async def main() -> None:
        file = await files.open(folder / "file", "wb")
        with pytest.raises(OSError) as caught:
            for at in range(0, len(LARGE), 1000):
                await file.write(LARGE[at : at + 1000])
        assert caught.value.errno == errno.EDQUOT
        with pytest.raises(OSError) as caught:
            await file.close()
        assert caught.value.errno == errno.EDQUOT and file.closed

    runner.run(main())


FILTERED = """
import os
from pathlib import Path
from seccomp import forbid, forbid_length
import syslet_loop
from syslet_loop import files

OLD, NEW = b"old" * 1000, b"new" * 30_000
path, number, atomic, folder = {path!r}, {number}, {atomic}, {folder!r}
Path(path).write_bytes(OLD)

async def main():
    try:
        await files.write_bytes(path, NEW, atomic=atomic, fsync=True)
    except OSError as error:
        assert (error.errno, error.filename) == (122, path), repr(error)
        assert atomic or "of files_whole.py)" in error.__notes__[0]
    else:
        raise AssertionError("no error")
    assert os.listdir(folder) == ["file"], os.listdir(folder)
    if atomic:
        assert Path(path).read_bytes() == OLD

# Of this thread, and of workers that it starts from now on.
if number == {write}:  # not what wakes the loop
    forbid_length(number, len(NEW), 122)
else:
    forbid((number,), 122)
syslet_loop.run(main())
"""


@pytest.mark.parametrize("backend", [BACKENDS["uring"], BACKENDS["epoll"]])
@pytest.mark.parametrize(
    ("call", "atomic"),
    [
        ("write", True),
        ("write", False),
        ("fsync", True),  # where file systems of the network say it
        ("renameat2", True),
    ],
)
def test_any_call_may_say_it(
    tmp_path: Path, call: str, atomic: bool, backend: str
) -> None:
    try:
        _native.Engine(backend).close()
    except OSError as error:
        pytest.skip(f"{backend} is not to be had here: {error}")
    folder = str(tmp_path)
    values: dict[str, Any] = {"folder": folder, "path": os.path.join(folder, "file")}
    values |= {"number": NUMBERS[call], "atomic": atomic, "write": NUMBERS["write"]}
    check_process(FILTERED.format(**values), backend)
