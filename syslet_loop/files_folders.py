"""Reading directories: one syslet opens, lists and closes one, many overlap.

Used by files_tree, which has what programs call. An entry knows what the kernel said
when the directory was read; where that is not enough, its methods ask.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

from .files_bulk import _lstat, _stat
from .language import Builder, syslet

__all__ = ["Entry", "scandir"]

T = TypeVar("T", str, bytes)

_LIST_BYTES = 32704  # two of them fit into a flight's own memory
_HEAD = struct.Struct("<QqHB")  # struct linux_dirent64: inode, offset, length, type
FLAGS = os.O_RDONLY | os.O_DIRECTORY
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
UNKNOWN, FOLDER, FILE, LINK = 0, 4, 8, 10  # d_type

Listing = tuple[bytes, bytes, int]


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


def parse(data: bytes, folder: T) -> list[Entry[T]]:
    """The entries in what getdents64 gave, without `.` and `..`."""
    found: list[Entry[T]] = []
    prefix: Any = os.path.join(folder, folder[:0])  # with a slash, unless it is empty
    is_text = isinstance(folder, str)
    at, end = 0, len(data)
    unpack, index = _HEAD.unpack_from, data.index
    while at < end:
        inode, _, length, kind = unpack(data, at)
        name: Any = data[at + 19 : index(0, at + 19)]
        at += length
        if name == b"." or name == b"..":
            continue
        if is_text:
            name = name.decode(_ENCODING, _ERRORS)
        found.append(Entry(name, prefix + name, kind, inode))
    return found


async def entries_of(listing: Listing, folder: T) -> list[Entry[T]]:
    """All entries of a directory, of which `listing` may be the beginning."""
    first, second, fd = listing
    found = parse(first, folder) + parse(second, folder)
    if fd >= 0:
        try:
            while more := await _list_more(fd):
                found += parse(more, folder)
        finally:
            os.close(fd)
    return found


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
