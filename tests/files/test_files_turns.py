"""Several tasks with one file, and tasks that are cancelled in the middle of a call."""

from __future__ import annotations

import asyncio
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from syslet_loop import calls, files


async def settle() -> None:
    """Let everything that is ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_calls_come_one_after_the_other(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"".join(b"%04d\n" % n for n in range(1000)))

    async def main() -> None:
        async with files.open(path, "rb") as file:
            lines = await asyncio.gather(*[file.readline() for _ in range(1000)])
            assert lines == [b"%04d\n" % n for n in range(1000)]
        async with files.open(path, "w") as text:
            await asyncio.gather(*[text.write(f"{n:04d}\n") for n in range(1000)])
        assert path.read_text() == "".join(f"{n:04d}\n" for n in range(1000))

    runner.run(main())


def test_a_waiting_call_keeps_its_place_unless_it_is_cancelled(
    runner: asyncio.Runner,
) -> None:
    async def main() -> None:
        r, w = os.pipe()
        async with files.open(r, "rb", buffering=0) as file:
            tasks = [asyncio.create_task(file.read(1)) for _ in range(4)]
            await settle()
            await cancel(tasks[1])
            os.write(w, b"abc")
            done = [await tasks[n] for n in (0, 2, 3)]
            assert done == [b"a", b"b", b"c"]
            first, second = (asyncio.create_task(file.read(1)) for _ in range(2))
            await settle()
            await cancel(first)
            os.write(w, b"d")
            assert await second == b"d"
        os.close(w)

    runner.run(main())


@pytest.mark.parametrize("mode", ["rb", "r"])
@pytest.mark.parametrize("name", ["readline", "read"])
def test_a_cancelled_read_loses_nothing(
    runner: asyncio.Runner, mode: str, name: str
) -> None:
    async def main() -> None:
        r, w = os.pipe()
        async with files.open(r, mode) as file:
            task = asyncio.create_task(
                file.readline() if name == "readline" else file.read(7)
            )
            os.write(w, b"abc")
            await settle()
            while await unread(r):
                await settle()
            await settle()
            await cancel(task)
            os.write(w, b"def\nrest")
            os.close(w)
            line = await (file.readline() if name == "readline" else file.read(7))
            rest = await file.read()
        expected = ("abcdef\n", "rest")
        assert (line, rest) == tuple(
            each.encode() if "b" in mode else each for each in expected
        )

    runner.run(main())


async def unread(fd: int) -> int:
    """How many bytes wait in a pipe."""
    answer = bytearray(4)
    await calls.ioctl(fd, 0x541B, answer)
    return int(struct.unpack("i", answer)[0])


def test_a_cancelled_open_leaves_nothing_behind(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)

    async def main() -> None:
        async def opened() -> Any:
            return await files.open(path, "rb")

        task = asyncio.create_task(opened())
        await asyncio.sleep(0.01)
        await cancel(task)
        task = asyncio.create_task(opened())
        writer = await files.open(path, "wb", buffering=0)
        reader = await task
        await writer.write(b"through")
        await writer.close()
        assert await reader.read() == b"through"
        await reader.close()

    runner.run(main())


def test_a_cancelled_close_closes(runner: asyncio.Runner) -> None:
    async def main() -> None:
        r, w = os.pipe()
        os.set_blocking(w, False)
        while True:
            try:
                os.write(w, b"x" * 4096)
            except BlockingIOError:
                break
        os.set_blocking(w, True)
        file = await files.open(w, "wb")
        await file.write(b"never")
        task = asyncio.create_task(file.close())
        await settle()
        await cancel(task)
        assert file.closed
        os.close(r)

    runner.run(main())
