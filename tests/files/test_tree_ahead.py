"""walk reads ahead: with few flights, and never shows what is no longer there."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import syslet_loop
from syslet_loop import files_ahead, files_folders
from syslet_loop import files_tree as files

WIDE, DEEP = 3, 3


def age(top: Path) -> None:
    """Wait until no directory below has changed a moment ago."""
    newest = max(os.stat(path).st_ctime_ns for path, *_ in os.walk(top))
    while time.time_ns() - newest < 2 * files_ahead._MOMENT_NS:
        time.sleep(0.01)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Several levels, old enough for what is guessed of them to be believed."""
    top = tmp_path / "top"
    level = [top]
    for _ in range(DEEP):
        level = [path / str(n) for path in level for n in range(WIDE)]
        for path in level:
            path.mkdir(parents=True)
            (path / "file").touch()
    age(top)
    return top


def expected(top: Path) -> list[tuple[str, list[str], list[str]]]:
    return list(os.walk(top))


def test_one_flight_lists_several(tree: Path) -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, syslet_loop.EventLoop)
        before = loop.stats()["to_worker"]
        assert [x async for x in files.walk(str(tree))] == expected(tree)
        return loop.stats()["to_worker"] - before

    assert syslet_loop.run(main()) <= len(expected(tree)) / 3


def remove_below(folder: Path) -> None:
    shutil.rmtree(folder / "1")


def add_below(folder: Path) -> None:
    (folder / "1" / "new").mkdir()
    (folder / "1" / "another").touch()


def replace_below(folder: Path) -> None:
    top = folder.parent
    (folder / "1").rename(top.parent / f"{top.name}-{folder.name}")
    (folder / "1").mkdir()
    (folder / "1" / "other").touch()


def make_a_file_of_it(folder: Path) -> None:
    shutil.rmtree(folder / "1")
    (folder / "1").touch()


@pytest.mark.parametrize(
    "change", [remove_below, add_below, replace_below, make_a_file_of_it]
)
def test_changes_of_the_caller_are_seen(
    runner: asyncio.Runner, tree: Path, change: Callable[[Path], None]
) -> None:
    """What is below each directory of the first level changes when it is given out."""
    twin = tree.parent / "twin"
    shutil.copytree(tree, twin)

    def changes(top: Path, path: str) -> None:
        if Path(path).parent == top:
            change(Path(path))

    async def main() -> None:
        told: list[OSError] = []
        found = []
        async for path, folders, others in files.walk(str(tree), onerror=told.append):
            folders.sort()
            found.append((os.path.relpath(path, tree), list(folders), sorted(others)))
            changes(tree, path)
        wanted, wanted_told = [], []
        for path, folders, others in os.walk(twin, onerror=wanted_told.append):
            folders.sort()
            wanted.append((os.path.relpath(path, twin), list(folders), sorted(others)))
            changes(twin, path)
        assert found == wanted
        assert [(e.errno, os.path.relpath(e.filename, tree)) for e in told] == [
            (e.errno, os.path.relpath(e.filename, twin)) for e in wanted_told
        ]

    runner.run(main())


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("count", [3, 40])
def test_changes_of_sisters_are_seen(
    runner: asyncio.Runner, tmp_path: Path, count: int, old: bool
) -> None:
    """What comes later than the directory that was given out changes, at each step."""
    tops = tmp_path / "one", tmp_path / "two"
    for top in tops:
        for number in range(count):
            (top / f"{number:03}" / "below").mkdir(parents=True)
    if old:
        age(tmp_path)

    def changes(top: Path, step: int) -> None:
        for number in range(step, count, 11):
            (top / f"{number:03}" / f"at-{step}").touch()
            (top / f"{number:03}" / "below" / f"at-{step}").mkdir()

    async def main() -> list[Any]:
        found: list[Any] = []
        async for path, folders, others in files.walk(str(tops[0])):
            folders.sort()
            found.append((os.path.relpath(path, tops[0]), folders[:], sorted(others)))
            changes(tops[0], len(found))
        return found

    wanted: list[Any] = []
    for path, folders, others in os.walk(tops[1]):
        folders.sort()
        wanted.append((os.path.relpath(path, tops[1]), folders[:], sorted(others)))
        changes(tops[1], len(wanted))
    assert runner.run(main()) == wanted


@pytest.mark.parametrize("limits", [(1, 0), (1, 1), (3, 5), (64, 2)])
@pytest.mark.parametrize("topdown", [True, False])
def test_limits(
    tree: Path,
    limits: tuple[int, int],
    topdown: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files_ahead, "_ASKED", limits[0])
    monkeypatch.setattr(files_ahead, "_GUESSED", limits[1])

    async def main() -> None:
        found = [x async for x in files.walk(str(tree), topdown)]
        assert found == list(os.walk(tree, topdown))

    syslet_loop.run(main())


def test_flights_that_cannot_start(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine with one flight: what cannot be listed beside it is, or says so."""
    monkeypatch.setenv("SYSLET_LOOP_FLIGHTS", "1")
    for number in range(20):
        (tree / f"wide-{number}").mkdir()

    async def main() -> None:
        told: list[OSError] = []
        seen = [path async for path, _, _ in files.walk(str(tree), onerror=told.append)]
        failed = {error.filename for error in told}
        assert seen[0] == str(tree)
        assert {type(error) for error in told} <= {BlockingIOError}
        assert failed.isdisjoint(seen)
        assert failed.union(seen) >= {str(path) for path in tree.iterdir()}

    syslet_loop.run(main())


def test_a_name_that_is_none(runner: asyncio.Runner, tree: Path) -> None:
    """The caller's bad name is his error; those beside it are listed."""
    seen: list[str] = []

    async def main() -> None:
        async for path, folders, _ in files.walk(str(tree)):
            seen.append(path)
            if path == str(tree):
                folders.append("not\0one")

    with pytest.raises(ValueError, match="null"):
        runner.run(main())
    assert seen == [path for path, _, _ in os.walk(tree)]


def test_helpers_that_somebody_cancels(runner: asyncio.Runner, tree: Path) -> None:
    """A program may cancel every task that it finds; the walk goes on."""

    async def cancel_others(walker: asyncio.Task[None]) -> None:
        mine = {asyncio.current_task(), walker}
        while not walker.done():
            for task in asyncio.all_tasks() - mine:
                task.cancel()
            await asyncio.sleep(0)

    async def main() -> None:
        walker = asyncio.current_task()
        assert walker is not None
        canceller = asyncio.create_task(cancel_others(walker))
        assert [x async for x in files.walk(str(tree))] == expected(tree)
        canceller.cancel()

    runner.run(main())


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """Two directories with more in them than one flight brings."""
    for name in ("one", "two"):
        folder = tmp_path / "wide" / name
        folder.mkdir(parents=True)
        for number in range(400):
            (folder / f"{number:03}-{'x' * 40}").touch()
    return tmp_path / "wide"


def open_below(folder: Path) -> list[str]:
    """Descriptors of directories in there."""
    links = [Path(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    paths = [os.readlink(link) for link in links if link.is_symlink()]
    return [path for path in paths if path.startswith(str(folder))]


def test_a_directory_that_is_wanted_twice(runner: asyncio.Runner, wide: Path) -> None:
    async def main() -> None:
        seen = []
        async for path, folders, others in files.walk(str(wide)):
            seen.append((path, len(others)))
            folders += folders
        one, two = ((str(wide / name), 400) for name in ("one", "two"))
        assert sorted(seen) == [(str(wide), 0), one, one, two, two]

    runner.run(main())
    assert open_below(wide) == []


def test_the_end_of_a_walk_is_cancelled(runner: asyncio.Runner, wide: Path) -> None:
    """What was opened ahead is closed although nobody waits for its helpers' end."""

    async def main() -> None:
        ahead = files_ahead.Ahead(files_folders.FLAGS)
        one, two = (str(wide / name) for name in ("one", "two"))
        ahead._fetch([one, two], one)
        await ahead.changed.wait()
        assert open_below(wide) == [one], "it is open until it is taken"
        ahead.changed.clear()
        ahead._fetch([two], None)
        ending = asyncio.ensure_future(ahead.close())
        await asyncio.sleep(0)
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
        assert one not in open_below(wide)

    runner.run(main())
