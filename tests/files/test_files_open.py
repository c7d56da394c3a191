"""`files.open`: arguments and errors next to the built-in open's; what it gives."""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import warnings
from pathlib import Path
from typing import Any

import pytest

from syslet_loop import files

OPEN = open  # a name that makes no linter think of `with`
WRONG: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("rw",), {}),
    (("",), {}),
    (("z",), {}),
    (("rr",), {}),
    (("+",), {}),
    (("rbt",), {}),
    ((5,), {}),
    (("rb",), {"encoding": "utf-8"}),
    (("rb",), {"errors": "strict"}),
    (("rb",), {"newline": ""}),
    (("r",), {"buffering": 0}),
    (("r",), {"newline": "x"}),
    (("r",), {"encoding": "no-such"}),
    (("r",), {"encoding": "hex"}),
    (("r",), {"encoding": 5}),
    (("r",), {"closefd": False}),
    (("r",), {"errors": 5}),
    (("r",), {"newline": b""}),
    (("rb",), {"opener": lambda path, flags: -3}),
    (("rb",), {"opener": lambda path, flags: "x"}),
    (("rb",), {"opener": lambda path, flags: 1 // 0}),
]


async def error_of(call: Any) -> tuple[type, str]:
    """The error that a call or its awaitable raises."""
    with pytest.raises(Exception) as caught:
        value = call()
        if inspect.isawaitable(value):
            await value
    return caught.type, str(caught.value)


@pytest.mark.parametrize(("args", "kwargs"), WRONG, ids=str)
def test_wrong_arguments(
    runner: asyncio.Runner, tmp_path: Path, args: Any, kwargs: Any
) -> None:
    path = tmp_path / "file"
    path.touch()

    async def main() -> None:
        ours = await error_of(lambda: files.open(path, *args, **kwargs))
        theirs = await error_of(lambda: OPEN(path, *args, **kwargs))
        assert ours == theirs

    runner.run(main())


@pytest.mark.parametrize("name", ["missing", "", "a/b", "\0", b"missing", 5.5, -1, 999])
@pytest.mark.parametrize("mode", ["r", "wb", "r+b"])
def test_what_cannot_be_opened(
    runner: asyncio.Runner, tmp_path: Path, name: Any, mode: str, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    if name in ("missing", b"missing"):
        (tmp_path / "missing").mkdir()

    async def main() -> None:
        ours = await error_of(lambda: files.open(name, mode))
        theirs = await error_of(lambda: OPEN(name, mode))
        assert ours == theirs

    runner.run(main())


def test_the_filename_is_in_the_error(runner: asyncio.Runner, tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError) as caught:
            await files.open(tmp_path / "no")
        assert caught.value.filename == str(tmp_path / "no")
        await (await files.open(tmp_path / "new", "x")).close()
        with pytest.raises(FileExistsError):
            await files.open(tmp_path / "new", "x")

    runner.run(main())


MODES = ("r", "w", "a", "x", "r+", "w+", "a+", "x+", "rb", "wb", "ab", "xb")
MODES += ("rb+", "wb+", "ab+", "xb+")


@pytest.mark.parametrize("buffering", [-1, -5, 0, 1, 100])
@pytest.mark.parametrize("mode", MODES)
def test_what_it_says_about_itself(
    runner: asyncio.Runner, tmp_path: Path, mode: str, buffering: int
) -> None:
    if "b" not in mode and buffering == 0:
        pytest.skip("there is no such thing")

    async def main() -> None:
        path = tmp_path / "file"
        told = []
        for opener in (files.open, OPEN):
            path.unlink(missing_ok=True)
            if "x" not in mode:
                path.write_text("content")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                file: Any = opener(path, mode, buffering)
                file = await file if inspect.isawaitable(file) else file
            names = ("name", "mode", "closed", "encoding", "errors", "newlines")
            answers = [getattr(file, each, None) for each in (*names, "line_buffering")]
            for ask in ("readable", "writable", "seekable", "isatty", "tell", "close"):
                answer = getattr(file, ask)()
                answers.append(await answer if inspect.isawaitable(answer) else answer)
            told.append([*answers, file.closed, os.stat(path).st_mode])
        assert told[0] == told[1]

    runner.run(main())


def test_line_buffering_of_binary_files_warns(runner: asyncio.Runner) -> None:
    async def main() -> None:
        with pytest.warns(RuntimeWarning, match="isn't supported in binary mode"):
            file = await files.open(os.devnull, "rb", 1)
        await file.close()

    runner.run(main())


def test_an_fd_and_closefd(runner: asyncio.Runner, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"line\nrest")

    async def main() -> None:
        fd = os.open(tmp_path / "file", os.O_RDONLY)
        async with files.open(fd, "rb", closefd=False) as file:
            assert file.name == fd == file.fileno()
            assert await file.readline() == b"line\n"
        os.lseek(fd, 0, os.SEEK_SET)
        async with files.open(fd) as file:
            assert await file.read() == "line\nrest"
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)

    runner.run(main())


def test_an_opener(runner: asyncio.Runner, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    seen = []

    async def main() -> None:
        folder = os.open(tmp_path, os.O_RDONLY)

        def opener(path: str, flags: int) -> int:
            seen.append((path, flags))
            return os.open(path, flags, dir_fd=folder)

        async with files.open("file", opener=opener) as file:
            assert await file.read() == "x"
            assert not os.get_inheritable(file.fileno())
        os.close(folder)
        assert seen == [("file", os.O_RDONLY | os.O_CLOEXEC)]

    runner.run(main())


def test_everything_on_every_loop(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        opening = files.open(path, "w", encoding="utf-8")
        file = await opening
        assert await opening is file
        assert await file.write("é\n") == 2
        await file.writelines(["two\n", "three"])
        await file.close()
        await file.close()
        async with files.open(path, "rb", buffering=0) as raw:
            assert await raw.readall() == "é\ntwo\nthree".encode()
        async with files.open(path) as text:
            assert [line async for line in text] == ["é\n", "two\n", "three"]
            await text.seek(0)
            assert await text.readlines() == ["é\n", "two\n", "three"]
        with pytest.raises(ValueError, match="closed file"):
            await text.read()

    runner.run(main())


def test_detach_gives_the_file_of_io(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        path.write_bytes(b"0123456789")
        file = await files.open(path, "r+b")
        assert await file.read(3) == b"012"
        await file.write(b"x")
        raw = file.detach()
        assert isinstance(raw, io.FileIO)
        assert raw.name == str(path)
        assert raw.read() == b"456789"
        raw.close()
        with pytest.raises(ValueError, match="detached"):
            await file.read()
        text = await files.open(path)
        assert await text.read(2) == "01"
        with text.detach() as buffered:
            assert isinstance(buffered, io.BufferedReader)
        with pytest.raises(ValueError, match="detached"):
            await text.close()
        assert path.read_bytes() == b"012x456789"

    runner.run(main())


def test_a_forgotten_file_is_written_and_closed(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        file = await files.open(path, "w")
        await file.write("kept")
        with pytest.warns(ResourceWarning, match="unclosed file"):
            del file

    runner.run(main())
    assert path.read_text() == "kept"


def test_proc_files_and_growing_files(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 10)

    async def main() -> None:
        async with files.open("/proc/self/maps", "rb") as maps:
            assert b"[stack]" in await maps.read()
        async with files.open(path, "rb") as file:
            with OPEN(path, "ab") as more:
                more.write(b"b" * 100000)
            assert await file.read() == b"a" * 10 + b"b" * 100000
        async with files.open(path, "rb") as file:
            os.truncate(path, 5)
            assert await file.read() == b"a" * 5
            assert await file.read() == b""
        async with files.open(path, "r+b") as file:
            await file.seek((1 << 32) + 7)
            await file.write(b"end")
            assert await file.tell() == (1 << 32) + 10
            await file.seek(-3, os.SEEK_END)
            assert await file.read() == b"end"

    runner.run(main())


def test_what_the_kernel_refuses_while_closing(runner: asyncio.Runner) -> None:
    async def main() -> None:
        file = await files.open("/dev/full", "w")
        await file.write("too much")
        with pytest.raises(OSError, match="No space left"):
            await file.close()
        assert file.closed

    runner.run(main())
