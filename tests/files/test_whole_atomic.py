"""Atomic writes: who looks finds the old or the new, and nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from syslet_loop.files_whole import read_bytes, write_bytes

OLD, NEW = b"old" * 30_000, b"new" * 30_000


def test_the_mode_is_kept(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = os.umask(0o027)
    try:
        runner.run(write_bytes(path, OLD, atomic=True))
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o751)
        runner.run(write_bytes(path, NEW, atomic=True))
        assert stat.S_IMODE(path.stat().st_mode) == 0o751
    finally:
        os.umask(before)


def test_who_has_it_open_keeps_the_old(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    with path.open("rb") as file:
        runner.run(write_bytes(path, NEW, atomic=True))
        assert file.read() == OLD
    assert path.read_bytes() == NEW


def test_a_target_that_cannot_be_replaced(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        runner.run(write_bytes(path, NEW, atomic=True))
    assert caught.value.filename == str(path)
    assert os.listdir(tmp_path) == ["folder"]


def test_a_long_name(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 127)
    runner.run(write_bytes(path, NEW, atomic=True))
    assert path.read_bytes() == NEW


def test_cancelled_at_any_moment(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)

    async def main() -> None:
        outcomes = set()
        for number in range(60):
            task = asyncio.create_task(write_bytes(path, NEW, atomic=True))
            for _ in range(number % 20):
                await asyncio.sleep(0)
            if number % 3 == 2:
                await asyncio.sleep(number / 20_000)
            task.cancel()
            try:
                await task
                outcomes.add("written")
                assert path.read_bytes() == NEW
            except asyncio.CancelledError:
                outcomes.add("cancelled")
            assert os.listdir(tmp_path) == ["file"]
            assert path.read_bytes() in (OLD, NEW)
            path.write_bytes(OLD)
        assert "cancelled" in outcomes

    runner.run(main())


def test_cancelled_twice_and_at_the_end(tmp_path: Path) -> None:
    """A loop that ends cancels what runs; that cleans up as well."""
    path = tmp_path / "file"
    path.write_bytes(OLD)

    async def main() -> None:
        task = asyncio.create_task(write_bytes(path, NEW, atomic=True))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()

    for _ in range(10):
        asyncio.run(main())
        assert os.listdir(tmp_path) == ["file"]
        assert path.read_bytes() in (OLD, NEW)


def test_readers_see_one_or_the_other(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)

    async def write() -> None:
        for number in range(40):
            await write_bytes(path, NEW if number % 2 else OLD, atomic=True)

    async def read() -> None:
        for _ in range(200):
            assert await read_bytes(path) in (OLD, NEW)
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(write(), read(), read())

    runner.run(main())


def test_many_writers_of_one_file(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        writes = [write_bytes(path, b"%d" % n * 5000, atomic=True) for n in range(8)]
        await asyncio.gather(*writes)

    runner.run(main())
    assert path.read_bytes() in {b"%d" % n * 5000 for n in range(8)}
    assert os.listdir(tmp_path) == ["file"]
