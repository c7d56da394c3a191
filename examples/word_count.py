"""Count the words of many files at once: one syslet, mapped over all paths.

python examples/word_count.py [files or directories]
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import syslet_loop
from syslet_loop import syslet


@syslet
def read_file(s, path, size=1 << 20):
    fd = s.openat(path, os.O_RDONLY)
    data = s.read(fd, size)
    s.close(fd)
    return data


def files(names: list[str]) -> Iterator[str]:
    """The files named, and those below the directories named."""
    for path in map(Path, names):
        below = path.rglob("*") if path.is_dir() else [path]
        yield from (str(each) for each in below if each.is_file())


async def main() -> None:
    words = count = 0
    paths = files(sys.argv[1:] or ["."])
    async for path, data in read_file.map(paths, return_exceptions=True):
        if isinstance(data, Exception):
            print(f"{path}: {data}", file=sys.stderr)
            continue
        words += len(data.split())
        count += 1
    print(f"{words} words in {count} files")


if __name__ == "__main__":
    syslet_loop.run(main())
