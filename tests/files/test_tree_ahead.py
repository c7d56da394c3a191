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
from syslet_loop import files_ahead
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
    """An engine with one flight: what is asked for beside it fails, and says so."""
    monkeypatch.setenv("SYSLET_LOOP_FLIGHTS", "1")
    for number in range(20):
        (tree / f"wide-{number}").mkdir()

    async def main() -> None:
        told: list[OSError] = []
        seen = [path async for path, _, _ in files.walk(str(tree), onerror=told.append)]
        assert seen[0] == str(tree) and told
        assert {type(error) for error in told} == {BlockingIOError}
        assert {error.filename for error in told}.isdisjoint(seen)

    syslet_loop.run(main())
