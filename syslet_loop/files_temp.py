"""`files.tempfile`: temporary files and directories, with aiofiles' signatures.

Named files are deleted when they are closed or when their `async with` ends, as
tempfile does; unnamed ones never have a name where the file system can do that. A
spooled file is memory until it is larger than `max_size` or somebody asks for its fd.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import io
import os
import tempfile
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Self

from . import calls
from .files_open import Mode, Opening, checked, dressed
from .files_raw import AsyncFileIO, open_fd
from .files_spool import AsyncSpooledTemporaryFile
from .language import Builder, syslet

__all__ = [
    "AsyncSpooledTemporaryFile",
    "AsyncTemporaryDirectory",
    "NamedTemporaryFile",
    "SpooledTemporaryFile",
    "TemporaryDirectory",
    "TemporaryFile",
]

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_UNNAMED = os.O_RDWR | os.O_TMPFILE | os.O_EXCL | os.O_CLOEXEC
_NO_TMPFILE = (errno.EISDIR, errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL)
_PRIVATE = 0o600


class _NamedRaw(AsyncFileIO):
    """A file that is deleted with its last use."""

    _delete = _delete_on_close = False

    async def _close(self) -> None:
        was_open = self._fd >= 0
        await super()._close()
        if was_open and self._delete_on_close:
            await self._remove()

    async def _remove(self) -> None:
        if not self._delete:
            return
        self._delete = False
        try:
            await calls.unlinkat(self._name, check=False)
        except asyncio.CancelledError:
            self._remove_now()  # it may not have begun
            raise

    def _remove_now(self) -> None:
        with contextlib.suppress(OSError):  # somebody else may have done it
            os.unlink(self.name)

    def __del__(self) -> None:
        if self._delete:
            self._delete = False
            self._remove_now()
        super().__del__()


class _NamedOpening(Opening[Any]):
    """Deletes at the end of `async with` what closing did not delete."""

    __slots__ = ()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        raw = _raw_of(self._obj)
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            await raw._remove()


def _raw_of(file: Any) -> Any:
    file = getattr(file, "buffer", file)
    return getattr(file, "raw", file)


def _candidate(suffix: Any, prefix: Any, dir: Any) -> Any:
    """A name that is probably free. Raises TypeError for a mix of str and bytes."""
    given = [os.fspath(each) for each in (suffix, prefix, dir) if each is not None]
    if len({type(each) for each in given}) > 1:
        raise TypeError("Can't mix bytes and non-bytes in path components.")
    random = os.urandom(6).hex()[:8]
    if given and isinstance(given[0], bytes):
        first = tempfile.gettempprefixb() if prefix is None else prefix
        last = first + random.encode() + (suffix or b"")
        where: Any = tempfile.gettempdirb() if dir is None else dir
    else:
        first = tempfile.gettempprefix() if prefix is None else prefix
        last = first + random + (suffix or "")
        where = tempfile.gettempdir() if dir is None else dir
    return os.path.join(os.path.abspath(where), last)


@syslet
def _new_file(s: Builder, path: Any, flags: int, mode: int) -> None:
    """As open_fd, but reported, so that who waits can be cancelled and wait again."""
    fd = s.openat(path, flags, mode)
    st = s.fstat(fd)
    s.emit((fd, st.size, st.mode, st.blksize))


async def _make(name: Any) -> Sequence[int]:
    """A new file: fd, size, mode, block size. If this is cancelled there is none."""
    flight = _new_file.events(name, _FLAGS, _PRIVATE)
    made: Sequence[int] = ()
    cancelled = None
    while True:
        try:
            made = await anext(flight)
        except StopAsyncIteration:
            break
        except asyncio.CancelledError as error:
            cancelled = error
        except OSError:
            if cancelled is None:
                raise
            break
    if cancelled is None:
        return made
    if made:
        os.close(made[0])
        os.unlink(name)
    raise cancelled


async def _named(suffix: Any, prefix: Any, dir: Any, mode: Mode) -> _NamedRaw:
    for _ in range(tempfile.TMP_MAX):
        name = _candidate(suffix, prefix, dir)
        try:
            fd, *status = await _make(name)
        except FileExistsError:
            continue
        size, st_mode, block = status
        raw = _NamedRaw(fd, name, mode.access, status=(size, st_mode, block))
        raw._delete = True  # until somebody has it
        return raw
    raise FileExistsError(errno.EEXIST, "No usable temporary file name found")


async def _unnamed(suffix: Any, prefix: Any, dir: Any, mode: Mode) -> AsyncFileIO:
    where = os.path.dirname(_candidate(suffix, prefix, dir))
    try:
        fd, *status = await open_fd(where, _UNNAMED, _PRIVATE)
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
        raw = await _named(suffix, prefix, dir, mode)
        await calls.unlinkat(raw._name)
        raw._delete = False
        return raw
    size, st_mode, block = status
    return AsyncFileIO(fd, fd, mode.access, status=(size, st_mode, block))


def NamedTemporaryFile(
    mode: str = "w+b",
    buffering: int = -1,
    encoding: str | None = None,
    newline: str | None = None,
    suffix: Any = None,
    prefix: Any = None,
    dir: Any = None,
    delete: bool = True,
    delete_on_close: bool = True,
    loop: Any = None,
    executor: Any = None,
) -> Opening[Any]:
    """A temporary file with a name, `name`, deleted when it is closed."""

    async def make() -> Any:
        parts, codec = checked(mode, buffering, encoding, None, newline)
        raw = await _named(suffix, prefix, dir, parts)
        file = await dressed(raw, parts, buffering, codec)
        raw._delete, raw._delete_on_close = delete, delete_on_close
        file.delete = delete
        return file

    return _NamedOpening(make)


def TemporaryFile(
    mode: str = "w+b",
    buffering: int = -1,
    encoding: str | None = None,
    newline: str | None = None,
    suffix: Any = None,
    prefix: Any = None,
    dir: Any = None,
    loop: Any = None,
    executor: Any = None,
) -> Opening[Any]:
    """A temporary file without a name."""
    return Opening(
        functools.partial(
            _temporary, mode, buffering, encoding, newline, suffix, prefix, dir
        )
    )


async def _temporary(
    mode: str,
    buffering: int,
    encoding: str | None,
    newline: str | None,
    suffix: Any,
    prefix: Any,
    dir: Any,
) -> Any:
    parts, codec = checked(mode, buffering, encoding, None, newline)
    raw = await _unnamed(suffix, prefix, dir, parts)
    return await dressed(raw, parts, buffering, codec)


def SpooledTemporaryFile(
    max_size: int = 0,
    mode: str = "w+b",
    buffering: int = -1,
    encoding: str | None = None,
    newline: str | None = None,
    suffix: Any = None,
    prefix: Any = None,
    dir: Any = None,
    loop: Any = None,
    executor: Any = None,
) -> Opening[AsyncSpooledTemporaryFile]:
    """A file in memory until it is larger than `max_size`; 0 is no limit."""

    def real() -> Coroutine[Any, Any, Any]:
        return _temporary(mode, buffering, encoding, newline, suffix, prefix, dir)

    async def make() -> AsyncSpooledTemporaryFile:
        memory: Any = io.BytesIO()
        if "b" not in mode:
            memory = io.TextIOWrapper(memory, encoding=encoding, newline=newline)
        return AsyncSpooledTemporaryFile(memory, real, max_size, mode)

    return Opening(make)


class AsyncTemporaryDirectory:
    """A directory that is deleted with everything in it by `cleanup` or `close`."""

    def __init__(self, directory: Any, loop: Any, executor: Any) -> None:
        self._file = directory
        self._loop = loop
        self._executor = executor

    @property
    def name(self) -> Any:
        """The path."""
        return self._file.name

    async def cleanup(self) -> None:
        """Delete it."""
        loop = self._loop or asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, self._file.cleanup)

    async def close(self) -> None:
        """Delete it."""
        await self.cleanup()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.cleanup()


class _DirectoryOpening(Opening[AsyncTemporaryDirectory]):
    """`async with` gives the path, as tempfile does."""

    __slots__ = ()

    async def __aenter__(self) -> Any:
        return (await self).name


def TemporaryDirectory(
    suffix: Any = None,
    prefix: Any = None,
    dir: Any = None,
    loop: Any = None,
    executor: Any = None,
) -> Opening[AsyncTemporaryDirectory]:
    """A temporary directory: `async with` gives its path."""

    async def make() -> AsyncTemporaryDirectory:
        running = loop or asyncio.get_running_loop()
        bound = functools.partial(tempfile.TemporaryDirectory, suffix, prefix, dir)
        directory = await running.run_in_executor(executor, bound)
        return AsyncTemporaryDirectory(directory, loop, executor)

    return _DirectoryOpening(make)
