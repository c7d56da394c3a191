"""install(aiofiles=True): programs that import aiofiles get our files, and undo."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Iterator
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import syslet_loop
from syslet_loop import files

NAMES = (
    "aiofiles",
    "aiofiles.os",
    "aiofiles.ospath",
    "aiofiles.tempfile",
    "aiofiles.tempfile.temptypes",
    "aiofiles.base",
    "aiofiles.threadpool",
    "aiofiles.threadpool.binary",
    "aiofiles.threadpool.text",
)


def forget() -> dict[str, ModuleType]:
    """Have nobody have imported aiofiles."""
    found = {name: each for name, each in sys.modules.items() if "aiofiles" in name}
    kept = {name: each for name, each in found.items() if name.startswith("aiofiles")}
    for name in kept:
        del sys.modules[name]
    return kept


@pytest.fixture(params=["new", "imported before"])
def real(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """aiofiles' own functions, if it was imported before; the rest is put back."""
    kept = forget()
    values: dict[str, Any] = {}
    if request.param == "imported before":
        pytest.importorskip("aiofiles")
        modules = [import_module(name) for name in NAMES]
        values = {module.__name__: vars(module).copy() for module in modules}
    yield values
    files.restore_aiofiles()
    if values:
        for name, before in values.items():
            assert vars(sys.modules[name]) == before
    else:
        assert not [name for name in sys.modules if name.startswith("aiofiles")]
    forget()
    sys.modules.update(kept)


@pytest.mark.usefixtures("real")
def test_imports_give_our_files(runner: asyncio.Runner, tmp_path: Path) -> None:
    syslet_loop.install(aiofiles=True)
    syslet_loop.install(aiofiles=True)
    import aiofiles
    import aiofiles.os
    from aiofiles.os import stat
    from aiofiles.tempfile import NamedTemporaryFile, TemporaryDirectory
    from aiofiles.threadpool.binary import AsyncBufferedReader, AsyncFileIO
    from aiofiles.threadpool.text import AsyncTextIOWrapper

    async def main() -> None:
        async with aiofiles.open(tmp_path / "file", "w") as file:
            assert isinstance(file, files.AsyncTextIOWrapper)
            assert isinstance(file, AsyncTextIOWrapper)
            await file.write("text")
        async with aiofiles.open(tmp_path / "file", "rb") as reader:
            assert isinstance(reader, AsyncBufferedReader)
            assert not isinstance(reader, AsyncFileIO)
        assert (await stat(tmp_path / "file")).st_size == 4
        assert await aiofiles.os.path.exists(tmp_path / "file")
        async with TemporaryDirectory() as name, NamedTemporaryFile(dir=name):
            pass

    runner.run(main())
    for name in NAMES:
        assert import_module(name).__name__ == name
        assert util.find_spec(name) is not None
    syslet_loop.uninstall()


@pytest.mark.usefixtures("real")
def test_mocks_of_sync_open_are_obeyed(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    syslet_loop.install(aiofiles=True)
    import aiofiles.threadpool as threadpool

    seen = []

    def fake(name: str, mode: str = "r") -> Any:
        seen.append((name, mode))
        return io.BytesIO(b"fake")

    class Mock:
        def read(self) -> str:
            return "mock"

        def close(self) -> None: ...

    async def main() -> None:
        monkeypatch.setattr(threadpool, "sync_open", fake)
        async with threadpool.open("anything", mode="rb") as file:
            assert await file.read() == b"fake"
        monkeypatch.setattr(threadpool, "sync_open", lambda name: Mock())
        threadpool.wrap.register(Mock)(
            lambda *args, **kwargs: threadpool.AsyncBufferedIOBase(*args, **kwargs)
        )
        async with threadpool.open("anything") as file:
            assert await file.read() == "mock"

    runner.run(main())
    assert seen == [("anything", "rb")]


@pytest.mark.skipif(sys.version_info >= (3, 16), reason="asyncio has no policies")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_loop_is_left_alone_unless_asked_for() -> None:
    kept = forget()
    before = asyncio.get_event_loop_policy()
    try:
        syslet_loop.install(aiofiles=True)
        assert asyncio.get_event_loop_policy() is before
        syslet_loop.install(aiofiles=True, loop=True)
        assert type(asyncio.get_event_loop_policy()) is syslet_loop.EventLoopPolicy
        syslet_loop.install()
        syslet_loop.uninstall()
        assert asyncio.get_event_loop_policy() is before
        assert "aiofiles" not in sys.modules
    finally:
        asyncio.set_event_loop_policy(None)
        sys.modules.update(kept)
