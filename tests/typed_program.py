"""A program that uses what the package offers; mypy --strict and pyright accept it.

test_package.py checks that, and tests/wheel.sh with an installed wheel. It also runs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

import syslet_loop
from syslet_loop import Atom, Cell, Memory, Param, calls, files, memory, program, syslet


@syslet
def read_file(s: Any, path: str, size: int = 65536) -> object:
    fd = s.openat(path, os.O_RDONLY)
    data = s.read(fd, size)
    s.close(fd)
    return data


@syslet(name="count")
def count_to(s: Any, last: int) -> None:
    left = s.cell(0)
    s.set(left, last)
    with s.loop():
        s.emit(left)
        s.break_if(s.add(left, -1) <= 0)


fd, n, buffer = Cell(), Cell(), Memory(4096)
head = program(
    [
        Atom("openat", -100, Param("path"), os.O_RDONLY, 0, ret=fd, check=True),
        Atom("read", fd, buffer, 4096, ret=n, check=True),
    ],
    params=["path"],
    returns=(n, buffer),
)


async def main() -> int:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, syslet_loop.EventLoop)
    backend: str = loop.backend
    counts: dict[str, int] = loop.stats()["misses"]
    await read_file("/proc/version")
    async for path, data in read_file.map(["/proc/uptime"], limit=10, ordered=True):
        print(path, data)
    async for number in count_to.events(3, queue=8):
        print(number)
    text: str = await files.read_text("/proc/version")
    size: int = await files.write_bytes(os.devnull, b"x", atomic=False)
    async with files.open("/proc/version") as file:
        print(await file.read())
    async for name, content in files.read_many(["/proc/uptime"], limit=2):
        print(name.upper(), content)
    async for chunk in files.iter_chunks("/proc/version", 1024, readahead=2):
        print(chunk.hex())
    async for top, folders, names in files.walk("/proc/self/fdinfo"):
        print(top.upper(), folders, names)
    view: memoryview = memory.view(memory.new("char[16]"))
    picture: str = read_file.explain("svg")
    await calls.getppid()
    return len(backend) + len(counts) + len(text) + size + len(view) + len(picture)


task: Coroutine[Any, Any, int] = main()
result: int = syslet_loop.run(task)
with asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as runner:
    again: int = runner.run(main())
