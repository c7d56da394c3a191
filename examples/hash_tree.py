"""Hashes every file below a folder, as sha256sum: `python hash_tree.py FOLDER`.

Small files come through `read_many`, hundreds of reads in the air; large ones in chunks
that are read ahead while the last one is hashed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import sys

import syslet_loop
from syslet_loop.files_bulk import iter_chunks, read_many, stat_many
from syslet_loop.files_tree import walk

LARGE_BYTES = 1 << 20


async def hash_large(path: str) -> str:
    """The hash of a file that should not be in memory as a whole."""
    digest = hashlib.sha256()
    async for chunk in iter_chunks(path, readahead=4):
        await asyncio.to_thread(digest.update, chunk)
    return digest.hexdigest()


async def files_below(folder: str) -> list[str]:
    """The regular files, links not followed."""
    names = []
    async for path, _, others in walk(folder):
        names += [os.path.join(path, name) for name in others]
    return names


async def main(folder: str) -> None:
    """Print hash and path, sorted by path."""
    small, hashes = [], {}
    paths = await files_below(folder)
    async for path, st in stat_many(paths, follow_symlinks=False):
        if not stat.S_ISREG(st.st_mode):
            continue
        if st.st_size < LARGE_BYTES:
            small.append(path)
        else:
            hashes[path] = await hash_large(path)
    async for path, data in read_many(small, limit=256):
        hashes[path] = hashlib.sha256(data).hexdigest()
    for path in sorted(hashes):
        print(f"{hashes[path]}  {path}")


if __name__ == "__main__":
    syslet_loop.run(main(sys.argv[1]))
