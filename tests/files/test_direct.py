"""Places, vectors, O_DIRECT and advice: what os does, awaited."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from syslet_loop import files_direct as files

FAR = (1 << 32) + 4096


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[int]:
    """A file of 1 MB, open to read and write."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1 << 20))
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


def test_places(runner: asyncio.Runner, opened: int) -> None:
    async def main() -> None:
        assert await files.pread(opened, 10, 500) == os.pread(opened, 10, 500)
        buffer = bytearray(20)
        assert await files.pread_into(opened, buffer, 7) == 20
        assert buffer == os.pread(opened, 20, 7)
        assert await files.pwrite(opened, b"far", FAR) == 3
        assert os.pread(opened, 3, FAR) == b"far"
        assert await files.pread(opened, 10, FAR) == b"far"
        assert await files.pread(opened, 10, FAR + 3) == b""
        with pytest.raises(OSError) as caught:
            await files.pread(opened, 10, -1)
        assert caught.value.errno == 22

    runner.run(main())


def test_vectors(runner: asyncio.Runner, opened: int) -> None:
    async def main() -> None:
        first, second = bytearray(10), bytearray(100_000)
        assert await files.preadv(opened, [first, second], 5) == 100_010
        assert first + second == os.pread(opened, 100_010, 5)
        assert await files.pwritev(opened, [b"ab", b"", b"cde"], FAR) == 5
        assert await files.preadv(opened, [first, second], FAR) == 5
        assert first[:5] == b"abcde"
        assert await files.pwritev(opened, [b"x"], 0, os.RWF_DSYNC) == 1

    runner.run(main())


def test_direct(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(65536))

    async def main() -> None:
        try:
            fd = await files.open_fd(path, os.O_RDWR | os.O_DIRECT)
        except OSError:
            pytest.skip("this file system has no O_DIRECT")
        try:
            buffer = files.aligned_buffer(8192)
            assert await files.direct_pread(fd, buffer, 4096) == 8192
            assert buffer == path.read_bytes()[4096:12288]
            buffer[:3] = b"new"
            assert await files.direct_pwrite(fd, buffer, 0) == 8192
            assert path.read_bytes()[:8192] == buffer
            many = [files.direct_pread(fd, buffer, n * 8192) for n in range(8)]
            assert await asyncio.gather(*many) == [8192] * 8
        finally:
            os.close(fd)

    runner.run(main())


def test_room_and_advice(runner: asyncio.Runner, opened: int) -> None:
    async def main() -> None:
        await files.fallocate(opened, 0, 0, 2 << 20)
        assert os.fstat(opened).st_size == 2 << 20
        await files.fadvise(opened, 0, 0, os.POSIX_FADV_WILLNEED)
        await files.sync_file_range(opened, 0, 4096, 2)
        with pytest.raises(OSError) as caught:
            await files.fadvise(opened, 0, 0, 99)
        assert caught.value.errno == 22

    runner.run(main())


def test_what_is_only_a_place(runner: asyncio.Runner, tmp_path: Path) -> None:
    async def main() -> None:
        fd = await files.open_fd(tmp_path, os.O_PATH)
        try:
            with pytest.raises(OSError) as caught:
                await files.pread(fd, 1, 0)
            assert caught.value.errno == 9
        finally:
            os.close(fd)

    runner.run(main())


@pytest.mark.parametrize("kind", ["pipe", "empty pipe", "socket", "eventfd"])
def test_what_has_no_places(runner: asyncio.Runner, kind: str) -> None:
    """Nothing is taken out of it or put into it, and nothing is waited for."""
    reads, writes = os.pipe()
    left, right = socket.socketpair()
    event = os.eventfd(5)
    right.send(b"x" * 8)
    if kind == "pipe":
        os.write(writes, b"x" * 8)
    ends = {"socket": (left.fileno(), left.fileno()), "eventfd": (event, event)}
    source, target = ends.get(kind, (reads, writes))

    async def main() -> None:
        for buffer in (files.direct_buffers(1, 8)[0], memoryview(bytearray(8))):
            for flight in (
                files.direct_pread(source, buffer, 0),
                files.direct_pwrite(target, buffer, 0),
            ):
                with pytest.raises(OSError, match="Illegal seek"):
                    await flight
                assert bytes(buffer) == bytes(8)
            with pytest.raises(OSError, match="Invalid argument"):
                await files.direct_pread(source, buffer, -1)

    with left, right:
        runner.run(main())
        assert left.recv(16) == b"x" * 8
        assert os.eventfd_read(event) == 5
        if kind == "pipe":
            assert os.read(reads, 16) == b"x" * 8
    for fd in (reads, writes, event):
        os.close(fd)
