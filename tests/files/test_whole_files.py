"""Whole files: what is read and written, whatever the file does meanwhile."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from disks import mounted

from syslet_loop import files_whole as files
from syslet_loop.files_whole import read_bytes, write_bytes

SIZES = (0, 1, 4095, 4096, 65527, 65528, 65529, 131072, 3_000_001)
NOT_UTF8 = os.fsdecode(b"caf\xe9")


@pytest.mark.parametrize("atomic", [False, True])
def test_there_and_back(runner: asyncio.Runner, tmp_path: Path, atomic: bool) -> None:
    async def main() -> None:
        path = tmp_path / "file"
        for size in (*SIZES, 5):
            data = os.urandom(size)
            assert await write_bytes(path, data, atomic=atomic) == size
            assert path.read_bytes() == data
            assert await read_bytes(path) == data
            assert os.listdir(tmp_path) == ["file"]

    runner.run(main())


def test_append_and_text(runner: asyncio.Runner, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "text"
        assert await files.write_text(path, "ä\n", "latin-1", newline="\r\n") == 2
        assert await files.append_bytes(path, memoryview(b"b\r"), fsync=True) == 2
        assert path.read_bytes() == b"\xe4\r\nb\r"
        assert await files.read_text(path, "latin-1") == "ä\nb\n"
        assert await files.read_text(path, "latin-1", newline="") == "ä\r\nb\r"
        with pytest.raises(UnicodeDecodeError):
            await files.read_text(path, "utf-8")
        assert await files.read_text(path, "utf-8", "replace") == "\ufffd\nb\n"
        with pytest.raises(TypeError):
            await files.write_text(path, b"bytes")  # type: ignore[arg-type]

    runner.run(main())


@pytest.mark.parametrize("name", [NOT_UTF8, os.fsencode(NOT_UTF8), "ü", Path("p")])
def test_names(runner: asyncio.Runner, tmp_path: Path, name: Any) -> None:
    async def main() -> None:
        folder = os.fsencode(tmp_path) if isinstance(name, bytes) else str(tmp_path)
        path = os.path.join(folder, name)
        await write_bytes(path, b"one")
        await write_bytes(path, b"two", atomic=True)
        assert await read_bytes(path) == b"two"
        await files.copyfile(path, path + path[-1:])
        assert await read_bytes(path + path[-1:]) == b"two"
        with pytest.raises(FileExistsError) as caught:
            os.mkdir(path)
        assert caught.value.filename == path

    runner.run(main())


@pytest.mark.parametrize(
    "path", ["/proc/version", "/proc/self/environ", "/sys/kernel/mm/ksm/run"]
)
def test_files_without_size(runner: asyncio.Runner, path: str) -> None:
    if not os.path.exists(path):
        pytest.skip("this kernel has no such file")
    assert runner.run(read_bytes(path)) == Path(path).read_bytes()


def test_a_long_file_without_size(runner: asyncio.Runner) -> None:
    data = runner.run(read_bytes("/proc/kallsyms"))
    assert len(data) > 1 << 17 and data.endswith(b"\n")


def failure(call: Any) -> tuple[object, ...]:
    with pytest.raises(OSError) as caught:
        call()
    error = caught.value
    return type(error), error.errno, error.filename


@pytest.mark.parametrize("name", ["missing", "folder", "missing/file", "n" * 300])
def test_errors_are_those_of_open(
    runner: asyncio.Runner, tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder").mkdir()
    path = str(tmp_path / name)
    assert failure(lambda: runner.run(read_bytes(path))) == failure(
        lambda: Path(path).read_bytes()
    )
    if name != "missing":
        expected = failure(lambda: Path(path).write_bytes(b""))
        assert failure(lambda: runner.run(write_bytes(path, b""))) == expected
        atomic = failure(lambda: runner.run(write_bytes(path, b"", atomic=True)))
        assert atomic == expected
    assert os.listdir(tmp_path) == ["folder"]


def test_a_path_that_is_none(runner: asyncio.Runner) -> None:
    for bad in (7, None, 1.5, ["a"]):
        with pytest.raises(TypeError):
            runner.run(read_bytes(bad))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="null"):
        runner.run(read_bytes("a\0b"))


def test_a_fifo_waits_for_its_writer(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)

    async def main() -> None:
        reading = asyncio.create_task(read_bytes(path))
        await asyncio.sleep(0.01)
        assert not reading.done()
        writer = threading.Thread(target=path.write_bytes, args=(b"x" * 100_000,))
        writer.start()
        assert await reading == b"x" * 100_000
        writer.join()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await read_bytes(path)

    runner.run(main())


def test_sparse_and_grown(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = tmp_path / "sparse"

    async def main() -> None:
        with open(path, "wb") as file:
            file.truncate(2_000_000)
            file.seek(1_900_000)
            file.write(b"end")
        data = await read_bytes(path)
        assert len(data) == 2_000_000 and data.rstrip(b"\0").endswith(b"end")

    runner.run(main())


@pytest.mark.parametrize("change", [-500_000, 500_000])
def test_a_file_that_changes_while_it_is_read(
    runner: asyncio.Runner, tmp_path: Path, change: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1_000_000)
    size_of = files._size_of

    async def changed(fd: int) -> int:
        size: int = await size_of(fd)
        os.truncate(path, size + change)
        return size

    monkeypatch.setattr(files, "_size_of", changed)
    data = runner.run(read_bytes(path))
    assert data == path.read_bytes()


def test_a_large_content_stays_what_it_was(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 200_000)
    first = runner.run(read_bytes(path))
    hashed = hash(first)
    path.write_bytes(b"y" * 200_000)
    assert runner.run(read_bytes(path)) == b"y" * 200_000
    assert first == b"x" * 200_000 and hash(bytes(bytearray(first))) == hashed


def test_a_disk_that_is_full(runner: asyncio.Runner, small_disk: Path) -> None:
    old = b"old" * 1000
    path = small_disk / "file"
    path.write_bytes(old)
    large = bytes(2 << 20)

    async def main() -> None:
        with pytest.raises(OSError) as caught:
            await write_bytes(path, large, atomic=True)
        assert caught.value.errno == errno.ENOSPC
        assert path.read_bytes() == old and os.listdir(small_disk) == ["file"]
        with pytest.raises(OSError) as caught:
            await write_bytes(path, large)
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(OSError) as caught:
            await files.append_bytes(path, large)
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(OSError) as caught:
            await files.copyfile("/dev/zero", small_disk / "copy")
        assert caught.value.errno == errno.ENOSPC

    runner.run(main())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one megabyte."""
    with mounted(tmp_path / "disk") as path:
        yield path
