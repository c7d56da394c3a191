"""Directories of a walk, listed before they are wanted, several by one worker.

Used by files_tree alone. A listing needs a worker, and going there and back takes
longer than a listing that is cached; so with the one that is wanted now those are asked
for that will be wanted next, and what they contain. Each but the first is a guess, used
only if the directory is then what it was, so that whoever changes directories between
two steps of a walk finds his changes, as with os.walk.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from .files_folders import (
    SEVERAL,
    Listing,
    Names,
    data_of,
    list_folder,
    list_several,
    names_of,
    prefix_of,
    stamp_of,
)

__all__ = ["Ahead", "Found"]

_ASKED = 64  # directories that are wanted next and asked for at once
_GUESSED = 256  # that are known or asked for and that perhaps nobody wants
_DOUBTFUL = 16  # that were listed in vain: then no more are asked for ahead
# A directory that has just changed may change again and show the same time of it.
_MOMENT_NS = 50_000_000


class Found(NamedTuple):
    """What is in a directory."""

    data: list[bytes]  # what getdents64 gave
    names: Names | None  # None: nobody has looked, or the kernel did not say enough
    stamp: tuple[int, int, int]  # inode and time of the last change


class Ahead:
    """What is known of directories that will be visited."""

    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.ready: dict[Any, Found | OSError] = {}  # what is wanted now
        self.guesses: dict[Any, Found] = {}
        self.doubtful: set[Any] = set()  # would not be believed: not asked for ahead
        self.coming: set[Any] = set()
        self.alone: set[Any] = set()  # could not be listed together with others
        self.open: dict[Any, Listing] = {}  # larger ones: a part, and the fd
        self.tasks: set[asyncio.Task[None]] = set()
        self.changed = asyncio.Event()

    async def take(self, path: Any, stack: Sequence[object]) -> Found:
        """What is in `path`; those on top of the stack are asked for as well."""
        self.doubtful.discard(path)
        while path not in self.ready and path not in self.open:
            guess = self.guesses.pop(path, None)
            if guess is not None and await self._still_holds(path, guess):
                return guess
            if path in self.coming:
                self.changed.clear()
                await self.changed.wait()
                continue
            wanted = [path, *self._following(stack)]
            if len(wanted) == 1 or path in self.alone:
                return await self._whole(path, await list_folder(path, self.flags))
            self._fetch(wanted, path)
        if path in self.open:
            return await self._whole(path, self.open.pop(path))
        result = self.ready.pop(path)
        if isinstance(result, OSError):
            raise result
        return result

    async def _whole(self, path: Any, listing: Listing) -> Found:
        data = await data_of(listing)
        return Found(data, names_of(data, path), (0, 0, 0))

    async def _still_holds(self, path: Any, guess: Found) -> bool:
        try:
            return bool(await stamp_of(path, self.flags | os.O_PATH) == guess.stamp)
        except OSError:
            return False  # listing it says what is wrong

    def _following(self, stack: Sequence[object]) -> Iterator[object]:
        if len(self.doubtful) >= _DOUBTFUL:
            return
        known = (self.guesses, self.coming, self.doubtful)
        for path in stack[: -_ASKED - 1 : -1]:
            if not isinstance(path, tuple) and not any(path in some for some in known):
                yield path

    def _fetch(self, paths: list[Any], wanted: object) -> None:
        """Ask for them; all but `wanted`, which may be None, are guesses."""
        self.coming.update(paths)
        task = asyncio.create_task(self._run(paths, wanted))
        self.tasks.add(task)
        task.add_done_callback(partial(self._ended, paths))

    def _ended(self, paths: list[Any], task: asyncio.Task[None]) -> None:
        """Nobody waits for what a task that failed or was cancelled would bring."""
        self.tasks.discard(task)
        if task.cancelled() or task.exception() is not None:
            self.alone |= self.coming.intersection(paths)
            self.coming.difference_update(paths)
            self.changed.set()

    async def _run(self, paths: list[Any], wanted: object) -> None:
        paths += [paths[0][:0]] * (-len(paths) % SEVERAL)
        items = (
            (*paths[at : at + SEVERAL], self.flags)
            for at in range(0, len(paths), SEVERAL)
        )
        async for some, results in list_several.map(items, return_exceptions=True):
            self.coming.difference_update(some)
            below: list[Any] = []
            if isinstance(results, list):
                for path, result in zip(some, results, strict=False):
                    if path:
                        self._keep(path, result, path != wanted, below)
            elif wanted in some:
                self.alone.add(wanted)  # it may be the error of another one
            self._guess(below)
            self.changed.set()

    def _keep(self, path: Any, result: Any, is_guess: bool, below: list[Any]) -> None:
        """A directory's result; what is below it is added."""
        code, first, second, fd, *stamp = result
        if code >= 0 and fd < 0:
            data = [first, second]
            names = names_of(data, path)
            found = Found(data, names, (stamp[0], stamp[1], stamp[2]))
            if names is not None:
                prefix = prefix_of(path)
                below += [prefix + name for name in names[0]]
            if not is_guess:
                self.ready[path] = found
            elif time.time_ns() - (stamp[1] * 10**9 + stamp[2]) > _MOMENT_NS:
                self.guesses[path] = found
            else:
                self.doubtful.add(path)
        elif is_guess:
            self.doubtful.add(path)
            if fd >= 0:
                os.close(fd)
        elif fd >= 0:
            if path in self.open:  # it stands twice among those that come next
                os.close(self.open[path][2])
            self.open[path] = (first, second, fd)
        else:
            self.ready[path] = OSError(-code, os.strerror(-code))

    def _guess(self, below: list[Any]) -> None:
        room = _GUESSED - len(self.guesses) - len(self.coming)
        if below and room > 0 and len(self.doubtful) < _DOUBTFUL:
            self._fetch(below[:room], None)

    async def close(self) -> None:
        """Give up what nobody wants any more."""
        for task in self.tasks:
            task.cancel()  # from here on it keeps nothing
        for _, _, fd in self.open.values():
            os.close(fd)  # before a wait that may be cancelled
        self.open.clear()
        await asyncio.gather(*self.tasks, return_exceptions=True)
