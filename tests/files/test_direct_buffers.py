"""Registered buffers: the same bytes with them, without, and when they are gone."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kinds import BACKENDS

from syslet_loop import _native
from syslet_loop import files_direct as files

BLOCK, BLOCKS = 4096, 64
FIXED_MAX = _native.limits()["FIXED_MAX"]


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[tuple[int, bytes]]:
    """A file opened with O_DIRECT, and what is in it."""
    path = tmp_path / "file"
    data = os.urandom(BLOCKS * BLOCK)
    path.write_bytes(data)
    try:
        fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    except OSError:
        pytest.skip("this file system has no O_DIRECT")
    yield fd, data
    os.close(fd)


def is_registered(view: memoryview) -> bool:
    memory = view.obj
    assert isinstance(memory, _native.FixedMemory)
    return memory.registered


def has_ring(kind: str) -> bool:
    """Whether the loops of this kind have one; what is not forced may be refused."""
    if BACKENDS[kind] == "epoll":
        return False
    try:
        _native.Engine("uring").close()
    except OSError:
        return False
    return True


async def check(opened: tuple[int, bytes], buffers: list[memoryview]) -> None:
    """Read and write everything through these buffers, many at once."""
    fd, data = opened
    free, got = list(buffers), {}
    places = ((fd, free.pop(), at * BLOCK) for at in range(BLOCKS))
    read = files.direct_pread.map(places, limit=max(1, len(buffers) // 2))
    async for (_, buffer, at), count in read:
        got[at] = bytes(buffer[:count])
        free.append(buffer)
    assert b"".join(got[at] for at in sorted(got)) == data
    buffer = buffers[0]
    for at in (0, BLOCK * (BLOCKS - 1)):
        before = os.preadv(fd, [buffer], at)
        assert before == BLOCK
        buffer[:4] = b"new!"
        assert await files.direct_pwrite(fd, buffer, at) == BLOCK
        buffer[:4] = b"old."
        assert await files.direct_pread(fd, buffer, at) == BLOCK
        assert buffer[:4] == b"new!" and buffer[4:] == data[at + 4 : at + BLOCK]
        buffer[:4] = data[at : at + 4]
        await files.direct_pwrite(fd, buffer, at)


def test_the_same_bytes(
    runner: asyncio.Runner, direct: tuple[int, bytes], request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["runner"]

    async def main() -> None:
        buffers = files.direct_buffers(8, BLOCK)
        assert len(buffers) == 8
        assert all(is_registered(each) == has_ring(kind) for each in buffers)
        await check(direct, buffers)
        # The path without: memory of the same kind that nobody registered.
        await check(direct, [files.aligned_buffer(BLOCK) for _ in range(8)])

    runner.run(main())


def test_more_than_can_be_registered(
    runner: asyncio.Runner, direct: tuple[int, bytes], request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["runner"]

    async def main() -> None:
        kept = [files.direct_buffers(2, BLOCK) for _ in range(FIXED_MAX)]
        assert is_registered(kept[-1][0]) == has_ring(kind)
        refused = files.direct_buffers(2, BLOCK)
        assert not is_registered(refused[0])
        await check(direct, refused)
        await check(direct, kept[-1])
        kept.pop(0)
        again = files.direct_buffers(2, BLOCK)
        assert is_registered(again[0]) == has_ring(kind)
        await check(direct, again)

    runner.run(main())


def test_shapes_and_mistakes(runner: asyncio.Runner) -> None:
    async def main() -> None:
        for count, size in ((1, 1), (3, 512), (2, 4097), (1, 1 << 20)):
            buffers = files.direct_buffers(count, size)
            assert [each.nbytes for each in buffers] == [size] * count
            assert all(bytes(each) == bytes(size) for each in buffers)
            buffers[-1][-1] = 7
            assert all(each[-1] == 0 for each in buffers[:-1])
        for count, size in ((0, 1), (1, 0), (-1, 5)):
            with pytest.raises(ValueError, match="at least 1"):
                files.direct_buffers(count, size)
        with pytest.raises(OSError, match="memory"):
            files.direct_buffers(1, 1 << 60)

    runner.run(main())


def test_outside_of_a_loop() -> None:
    with pytest.raises(RuntimeError):
        files.direct_buffers(1, BLOCK)


def test_given_back_in_another_thread(
    runner: asyncio.Runner, direct: tuple[int, bytes]
) -> None:
    """New memory at the same address is not mistaken for what the ring has."""

    async def main() -> None:
        for _ in range(4):
            held = [files.direct_buffers(4, BLOCK)]
            await check(direct, held[0])
            thread = threading.Thread(target=held.clear)
            thread.start()
            thread.join()
            await check(direct, [files.aligned_buffer(BLOCK) for _ in range(4)])

    runner.run(main())


def test_cancelled_while_the_kernel_has_them(
    runner: asyncio.Runner, direct: tuple[int, bytes]
) -> None:
    fd, _ = direct

    async def main() -> None:
        for turns in range(20):
            buffers = files.direct_buffers(8, BLOCK)
            tasks = [
                asyncio.ensure_future(files.direct_pread(fd, each, 0))
                for each in buffers
            ]
            del buffers
            for _ in range(turns % 4):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await check(direct, files.direct_buffers(4, BLOCK))

    runner.run(main())


def test_they_outlive_their_loop(
    runner: asyncio.Runner, direct: tuple[int, bytes]
) -> None:
    async def make() -> list[memoryview]:
        return files.direct_buffers(4, BLOCK)

    buffers = asyncio.run(make())
    assert not is_registered(buffers[0])
    runner.run(check(direct, buffers))
    del buffers
    gc.collect()


def locked_memory_is_refused(opened: tuple[int, bytes]) -> bool:
    """In a child without privileges that may lock nothing. True: as it should be."""
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)

    async def main() -> bool:
        buffers = files.direct_buffers(4, BLOCK)
        await check(opened, buffers)
        return not is_registered(buffers[0])

    return asyncio.run(main())


def test_a_limit_of_locked_memory(direct: tuple[int, bytes]) -> None:
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if locked_memory_is_refused(direct) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
