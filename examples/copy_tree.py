"""Copies files with a progress bar: `python copy_tree.py SOURCE... FOLDER`.

Each copy is one syslet, which stays in the kernel where it can; four run at once, and
the bar is drawn by the loop meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import syslet_loop
from syslet_loop.files_whole import copyfile

AT_ONCE = 4
WIDTH = 30


class Bar:
    """Bytes done of all, on one line."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done: dict[Path, int] = {}

    def show(self, path: Path, done: int) -> None:
        """Draw it, when `done` bytes of `path` are copied."""
        self.done[path] = done
        share = sum(self.done.values()) / max(self.total, 1)
        bar = "#" * round(share * WIDTH)
        print(f"\r[{bar:{WIDTH}}] {share:4.0%}", end="", flush=True)


async def main(sources: list[Path], folder: Path) -> None:
    """Copy all, and say how much it was."""
    bar = Bar(sum(source.stat().st_size for source in sources))
    todo = iter(sources)

    async def some() -> None:
        for source in todo:
            await copyfile(
                source,
                folder / source.name,
                progress=lambda done, _, path=source: bar.show(path, done),
            )

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(some())
    print(f"\n{len(sources)} files, {bar.total} bytes")


if __name__ == "__main__":
    *paths, last = (Path(argument) for argument in sys.argv[1:])
    syslet_loop.run(main(paths, last))
