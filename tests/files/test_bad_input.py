"""Names, offsets, disks and files that are no ordinary ones, on every kind of call."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from disks import mounted

from syslet_loop import files

FAR = (5 << 32) + 123  # needs more than 32 bits twice over
ODD = os.fsdecode(b"caf\xe9 \xff\n")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one megabyte."""
    with mounted(tmp_path / "disk") as path:
        yield path


# Offsets.


def test_far_behind_the_start(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = tmp_path / "sparse"

    async def main() -> None:
        async with files.open(path, "w+b") as file:
            assert await file.seek(FAR) == FAR
            assert await file.write(b"far") == 3 and await file.tell() == FAR + 3
            await file.seek(-3, os.SEEK_END)
            assert await file.read() == b"far"
            assert await file.truncate(FAR + 1) == FAR + 1
        assert await files.append_bytes(path, b"ther\n") == 5
        async with files.open(path, "r", encoding="utf-8") as text:
            assert await text.seek(FAR) == FAR
            assert await text.readline() == "fther\n" and await text.tell() == FAR + 6
        st = await files.os.stat(path)
        assert st.st_size == FAR + 6 and st.st_blocks * 512 < 1 << 20
        fd = os.open(path, os.O_RDWR)
        try:
            await files.fallocate(fd, 3, FAR, 1)  # a hole, the size stays
            assert await files.pread(fd, 3, FAR) == b"\0th"
            await files.fadvise(fd, FAR, 10, os.POSIX_FADV_DONTNEED)
            await files.ofd_lock(fd, fcntl.LOCK_EX, 10, FAR)
            other = os.open(path, os.O_RDWR)
            try:
                await files.ofd_lock(other, fcntl.LOCK_EX, 10, FAR + 10)
                with pytest.raises(BlockingIOError):
                    exclusive = fcntl.LOCK_EX | fcntl.LOCK_NB
                    await files.ofd_lock(other, exclusive, 1, FAR)
            finally:
                os.close(other)
        finally:
            os.close(fd)

    runner.run(main())


# Names.


def test_a_name_that_is_not_utf8(runner: asyncio.Runner, tmp_path: Path) -> None:
    top = tmp_path / ODD
    path = top / ODD

    async def main() -> None:
        await files.os.mkdir(top)
        async with files.watch(top) as events:
            async with files.open(path, "w") as file:
                await file.write("text")
                assert file.name == str(path)
            event = await anext(events)
            assert os.fspath(event.path) == str(path)
        assert await files.os.listdir(top) == [ODD]
        assert await files.os.listdir(os.fsencode(top)) == [os.fsencode(ODD)]
        assert [e.name async for e in files.scandir(top)] == [ODD]
        assert [x async for x in files.walk(str(tmp_path))] == list(os.walk(tmp_path))
        found = [x async for x in files.glob("*/*", root_dir=tmp_path)]
        assert found == [os.path.join(ODD, ODD)]
        async for name, data in files.read_many([str(path), os.fsencode(path)]):
            assert data == b"text" and os.fsdecode(name) == str(path)
        async with files.tempfile.NamedTemporaryFile(prefix=ODD, dir=top) as file:
            assert os.path.exists(file.name)
        await files.os.rename(path, top / (ODD + "2"))
        with pytest.raises(FileNotFoundError) as caught:
            await files.read_bytes(path)
        assert caught.value.filename == str(path)
        await files.copytree(top, tmp_path / "copy")
        assert os.listdir(tmp_path / "copy") == [ODD + "2"]
        await files.rmtree(top)
        assert not top.exists()

    runner.run(main())


# A disk that is full.


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_a_full_disk_under_a_file(
    runner: asyncio.Runner, small_disk: Path, mode: str
) -> None:
    """As with io's, the error is told where the kernel tells it, and by close()."""
    part: Any = b"x" * 10_000 if "b" in mode else "x" * 10_000

    async def main() -> None:
        file = await files.open(small_disk / "file", mode)
        with pytest.raises(OSError) as caught:
            for _ in range(1000):
                await file.write(part)
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(OSError) as caught:
            await file.close()
        assert caught.value.errno == errno.ENOSPC and file.closed

    runner.run(main())


def test_positional_writes_to_a_full_disk(
    runner: asyncio.Runner, small_disk: Path
) -> None:
    async def main() -> None:
        fd = await files.open_fd(small_disk / "file", os.O_RDWR | os.O_CREAT)
        try:
            data = os.urandom(4 << 20)
            count = await files.pwrite(fd, data, 0)
            assert 0 < count < len(data), "what there was room for"
            assert os.pread(fd, len(data), 0) == data[:count]
            for write in (
                files.pwrite(fd, data, count),
                files.pwritev(fd, [data, data], count),
                files.fallocate(fd, 0, 0, len(data)),
            ):
                with pytest.raises(OSError) as caught:
                    await write
                assert caught.value.errno == errno.ENOSPC
        finally:
            os.close(fd)

    runner.run(main())


# FIFOs, unnamed files.


def test_a_fifo_without_a_writer_stops_nobody(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    fifo, plain = tmp_path / "fifo", tmp_path / "plain"
    os.mkfifo(fifo)
    plain.write_bytes(b"plain")

    async def opened() -> bytes:
        async with files.open(fifo, "rb") as file:
            data: bytes = await file.read()
            return data

    async def main() -> None:
        waiting = [asyncio.ensure_future(files.read_bytes(fifo)) for _ in range(3)]
        waiting += [asyncio.ensure_future(opened()) for _ in range(3)]
        for _ in range(50):
            assert await files.read_bytes(plain) == b"plain"
            assert await files.os.listdir(tmp_path) in (
                ["fifo", "plain"],
                ["plain", "fifo"],
            )
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(answer) for answer in answers} == {asyncio.CancelledError}

    runner.run(main())


def test_an_unnamed_file_gets_a_name(runner: asyncio.Runner, tmp_path: Path) -> None:
    async def main() -> None:
        flags = os.O_TMPFILE | os.O_RDWR
        try:
            fd = await files.open_fd(tmp_path, flags, 0o600)
        except OSError as error:
            pytest.skip(f"no O_TMPFILE here: {error}")
        try:
            assert await files.pwrite(fd, b"content", 0) == 7
            assert os.listdir(tmp_path) == []
            source = f"/proc/self/fd/{fd}"
            # With a dir_fd only, as os.link, does it go where the link leads.
            await files.os.link(source, tmp_path / "named", src_dir_fd=fd)
        finally:
            os.close(fd)
        assert await files.read_bytes(tmp_path / "named") == b"content"

    runner.run(main())


def test_what_is_only_a_place(runner: asyncio.Runner, tmp_path: Path) -> None:
    """An O_PATH descriptor leads somewhere, and cannot be read."""
    (tmp_path / "file").write_bytes(b"content")

    async def main() -> None:
        fd = await files.open_fd(tmp_path / "file", os.O_PATH)
        try:
            assert (await files.os.stat(fd)).st_size == 7
            assert await files.read_bytes(f"/proc/self/fd/{fd}") == b"content"
            async with files.open(fd, "rb", closefd=False) as file:
                with pytest.raises(OSError) as caught:
                    await file.read()
                assert caught.value.errno == errno.EBADF
        finally:
            os.close(fd)

    runner.run(main())


# What vanishes.


def test_a_source_that_vanishes(runner: asyncio.Runner, tmp_path: Path) -> None:
    """Whatever has been copied, errors are shutil's and nothing leaks."""
    top = tmp_path / "top"
    for number in range(200):
        (top / str(number % 20) / str(number)).mkdir(parents=True)
        (top / str(number % 20) / str(number) / "file").write_bytes(b"x" * 1000)

    async def main() -> None:
        removing = threading.Thread(target=shutil.rmtree, args=(top, True))
        removing.start()
        with contextlib.suppress(shutil.Error, FileNotFoundError):
            await files.copytree(top, tmp_path / "copy")
        async for path in files.glob("**/file", root_dir=top, recursive=True):
            assert path.endswith("file")
        async for _, result in files.read_many(
            (top / str(n % 20) / str(n) / "file" for n in range(200)),
            return_exceptions=True,
        ):
            assert result == b"x" * 1000 or isinstance(result, FileNotFoundError)
        removing.join()

    runner.run(main())
