"""watch(): what happens is told, in order, once, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from syslet_loop import files_watch as files


async def told(events: Any, count: int) -> list[tuple[str, tuple[str, ...]]]:
    """The next events, as name and kinds."""
    found = []
    async with asyncio.timeout(30):
        while len(found) < count:
            event = await anext(events)
            found.append((os.path.basename(os.fsdecode(event.path)), event.kinds))
    return found


def test_a_folder(runner: asyncio.Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with files.watch(tmp_path) as events:
            waiting = asyncio.create_task(told(events, 3))
            await asyncio.sleep(0)
            (tmp_path / "x").write_bytes(b"1")
            assert await waiting == [
                ("x", ("create",)),
                ("x", ("modify",)),
                ("x", ("close_write",)),
            ]
            os.rename(tmp_path / "x", tmp_path / "y")
            first, second = await anext(events), await anext(events)
            assert first.kinds + second.kinds == ("moved_from", "moved_to")
            assert first.cookie == second.cookie != 0
            assert second.path == str(tmp_path / "y") and not second.is_dir
            os.unlink(tmp_path / "y")
            assert await told(events, 1) == [("y", ("delete",))]

    runner.run(main())


def test_a_timeout_loses_nothing(runner: asyncio.Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with files.watch(tmp_path, mask=files.CREATE) as events:
            for number in range(20):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.001):
                        await anext(events)
                (tmp_path / str(number)).touch()
                assert await told(events, 1) == [(str(number), ("create",))]
            task = asyncio.create_task(anext(events))
            await asyncio.sleep(0)
            (tmp_path / "last").touch()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await told(events, 1) == [("last", ("create",))]

    runner.run(main())


def test_below(runner: asyncio.Runner, tmp_path: Path) -> None:
    """What is made before its directory is watched is told as well."""
    (tmp_path / "old").mkdir()

    async def main() -> None:
        watch = files.watch(tmp_path, mask=files.CREATE, recursive=True)
        async with watch as events:
            (tmp_path / "old" / "x").touch()
            assert await told(events, 1) == [("x", ("create",))]
            (tmp_path / "a" / "b").mkdir(parents=True)
            (tmp_path / "a" / "b" / "f").touch()
            names = [name for name, _ in await told(events, 3)]
            assert names == ["a", "b", "f"]
            os.rename(tmp_path / "a", tmp_path / "z")
            (tmp_path / "z" / "b" / "g").touch()

    runner.run(main())


def test_moved_folders_have_their_new_names(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)

    async def main() -> None:
        mask = files.CREATE | files.MOVED_FROM | files.MOVED_TO
        async with files.watch(tmp_path, mask=mask, recursive=True) as events:
            os.rename(tmp_path / "a", tmp_path / "z")
            await told(events, 2)
            (tmp_path / "z" / "b" / "g").touch()
            assert (await anext(events)).path == str(tmp_path / "z" / "b" / "g")

    runner.run(main())


def test_it_ends_with_what_it_watches(runner: asyncio.Runner, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    async def main() -> None:
        async with files.watch(os.fsencode(folder)) as events:
            shutil.rmtree(folder)
            found = [event async for event in events]
            assert found[-1].kinds == ("delete_self",)
            assert found[-1].path == os.fsencode(folder)
        with pytest.raises(FileNotFoundError) as caught:
            async with files.watch(folder):
                pass
        assert caught.value.filename == str(folder)
        with pytest.raises(TypeError):
            files.watch()

    runner.run(main())


def test_without_async_with(runner: asyncio.Runner, tmp_path: Path) -> None:
    async def main() -> None:
        events = files.watch(tmp_path)
        task = asyncio.create_task(anext(events))
        async with asyncio.timeout(30):
            while events.fd < 0 or not events.folders:
                await asyncio.sleep(0)
        (tmp_path / "x").touch()
        assert (await task).kinds == ("create",)
        await events.aclose()
        assert [event async for event in events] == []
        forgotten = await files.watch(tmp_path).__aenter__()
        with pytest.warns(ResourceWarning, match="unclosed"):
            del forgotten

    runner.run(main())


def test_overflow(runner: asyncio.Runner, tmp_path: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 20_000:
        pytest.skip("the queue is long here")
    names = [str(tmp_path / name) for name in "ab"]

    async def main() -> None:
        async with files.watch(tmp_path) as events:
            for number in range(limit // 2 + 10):
                os.rename(*names) if number else open(names[0], "w").close()
                names.reverse() if number else None
            async with asyncio.timeout(60):
                async for event in events:
                    if event.overflowed:
                        break

    runner.run(main())
