"""One set-up per operation of the table: what to call it with, and what to look at.

A case is a function of a Box, the place where it makes files, sockets and memory. It
returns the arguments of the call; what the call changed is in the box's memory, files
and `looks`. The same case is made twice, once for the plain call and once for the
engine, and both must look alike.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from driver import ffi

HERE = -100  # AT_FDCWD
DATA = bytes(range(256)) * 40  # 10 240 bytes
Case = Callable[["Box"], list[int]]
CASES: dict[str, Case] = {}


class Box:
    """A folder and what a case made in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.kept: list[Any] = []
        self.memories: list[Any] = []
        self.fds: list[int] = []
        self.looks: list[Callable[[], object]] = []
        self.children: list[int] = []

    def memory(self, content: bytes | int, watched: bool = True) -> int:
        """The address of memory with this content, or of this size."""
        made = ffi.new("char[]", content)
        self.kept.append(made)
        if watched:
            self.memories.append(made)
        return int(ffi.cast("uintptr_t", made))

    def text(self, value: str | Path) -> int:
        return self.memory(os.fsencode(value) + b"\0", watched=False)

    def file(self, name: str = "file", content: bytes = DATA) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def fd(self, fd: int) -> int:
        self.fds.append(fd)
        return fd

    def opened(self, flags: int = os.O_RDWR, name: str = "file") -> int:
        return self.fd(os.open(self.file(name), flags))

    def path(self, name: str = "new") -> int:
        return self.text(self.folder / name)

    def pair(self) -> tuple[int, int]:
        left, right = socket.socketpair()
        return self.fd(left.detach()), self.fd(right.detach())

    def listener(self) -> tuple[int, Any]:
        made = socket.create_server(("127.0.0.1", 0))
        self.fd(fd := made.detach())
        copy = socket.socket(fileno=os.dup(fd))
        self.kept.append(copy)
        return fd, copy

    def look(self, what: Callable[[], object]) -> None:
        self.looks.append(what)

    def seen(self) -> list[object]:
        """Memory, files and whatever the case looks at."""
        files = {
            path.name: (path.lstat().st_mode, path.lstat().st_size)
            for path in sorted(self.folder.iterdir())
        }
        return [bytes(ffi.buffer(each)) for each in self.memories] + [
            files,
            *(look() for look in self.looks),
        ]

    def close(self) -> None:
        for fd in self.fds:
            try:
                os.close(fd)
            except OSError:
                continue  # the call closed it
        for child in self.children:
            try:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            except (ProcessLookupError, ChildProcessError):
                continue


def op(name: str) -> Callable[[Case], Case]:
    def register(case: Case) -> Case:
        assert name not in CASES
        CASES[name] = case
        return case

    return register


def simple(name: str, case: Case) -> None:
    CASES[name] = case


def looks_at_size(b: Box, size: int) -> int:
    """Memory for a structure of which only the sizes can be compared."""
    made = ffi.new("char[]", size)
    b.kept.append(made)
    b.look(lambda: sum(map(bool, bytes(ffi.buffer(made)))) > 8)
    return int(ffi.cast("uintptr_t", made))


def vector(b: Box, *contents: bytes | int) -> list[int]:
    rows = b"".join(
        struct.pack("QQ", b.memory(c), c if isinstance(c, int) else len(c))
        for c in contents
    )
    return [b.memory(rows, False), len(contents)]


def filled_pipe(b: Box, content: bytes = b"in the pipe") -> tuple[int, int]:
    reader, writer = os.pipe()
    os.write(writer, content)
    return b.fd(reader), b.fd(writer)


def two_fds(b: Box) -> int:
    made = ffi.new("int[2]")
    b.kept.append(made)
    b.look(lambda: [os.get_inheritable(fd) for fd in made])
    return int(ffi.cast("uintptr_t", made))
