"""Many files at once, chunks of large ones, and copies."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
from pathlib import Path

import pytest

from syslet_loop import files_copy
from syslet_loop.files_bulk import iter_chunks, read_many, stat_many
from syslet_loop.files_whole import copyfile


@pytest.fixture
def many(tmp_path: Path) -> list[Path]:
    """300 files of up to 150 KB."""
    paths = [tmp_path / f"{number:03}" for number in range(300)]
    for number, path in enumerate(paths):
        path.write_bytes(os.urandom(number * 500))
    return paths


def test_read_many(runner: asyncio.Runner, many: list[Path]) -> None:
    async def main() -> None:
        found = {path: data async for path, data in read_many(many, limit=7)}
        assert found == {path: path.read_bytes() for path in many}
        in_order = [path async for path, _ in read_many(many, ordered=True)]
        assert in_order == many

    runner.run(main())


def test_read_many_takes_what_it_can_use(
    runner: asyncio.Runner, many: list[Path]
) -> None:
    taken = []

    async def main() -> None:
        paths = (taken.append(path) or path for path in many)  # type: ignore[func-returns-value]
        results = read_many(paths, limit=5)
        async for _ in results:
            break
        await results.aclose()  # type: ignore[attr-defined]
        assert 1 <= len(taken) <= 11

    runner.run(main())
    gc.collect()


def test_failures_of_many(runner: asyncio.Runner, many: list[Path]) -> None:
    folder, missing = many[0].parent, many[0].parent / "missing"

    async def main() -> None:
        paths = [many[1], missing, folder]
        found = dict([x async for x in read_many(paths, return_exceptions=True)])
        assert found[many[1]] == many[1].read_bytes()
        assert isinstance(found[missing], FileNotFoundError)
        assert isinstance(found[folder], IsADirectoryError)
        assert found[folder].filename == str(folder)
        with pytest.raises(FileNotFoundError):
            _ = [x async for x in read_many(paths[:2])]
        stats = dict([x async for x in stat_many(paths, return_exceptions=True)])
        assert isinstance(stats[missing], FileNotFoundError)

    runner.run(main())


def test_stat_many_is_os_stat(runner: asyncio.Runner, many: list[Path]) -> None:
    link = many[0].parent / "link"
    link.symlink_to("nowhere")

    async def main() -> None:
        paths = [str(many[3]), "/dev/null", "/proc/self/exe", b"/"]
        async for path, st in stat_many(paths):
            expected = os.stat(path)
            assert st == expected and st.st_mtime_ns == expected.st_mtime_ns
            assert (st.st_rdev, st.st_dev) == (expected.st_rdev, expected.st_dev)
            assert (st.st_blocks, st.st_ctime) == (
                expected.st_blocks,
                expected.st_ctime,
            )
        async for _, st in stat_many([link], follow_symlinks=False):
            assert st == os.lstat(link)

    runner.run(main())


@pytest.mark.parametrize("size", [1_000_003, 1 << 20, 2_500_000, 5_000_000, 6_000_000])
def test_chunks(runner: asyncio.Runner, tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(5_000_000))

    async def main() -> None:
        chunks = [chunk async for chunk in iter_chunks(path, size, readahead=3)]
        assert b"".join(chunks) == path.read_bytes()
        assert {len(chunk) for chunk in chunks[:-1]} <= {size}

    runner.run(main())


def test_chunks_of_what_has_no_size(runner: asyncio.Runner, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    async def main() -> None:
        chunks = [chunk async for chunk in iter_chunks("/proc/self/environ", 100)]
        assert b"".join(chunks) == Path("/proc/self/environ").read_bytes()
        assert [c async for c in iter_chunks(tmp_path / "empty")] == []
        with pytest.raises(IsADirectoryError) as caught:
            _ = [c async for c in iter_chunks(tmp_path)]
        assert caught.value.filename == str(tmp_path)
        with pytest.raises(ValueError, match="at least 1"):
            await anext(iter_chunks(tmp_path, 0))

    runner.run(main())


@pytest.mark.parametrize("change", [-1_500_000, 1_500_000])
def test_chunks_of_a_file_that_changes(
    runner: asyncio.Runner, tmp_path: Path, change: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 4_000_000)

    async def main() -> None:
        found = 0
        async for chunk in iter_chunks(path, 100_000, readahead=2):
            if not found:
                os.truncate(path, 4_000_000 + change)
            found += len(chunk)
        assert found == 4_000_000 + change

    runner.run(main())


def test_chunks_left_early(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(4_000_000))

    async def main() -> None:
        for _ in range(20):
            chunks = iter_chunks(path, 65536, readahead=16)
            async for _chunk in chunks:
                break
            await chunks.aclose()  # type: ignore[attr-defined]

    runner.run(main())


# Copies.


@pytest.mark.parametrize("size", [0, 1, 4096, 9_000_001])
def test_copyfile(runner: asyncio.Runner, tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(size))
    target.write_bytes(b"longer than the source is" * 400)
    seen: list[tuple[int, int]] = []

    async def main() -> None:
        result = await copyfile(
            source, target, progress=lambda *pair: seen.append(pair)
        )
        assert result == target

    runner.run(main())
    assert target.read_bytes() == source.read_bytes()
    assert seen[-1] == (size, size) and sorted(seen) == seen


@pytest.mark.parametrize("ways", [("_by_pipe", "_by_hand"), ("_by_hand",)])
def test_the_other_ways(
    runner: asyncio.Runner, tmp_path: Path, ways: tuple[str, ...]
) -> None:
    """As where copy_file_range, or splice too, is refused."""

    @files_copy.syslet
    def copy(s, source, target):
        fd_in = s.openat(source, os.O_RDONLY)
        fd_out = s.openat(target, os.O_WRONLY | os.O_CREAT)
        for way in ways:
            getattr(files_copy, way)(s, fd_in, fd_out)

    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(3_000_001))

    async def main() -> int:
        return sum([count async for count in copy.events(source, target)])

    assert runner.run(main()) == 3_000_001
    assert target.read_bytes() == source.read_bytes()


def test_copy_what_has_no_size(runner: asyncio.Runner, tmp_path: Path) -> None:
    target = tmp_path / "target"
    runner.run(copyfile("/proc/version", target))
    assert target.read_bytes() == Path("/proc/version").read_bytes()


def test_errors_are_those_of_shutil(runner: asyncio.Runner, tmp_path: Path) -> None:
    file, fifo = tmp_path / "file", tmp_path / "fifo"
    file.write_bytes(b"content")
    os.mkfifo(fifo)
    (tmp_path / "link").symlink_to("file")
    missing = tmp_path / "no" / "file"
    pairs = [(file, file), (file, tmp_path / "link"), (tmp_path, file)]
    pairs += [(file, tmp_path), (missing, file), (file, missing), (fifo, file)]
    for source, target in pairs:
        with pytest.raises(OSError) as expected:
            shutil.copyfile(source, target)
        with pytest.raises(type(expected.value)) as caught:
            runner.run(copyfile(source, target))
        assert caught.value.errno == expected.value.errno
        assert str(caught.value.filename) == str(expected.value.filename)
        assert file.read_bytes() == b"content"


def test_copy_a_link(runner: asyncio.Runner, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    runner.run(copyfile(tmp_path / "link", tmp_path / "copy", follow_symlinks=False))
    assert os.readlink(tmp_path / "copy") == "nowhere"
