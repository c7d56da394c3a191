"""Trees that are copied and removed, as shutil does it."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from syslet_loop import files_tree as files


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files with modes and times, links, an empty directory."""
    top = tmp_path / "top"
    for folder in ("a/b/c", "empty"):
        (top / folder).mkdir(parents=True)
    for number in range(40):
        path = top / "a" / f"{number}"
        path.write_bytes(os.urandom(number * 3000))
        path.chmod(0o600 + number % 8)
        os.utime(path, ns=(number * 10**9 + 7, number * 10**9 + 12345))
    (top / "a" / "b" / os.fsdecode(b"caf\xe9")).write_text("content")
    (top / "link").symlink_to("a/1")
    (top / "folder-link").symlink_to("a")
    os.utime(top / "a", ns=(5, 10**9 + 5))
    return top


def picture(top: Path) -> dict[str, Any]:
    """What is in a tree, with modes and times."""
    found: dict[str, Any] = {}
    for path in (top, *top.rglob("*")):
        st = path.lstat()
        content: Any = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes(), st.st_mtime_ns
        elif path.name == "a":
            content = st.st_mtime_ns
        found[str(path.relative_to(top))] = st.st_mode, content
    return found


@pytest.mark.parametrize("symlinks", [True, False])
def test_copytree(
    runner: asyncio.Runner, tree: Path, tmp_path: Path, symlinks: bool
) -> None:
    target = tmp_path / "target"
    shutil.copytree(tree, tmp_path / "expected", symlinks=symlinks)
    assert runner.run(files.copytree(tree, target, symlinks)) == target
    assert picture(target) == picture(tmp_path / "expected")
    with pytest.raises(FileExistsError):
        runner.run(files.copytree(tree, target))
    runner.run(files.copytree(tree, target, dirs_exist_ok=True, limit=1))


def test_copytree_says_what_failed(runner: asyncio.Runner, tree: Path) -> None:
    (tree / "dangling").symlink_to("nowhere")
    os.mkfifo(tree / "a" / "fifo")
    target = tree.parent / "target"
    with pytest.raises(shutil.Error) as caught:
        runner.run(files.copytree(tree, target))
    failed = {os.path.basename(source) for source, _, _ in caught.value.args[0]}
    assert failed == {"dangling", "fifo"}
    assert (target / "a" / "39").stat().st_size == 39 * 3000
    ignore = shutil.ignore_patterns("fifo", "b*")
    other = tree.parent / "other"
    runner.run(files.copytree(tree, other, False, ignore, True))
    assert not (other / "a" / "b").exists() and not (other / "dangling").exists()
    with pytest.raises(FileNotFoundError) as missing:
        runner.run(files.copytree(tree / "nope", tree.parent / "x"))
    assert missing.value.filename == str(tree / "nope")


def test_rmtree(runner: asyncio.Runner, tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    (tree / "out").symlink_to(outside)
    runner.run(files.rmtree(tree))
    assert sorted(os.listdir(tmp_path)) == ["outside"]
    assert os.listdir(outside) == ["file"]


def test_rmtree_of_bytes(runner: asyncio.Runner, tree: Path) -> None:
    runner.run(files.rmtree(os.fsencode(tree)))
    assert not tree.exists()


def test_rmtree_says_what_failed(runner: asyncio.Runner, tmp_path: Path) -> None:
    file, link, missing = (tmp_path / name for name in ("file", "link", "missing"))
    file.touch()
    (tmp_path / "folder").mkdir()
    link.symlink_to("folder")
    for path, kind in (
        (file, NotADirectoryError),
        (link, OSError),
        (missing, FileNotFoundError),
    ):
        with pytest.raises(kind) as caught:
            runner.run(files.rmtree(path))
        assert caught.value.filename == str(path)
        runner.run(files.rmtree(path, ignore_errors=True))
        told: list[Any] = []
        runner.run(files.rmtree(path, onexc=lambda *each, to=told: to.append(each)))
        assert told and told[0][1] == str(path)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "link"]


def test_rmtree_while_others_remove(runner: asyncio.Runner, tree: Path) -> None:
    async def main() -> None:
        removals = [files.rmtree(tree, ignore_errors=True) for _ in range(3)]
        await asyncio.gather(*removals)

    runner.run(main())
    assert not tree.exists()


def test_rmtree_cancelled(runner: asyncio.Runner, tree: Path) -> None:
    async def main() -> None:
        for turns in (0, 1, 3, 10, 30):
            task = asyncio.create_task(files.rmtree(tree))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if not tree.exists():
                return

    runner.run(main())
