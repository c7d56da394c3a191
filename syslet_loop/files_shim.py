"""Our files under aiofiles' names, for programs that import aiofiles.

`replace_aiofiles` puts modules of ours where the import system looks, and into modules
of aiofiles that were imported before; `restore_aiofiles` undoes both. What a program
has taken out of a module already (`from aiofiles import open`) stays what it is. A
program that replaces `aiofiles.threadpool.sync_open`, as aiofiles' manual advises for
tests, gets what its function returns, run in the executor.
"""

from __future__ import annotations

import asyncio
import builtins
import functools
import sys
from abc import ABCMeta
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from . import files_open, files_os, files_path, files_stdio, files_temp
from .files_buffers import AsyncBufferedIOBase, AsyncBufferedReader
from .files_open import Opening
from .files_raw import AsyncFileIO
from .files_stdio import AsyncWrapped
from .files_text import AsyncTextIOWrapper
from .files_turns import AsyncFile

_PACKAGES = ("aiofiles", "aiofiles.threadpool", "aiofiles.tempfile")
_STREAMS = ("stdin", "stdout", "stderr", "stdin_bytes", "stdout_bytes", "stderr_bytes")
_MISSING = object()
_undo: list[Callable[[], None]] = []


@functools.wraps(files_open.open)
def _open(
    file: Any, *args: Any, loop: Any = None, executor: Any = None, **kwargs: Any
) -> Opening[Any]:
    module = sys.modules.get("aiofiles.threadpool")
    replaced = getattr(module, "sync_open", builtins.open)
    if replaced is builtins.open:
        return files_open.open(file, *args, executor=executor, **kwargs)

    async def make() -> Any:
        running = loop or asyncio.get_running_loop()
        bound = functools.partial(replaced, file, *args, **kwargs)
        opened = await running.run_in_executor(executor, bound)
        return files_stdio.wrap(opened, loop=loop, executor=executor)

    return Opening(make)


def _direct(name: str, *ours: type) -> type:
    """aiofiles' class of this name: made around a file of io's; ours count as such."""

    def __init__(self: Any, file: Any, loop: Any, executor: Any) -> None:
        AsyncWrapped.__init__(self, lambda: file, loop, executor)

    made = ABCMeta(name, (AsyncWrapped,), {"__init__": __init__})
    for each in ours:
        made.register(each)
    return made


def _indirect(name: str) -> type:
    """aiofiles' class of this name, for a file that is looked up each time."""

    def __init__(
        self: Any, name: str, loop: Any, executor: Any, indirect: Callable[[], Any]
    ) -> None:
        AsyncWrapped.__init__(self, indirect, loop, executor)

    return ABCMeta(name, (AsyncWrapped,), {"__init__": __init__})


def _names(module: Any) -> dict[str, Any]:
    return {name: getattr(module, name) for name in module.__all__}


@functools.cache
def _contents() -> dict[str, dict[str, Any]]:
    """The modules and what is in each, parents first."""
    streams = {name: getattr(files_stdio, name) for name in _STREAMS}
    base = {
        "AiofilesContextManager": Opening,
        "AsyncBase": AsyncFile,
        "AsyncIndirectBase": AsyncWrapped,
        "wrap": files_os.wrap,
    }
    binary = {
        "AsyncBufferedIOBase": _direct("AsyncBufferedIOBase", AsyncBufferedIOBase),
        "AsyncBufferedReader": _direct("AsyncBufferedReader", AsyncBufferedReader),
        "AsyncFileIO": _direct("AsyncFileIO", AsyncFileIO),
    }
    for name in ("BufferedIOBase", "BufferedReader", "FileIO"):
        binary[f"AsyncIndirect{name}"] = _indirect(f"AsyncIndirect{name}")
    text = {
        "AsyncTextIOWrapper": _direct("AsyncTextIOWrapper", AsyncTextIOWrapper),
        "AsyncTextIndirectIOWrapper": _indirect("AsyncTextIndirectIOWrapper"),
    }
    opening = {"open": _open, "sync_open": builtins.open, "wrap": files_stdio.wrap}
    types = ("AsyncSpooledTemporaryFile", "AsyncTemporaryDirectory")
    return {
        "aiofiles": {"open": _open, **streams},
        "aiofiles.base": base,
        "aiofiles.threadpool": {**opening, **streams, **binary, **text},
        "aiofiles.threadpool.binary": binary,
        "aiofiles.threadpool.text": text,
        "aiofiles.ospath": _names(files_path),
        "aiofiles.os": _names(files_os),
        "aiofiles.tempfile": _names(files_temp),
        "aiofiles.tempfile.temptypes": {
            name: getattr(files_temp, name) for name in types
        },
    }


def _set(module: ModuleType, name: str, value: Any) -> None:
    old = module.__dict__.get(name, _MISSING)
    setattr(module, name, value)

    def restore() -> None:
        if old is _MISSING:
            module.__dict__.pop(name, None)
        else:
            setattr(module, name, old)

    _undo.append(restore)


def _make(name: str) -> ModuleType:
    """A new module, where `import` finds it."""
    is_package = name in _PACKAGES
    module = ModuleType(name, f"syslet_loop's files under the name of {name}.")
    module.__spec__ = ModuleSpec(name, None, is_package=is_package)
    module.__package__ = name if is_package else name.rpartition(".")[0]
    if is_package:
        module.__path__ = []
    sys.modules[name] = module
    _undo.append(lambda: _forget(name, module))
    return module


def _forget(name: str, module: ModuleType) -> None:
    if sys.modules.get(name) is module:
        del sys.modules[name]


def replace_aiofiles() -> None:
    """Have `import aiofiles` give these files. A second time does nothing."""
    if _undo:
        return
    for name, contents in _contents().items():
        module = sys.modules.get(name) or _make(name)
        for key, value in contents.items():
            _set(module, key, value)
        parent, _, last = name.rpartition(".")
        if parent:
            _set(sys.modules[parent], last, module)


def restore_aiofiles() -> None:
    """Undo `replace_aiofiles`."""
    while _undo:
        _undo.pop()()
