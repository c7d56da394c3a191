"""Whole trees: walk, glob, remove, copy; directories are read ahead and overlap.

The functions behave as those of os, glob and shutil with the same names, except that
they are awaited or iterated over with `async for`. Directories that vanish meanwhile
are told to `onerror` and the like, and otherwise passed over.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, TypeVar

from .files_bulk import stat_many
from .files_copytree import copytree
from .files_folders import (
    FLAGS,
    FOLDER,
    LINK,
    UNKNOWN,
    Entry,
    Listing,
    entries_of,
    list_folder,
    scandir,
)
from .files_glob import glob
from .files_remove import rmtree

__all__ = ["Entry", "copytree", "glob", "rmtree", "scandir", "walk"]

T = TypeVar("T", str, bytes)
Walked = tuple[T, list[T], list[T]]

_UNCLEAR = (UNKNOWN, LINK)
_AHEAD = 64  # directories that are read before somebody asks for them


class _Ahead:
    """Directories that are being read, in the order in which they will be wanted."""

    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.ready: dict[Any, Listing | BaseException] = {}
        self.coming: set[Any] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.changed = asyncio.Event()

    async def take(self, path: T, following: Iterable[object]) -> Listing:
        """The listing of `path`; those that follow are asked for as well."""
        if path not in self.ready and path not in self.coming:
            known: set[object] = self.ready.keys() | self.coming
            wanted = [path, *(each for each in following if each not in known)]
            if len(wanted) == 1:
                listing: Listing = await list_folder(path, self.flags)
                return listing
            self._fetch(wanted)
        while path not in self.ready:
            self.changed.clear()
            await self.changed.wait()
        result = self.ready.pop(path)
        if isinstance(result, BaseException):
            raise result
        return result

    def _fetch(self, wanted: list[Any]) -> None:
        self.coming.update(wanted)
        task = asyncio.create_task(self._run(wanted))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _run(self, wanted: list[Any]) -> None:
        results = list_folder.map(
            ((path, self.flags) for path in wanted),
            limit=_AHEAD,
            return_exceptions=True,
        )
        async for (path, _), result in results:
            self.coming.discard(path)
            self.ready[path] = result
            self.changed.set()

    async def close(self) -> None:
        """Give up what nobody wants any more."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for result in self.ready.values():
            if isinstance(result, tuple) and result[2] >= 0:
                os.close(result[2])
        self.ready.clear()


async def walk(
    top: T | os.PathLike[T],
    topdown: bool = True,
    onerror: Callable[[OSError], object] | None = None,
    followlinks: bool = False,
) -> AsyncIterator[Walked[T]]:
    """As os.walk: (path, names of directories, names of others) for each directory.

    With `topdown` the caller may change the list of directories, and what is taken out
    is not visited.
    """
    stack: list[T | Walked[T]] = [os.fspath(top)]
    ahead = _Ahead(FLAGS)
    try:
        while stack:
            item = stack.pop()
            if isinstance(item, tuple):
                yield item
                continue
            following = [x for x in stack[-_AHEAD:][::-1] if not isinstance(x, tuple)]
            try:
                listing = await ahead.take(item, following)
                found = await entries_of(listing, item)
            except OSError as error:
                error.filename = error.filename or item
                if onerror is not None:
                    onerror(error)
                continue
            folders, others, links = await _split(found)
            walked = (item, folders, others)
            if topdown:
                yield walked
            else:
                stack.append(walked)
            stack += [
                os.path.join(item, name)
                for name in reversed(folders)
                if followlinks or name not in links
            ]
    finally:
        await ahead.close()


async def _split(found: list[Entry[T]]) -> tuple[list[T], list[T], set[T]]:
    """Names of directories, of others, and those of the first that are links."""
    unclear = [entry for entry in found if entry.kind in _UNCLEAR]
    links: set[T] = {entry.name for entry in unclear if entry.kind == LINK}
    folders_by_link: set[T] = set()
    if unclear:
        for entry in unclear:
            if entry.kind == UNKNOWN and await entry.is_symlink():
                links.add(entry.name)
        async for entry, st in stat_many(unclear, return_exceptions=True):
            if isinstance(st, os.stat_result) and st.st_mode & 0o170000 == 0o040000:
                folders_by_link.add(entry.name)
    folders: list[T] = []
    others: list[T] = []
    for entry in found:
        kind = entry.kind
        if kind == FOLDER or (kind in _UNCLEAR and entry.name in folders_by_link):
            folders.append(entry.name)
        else:
            others.append(entry.name)
    return folders, others, links
