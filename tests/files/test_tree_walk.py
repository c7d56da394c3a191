"""Directories: scandir, walk and glob say what os and glob say."""

from __future__ import annotations

import asyncio
import glob
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from syslet_loop import files_tree as files

PATTERNS = (
    *("*", "*.py", "a*/", "**", "**/", "**/*.py", "a/**", "a/**/", "**/c/*", ".*"),
    *("a/b/x.py", "nope", "nope/*", "*/b", "**/.hidden/*", "[ab]/*.p?", "", "a//b/*"),
    *("**/**/x.py", "a/../a/*", "link/*", "*/x.py", "caf*"),
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Some levels, links, hidden names, a name that is not UTF-8."""
    top = tmp_path / "top"
    for folder in ("a/b/c", "a/b2", "b", ".hidden/d", "empty"):
        (top / folder).mkdir(parents=True)
        for name in ("x.py", "y.txt", ".secret"):
            (top / folder / name).write_text(folder)
    (top / os.fsdecode(b"caf\xe9")).mkdir()
    (top / "link").symlink_to("a")
    (top / "dangling").symlink_to("nowhere")
    for number in range(1500):  # more than one call gives
        (top / "empty" / f"{number:05}-a-name-that-is-not-short").touch()
    return top


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
@pytest.mark.parametrize("topdown", [True, False])
@pytest.mark.parametrize("links", [True, False])
def test_walk(
    runner: asyncio.Runner, tree: Path, kind: Any, topdown: bool, links: bool
) -> None:
    async def main() -> None:
        walk = files.walk(kind(tree), topdown, followlinks=links)
        expected = os.walk(kind(tree), topdown, followlinks=links)
        found = [(os.fspath(path), *rest) async for path, *rest in walk]
        assert found == [(os.fspath(path), *rest) for path, *rest in expected]

    runner.run(main())


def test_walk_on_every_loop(runner: asyncio.Runner, tree: Path) -> None:
    async def main() -> None:
        assert [x async for x in files.walk(str(tree))] == list(os.walk(tree))

    runner.run(main())


def test_walk_goes_where_it_may(runner: asyncio.Runner, tree: Path) -> None:
    async def main() -> None:
        seen = []
        async for path, folders, _ in files.walk(str(tree)):
            seen.append(os.path.relpath(path, tree))
            folders[:] = [name for name in folders if name in ("b", "c", "a")]
        assert sorted(seen) == [".", "a", "a/b", "a/b/c", "b"]

    runner.run(main())


def test_walk_tells_what_vanishes(runner: asyncio.Runner, tree: Path) -> None:
    async def main() -> None:
        told: list[OSError] = []
        seen = []
        async for path, folders, _ in files.walk(str(tree), onerror=told.append):
            seen.append(path)
            if path == str(tree):
                folders.sort()
                shutil.rmtree(tree / "b")
        assert str(tree / "b") not in seen and str(tree / "empty") in seen
        (error,) = told
        assert isinstance(error, FileNotFoundError)
        assert error.filename == str(tree / "b")
        assert [x async for x in files.walk(str(tree / "b"))] == []

    runner.run(main())


def test_walk_while_it_vanishes(runner: asyncio.Runner, tree: Path) -> None:
    """Whatever is found, nothing else than OSError is told and nothing leaks."""

    async def main() -> None:
        told: list[OSError] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(shutil.rmtree, tree))
            async for _ in files.walk(str(tree), onerror=told.append):
                await asyncio.sleep(0)
        assert all(isinstance(error, OSError) for error in told)

    runner.run(main())


def test_walk_left_early(runner: asyncio.Runner, tree: Path) -> None:
    async def main() -> None:
        for stop in range(6):
            walk = files.walk(str(tree))
            for _ in range(stop):
                await anext(walk)
            await walk.aclose()  # type: ignore[attr-defined]

    runner.run(main())


def test_scandir(runner: asyncio.Runner, tree: Path) -> None:
    async def main() -> None:
        found = {entry.name: entry async for entry in files.scandir(tree)}
        with os.scandir(tree) as expected:
            for entry in expected:
                ours = found.pop(entry.name)
                assert ours.path == entry.path and os.fspath(ours) == entry.path
                assert ours.inode() == entry.inode()
                assert await ours.is_symlink() == entry.is_symlink()
                assert await ours.is_dir() == entry.is_dir()
                assert await ours.is_file() == entry.is_file()
                for links in (True, False):
                    is_dir = await ours.is_dir(follow_symlinks=links)
                    assert is_dir == entry.is_dir(follow_symlinks=links)
                assert await ours.stat(follow_symlinks=False) == os.lstat(entry.path)
        assert found == {}
        for bad in (tree / "nope", tree / "a" / "b" / "x.py"):
            with pytest.raises(OSError) as wanted:
                os.scandir(bad)
            with pytest.raises(type(wanted.value)) as caught:
                _ = [x async for x in files.scandir(bad)]
            assert caught.value.filename == str(bad)

    runner.run(main())


@pytest.mark.parametrize("recursive", [True, False])
def test_glob(runner: asyncio.Runner, tree: Path, recursive: bool) -> None:
    async def found(pattern: Any, **options: Any) -> set[Any]:
        return {x async for x in files.glob(pattern, recursive=recursive, **options)}

    async def main() -> None:
        for pattern in PATTERNS:
            for root in (tree, None):
                full = pattern if root else os.path.join(tree, pattern)
                expected = set(glob.glob(full, root_dir=root, recursive=recursive))
                assert await found(full, root_dir=root) == expected, full
            raw = os.fsencode(os.path.join(tree, pattern))
            assert await found(raw) == set(glob.glob(raw, recursive=recursive)), raw
        hidden = {"root_dir": tree, "include_hidden": True}
        expected = set(glob.glob("**/*", recursive=recursive, **hidden))
        assert await found("**/*", **hidden) == expected

    runner.run(main())
