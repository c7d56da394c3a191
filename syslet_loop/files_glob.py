"""Names that match a pattern, as glob.iglob; used through files_tree.

A pattern is taken one part at a time: all directories that match so far are listed at
once, and what matches the next part goes on. The order is that of the parts, and within
a directory the kernel's; as with the glob module, nobody should rely on it.
"""

from __future__ import annotations

import fnmatch
import glob as plain
import os
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from .files_bulk import stat_many
from .files_folders import FLAGS, FOLDER, LINK, UNKNOWN, Entry, entries_of, list_folder

__all__ = ["glob"]

T = TypeVar("T", str, bytes)


async def glob(
    pattern: T,
    *,
    root_dir: T | os.PathLike[T] | None = None,
    recursive: bool = False,
    include_hidden: bool = False,
) -> AsyncIterator[T]:
    """The paths that match; `**` matches directories at any depth if `recursive`."""
    search = _Search(pattern, root_dir, include_hidden)
    slash = search.slash
    head = pattern[: len(pattern) - len(pattern.lstrip(slash))]
    bases: list[Any] = [head]
    parts = pattern[len(head) :].split(slash)
    if not pattern:
        return
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if not part and not last:
            bases = [base + slash for base in bases]
            continue
        if recursive and part == search.stars:
            bases = [base async for base in search.below(bases, last)]
        elif plain.has_magic(part):
            bases = [base async for base in search.matching(bases, part, last)]
        elif last:
            bases = [base async for base in search.existing(bases, part)]
        else:
            bases = [base + part + slash for base in bases]
    for base in bases:
        if base:
            yield base


class _Search:
    """One call of glob. A base is empty or ends with a slash: a directory so far."""

    def __init__(self, pattern: Any, root: Any, include_hidden: bool) -> None:
        is_text = isinstance(pattern, str)
        self.slash: Any = "/" if is_text else b"/"
        self.stars: Any = "**" if is_text else b"**"
        self.dot: Any = "." if is_text else b"."
        self.root: Any = os.fspath(root) if root is not None else self.slash[:0]
        self.include_hidden = include_hidden

    def real(self, path: Any) -> Any:
        """Where a path that is given to the caller is."""
        return os.path.join(self.root, path) if self.root else path

    async def lists(self, bases: list[Any]) -> AsyncIterator[tuple[Any, list[Any]]]:
        """The entries of each directory; what cannot be listed has none."""
        paths = [self.real(base) or self.dot for base in bases]
        results = list_folder.map(
            ((path, FLAGS) for path in paths), return_exceptions=True, ordered=True
        )
        at = 0
        async for (path, _), result in results:
            if isinstance(result, tuple):
                yield bases[at], await entries_of(result, path)
            at += 1

    def shows(self, entry: Entry[Any]) -> bool:
        """Whether a pattern that does not begin with a dot may match it."""
        return self.include_hidden or not entry.name.startswith(self.dot)

    async def matching(
        self, bases: list[Any], part: Any, last: bool
    ) -> AsyncIterator[Any]:
        """What matches one part with wildcards."""
        matches = _matcher(part)
        hidden = part.startswith(self.dot)
        async for base, found in self.lists(bases):
            kept = [e for e in found if (hidden or self.shows(e)) and matches(e.name)]
            if last:
                for entry in kept:
                    yield base + entry.name
            else:
                for name in await _folders(kept):
                    yield base + name + self.slash

    async def below(self, bases: list[Any], last: bool) -> AsyncIterator[Any]:
        """The directories themselves and all below them; with `last`, files too."""
        level = bases
        seen: set[Any] = set()
        while level:
            fresh = [base for base in level if base not in seen]
            seen.update(fresh)
            if not last or level is bases:
                for base in fresh:
                    if base or not last:
                        yield base
            level = []
            async for base, found in self.lists(fresh):
                shown = [entry for entry in found if self.shows(entry)]
                if last:
                    for entry in shown:
                        yield base + entry.name
                level += [base + name + self.slash for name in await _folders(shown)]

    async def existing(self, bases: list[Any], part: Any) -> AsyncIterator[Any]:
        """The paths with a last part without wildcards that are there."""
        paths = {self.real(base + part) or self.dot: base + part for base in bases}
        found = stat_many(
            paths, follow_symlinks=False, return_exceptions=True, ordered=True
        )
        async for path, result in found:
            if isinstance(result, os.stat_result):
                yield paths[path]


def _matcher(part: Any) -> Callable[[Any], Any]:
    """What says whether a name matches."""
    if isinstance(part, bytes):
        # Bytes that are no text have no meaning in a pattern either.
        text = fnmatch.translate(part.decode("latin-1"))
        return re.compile(text.encode("latin-1")).match
    return re.compile(fnmatch.translate(part)).match


async def _folders(found: list[Entry[Any]]) -> list[Any]:
    """The names of the directories and of the links to one."""
    unclear = [entry for entry in found if entry.kind in (UNKNOWN, LINK)]
    also: set[Any] = set()
    if unclear:
        async for entry, st in stat_many(unclear, return_exceptions=True):
            if isinstance(st, os.stat_result) and st.st_mode & 0o170000 == 0o040000:
                also.add(entry.name)
    return [e.name for e in found if e.kind == FOLDER or e.name in also]
