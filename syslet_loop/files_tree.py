"""Whole trees: walk, glob, remove, copy; directories are read ahead and overlap.

The functions behave as those of os, glob and shutil with the same names, except that
they are awaited or iterated over with `async for`. Directories that vanish meanwhile
are told to `onerror` and the like, and otherwise passed over.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from .files_ahead import Ahead
from .files_bulk import stat_many
from .files_copytree import copytree
from .files_folders import (
    FLAGS,
    FOLDER,
    LINK,
    UNKNOWN,
    Entry,
    parse,
    prefix_of,
    scandir,
)
from .files_glob import glob
from .files_remove import rmtree

__all__ = ["Entry", "copytree", "glob", "rmtree", "scandir", "walk"]

T = TypeVar("T", str, bytes)
Walked = tuple[T, list[T], list[T]]

_UNCLEAR = (UNKNOWN, LINK)


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
    ahead = Ahead(FLAGS)
    try:
        while stack:
            item = stack.pop()
            if isinstance(item, tuple):
                yield item
                continue
            try:
                found = await ahead.take(item, stack)
            except OSError as error:
                error.filename = error.filename or item
                if onerror is not None:
                    onerror(error)
                continue
            links: set[T] = set()
            if found.names is None:
                entries = [entry for data in found.data for entry in parse(data, item)]
                folders, others, links = await _split(entries)
            else:
                folders, others = found.names
            walked = (item, folders, others)
            if topdown:
                yield walked
            else:
                stack.append(walked)
            prefix = prefix_of(item)
            stack += [
                prefix + name
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
