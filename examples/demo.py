"""The main job on real input: serve and read the standard library, compare every byte.

First the file server of this folder runs on our loop in a thread of its own, and a
plain client (http.client) fetches a few hundred files of this Python installation from
it. Then at least a thousand of them are read four ways: plain system calls, aiofiles,
one awaited syslet after the other, and .map. Ends with status 1 if anything differs.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiofiles
import file_server

import syslet_loop
from syslet_loop import syslet

FETCHED = 300
READ = 1500
SIZE_MAX = 1 << 20
ROUNDS = 5


@syslet
def read_file(s, path, size=SIZE_MAX):
    fd = s.openat(path, os.O_RDONLY)
    data = s.read(fd, size)
    s.close(fd)
    return data


def progress(text: str) -> None:
    """One line that overwrites itself on a terminal, and is printed elsewhere."""
    end = "\r" if sys.stdout.isatty() else "\n"
    print(f"{text:<70}", end=end, flush=True)


def library_files() -> tuple[Path, list[Path]]:
    """The standard library's folder and its source files, at least READ of them."""
    folder = Path(sysconfig.get_path("stdlib")).resolve()
    files = [
        path
        for path in sorted(folder.rglob("*.py"))
        if path.is_file() and path.stat().st_size < SIZE_MAX
    ]
    return folder, files[:READ]


class ServerThread:
    """The file server on our loop, in a thread."""

    def __init__(self, folder: Path) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.listener.setblocking(False)
        self.port: int = self.listener.getsockname()[1]
        self.started = threading.Event()
        self.folder = folder
        self.backend = ""
        self.thread = threading.Thread(target=syslet_loop.run, args=(self.main(),))

    async def main(self) -> None:
        self.loop: Any = asyncio.get_running_loop()
        app = file_server.make_app(self.folder)
        self.task = asyncio.ensure_future(app.serve(self.listener))
        self.started.set()
        await asyncio.gather(self.task, return_exceptions=True)
        app.close()
        self.stats = self.loop.stats()
        self.backend = self.loop.backend

    def __enter__(self) -> ServerThread:
        self.thread.start()
        self.started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.task.cancel)
        self.thread.join()
        self.listener.close()


def fetch_and_compare(folder: Path, files: list[Path]) -> int:
    """Fetch files through HTTP; the number of those that differ."""
    wrong = 0
    with ServerThread(folder) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port)
        for number, path in enumerate(files, 1):
            client.request("GET", f"/files/{path.relative_to(folder)}")
            response = client.getresponse()
            same = response.read() == path.read_bytes() and response.status == 200
            wrong += not same
            if number % 50 == 0 or number == len(files):
                progress(f"fetched {number} of {len(files)} files, {wrong} differ")
        client.close()
    print(
        f"\nserver: backend {server.backend}, {paths_taken(server.stats)}, "
        f"{server.stats['launched']} flights"
    )
    return wrong


def paths_taken(stats: dict[str, int]) -> str:
    """Which of the engine's three executors did how much."""
    return (
        f"{stats['inlined']} atoms inline, {stats['to_ring']} to the ring, "
        f"{stats['to_worker']} flights to a worker"
    )


def with_os_calls(files: list[str]) -> list[bytes]:
    """Plain synchronous system calls."""
    found = []
    for path in files:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        found.append(os.read(fd, SIZE_MAX))
        os.close(fd)
    return found


async def with_aiofiles(files: list[str]) -> list[bytes]:
    """The usual asynchronous way: a thread pool."""

    async def read(path: str) -> bytes:
        async with aiofiles.open(path, "rb") as file:
            data: bytes = await file.read()
            return data

    return list(await asyncio.gather(*(read(path) for path in files)))


async def one_by_one(files: list[str]) -> list[bytes]:
    """One syslet awaited after the other."""
    return [await read_file(path) for path in files]


async def mapped(files: list[str]) -> list[bytes]:
    """All of them through one .map."""
    return [data async for _, data in read_file.map(files, ordered=True)]


Way = tuple[str, Callable[[list[str]], Any]]
WAYS: tuple[Way, ...] = (
    ("os.open, os.read, os.close", with_os_calls),
    ("aiofiles", with_aiofiles),
    ("await, one by one", one_by_one),
    (".map", mapped),
)


async def run_way(work: Callable[[list[str]], Any], files: list[str]) -> list[bytes]:
    """The bytes of all files, whichever way."""
    found = work(files)
    data: list[bytes] = await found if asyncio.iscoroutine(found) else found
    return data


def report_difference(
    name: str, files: list[str], found: list[bytes], expected: list[bytes]
) -> None:
    """Say which file came out wrong, and how."""
    for path, ours, theirs in zip(files, found, expected, strict=True):
        if ours != theirs:
            place = next(
                (i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b),  # noqa: B905
                min(len(ours), len(theirs)),
            )
            print(
                f"\n{name}: {path} has {len(theirs)} bytes, read {len(ours)}, "
                f"they differ from byte {place} on"
            )
            return


async def read_four_ways(files: list[str]) -> int:
    """Print the table of times; the number of ways whose bytes differ."""
    loop: Any = asyncio.get_running_loop()
    expected = with_os_calls(files)
    best: dict[str, float] = {}
    taken: dict[str, str] = {}
    wrong = 0
    for turn in range(ROUNDS):
        for name, work in WAYS:
            progress(f"round {turn + 1} of {ROUNDS}: {name}")
            before = loop.stats()
            start = time.perf_counter()
            found = await run_way(work, files)
            seconds = time.perf_counter() - start
            best[name] = min(best.get(name, seconds), seconds)
            after = loop.stats()
            taken[name] = paths_taken({key: after[key] - before[key] for key in after})
            if found != expected:
                wrong += 1
                report_difference(name, files, found, expected)
    base = best[WAYS[0][0]]
    print(f"\n{len(files)} files, {sum(map(len, expected))} bytes, best of {ROUNDS}:\n")
    print(f"{'':28}{'ms':>9}{'speed':>8}   engine")
    for name, seconds in best.items():
        print(f"{name:28}{seconds * 1e3:9.2f}{base / seconds:8.2f}   {taken[name]}")
    print(f"\nbackend: {loop.backend}")
    return wrong


def main() -> int:
    """0 if every byte was right."""
    folder, files = library_files()
    if len(files) < 1000:
        print(f"only {len(files)} source files in {folder}: 1000 are needed")
        return 1
    step = max(len(files) // FETCHED, 1)
    wrong = fetch_and_compare(folder, files[::step])
    wrong += syslet_loop.run(read_four_ways([str(path) for path in files]))
    print("every byte as expected" if wrong == 0 else f"{wrong} comparisons failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
