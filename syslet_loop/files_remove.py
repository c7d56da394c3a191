"""Removing a whole tree, as shutil.rmtree; used through files_tree.

Everything is named relative to an open directory, so nobody who replaces a directory by
a link meanwhile can have something removed elsewhere. Flights work on a duplicate of
that descriptor: one that is abandoned never finds another file under its number.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from .files_folders import FLAGS, FOLDER, UNKNOWN, Entry, entries_of, list_open
from .language import Builder, syslet

__all__ = ["rmtree"]

_AT_REMOVEDIR = 0x200
_AT_ONCE = 8  # unlinking in one directory: the kernel does it one by one anyway

OnError = Callable[[Callable[..., object], Any, OSError], object]


@syslet
def _open_folder(s: Builder, folder: Any, name: Any) -> object:
    """An fd; a symbolic link is refused."""
    own = s.dup(folder)
    return s.openat(name, FLAGS | os.O_NOFOLLOW, dir_fd=own)


@syslet
def _open_top(s: Builder, path: Any) -> object:
    return s.openat(path, FLAGS | os.O_NOFOLLOW)


@syslet
def _remove(s: Builder, folder: Any, name: Any, flags: int) -> None:
    own = s.dup(folder)
    s.unlinkat(name, flags, dir_fd=own)


@syslet
def _remove_top(s: Builder, path: Any) -> None:
    s.unlinkat(path, _AT_REMOVEDIR)


async def rmtree(
    path: str | bytes | os.PathLike[Any],
    ignore_errors: bool = False,
    *,
    onexc: OnError | None = None,
) -> None:
    """Remove a directory and all that is in it.

    A failure is raised, ignored, or told to `onexc(function, path, error)`, as in
    shutil.rmtree of Python 3.12.
    """
    removal = _Removal(ignore_errors, onexc)
    name = os.fspath(path)
    try:
        fd = await _open_top(name)
    except OSError as error:
        refusal = OSError("Cannot call rmtree on a symbolic link")
        removal.failed(os.open, name, refusal if os.path.islink(name) else error)
        return
    try:
        await removal.empty(fd, name)
    finally:
        os.close(fd)
    try:
        await _remove_top(name)
    except OSError as error:
        removal.failed(os.rmdir, name, error)


class _Removal:
    """One call of rmtree."""

    def __init__(self, ignore_errors: bool, onexc: OnError | None) -> None:
        self.ignore_errors = ignore_errors
        self.onexc = onexc

    def failed(
        self, function: Callable[..., object], path: Any, error: OSError
    ) -> None:
        """Raise it, ignore it, or tell it."""
        error.filename = path
        if self.onexc is not None:
            self.onexc(function, path, error)
        elif not self.ignore_errors:
            raise error

    async def empty(self, fd: int, path: Any) -> None:
        """Remove what is in an open directory."""
        try:
            found: list[Entry[Any]] = await entries_of(await list_open(fd), path)
        except OSError as error:
            self.failed(os.scandir, path, error)
            return
        folders = [
            entry
            for entry in found
            if entry.kind == FOLDER
            or (entry.kind == UNKNOWN and await entry.is_dir(follow_symlinks=False))
        ]
        names = {entry.name for entry in folders}
        paths = {e.name: e.path for e in found if e.name not in names}
        removed = _remove.map(
            ((fd, name, 0) for name in paths), limit=_AT_ONCE, return_exceptions=True
        )
        async for (_, name, _), result in removed:
            if isinstance(result, FileNotFoundError):
                continue  # somebody else was faster
            if isinstance(result, OSError):
                self.failed(os.unlink, paths[name], result)
        for entry in folders:
            await self.remove_folder(fd, entry)

    async def remove_folder(self, fd: int, entry: Entry[Any]) -> None:
        """Remove a directory below an open one."""
        try:
            inner = await _open_folder(fd, entry.name)
        except FileNotFoundError:
            return
        except OSError as error:
            self.failed(os.open, entry.path, error)
            return
        try:
            await self.empty(inner, entry.path)
        finally:
            os.close(inner)
        try:
            await _remove(fd, entry.name, _AT_REMOVEDIR)
        except FileNotFoundError:
            return
        except OSError as error:
            self.failed(os.rmdir, entry.path, error)
