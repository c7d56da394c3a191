"""stdin, stdout and stderr, and any file of io's as an awaitable one.

`stdout` is what sys.stdout is at that moment, so what print() writes and what is
written here stay in order, and a program or test that replaces it is obeyed. The object
there is io's, which waits in its own way; so its methods run in the executor, except
those that only ask. `wrap` is the same for a file that somebody has.
"""

from __future__ import annotations

import asyncio
import functools
import io
import sys
from collections.abc import Callable
from typing import Any

from .files_turns import Wrapper

_READS = {"peek", "read", "read1", "readall", "readinto", "readline", "readlines"}
_WRITES = {"write", "writelines", "truncate", "flush", "close"}
_AWAITED = _READS | _WRITES | {"isatty", "seek", "seekable", "tell", "writable"}
_KINDS = (io.TextIOBase, io.BufferedIOBase, io.FileIO)


class AsyncWrapped(Wrapper):
    """A file of io's: `file` gives it. Its methods run in the executor."""

    def __init__(
        self, file: Callable[[], Any], loop: Any = None, executor: Any = None
    ) -> None:
        self._find = file
        self._loop = loop
        self._executor = executor

    @property
    def _file(self) -> Any:
        return self._find()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._file!r}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        value = getattr(self._file, name)
        return self._awaited(value) if name in _AWAITED else value

    def _awaited(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        async def call(*args: Any, **kwargs: Any) -> Any:
            loop = self._loop or asyncio.get_running_loop()
            bound = functools.partial(method, *args, **kwargs)
            return await loop.run_in_executor(self._executor, bound)

        return call


@functools.singledispatch
def wrap(file: Any, *, loop: Any = None, executor: Any = None) -> AsyncWrapped:
    """An awaitable file around one of io's. Raises TypeError for what is none."""
    if not isinstance(file, _KINDS):
        raise TypeError(f"Unsupported io type: {file}.")
    return AsyncWrapped(lambda: file, loop, executor)


stdin = AsyncWrapped(lambda: sys.stdin)
stdout = AsyncWrapped(lambda: sys.stdout)
stderr = AsyncWrapped(lambda: sys.stderr)
stdin_bytes = AsyncWrapped(lambda: sys.stdin.buffer)
stdout_bytes = AsyncWrapped(lambda: sys.stdout.buffer)
stderr_bytes = AsyncWrapped(lambda: sys.stderr.buffer)
