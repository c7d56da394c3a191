"""`files.os`: os' functions about files, awaitable, with its signatures and errors.

What a system call does alone is one operation from calls.py; what os does with several
is several here. `loop` and `executor` are taken, as aiofiles' functions take them, and
not used, but by `scandir`: only os can make os.DirEntry objects.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from . import calls
from . import files_path as path
from .files_path import checked_path
from .language import syslet
from .ops import AT_FDCWD

_P = ParamSpec("_P")
_T = TypeVar("_T")
_AT_REMOVEDIR = 0x200
_AT_EACCESS = 0x200
_AT_SYMLINK_FOLLOW = 0x400
_AT_SYMLINK_NOFOLLOW = 0x100
_ENTRIES_BYTES = 32768
_SENDFILE_MOST = 0x7FFFF000

__all__ = [
    "access",
    "getcwd",
    "link",
    "listdir",
    "makedirs",
    "mkdir",
    "path",
    "readlink",
    "remove",
    "removedirs",
    "rename",
    "renames",
    "replace",
    "rmdir",
    "scandir",
    "sendfile",
    "stat",
    "statvfs",
    "symlink",
    "unlink",
    "wrap",
]


@syslet
def _send(s: Any, out_fd: int, in_fd: int, count: int) -> object:
    return s.sendfile(out_fd, in_fd, None, count)


@syslet
def _send_from(s: Any, out_fd: int, in_fd: int, offset: int, count: int) -> object:
    place = s.cell(0)
    s.set(place, offset)
    return s.sendfile(out_fd, in_fd, place, count)


@syslet
def _open_directory(s: Any, path: str, flags: int) -> object:
    fd = s.openat(path, flags)
    return fd, s.getdents64(fd, _ENTRIES_BYTES)


@syslet
def _more_entries(s: Any, fd: int) -> object:
    return s.getdents64(fd, _ENTRIES_BYTES)


def wrap(function: Callable[_P, _T]) -> Callable[..., Awaitable[_T]]:
    """Any function as a coroutine function that runs it in the executor."""

    @functools.wraps(function)
    async def run(
        *args: Any, loop: Any = None, executor: Any = None, **kwargs: Any
    ) -> _T:
        loop = asyncio.get_running_loop() if loop is None else loop
        bound = functools.partial(function, *args, **kwargs)
        result: _T = await loop.run_in_executor(executor, bound)
        return result

    return run


def _as_in_aiofiles(function: Callable[_P, Awaitable[_T]]) -> Callable[..., Any]:
    """Take `loop` and `executor` as well, and ignore them."""

    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> _T:
        if kwargs:
            kwargs.pop("loop", None)
            kwargs.pop("executor", None)
        return await function(*args, **kwargs)

    return run


def _dir(dir_fd: int | None) -> int:
    return AT_FDCWD if dir_fd is None else dir_fd


@_as_in_aiofiles
async def stat(
    path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True
) -> os.stat_result:
    """os.stat: of a path or an fd."""
    if isinstance(path, int):
        if dir_fd is not None:
            raise ValueError("stat: can't specify dir_fd without matching path")
        result: os.stat_result = await calls.fstat(path)
        return result
    flags = 0 if follow_symlinks else _AT_SYMLINK_NOFOLLOW
    result = await calls.fstatat(
        checked_path(path, "stat", or_fd=True), flags, dir_fd=_dir(dir_fd)
    )
    return result


@_as_in_aiofiles
async def statvfs(path: Any) -> os.statvfs_result:
    """os.statvfs: of a path or an fd."""
    if isinstance(path, int):
        result: os.statvfs_result = await calls.fstatfs(path)
        return result
    result = await calls.statfs(checked_path(path, "statvfs", or_fd=True))
    return result


@_as_in_aiofiles
async def access(
    path: Any,
    mode: int,
    *,
    dir_fd: int | None = None,
    effective_ids: bool = False,
    follow_symlinks: bool = True,
) -> bool:
    """os.access: whether the file may be used so."""
    flags = _AT_EACCESS if effective_ids else 0
    flags |= 0 if follow_symlinks else _AT_SYMLINK_NOFOLLOW
    path = checked_path(path, "access")
    done = calls.faccessat(path, mode, flags, dir_fd=_dir(dir_fd), check=False)
    return bool(await done == 0)


@_as_in_aiofiles
async def getcwd() -> str:
    """os.getcwd: it does not wait."""
    return os.getcwd()


@_as_in_aiofiles
async def rename(
    src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
) -> None:
    """os.rename: a file that is at `dst` is replaced."""
    await _rename("rename", src, dst, src_dir_fd, dst_dir_fd)


@_as_in_aiofiles
async def replace(
    src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
) -> None:
    """os.replace: the same as rename on Linux."""
    await _rename("replace", src, dst, src_dir_fd, dst_dir_fd)


async def _rename(
    name: str, src: Any, dst: Any, src_dir_fd: int | None, dst_dir_fd: int | None
) -> None:
    await calls.renameat2(
        checked_path(src, name, "src"),
        checked_path(dst, name, "dst"),
        old_dir_fd=_dir(src_dir_fd),
        new_dir_fd=_dir(dst_dir_fd),
    )


@_as_in_aiofiles
async def renames(old: Any, new: Any) -> None:
    """os.renames: makes the directories there, removes the empty ones here."""
    head, tail = os.path.split(new)
    if head and tail and not await path.exists(head):
        await makedirs(head)
    await rename(old, new)
    head, tail = os.path.split(old)
    if head and tail:
        try:
            await removedirs(head)
        except OSError:
            return


@_as_in_aiofiles
async def unlink(path: Any, *, dir_fd: int | None = None) -> None:
    """os.unlink: the same as remove."""
    await calls.unlinkat(checked_path(path, "unlink"), dir_fd=_dir(dir_fd))


@_as_in_aiofiles
async def remove(path: Any, *, dir_fd: int | None = None) -> None:
    """os.remove: a file, not a directory."""
    await calls.unlinkat(checked_path(path, "remove"), dir_fd=_dir(dir_fd))


@_as_in_aiofiles
async def mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
    """os.mkdir: a directory, with `mode` less the umask."""
    sys.audit("os.mkdir", path, mode, -1 if dir_fd is None else dir_fd)
    await calls.mkdirat(checked_path(path, "mkdir"), mode, dir_fd=_dir(dir_fd))


@_as_in_aiofiles
async def makedirs(name: Any, mode: int = 0o777, exist_ok: bool = False) -> None:
    """os.makedirs: the directory and those it is in, which have the usual mode."""
    head, tail = os.path.split(name)
    if not tail:
        head, tail = os.path.split(head)
    if head and tail and not await path.exists(head):
        with contextlib.suppress(FileExistsError):  # somebody else was faster
            await makedirs(head, exist_ok=exist_ok)
        if tail in (os.curdir, os.fsencode(os.curdir)):
            return
    try:
        await mkdir(name, mode)
    except OSError:
        if not exist_ok or not await path.isdir(name):
            raise


@_as_in_aiofiles
async def rmdir(path: Any, *, dir_fd: int | None = None) -> None:
    """os.rmdir: an empty directory."""
    await calls.unlinkat(
        checked_path(path, "rmdir"), _AT_REMOVEDIR, dir_fd=_dir(dir_fd)
    )


@_as_in_aiofiles
async def removedirs(name: Any) -> None:
    """os.removedirs: the directory and those it is in, while they are empty."""
    await rmdir(name)
    head, tail = os.path.split(name)
    if not tail:
        head, tail = os.path.split(head)
    while head and tail:
        try:
            await rmdir(head)
        except OSError:
            break
        head, tail = os.path.split(head)


@_as_in_aiofiles
async def link(
    src: Any,
    dst: Any,
    *,
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
    follow_symlinks: bool = True,
) -> None:
    """os.link. As there, without a dir_fd a symbolic link is not followed."""
    has_dir = src_dir_fd is not None or dst_dir_fd is not None
    flags = _AT_SYMLINK_FOLLOW if follow_symlinks and has_dir else 0
    await calls.linkat(
        checked_path(src, "link", "src"),
        checked_path(dst, "link", "dst"),
        flags,
        old_dir_fd=_dir(src_dir_fd),
        new_dir_fd=_dir(dst_dir_fd),
    )


@_as_in_aiofiles
async def symlink(
    src: Any, dst: Any, target_is_directory: bool = False, *, dir_fd: int | None = None
) -> None:
    """os.symlink: `dst` becomes a link that says `src`."""
    src, dst = checked_path(src, "symlink", "src"), checked_path(dst, "symlink", "dst")
    try:
        await calls.symlinkat(src, dst, dir_fd=_dir(dir_fd))
    except OSError as error:
        raise OSError(error.errno, error.strerror, src, None, dst) from None


@_as_in_aiofiles
async def readlink(path: Any, *, dir_fd: int | None = None) -> Any:
    """os.readlink: bytes for bytes."""
    path = checked_path(path, "readlink")
    target = await calls.readlinkat(path, dir_fd=_dir(dir_fd))
    return target if isinstance(path, bytes) else os.fsdecode(target)


@_as_in_aiofiles
async def sendfile(out_fd: int, in_fd: int, offset: int | None, count: int) -> int:
    """os.sendfile: how many bytes were sent, from `offset` or from the position."""
    count = min(count, _SENDFILE_MOST)
    if offset is None:
        return int(await _send(out_fd, in_fd, count))
    return int(await _send_from(out_fd, in_fd, offset, count))


@_as_in_aiofiles
async def listdir(path: Any = ".") -> list[Any]:
    """os.listdir: the names in a directory, bytes for bytes."""
    if isinstance(path, int):
        # os reads from the start, with a position that is not the caller's.
        path = f"/proc/self/fd/{path}"
    path = checked_path("." if path is None else path, "listdir", or_fd=True)
    names: list[Any] = []
    fd, data = await _open_directory(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        while data:
            names += _names(data)
            data = await _more_entries(fd)
    finally:
        os.close(fd)
    return names if isinstance(path, bytes) else [os.fsdecode(name) for name in names]


def _names(data: bytes) -> Iterator[bytes]:
    """The names in what getdents64 gave, without the directory and its parent."""
    at = 0
    while at < len(data):
        name = data[at + 19 : data.index(0, at + 19)]
        if name not in (b".", b".."):
            yield name
        at += int.from_bytes(data[at + 16 : at + 18], sys.byteorder)


scandir = wrap(os.scandir)
