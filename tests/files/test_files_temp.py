"""`files.tempfile` next to tempfile, and the streams of the process."""

from __future__ import annotations

import asyncio
import io
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest

from syslet_loop import files


def test_a_named_file_lives_as_long_as_it_is_open(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        named = files.tempfile.NamedTemporaryFile
        async with named("w+", suffix=".txt", prefix="p", dir=tmp_path) as file:
            assert os.path.dirname(file.name) == str(tmp_path)
            assert file.name.endswith(".txt") and file.delete
            assert stat.S_IMODE(os.stat(file.name).st_mode) == 0o600
            await file.write("text")
            await file.seek(0)
            assert await file.read() == "text"
        assert not os.path.exists(file.name)
        kept = await named(dir=tmp_path, delete=False)
        await kept.close()
        assert os.path.exists(kept.name)
        async with named(dir=tmp_path, delete_on_close=False) as late:
            await late.close()
            assert os.path.exists(late.name)
        assert not os.path.exists(late.name)
        forgotten = await named(dir=tmp_path, buffering=0)
        name = forgotten.name
        with pytest.warns(ResourceWarning):
            del forgotten
        assert not os.path.exists(name)

    runner.run(main())


def test_names_of_bytes_and_mixtures(runner: asyncio.Runner, tmp_path: Path) -> None:
    async def main() -> None:
        folder = os.fsencode(tmp_path)
        async with files.tempfile.NamedTemporaryFile(dir=folder) as file:
            assert os.path.dirname(file.name) == folder
        for wrong in ({"dir": folder, "suffix": "x"}, {"prefix": b"x", "suffix": "x"}):
            with pytest.raises(TypeError, match="Can't mix bytes and non-bytes"):
                await files.tempfile.NamedTemporaryFile(**wrong)
        with pytest.raises(FileNotFoundError):
            await files.tempfile.TemporaryFile(dir=tmp_path / "missing")
        with pytest.raises(ValueError, match="invalid mode"):
            await files.tempfile.NamedTemporaryFile("q", dir=tmp_path)
        assert os.listdir(tmp_path) == []

    runner.run(main())


@pytest.mark.parametrize("has_tmpfile", [True, False])
def test_an_unnamed_file_has_no_name(
    runner: asyncio.Runner,
    tmp_path: Path,
    has_tmpfile: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not has_tmpfile:  # as on NFS
        monkeypatch.setattr(files.tempfile, "_UNNAMED", os.O_RDWR)

    async def main() -> None:
        async with files.tempfile.TemporaryFile(dir=tmp_path) as file:
            assert os.listdir(tmp_path) == []
            await file.write(b"data")
            await file.seek(0)
            assert await file.read() == b"data"

    runner.run(main())


@pytest.mark.parametrize("mode", ["w+b", "w+"])
def test_a_spooled_file_rolls_over(runner: asyncio.Runner, mode: str) -> None:
    def data(text: str) -> Any:
        return text.encode() if "b" in mode else text

    async def main() -> None:
        options = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
        spooled = files.tempfile.SpooledTemporaryFile
        async with spooled(20, mode, **options) as file:
            with tempfile.SpooledTemporaryFile(20, mode, **options) as twin:
                for text in ("é1\n", "2" * 10, "\n33\n", "4" * 30 + "\n", "5"):
                    assert await file.write(data(text)) == twin.write(data(text))
                    assert file._file._rolled == twin._rolled
                    assert await file.tell() == twin.tell()
                    assert (file.name is None) == (twin.name is None)
                await file.seek(2)
                twin.seek(2)
                assert await file.readlines() == twin.readlines()
                await file.seek(0)
                await file.truncate(5)
                assert [line async for line in file] == [data("é1\n"), data("2")]
        assert file.closed
        async with spooled(0, mode) as file:
            await file.writelines([data("x")] * 1000)
            assert not file._file._rolled
            await file.truncate(4)
            await file.flush()
            position = await file.tell()
            assert os.fstat(await file.fileno()).st_size in (0, 4)
            assert file._file._rolled and await file.tell() == position
            await file.rollover()

    runner.run(main())


def test_a_directory_and_everything_in_it(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with files.tempfile.TemporaryDirectory("s", "p", tmp_path) as name:
            Path(name, "sub").mkdir()
            Path(name, "sub", "file").touch()
        assert os.listdir(tmp_path) == []
        directory = await files.tempfile.TemporaryDirectory(dir=tmp_path)
        assert os.path.isdir(directory.name)
        await directory.close()
        assert os.listdir(tmp_path) == []

    runner.run(main())


def test_streams_are_what_sys_says_at_that_moment(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one\ntwo\n")))
        out = io.TextIOWrapper(io.BytesIO())
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setattr("sys.stderr", out)
        assert await files.stdin.readline() == "one\n"
        assert [line async for line in files.stdin] == ["two\n"]
        print("a", end="")
        await files.stdout.write("b")
        await files.stderr.flush()
        await files.stdout_bytes.write(b"c")
        assert out.buffer.getvalue() == b"abc"
        assert files.stdout.encoding == out.encoding
        assert await files.stdin_bytes.read() == b""
        assert files.stderr_bytes.readable()

    runner.run(main())


def test_wrap_takes_files_of_io_only(runner: asyncio.Runner, tmp_path: Path) -> None:
    async def main() -> None:
        with open(tmp_path / "file", "w+b") as theirs:
            async with files.wrap(theirs) as ours:
                assert await ours.write(b"line\n") == 5
                await ours.seek(0)
                assert await ours.readline() == b"line\n"
                assert ours.name == theirs.name and not ours.closed
        for wrong in (int, [1], io.FileIO, None):
            with pytest.raises(TypeError, match="Unsupported io type"):
                files.wrap(wrong)

    runner.run(main())
