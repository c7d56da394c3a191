"""Arguments that are memory: what is accepted, and that it is pinned in flight."""

from __future__ import annotations

import array
import asyncio
import ctypes
import gc
import mmap
import os
import socket
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flights import current, flying, lock_behind, receive_into

from syslet_loop import calls, memory, syslet

Run = Callable[[Any], Any]
Pair = tuple[socket.socket, socket.socket]
LOCK_EX = 2


@syslet
def send(s: Any, fd: int, data: bytes) -> Any:
    return s.send(fd, data)


@syslet
def count(s: Any, word: memoryview) -> Any:
    return s.umem_add(word, 1)


@syslet
def fill(s: Any, memory: bytearray, size: int) -> Any:
    return s.getrandom(memory, size=size)


def writables() -> list[tuple[str, Any]]:
    """Memory of eight bytes or more that may be written to, by kind."""
    return [
        ("bytearray", bytearray(16)),
        ("memoryview", memoryview(bytearray(16))),
        ("slice", memoryview(bytearray(32))[8:24]),
        ("cast", memoryview(bytearray(16)).cast("Q")),
        ("two-dimensional", memoryview(bytearray(16)).cast("B", (4, 4))),
        ("array", array.array("q", [0, 0])),
        ("ctypes", (ctypes.c_char * 16)()),
        ("mmap", mmap.mmap(-1, 4096)),
        ("cffi array", memory.new("char[16]")),
        ("cffi pointer", memory.new("uint64_t *")),
        ("cffi structure", memory.new("struct statx *")),
        ("cffi buffer", memory.view(memory.new("char[16]"))),
    ]


@pytest.mark.parametrize("kind", [kind for kind, _ in writables()])
def test_memory_that_is_written_to(run: Run, pair: Pair, kind: str) -> None:
    target = dict(writables())[kind]

    async def main() -> None:
        pair[1].send(b"01234567")
        assert await receive_into(pair[0], target) == 8

    run(main())
    is_cffi = type(target).__module__ == "_cffi_backend"
    view = memory.ffi.buffer(target) if is_cffi else memoryview(target).cast("B")
    assert bytes(view[:8]) == b"01234567"
    if isinstance(target, mmap.mmap):
        del view
        target.close()


@pytest.mark.parametrize(
    "data",
    [
        b"12345678",
        bytearray(b"12345678"),
        memoryview(b"12345678"),
        memoryview(b"0123456789")[1:9],
        array.array("B", b"12345678"),
        type("Bytes", (bytes,), {})(b"12345678"),
        (ctypes.c_char * 8)(*b"12345678"),
    ],
    ids=lambda data: type(data).__name__,
)
def test_memory_that_is_read(run: Run, pair: Pair, data: Any) -> None:
    async def main() -> None:
        assert await send(pair[0], data) == 8
        assert pair[1].recv(100) == b"12345678"

    run(main())


def test_empty_memory(run: Run, pair: Pair) -> None:
    async def main() -> None:
        assert await send(pair[0], b"") == 0
        assert await send(pair[0], bytearray()) == 0
        pair[1].send(b"x")
        assert await receive_into(pair[0], bytearray()) == 0
        assert await receive_into(pair[0], bytearray(1)) == 1

    run(main())


class Stingy:
    """Has fileno() and __len__, but no memory."""

    def __len__(self) -> int:
        return 8


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (b"12345678", TypeError, "'memory' of syslet 'receive_into' needs writable"),
        (memoryview(b"12345678"), TypeError, "needs writable memory, not memoryview"),
        (bytearray(8).hex(), TypeError, "must be a bytes-like object, not str"),
        (None, TypeError, "must be a bytes-like object, not NoneType"),
        (8, TypeError, "must be a bytes-like object, not int"),
        ([1, 2], TypeError, "must be a bytes-like object, not list"),
        (Stingy(), TypeError, "must be a bytes-like object, not Stingy"),
        (memoryview(bytearray(16))[::2], BufferError, "contiguous"),
        (memoryview(bytearray(16))[::-1], BufferError, "contiguous"),
    ],
)
def test_memory_that_is_refused(
    run: Run, pair: Pair, target: Any, error: type[Exception], message: str
) -> None:
    async def main() -> None:
        await calls.getppid()
        before = current().stats()["launched"]
        with pytest.raises(error, match=message):
            await receive_into(pair[0], target)
        assert current().stats()["launched"] == before

    run(main())


def test_memory_that_is_refused_to_be_read(run: Run, pair: Pair) -> None:
    async def main() -> None:
        for data in ("text", None, 5, 1.5, Stingy()):
            with pytest.raises(TypeError, match="must be a bytes-like object"):
                await send(pair[0], data)
        with pytest.raises(BufferError, match="contiguous"):
            await send(pair[0], memoryview(b"12345678")[::2])
        released = memoryview(b"123")
        released.release()
        with pytest.raises(ValueError, match="released"):
            await send(pair[0], released)

    run(main())


def test_a_closed_mapping_is_refused(run: Run, pair: Pair) -> None:
    async def main() -> None:
        area = mmap.mmap(-1, 4096)
        area.close()
        with pytest.raises(ValueError, match="mmap closed"):
            await receive_into(pair[0], area)
        area = mmap.mmap(-1, 4096, prot=mmap.PROT_READ)
        with pytest.raises(TypeError, match="needs writable memory, not mmap"):
            await receive_into(pair[0], area)
        area.close()

    run(main())


def test_a_mapped_file_is_sent(run: Run, pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mapped")

    async def main() -> None:
        with open(tmp_path / "file", "rb") as file:
            area = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        assert await send(pair[0], area) == 6
        area.close()
        assert pair[1].recv(10) == b"mapped"

    run(main())


def test_memory_that_is_too_small_for_a_word(run: Run) -> None:
    async def main() -> None:
        for word in (bytearray(7), bytearray(), memoryview(bytearray(8))[1:]):
            with pytest.raises(ValueError, match=r"needs at least 8 bytes, not [07]"):
                await count(word)
        odd = memoryview(bytearray(9))[1:]
        assert await count(odd) == 1
        assert await count(odd) == 2
        word = array.array("q", [41])
        assert await count(word) == 42
        assert word[0] == 42

    run(main())


def test_a_size_beyond_the_memory_is_an_error_and_writes_nothing(run: Run) -> None:
    async def main() -> None:
        target = bytearray(8)
        assert await fill(target, 8) == 8
        for size in (9, 2**31, 2**63, -1):
            target[:] = bytes(8)
            with pytest.raises(OSError):
                await fill(target, size)
            assert target == bytes(8)

    run(main())


# Leases.


def test_memory_is_pinned_in_flight(run: Run, pair: Pair) -> None:
    async def main() -> None:
        target = bytearray(4)
        task = asyncio.create_task(receive_into(pair[0], target))
        await flying(1)
        with pytest.raises(BufferError, match="Existing exports"):
            target.append(0)
        pair[1].send(b"done")
        assert await task == 4
        target.append(0)
        assert target == b"done\0"

    run(main())


def test_memory_is_not_pinned_before_the_first_step(pair: Pair) -> None:
    target = bytearray(4)
    flight = receive_into(pair[0], target)
    target.append(0)
    flight.close()
    target.append(0)


def test_memory_is_given_back_after_an_error(run: Run, pair: Pair) -> None:
    async def main() -> None:
        target = bytearray(4)
        with pytest.raises(OSError):
            await receive_into(99999, target)
        target.append(0)
        with pytest.raises(OSError):
            await calls.readv(99999, [target, target])
        target.append(0)

    run(main())


def test_memory_is_given_back_if_a_later_argument_is_wrong(
    run: Run, pair: Pair
) -> None:
    @syslet
    def two(s: Any, first: bytearray, second: bytearray, fd: int) -> Any:
        return s.recv(fd, first), s.recv(fd, second)

    async def main() -> None:
        first, second = bytearray(4), bytearray(4)
        with pytest.raises(TypeError):
            await two(first, b"readonly", pair[0])
        first.append(0)
        with pytest.raises(ValueError):
            await two(first, second, -7)
        first.append(0)
        second.append(0)

    run(main())


def test_cancelled_memory_is_given_back_when_the_flight_lands(
    run: Run, pair: Pair
) -> None:
    async def main() -> None:
        target = bytearray(4)
        task = asyncio.create_task(receive_into(pair[0], target))
        await flying(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await flying(0)
        target.append(0)
        pair[1].send(b"late")
        await asyncio.sleep(0)
        assert target == bytes(5)
        assert await receive_into(pair[0], target) == 4

    run(main())


def test_memory_on_a_worker_is_given_back_only_by_the_worker(
    run: Run, pair: Pair, tmp_path: Path
) -> None:
    """The worker is in a call with the memory when the task is cancelled."""

    @syslet
    def write_after_lock(s: Any, fd: int, target: bytearray) -> Any:
        s.flock(fd, LOCK_EX)
        return s.pread(fd, target, 0)

    import fcntl

    path = tmp_path / "file"
    path.write_bytes(b"content")

    async def main() -> None:
        with open(path, "rb+") as holder, open(path, "rb+") as other:
            fcntl.flock(holder, fcntl.LOCK_EX)
            target = bytearray(7)
            task = asyncio.create_task(write_after_lock(other, target))
            await flying(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await flying(0)
            target.append(0)
            assert target == bytes(8)
            fcntl.flock(holder, fcntl.LOCK_UN)

    run(main())


def test_memory_lives_while_it_is_lent(run: Run, pair: Pair) -> None:
    class Memory(bytearray):
        pass

    async def main() -> None:
        target = Memory(4)
        seen = weakref.ref(target)
        task = asyncio.create_task(receive_into(pair[0], target))
        del target
        await flying(1)
        gc.collect()
        assert seen() is not None
        task.cancel()
        await asyncio.wait([task])
        await flying(0)
        await asyncio.sleep(0)
        del task
        gc.collect()
        assert seen() is None

    run(main())


def test_one_memory_may_be_lent_many_times(run: Run, pair: Pair) -> None:
    async def main() -> None:
        target = bytearray(8)
        halves = [memoryview(target)[:4], memoryview(target)[4:]]
        tasks = [asyncio.create_task(receive_into(pair[0], half)) for half in halves]
        await flying(2)
        with pytest.raises(BufferError):
            del target[:1]
        pair[1].send(b"abcd")
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        pair[1].send(b"efgh")
        assert await asyncio.gather(*tasks) == [4, 4]
        assert sorted(target) == list(b"abcdefgh")
        del halves, tasks
        gc.collect()
        del target[:1]

    run(main())


def test_a_closed_loop_gives_memory_back(backend: str, pair: Pair) -> None:
    import syslet_loop

    loop = syslet_loop.new_event_loop()
    target = bytearray(4)

    async def start() -> asyncio.Task[Any]:
        task = loop.create_task(receive_into(pair[0], target))
        await flying(1)
        return task

    task = loop.run_until_complete(start())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
    target.append(0)


def test_references_come_back(run: Run, pair: Pair) -> None:
    """Every kind of argument has as many references as before."""
    path = "".join([__file__, ""])[:] + "\N{SNOWMAN}"
    data, number = bytes(range(100)), 2**70 - 2**70 + 10**6

    async def main() -> None:
        before = [sys.getrefcount(each) for each in (path, data, number)]
        for _ in range(10):
            await send(pair[0], data)
            with pytest.raises(OSError):
                await calls.openat(path, os.O_RDONLY, number)
        assert [sys.getrefcount(each) for each in (path, data, number)] == before

    run(main())


def test_a_lock_that_never_comes_holds_nothing(run: Run, tmp_path: Path) -> None:
    import fcntl

    path = tmp_path / "lock"
    path.touch()

    async def main() -> None:
        with open(path, "rb+") as holder:
            fcntl.flock(holder, fcntl.LOCK_EX)
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await lock_behind(path, LOCK_EX, timeout=0.005)
            await flying(0)

    run(main())
