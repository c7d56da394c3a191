"""`files.os` next to os: the same call in two equal folders gives the same."""

from __future__ import annotations

import asyncio
import inspect
import os
import posixpath
from pathlib import Path
from typing import Any

import pytest

from syslet_loop import files


def fill(folder: Path) -> None:
    """A folder with one of everything."""
    folder.mkdir()
    (folder / "file").write_bytes(b"0123456789")
    (folder / "full" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "link").symlink_to("file")
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "fifo")
    (folder / "locked").touch(mode=0o400)
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe")).touch()


def tree(folder: Path) -> dict[str, Any]:
    """Everything in a folder: what it is, what it contains, who it may be used by."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        st = path.lstat()
        what = os.readlink(path) if path.is_symlink() else ""
        found[str(path.relative_to(folder))] = (st.st_mode, st.st_nlink, what)
    return found


class Odd:
    """A path that is neither str nor bytes."""

    def __fspath__(self) -> str:
        return "file"


DIR = object()  # the fd of the folder
CALLS: list[tuple[Any, ...]] = [
    ("stat", "file"),
    ("stat", b"file"),
    ("stat", Odd()),
    ("stat", "missing"),
    ("stat", 5.5),
    ("stat", "file", {"dir_fd": DIR}),
    ("stat", "link", {"follow_symlinks": False}),
    ("stat", 0),
    ("stat", 0, {"follow_symlinks": False}),
    ("stat", 0, {"dir_fd": DIR}),
    ("stat", "a\0b"),
    ("statvfs", "missing"),
    ("statvfs", None),
    ("rename", "file", "new"),
    ("rename", "file", "empty"),
    ("rename", "missing", "new"),
    ("rename", "file", "new", {"src_dir_fd": DIR, "dst_dir_fd": DIR}),
    ("rename", "file", 7),
    ("replace", "file", "locked"),
    ("renames", "full/deep", "other/place"),
    ("renames", "file", "other/place/file"),
    ("renames", "missing", "other/place"),
    ("remove", "file"),
    ("remove", "empty"),
    ("remove", Odd(), {"dir_fd": DIR}),
    ("unlink", "dangling"),
    ("unlink", "missing"),
    ("mkdir", "new"),
    ("mkdir", "new", 0o700),
    ("mkdir", "file"),
    ("mkdir", "new", {"dir_fd": DIR}),
    ("makedirs", "a/b/c"),
    ("makedirs", "a/b/c/", 0o711),
    ("makedirs", "full/deep"),
    ("makedirs", "full/deep", {"exist_ok": True}),
    ("makedirs", "file", {"exist_ok": True}),
    ("makedirs", "file/below"),
    ("makedirs", "a/."),
    ("rmdir", "empty"),
    ("rmdir", "full"),
    ("rmdir", "file"),
    ("removedirs", "full/deep"),
    ("removedirs", "full"),
    ("removedirs", "empty/"),
    ("link", "file", "new"),
    ("link", "link", "new"),
    ("link", "file", "new", {"src_dir_fd": DIR}),
    ("link", "link", "new", {"src_dir_fd": DIR}),
    ("link", "link", "new", {"follow_symlinks": False}),
    ("link", "file", "locked"),
    ("symlink", "anything", "new"),
    ("symlink", b"anything", b"new"),
    ("symlink", "anything", "file"),
    ("symlink", "anything", "new", {"dir_fd": DIR}),
    ("readlink", "link"),
    ("readlink", b"link"),
    ("readlink", "file"),
    ("readlink", "link", {"dir_fd": DIR}),
    ("listdir",),
    ("listdir", "full"),
    ("listdir", b"."),
    ("listdir", "file"),
    ("listdir", DIR),
    ("listdir", "missing"),
    ("listdir", None),
    ("access", "file", os.R_OK),
    ("access", "file", os.X_OK),
    ("access", "missing", os.F_OK),
    ("access", "file", os.R_OK, {"effective_ids": True}),
    ("access", "dangling", os.F_OK, {"follow_symlinks": False}),
    ("access", "file", os.R_OK, {"dir_fd": DIR}),
    ("getcwd",),
]
PATHS = ["file", "full", "link", "dangling", "missing", "fifo", "/", "/proc", "a\0", 0]
for _name in ("exists", "isfile", "isdir", "islink", "ismount", "getsize", "getmtime"):
    CALLS += [(f"path.{_name}", path) for path in PATHS]
CALLS += [
    ("path.abspath", "file"),
    ("path.getatime", "file"),
    ("path.getctime", b"file"),
    ("path.samefile", "file", "link"),
    ("path.samefile", "file", "full"),
    ("path.samefile", "file", "missing"),
    ("path.sameopenfile", 0, 0),
]


async def result_of(module: Any, call: tuple[Any, ...], folder: int) -> Any:
    """What a call gives, or the text of its error."""
    name, *args = call
    kwargs = args.pop() if args and isinstance(args[-1], dict) else {}
    kwargs = {key: folder if value is DIR else value for key, value in kwargs.items()}
    function = module
    for part in name.split("."):
        function = getattr(function, part)
    try:
        value = function(*[folder if a is DIR else a for a in args], **kwargs)
        value = await value if inspect.isawaitable(value) else value
    except Exception as error:
        return type(error), str(error), getattr(error, "filename2", None)
    if isinstance(value, os.stat_result):
        return value.st_mode, value.st_size, value.st_nlink
    return sorted(value) if isinstance(value, list) else value


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_the_same_as_os(
    runner: asyncio.Runner, tmp_path: Path, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        told = []
        for name, module in (("ours", files.os), ("theirs", os)):
            fill(tmp_path / name)
            monkeypatch.chdir(tmp_path / name)
            folder = os.open(".", os.O_RDONLY)
            try:
                result = await result_of(module, call, folder)
            finally:
                os.close(folder)
            text = repr(result).replace(str(tmp_path / name), "@")
            told.append((text, tree(tmp_path / name)))
        if call[0] in ("path.getmtime", "path.getatime", "path.getctime"):
            told = [(text.partition(".")[0][:6], found) for text, found in told]
        assert told[0] == told[1]

    runner.run(main())


def test_statvfs_and_scandir(runner: asyncio.Runner, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    async def main() -> None:
        st = await files.os.statvfs(tmp_path)
        assert st.f_bsize == os.statvfs(tmp_path).f_bsize
        fd = os.open(tmp_path, os.O_RDONLY)
        assert (await files.os.statvfs(fd)).f_namemax == st.f_namemax
        os.close(fd)
        with await files.os.scandir(tmp_path) as entries:
            assert [entry.name for entry in entries] == ["file"]

    runner.run(main())


def test_sendfile(runner: asyncio.Runner, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100))

    async def main() -> None:
        source = os.open(tmp_path / "file", os.O_RDONLY)
        target = os.open(tmp_path / "copy", os.O_WRONLY | os.O_CREAT)
        assert await files.os.sendfile(target, source, 90, 1000) == 10
        assert await files.os.sendfile(target, source, None, count=60) == 60
        assert await files.os.sendfile(target, source, None, 1 << 40) == 40
        with pytest.raises(OSError, match="Bad file descriptor"):
            await files.os.sendfile(999, source, 0, 1)
        os.close(source)
        os.close(target)
        assert (tmp_path / "copy").stat().st_size == 110

    runner.run(main())


def test_a_large_directory(runner: asyncio.Runner, tmp_path: Path) -> None:
    names = {f"{n:04d}" + "x" * 100 for n in range(500)}
    for name in names:
        (tmp_path / name).touch()

    async def main() -> None:
        assert set(await files.os.listdir(tmp_path)) == names

    runner.run(main())


def test_loop_and_executor_are_taken(runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await files.os.path.isdir("/", loop=loop, executor=None)
        assert (await files.os.stat("/", loop=loop, executor=None)).st_size
        assert await files.os.wrap(posixpath.join)("a", "b", loop=loop) == "a/b"

    runner.run(main())
