"""What happens to files, as it happens: inotify as an asynchronous iterator.

    async with watch("/var/log", recursive=True) as events:
        async for event in events:
            print(event.path, event.kinds)

Nothing is missed from the moment the `async with` has begun, or the first value was
asked for. When the kernel's queue overflows, an event says so with `overflowed`.
"""

from __future__ import annotations

import os
import select
import struct
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from .files_folders import FOLDER, UNKNOWN, entries
from .language import Builder, syslet

__all__ = ["Event", "Watch", "watch"]

ACCESS, MODIFY, ATTRIB, CLOSE_WRITE, CLOSE_NOWRITE, OPEN = (1 << n for n in range(6))
MOVED_FROM, MOVED_TO, CREATE, DELETE, DELETE_SELF, MOVE_SELF = (
    1 << n for n in range(6, 12)
)
UNMOUNT, OVERFLOW, IGNORED, ONLYDIR, ISDIR = 0x2000, 0x4000, 0x8000, 1 << 24, 1 << 30
CHANGES = (MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE) | (
    DELETE_SELF | MOVE_SELF
)
_KINDS = {
    "access": ACCESS,
    "modify": MODIFY,
    "attrib": ATTRIB,
    "close_write": CLOSE_WRITE,
    "close_nowrite": CLOSE_NOWRITE,
    "open": OPEN,
    "moved_from": MOVED_FROM,
    "moved_to": MOVED_TO,
    "create": CREATE,
    "delete": DELETE,
    "delete_self": DELETE_SELF,
    "move_self": MOVE_SELF,
}
_HEAD = struct.Struct("iIII")  # struct inotify_event: watch, mask, cookie, length
_READ_BYTES = 65536


@syslet
def _open(s: Builder) -> object:
    return s.inotify_init(os.O_NONBLOCK)


@syslet
def _add(s: Builder, fd: Any, path: Any, mask: int) -> object:
    own = s.dup(fd)
    return s.inotify_add_watch(own, path, mask)


@syslet
def _wait(s: Builder, fd: Any) -> None:
    own = s.dup(fd)  # what is abandoned must not find another file
    s.poll(own, select.POLLIN)


@syslet
def _read(s: Builder, fd: Any) -> object:
    """Never waits: a read that could be abandoned might take events with it."""
    return s.read(fd, _READ_BYTES)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: to `path`, which is in a watched directory or is it."""

    path: Any  # str or bytes, as the watched one
    mask: int  # inotify's
    cookie: int = 0  # the same for both halves of a move

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of what happened: 'create', 'modify', 'moved_to', …"""
        return tuple(name for name, bit in _KINDS.items() if self.mask & bit)

    @property
    def is_dir(self) -> bool:
        """Whether it happened to a directory."""
        return bool(self.mask & ISDIR)

    @property
    def overflowed(self) -> bool:
        """Events were lost here: look at the files themselves."""
        return bool(self.mask & OVERFLOW)


class Watch:
    """An inotify descriptor; made by `watch`, closed by leaving it or by aclose()."""

    def __init__(
        self,
        paths: Iterable[str | bytes | os.PathLike[Any]],
        mask: int,
        recursive: bool,
    ) -> None:
        self.paths = [os.fspath(path) for path in paths]
        self.mask = mask
        self.recursive = recursive
        self.fd = -1
        self.folders: dict[int, Any] = {}  # by watch: what it watches
        self.moving: tuple[int, Any] | None = None  # cookie and path of a half move
        self.events: list[Event] = []  # not yet asked for, the next one last
        self.is_closed = False

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self.is_closed:
            raise StopAsyncIteration
        if self.fd < 0:
            await self._begin()
        while not self.events:
            if not self.folders:
                await self.aclose()  # all that was watched is gone
                raise StopAsyncIteration
            await _wait(self.fd)
            self.events = (await self._parse(await _read(self.fd)))[::-1]
        return self.events.pop()

    async def aclose(self) -> None:
        """Stop watching."""
        self.is_closed = True
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def __del__(self) -> None:
        if self.fd >= 0:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, 2, source=self)
            os.close(self.fd)

    async def _begin(self) -> None:
        self.fd = await _open()
        try:
            for path in self.paths:
                await self._add(path, self.mask)
        except BaseException:
            await self.aclose()
            raise

    async def _add(self, path: Any, mask: int) -> list[Any]:
        """Watch `path`, and with `recursive` what is below; the paths found there."""
        number = await _add(self.fd, path, mask)
        self.folders[number] = path
        below: list[Any] = []
        if self.recursive:
            try:
                found = await entries(path)
            except OSError:
                return below  # no directory, or gone again
            for entry in found:
                is_folder = entry.kind == FOLDER
                if entry.kind == UNKNOWN:
                    is_folder = await entry.is_dir(follow_symlinks=False)
                below.append((entry.path, is_folder))
                if is_folder:
                    below += await self._add_below(entry.path)
        return below

    async def _add_below(self, path: Any) -> list[Any]:
        try:
            return await self._add(path, self.mask | ONLYDIR)
        except (FileNotFoundError, NotADirectoryError):
            return []  # it was faster

    async def _parse(self, data: bytes) -> list[Event]:
        found: list[Event] = []
        at = 0
        while at < len(data):
            number, mask, cookie, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            raw = data[at : at + length].rstrip(b"\0")
            at += length
            if mask & OVERFLOW:
                found.append(Event(self.paths[0], mask))
                continue
            folder = self.folders.get(number)
            if mask & IGNORED:
                self.folders.pop(number, None)
            elif folder is not None:
                path = folder
                if raw:
                    name: Any = os.fsdecode(raw) if isinstance(folder, str) else raw
                    path = os.path.join(folder, name)
                found.append(Event(path, mask, cookie))
                if self.recursive and mask & ISDIR:
                    found += await self._follow(path, mask, cookie)
        return found

    async def _follow(self, path: Any, mask: int, cookie: int) -> list[Event]:
        """A directory below came, went or moved. What came with it is reported too."""
        if mask & MOVED_FROM:
            self.moving = (cookie, path)
            return []
        if mask & MOVED_TO and self.moving is not None and self.moving[0] == cookie:
            self._rename(self.moving[1], path)
            self.moving = None
            return []
        if mask & (CREATE | MOVED_TO):
            below = await self._add_below(path)
            return [Event(p, CREATE | (ISDIR if is_dir else 0)) for p, is_dir in below]
        return []

    def _rename(self, old: Any, new: Any) -> None:
        """A directory has moved within what is watched, with all that is below."""
        for number, folder in self.folders.items():
            if folder == old:
                self.folders[number] = new
            elif folder.startswith(os.path.join(old, old[:0])):
                self.folders[number] = new + folder[len(old) :]


def watch(
    *paths: str | bytes | os.PathLike[Any],
    mask: int = CHANGES,
    recursive: bool = False,
) -> Watch:
    """Events of files and of what is in directories; `mask` is inotify's, IN_*.

    With `recursive` the directories below are watched as well, those that are made
    later too. Use it in an `async with`, or close what it gives with `aclose()`.
    """
    if not paths:
        raise TypeError("watch() needs at least one path")
    return Watch(paths, mask, recursive)
