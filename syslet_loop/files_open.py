"""`files.open`: what a mode means, which object it gives, and the way to wait for it.

The arguments are those of the built-in open and mean the same, with aiofiles' `loop`
and `executor`; mistakes are the same errors, made before anything is opened. The
object is made when the call is awaited or entered, once.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import io
import os
import stat
import sys
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, TypeVar

from .files_buffers import (
    AsyncBufferedIOBase,
    AsyncBufferedRandom,
    AsyncBufferedReader,
    AsyncBufferedWriter,
)
from .files_codec import Codec, codec_for
from .files_raw import AsyncFileIO, close_fd, look_at, open_fd
from .files_text import AsyncTextIOWrapper

_T = TypeVar("_T")
_FLAGS = {"r": 0, "w": os.O_CREAT | os.O_TRUNC, "x": os.O_CREAT | os.O_EXCL}
_FLAGS["a"] = os.O_CREAT | os.O_APPEND
_NEW_MODE = 0o666


class Opening(Awaitable[_T], Generic[_T]):
    """What `open` returns: await it, or enter it with `async with`."""

    __slots__ = ("_make", "_obj")

    def __init__(self, make: Callable[[], Coroutine[Any, Any, _T]]) -> None:
        self._make = make
        self._obj: _T | None = None

    def __await__(self) -> Generator[Any, Any, _T]:
        if self._obj is None:
            self._obj = yield from self._make().__await__()
        return self._obj

    async def __aenter__(self) -> Any:
        return await self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        obj: Any = self._obj
        try:
            await obj.close()
        finally:
            self._obj = None


class Mode:
    """A mode string, taken apart."""

    __slots__ = ("access", "flags", "io_mode", "is_text", "text")

    def __init__(self, text: str) -> None:
        letters = set(text)
        if letters - set("axrwb+t") or len(text) > len(letters):
            raise ValueError(f"invalid mode: {text!r}")
        if {"t", "b"} <= letters:
            raise ValueError("can't have text and binary mode at once")
        kinds = letters & set("xrwa")
        if not kinds:
            raise ValueError(
                "Must have exactly one of create/read/write/append mode "
                "and at most one plus"
            )
        if len(kinds) > 1:
            raise ValueError("must have exactly one of create/read/write/append mode")
        (kind,) = kinds
        self.text = text
        self.is_text = "b" not in letters
        self.access = kind + ("+" if "+" in letters else "")
        self.io_mode = self.access.replace("+", "b+") if "+" in letters else kind + "b"
        way = os.O_RDONLY if kind == "r" else os.O_WRONLY
        self.flags = (os.O_RDWR if "+" in letters else way) | _FLAGS[kind]
        self.flags |= os.O_CLOEXEC


_mode = functools.lru_cache(maxsize=64)(Mode)


def open(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Callable[[str, int], int] | None = None,
    *,
    loop: asyncio.AbstractEventLoop | None = None,
    executor: Any = None,
) -> Opening[Any]:
    """Open a file: `f = await open(...)`, or `async with open(...) as f`.

    The parameters and the errors are those of the built-in open. `executor` is where
    `opener` runs, the only thing here that is not a system call; `loop` is ignored.
    """

    async def make() -> Any:
        return await _open(
            file, mode, buffering, encoding, errors, newline, closefd, opener, executor
        )

    return Opening(make)


async def _open(
    file: Any,
    mode: str,
    buffering: int,
    encoding: str | None,
    errors: str | None,
    newline: str | None,
    closefd: bool,
    opener: Callable[[str, int], int] | None,
    executor: Any,
) -> Any:
    if not isinstance(file, int):
        file = os.fspath(file)
    parts, codec = checked(mode, buffering, encoding, errors, newline)
    raw = await open_raw(file, parts, closefd, opener, executor)
    return await dressed(raw, parts, buffering, codec)


def checked(
    mode: str,
    buffering: int,
    encoding: str | None,
    errors: str | None,
    newline: str | None,
) -> tuple[Mode, Codec | None]:
    """What the arguments mean. Raises what the built-in open raises for them."""
    if not isinstance(mode, str):
        kind = type(mode).__name__
        raise TypeError(f"open() argument 'mode' must be str, not {kind}")
    parts = _mode(mode)
    if not (encoding is errors is newline is None):
        given = {"encoding": encoding, "errors": errors, "newline": newline}
        _check_words(given, parts)
    if not parts.is_text:
        if buffering == 1:
            _warn_of_lines()
        return parts, None
    if buffering == 0:
        raise ValueError("can't have unbuffered text I/O")
    if sys.flags.warn_default_encoding:
        encoding = io.text_encoding(encoding, 4)
    return parts, codec_for(encoding, errors, newline)


async def dressed(
    raw: AsyncFileIO, mode: Mode, buffering: int, codec: Codec | None
) -> Any:
    """The raw file in the layers that were asked for; closed if that fails."""
    try:
        if buffering == 0:
            return raw
        buffered = buffer_for(raw, buffering)
        if codec is None:
            return buffered
        by_line = buffering == 1 or (buffering < 0 and _is_terminal(raw))
        return AsyncTextIOWrapper(buffered, codec, mode.text, by_line)
    except BaseException:
        await raw._close()
        raise


def _check_words(given: dict[str, Any], mode: Mode) -> None:
    for name, value in given.items():
        if value is None:
            continue
        if not isinstance(value, str):
            kind = type(value).__name__
            raise TypeError(f"open() argument {name!r} must be str or None, not {kind}")
        if not mode.is_text:
            article = "a" if name == "newline" else "an"
            raise ValueError(f"binary mode doesn't take {article} {name} argument")


def _warn_of_lines() -> None:
    warnings.warn(
        "line buffering (buffering=1) isn't supported in binary mode, "
        "the default buffer size will be used",
        RuntimeWarning,
        stacklevel=5,
    )


def buffer_for(raw: AsyncFileIO, buffering: int) -> AsyncBufferedIOBase:
    """The buffered file over a raw one; 1 and less is the device's own size."""
    size = buffering
    if buffering < 0 or buffering == 1:
        size = raw._block if raw._block > 1 else io.DEFAULT_BUFFER_SIZE
        if sys.version_info >= (3, 14):
            size = max(min(size, 1 << 23), io.DEFAULT_BUFFER_SIZE)
    if raw._readable and raw._writable:
        return AsyncBufferedRandom(raw, size)
    return (AsyncBufferedReader if raw._readable else AsyncBufferedWriter)(raw, size)


def _is_terminal(raw: AsyncFileIO) -> bool:
    return stat.S_ISCHR(raw._st_mode) and os.isatty(raw._fd)


async def open_raw(
    file: Any,
    mode: Mode,
    closefd: bool = True,
    opener: Callable[[str, int], int] | None = None,
    executor: Any = None,
) -> AsyncFileIO:
    """The unbuffered file: opened, or around an fd that somebody has."""
    if isinstance(file, int):
        if file < 0:
            raise ValueError("negative file descriptor")
        fd = file
    elif not closefd:
        raise ValueError("Cannot use closefd=False with file name")
    elif opener is None:
        sys.audit("open", file, mode.io_mode, mode.flags)
        fd, *status = await open_fd(file, mode.flags, _NEW_MODE)
        return await _settle(fd, file, mode, True, status)
    else:
        loop = asyncio.get_running_loop()
        fd = await loop.run_in_executor(executor, opener, file, mode.flags)
        if not isinstance(fd, int):
            raise TypeError("expected integer from opener")
        if fd < 0:
            raise ValueError(f"opener returned {fd}")
        os.set_inheritable(fd, False)
    status = await look_at(fd)
    return await _settle(fd, file, mode, closefd, status)


async def _settle(
    fd: int, name: object, mode: Mode, closefd: bool, status: Any
) -> AsyncFileIO:
    if stat.S_ISDIR(status[1]):
        if closefd and not isinstance(name, int):
            await close_fd(fd)
        number = errno.EISDIR
        raise IsADirectoryError(number, os.strerror(number), name)
    raw = AsyncFileIO(fd, name, mode.access, closefd=closefd, status=tuple(status))
    if mode.access[0] == "a":
        with_position = raw._can_seek()
        if with_position:
            os.lseek(fd, 0, os.SEEK_END)
    return raw
