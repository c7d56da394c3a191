"""Prints what is added to the logs of a folder: `python tail_logs.py FOLDER [LINES]`.

`watch` says which file has grown, `pread` gives what is new; a file that was cut or
replaced is read from its start. It ends after LINES lines, if that is given.
"""

import os
import sys
from pathlib import Path

import syslet_loop
from syslet_loop.files_direct import open_fd, pread
from syslet_loop.files_watch import CREATE, MODIFY, MOVED_TO, watch


class Tail:
    """How far each file has been read."""

    def __init__(self, folder: Path) -> None:
        self.places = {str(p): p.stat().st_size for p in folder.glob("*.log")}
        self.rests: dict[str, bytes] = {}

    async def lines(self, path: str) -> list[bytes]:
        """The whole lines that are new in a file."""
        try:
            fd = await open_fd(path, os.O_RDONLY)
        except FileNotFoundError:  # it was removed again
            return []
        try:
            at = self.places.get(path, 0)
            if os.fstat(fd).st_size < at:
                at, self.rests[path] = 0, b""
            data = self.rests.get(path, b"")
            while part := await pread(fd, 65536, at):
                data += part
                at += len(part)
        finally:
            os.close(fd)
        *lines, self.rests[path] = data.split(b"\n")
        self.places[path] = at
        return lines


async def main(folder: Path, most: float) -> None:
    """Print lines until there were `most`."""
    tail, count = Tail(folder), 0
    async with watch(folder, mask=CREATE | MODIFY | MOVED_TO) as events:
        print("watching", flush=True)
        async for event in events:
            if event.path.endswith(".log"):
                for line in await tail.lines(event.path):
                    print(f"{Path(event.path).name}: {line.decode()}", flush=True)
                    count += 1
            if count >= most:
                return


if __name__ == "__main__":
    folder, limit = (*sys.argv[1:], "inf")[:2]
    syslet_loop.run(main(Path(folder), float(limit)))
