"""Cancelled at any moment: nothing is open afterwards, and lent memory is left alone.

The gate of tests/conftest.py looks for descriptors and flights after each test.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from syslet_loop import files

MOMENTS = 14
BLOCKS = [b"%05d" % n * 1000 for n in range(60)]  # 300 000 bytes
CONTENT = b"".join(BLOCKS)
Work = Callable[[Path, Path], Coroutine[Any, Any, object]]


async def everything(results: Any) -> list[Any]:
    return [result async for result in results]


async def through_a_file(source: Path, target: Path) -> None:
    async with files.open(source, "rb") as one, files.open(target, "wb") as other:
        while data := await one.read(10_000):
            await other.write(data)


async def line_by_line(source: Path, target: Path) -> None:
    async with files.open(source / "0", "w", encoding="utf-16") as file:
        await file.writelines(["line\n"] * 1000)
    async with files.open(source / "0", encoding="utf-16") as file:
        async for _ in file:
            pass


async def in_a_temporary_file(source: Path, target: Path) -> None:
    async with files.tempfile.NamedTemporaryFile(dir=target.parent) as file:
        await file.write(CONTENT)
        await file.flush()


async def watched(source: Path, target: Path) -> None:
    async with files.watch(source, recursive=True) as events:
        await files.write_bytes(source / "new", b"x")
        await anext(events)


async def copied(source: Path, target: Path) -> None:
    await files.copytree(source, target)


async def removed(source: Path, target: Path) -> None:
    shutil.copytree(source, target)
    await files.rmtree(target)


ONE_FILE: dict[str, Work] = {
    "read_bytes": lambda source, target: files.read_bytes(source),
    "write_bytes": lambda source, target: files.write_bytes(target, CONTENT),
    "append_bytes": lambda s, t: files.append_bytes(t, CONTENT, fsync=True),
    "copyfile": lambda source, target: files.copyfile(source, target),
    "iter_chunks": lambda s, t: everything(files.iter_chunks(s, 5000, readahead=8)),
    "read_many": lambda s, t: everything(files.read_many([s] * 40, limit=8)),
    "stat_many": lambda s, t: everything(files.stat_many([s] * 300, limit=8)),
    "open": through_a_file,
    "tempfile": in_a_temporary_file,
}
A_TREE: dict[str, Work] = {
    "walk": lambda s, t: everything(files.walk(str(s))),
    "scandir": lambda s, t: everything(files.scandir(s)),
    "glob": lambda s, t: everything(files.glob("**", root_dir=s, recursive=True)),
    "text": line_by_line,
    "watch": watched,
    "copytree": copied,
    "rmtree": removed,
}


async def cancelled(work: Callable[[], Awaitable[object]], moment: int) -> bool:
    """Whether it was, so many turns after it began."""
    task = asyncio.ensure_future(work())
    for _ in range(moment):
        await asyncio.sleep(0)
    if moment == MOMENTS - 1:
        await asyncio.wait([task], timeout=0.001)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


@pytest.mark.parametrize("name", ONE_FILE)
def test_with_a_file(runner: asyncio.Runner, tmp_path: Path, name: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(CONTENT)

    async def main() -> None:
        outcomes = []
        for moment in range(MOMENTS):
            target = tmp_path / f"target{moment}"
            work = ONE_FILE[name]
            outcomes.append(
                await cancelled(lambda w=work, t=target: w(source, t), moment)
            )
            if target.exists():
                data = target.read_bytes()
                assert data == CONTENT[: len(data)]
            assert set(os.listdir(tmp_path)) <= {
                "source",
                *(f"target{n}" for n in range(MOMENTS)),
            }
        assert outcomes[0], "before it began"
        assert source.read_bytes() == CONTENT

    runner.run(main())


@pytest.mark.parametrize("name", A_TREE)
def test_with_a_tree(runner: asyncio.Runner, tmp_path: Path, name: str) -> None:
    source = tmp_path / "source"
    for number in range(20):
        (source / str(number) / "below" / "it").mkdir(parents=True)
        (source / str(number) / "file").touch()

    async def main() -> None:
        for moment in range(MOMENTS):
            target = tmp_path / f"target{moment}"
            work = A_TREE[name]
            await cancelled(lambda w=work, t=target: w(source, t), moment)

    (source / "0").rename(source / "zero")
    runner.run(main())


async def released(buffer: bytearray) -> None:
    """Until nobody has the memory any more: only then may it become longer."""
    while True:
        try:
            buffer.append(0)
        except BufferError:
            await asyncio.sleep(0)
        else:
            buffer.pop()
            return


def test_lent_memory_is_left_alone(runner: asyncio.Runner) -> None:
    """What arrives after a read was cancelled is not in the buffer but in the pipe."""

    async def main() -> None:
        r, w = os.pipe()
        try:
            for moment in range(MOMENTS):
                buffer = bytearray(b"before")
                async with files.open(r, "rb", buffering=0, closefd=False) as file:
                    assert await cancelled(
                        lambda f=file, b=buffer: f.readinto(b), moment
                    )
                await released(buffer)
                os.write(w, b"behind")
                await asyncio.sleep(0)
                assert buffer == b"before" and os.read(r, 100) == b"behind"
        finally:
            os.close(r)
            os.close(w)

    runner.run(main())


def test_lent_memory_of_a_write(runner: asyncio.Runner, tmp_path: Path) -> None:
    """Nor may it change what a file gets: it cannot be made longer until then."""
    path = tmp_path / "file"

    async def main() -> None:
        for moment in range(MOMENTS):
            data = bytearray(CONTENT)
            await cancelled(
                lambda d=data: files.write_bytes(path, d, fsync=True), moment
            )
            await released(data)
            data[:] = bytes(len(data))
            found = path.read_bytes() if path.exists() else b""
            assert found == CONTENT[: len(found)]

    runner.run(main())
