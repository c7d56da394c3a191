"""Copying a whole tree, as shutil.copytree; used through files_tree.

Directories are made one after the other, files are copied several at once. Mode and
times go with them; extended attributes do not.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import struct
from collections.abc import Callable, Iterable
from typing import Any

from . import calls, ops
from .files_bulk import _stat
from .files_folders import Entry, entries
from .files_whole import copyfile
from .language import Builder, syslet

__all__ = ["copytree"]

_UTIMENSAT = ops.BY_NAME["utimensat"].nr
Ignore = Callable[[Any, list[Any]], Iterable[Any]]
Trouble = tuple[Any, Any, str]


@syslet
def _apply(s: Builder, path: str, mode: int, times: bytearray) -> None:
    s.fchmodat(path, mode)
    s.syscall(_UTIMENSAT, ops.AT_FDCWD, path, times, 0)


async def _copy_status(source: Any, target: Any) -> None:
    """Mode and times, as shutil.copystat; nothing of a link's own."""
    st = await _stat(source)
    times = [*divmod(st.st_atime_ns, 10**9), *divmod(st.st_mtime_ns, 10**9)]
    packed = bytearray(struct.pack("4q", *times))
    await _apply(target, stat.S_IMODE(st.st_mode), packed)


async def copytree(
    source: str | bytes | os.PathLike[Any],
    target: str | bytes | os.PathLike[Any],
    symlinks: bool = False,
    ignore: Ignore | None = None,
    ignore_dangling_symlinks: bool = False,
    dirs_exist_ok: bool = False,
    *,
    limit: int = 16,
) -> Any:
    """Copy a directory and all that is in it, at most `limit` files at once.

    What fails is collected and raised in the end as shutil.Error, as there.
    """
    if limit < 1:
        raise ValueError("limit must be at least 1")
    copy = _Copy(symlinks, ignore, ignore_dangling_symlinks, dirs_exist_ok, limit)
    await copy.folder(os.fspath(source), os.fspath(target))
    if copy.troubles:
        raise shutil.Error(copy.troubles)
    return target


class _Copy:
    """One call of copytree."""

    def __init__(
        self,
        symlinks: bool,
        ignore: Ignore | None,
        ignore_dangling: bool,
        exist_ok: bool,
        limit: int,
    ) -> None:
        self.symlinks = symlinks
        self.ignore = ignore
        self.ignore_dangling = ignore_dangling
        self.exist_ok = exist_ok
        self.room = asyncio.Semaphore(limit)
        self.troubles: list[Trouble] = []

    async def folder(self, source: Any, target: Any) -> None:
        """Copy a directory; what cannot be listed or made is raised."""
        found: list[Entry[Any]] = await entries(source)
        ignored: set[Any] = set()
        if self.ignore is not None:
            ignored = set(self.ignore(source, [entry.name for entry in found]))
        try:
            await calls.mkdirat(target)
        except FileExistsError:
            if not self.exist_ok:
                raise
        folders: list[tuple[Entry[Any], Any]] = []
        async with asyncio.TaskGroup() as group:
            for entry in found:
                if entry.name in ignored:
                    continue
                where = os.path.join(target, entry.name)
                link = await entry.is_symlink()
                if not (link and self.symlinks) and await entry.is_dir():
                    folders.append((entry, where))
                    continue
                await self.room.acquire()
                group.create_task(self.file(entry, where, link))
        for entry, where in folders:
            try:
                await self.folder(entry.path, where)
            except OSError as error:
                self.troubles.append((entry.path, where, str(error)))
        try:
            await _copy_status(source, target)
        except OSError as error:
            self.troubles.append((source, target, str(error)))

    async def file(self, entry: Entry[Any], where: Any, link: bool) -> None:
        """Copy a file or a link, in a place of its own among `limit`."""
        try:
            if link and self.symlinks:
                await copyfile(entry.path, where, follow_symlinks=False)
                return
            if link and self.ignore_dangling and not await _leads_somewhere(entry):
                return
            await copyfile(entry.path, where)
            await _copy_status(entry.path, where)
        except OSError as error:
            self.troubles.append((entry.path, where, str(error)))
        finally:
            self.room.release()


async def _leads_somewhere(entry: Entry[Any]) -> bool:
    try:
        await entry.stat()
    except FileNotFoundError:
        return False
    return True
