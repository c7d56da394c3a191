"""Reading directories: one syslet opens, lists and closes one, many overlap.

Used by files_tree, which has what programs call. An entry knows what the kernel said
when the directory was read; where that is not enough, its methods ask.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

from . import _native
from .files_bulk import _lstat, _stat
from .language import Builder, syslet

__all__ = ["Entry", "scandir"]

T = TypeVar("T", str, bytes)

_LIST_BYTES = 32704  # two of them fit into a flight's own memory
SEVERAL = 8  # directories that one flight lists
_SHARE_BYTES, _REST_BYTES = 7104, 1024  # and eight of these
FLAGS = os.O_RDONLY | os.O_DIRECTORY
UNKNOWN, FOLDER, FILE, LINK = 0, 4, 8, 10  # d_type

Listing = tuple[bytes, bytes, int]
Names = tuple[list[Any], list[Any]]  # of directories, of others


def _listed(s: Builder, fd: Any) -> object:
    """Two buffers of entries, and the fd if that is not all, else -1."""
    left = s.cell(-1)
    first, second = s.buffer(_LIST_BYTES), s.buffer(_LIST_BYTES)
    with s.if_(s.getdents64(fd, first) > 0):
        more = s.getdents64(fd, second)
        with s.if_(more > 0):
            s.set(left, fd)
            s.stop_if(s.nop() == 0)
    s.close(fd)
    return first, second, left


@syslet
def list_folder(s: Builder, path: Any, flags: int) -> object:
    """What is in a directory; parse the result with `entries_of`."""
    return _listed(s, s.openat(path, flags))


@syslet
def list_open(s: Builder, folder: Any) -> object:
    """The same for an open directory, which stays open."""
    own = s.dup(folder)
    return _listed(s, own)


def _stamp(s: Builder, fd: Any) -> tuple[Any, Any, Any]:
    """What changes when a directory is another one, or has other entries."""
    st = s.fstat(fd)
    return st.ino, st.ctime, st.ctime_nsec


@syslet
def stamp_of(s: Builder, path: Any, flags: int) -> object:
    """A directory's inode and the time of its last change."""
    fd = s.openat(path, flags)
    stamp = _stamp(s, fd)
    s.close(fd)
    return stamp


def _tried(s: Builder, path: Any, flags: Any) -> object:
    """0 or a negative errno, a listing, a stamp; what fails does not end the syslet."""
    code, left = s.cell(), s.cell(-1)
    stamp = s.cell(), s.cell(), s.cell()
    first, second = s.buffer(_SHARE_BYTES), s.buffer(_REST_BYTES)
    fd = s.openat(path, flags, check=False)
    s.set(code, fd)
    with s.if_(fd >= 0):
        for cell, value in zip(stamp, _stamp(s, fd), strict=True):
            s.set(cell, value)
        s.set(code, s.getdents64(fd, first, check=False))
        with s.if_(code > 0):
            s.set(code, s.getdents64(fd, second, check=False))
        with s.if_(code > 0):
            s.set(left, fd)
        with s.otherwise():
            s.close(fd, check=False)
    return code, first, second, left, *stamp


@syslet
def list_several(
    s: Builder,
    a: Any,
    b: Any,
    c: Any,
    d: Any,
    e: Any,
    f: Any,
    g: Any,
    h: Any,
    flags: int,
) -> object:
    """list_folder of SEVERAL paths; an empty path is none. A worker does them all.

    Each result is 0 or more, or a negative errno, and then what list_folder gives.
    """
    return [_tried(s, path, flags) for path in (a, b, c, d, e, f, g, h)]


@syslet
def _list_more(s: Builder, fd: Any) -> object:
    own = s.dup(fd)
    return s.getdents64(own, 65536)


class Entry(Generic[T]):
    """What is in a directory, as os.DirEntry; what may need the kernel is awaited."""

    __slots__ = ("_inode", "kind", "name", "path")

    def __init__(self, name: T, path: T, kind: int, inode: int) -> None:
        self.name: T = name
        self.path: T = path
        self.kind = kind  # the kernel's d_type; 0 if it did not say
        self._inode = inode

    def __repr__(self) -> str:
        return f"<Entry {self.name!r}>"

    def __fspath__(self) -> T:
        return self.path

    def inode(self) -> int:
        """Its inode number."""
        return self._inode

    async def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """What os.stat says about it now."""
        result: os.stat_result = await (_stat if follow_symlinks else _lstat)(self.path)
        return result

    async def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a directory, or a link to one."""
        return await self._is(FOLDER, stat.S_IFDIR, follow_symlinks)

    async def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a regular file, or a link to one."""
        return await self._is(FILE, stat.S_IFREG, follow_symlinks)

    async def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return await self._is(LINK, stat.S_IFLNK, False)

    async def _is(self, kind: int, form: int, follow_symlinks: bool) -> bool:
        if self.kind != UNKNOWN and not (self.kind == LINK and follow_symlinks):
            return self.kind == kind
        try:
            st = await self.stat(follow_symlinks=follow_symlinks)
        except FileNotFoundError:
            return False
        return stat.S_IFMT(st.st_mode) == form


def prefix_of(folder: T) -> T:
    """What stands before the names in a directory; with a slash, unless it is empty."""
    return os.path.join(folder, folder[:0])


def parse(data: bytes, folder: T) -> list[Entry[T]]:
    """The entries in what getdents64 gave, without `.` and `..`."""
    prefix: Any = prefix_of(folder)
    return [
        Entry(name, prefix + name, kind, inode)
        for name, kind, inode in _native.read_entries(data, isinstance(folder, str))
    ]


def names_of(data: list[bytes], folder: T) -> Names | None:
    """Names of directories and of others; None if the kernel did not say which is one.

    Nor does it say what a symbolic link leads to.
    """
    folders: list[T] = []
    others: list[T] = []
    is_text = isinstance(folder, str)
    for each in data:
        if not _native.sort_entries(each, is_text, folders, others):
            return None
    return folders, others


async def data_of(listing: Listing) -> list[bytes]:
    """Everything that getdents64 gives, of which `listing` may be the beginning."""
    first, second, fd = listing
    data = [first, second]
    if fd >= 0:
        try:
            while more := await _list_more(fd):
                data.append(more)
        finally:
            os.close(fd)
    return data


async def entries_of(listing: Listing, folder: T) -> list[Entry[T]]:
    """All entries of a directory, of which `listing` may be the beginning."""
    return [e for data in await data_of(listing) for e in parse(data, folder)]


async def entries(folder: T, flags: int = FLAGS) -> list[Entry[T]]:
    """All entries of a directory."""
    try:
        return await entries_of(await list_folder(folder, flags), folder)
    except OSError as error:
        error.filename = error.filename or folder
        raise


async def scandir(
    path: T | os.PathLike[T] = ".",  # type: ignore[assignment]
) -> AsyncIterator[Entry[T]]:
    """The entries of a directory, in the kernel's order, without `.` and `..`."""
    for entry in await entries(os.fspath(path)):
        yield entry
