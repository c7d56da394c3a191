"""Locks: who waits, who does not, and that the loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from syslet_loop import files_locks as files

HOLDS = """
import fcntl, sys
with open(sys.argv[1], "r+") as file:
    fcntl.{call}(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("kind", [files.flock, files.ofd_lock])
@pytest.mark.parametrize("count", [3, 40])
def test_one_at_a_time(
    runner: asyncio.Runner, tmp_path: Path, kind: Callable[..., Any], count: int
) -> None:
    """Forty are more than the workers that may wait."""
    path = tmp_path / "lock"
    path.touch()
    inside = 0

    async def visit() -> None:
        nonlocal inside
        fd = os.open(path, os.O_RDWR)
        try:
            await kind(fd, fcntl.LOCK_EX)
            assert inside == 0
            inside += 1
            await asyncio.sleep(0)
            inside -= 1
        finally:
            os.close(fd)

    async def main() -> None:
        async with asyncio.timeout(60):
            await asyncio.gather(*(visit() for _ in range(count)))

    runner.run(main())


@pytest.mark.parametrize("call", ["flock", "lockf"])
def test_another_process_holds_it(
    runner: asyncio.Runner, tmp_path: Path, call: str
) -> None:
    path = tmp_path / "lock"
    path.touch()
    take = getattr(files, call)
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDS.format(call=call), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin and child.stdout and child.stdout.readline() == b"held\n"
    fd = os.open(path, os.O_RDWR)

    async def main() -> None:
        with pytest.raises(BlockingIOError):
            await take(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await take(fd, fcntl.LOCK_SH)
        waiting = asyncio.create_task(take(fd, fcntl.LOCK_EX))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        assert child.stdin is not None
        child.stdin.close()
        async with asyncio.timeout(60):
            await waiting
        await take(fd, fcntl.LOCK_UN)

    try:
        runner.run(main())
    finally:
        os.close(fd)
        child.stdin.close()
        child.stdout.close()
        assert child.wait(60) == 0


def test_parts_and_sharing(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_bytes(bytes(100))

    async def main() -> None:
        one, two = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
        now = fcntl.LOCK_NB
        try:
            await files.ofd_lock(one, fcntl.LOCK_EX, 10, 0)
            await files.ofd_lock(two, fcntl.LOCK_EX | now, 10, 10)
            with pytest.raises(BlockingIOError):
                await files.ofd_lock(two, fcntl.LOCK_EX | now, 10, 5)
            await files.ofd_lock(one, fcntl.LOCK_UN)
            await files.ofd_lock(two, fcntl.LOCK_UN)
            await files.ofd_lock(one, fcntl.LOCK_SH)
            await files.ofd_lock(two, fcntl.LOCK_SH | now)
            with pytest.raises(ValueError, match="lockf"):
                await files.lockf(one, 77)
            with pytest.raises(OSError) as caught:
                await files.flock(one, 77)
            assert caught.value.errno == 22
        finally:
            os.close(one)
            os.close(two)

    runner.run(main())


def test_locked(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = tmp_path / "lock"

    async def main() -> None:
        async with files.locked(path, shared=True):
            async with files.locked(path, shared=True, wait=False):
                pass
            with pytest.raises(BlockingIOError):
                async with files.locked(path, wait=False):
                    pass
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02), files.locked(path):
                    pass
        async with files.locked(path, wait=False) as fd:
            assert os.fstat(fd).st_size == 0

    runner.run(main())
