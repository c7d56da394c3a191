"""Random syslets for the fuzz tests, and the little world they run in.

A script is plain data made from a seed: nested lists of statements. `build` turns it
into a syslet's function, so the same script can be compiled again and printed when it
fails. Worlds are made in pairs, one for the engine and one for the oracle, with the
same files, pipe and sockets.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from syslet_loop.language import ASYNC

FILES = ("alpha", "beta", "gamma", "absent")
CONDITIONS: tuple[Callable[[Any], Any], ...] = (
    lambda value: value < 0,
    lambda value: value <= 0,
    lambda value: value == 0,
    lambda value: value != 0,
    lambda value: value > 0,
    lambda value: value >= 0,
)
Statement = tuple[Any, ...]


class World:
    """A directory with files, a pipe and a pair of sockets; close it after use."""

    def __init__(self, folder: Path, seed: int) -> None:
        dice = random.Random(seed)
        self.folder = folder
        folder.mkdir()
        for name in FILES[:-1]:
            size = dice.choice((0, 1, 100, 4095, 4096, 4097, 70000))
            (folder / name).write_bytes(dice.randbytes(size))
        self.pipe = os.pipe()
        self.sockets = socket.socketpair()
        for end in self.sockets:
            end.setblocking(False)

    def arguments(self) -> tuple[Any, ...]:
        """What every script's syslet takes."""
        paths = [str(self.folder / name) for name in FILES]
        return (*paths, *self.pipe, *self.sockets)

    def contents(self) -> dict[str, Any]:
        """Everything a script can have changed, without the folder's own name."""
        os.set_blocking(self.pipe[0], False)
        found: dict[str, Any] = {}
        for path in sorted(self.folder.rglob("*")):
            name = str(path.relative_to(self.folder))
            found[name] = path.read_bytes() if path.is_file() else None
        found["<pipe>"] = _drained(lambda: os.read(self.pipe[0], 1 << 20))
        for number, end in enumerate(self.sockets):
            found[f"<socket {number}>"] = _drained(lambda end=end: end.recv(1 << 20))
        return found

    def close(self) -> None:
        """The pipe and the sockets; the folder belongs to the test."""
        for fd in self.pipe:
            os.close(fd)
        for end in self.sockets:
            end.close()


def _drained(read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except BlockingIOError:
        return b""


def make_script(seed: int) -> list[Statement]:
    """The statements of one random syslet."""
    return _block(random.Random(seed), depth=0)


def _block(dice: random.Random, depth: int) -> list[Statement]:
    kinds = [
        "open",
        "open",
        "io",
        "io",
        "io",
        "socket",
        "socket",
        "pipe",
        "add",
        "name",
    ]
    if depth < 3:
        kinds += ["if", "loop"]
    return [
        _statement(dice, dice.choice(kinds), depth)
        for _ in range(dice.randint(1, 6 if depth == 0 else 3))
    ]


def _statement(dice: random.Random, kind: str, depth: int) -> Statement:
    number = dice.getrandbits(32)
    if kind == "if":
        condition = dice.randrange(len(CONDITIONS))
        otherwise = _block(dice, depth + 1) if dice.random() < 0.5 else None
        return (kind, number, condition, _block(dice, depth + 1), otherwise)
    if kind == "loop":
        return (kind, number, dice.randint(1, 4), _block(dice, depth + 1))
    return (kind, number)


class Writer:
    """Writes one script with a builder; knows which values are there to be used."""

    def __init__(self, s: Any, arguments: tuple[Any, ...]) -> None:
        self.s = s
        self.paths = arguments[:4]
        self.pipe = arguments[4:6]
        self.sockets = arguments[6:8]
        self.cell = s.cell(0)
        self.numbers: list[Any] = [self.cell]
        self.results: list[Any] = []

    def block(self, statements: list[Statement]) -> None:
        """A scope: what it opens is closed at its end, or left to the flight."""
        fds: list[Any] = []
        known = len(self.numbers)
        for kind, number, *rest in statements:
            dice = random.Random(number)
            getattr(self, "write_" + kind)(dice, fds, *rest)
        dice = random.Random(len(statements))
        for fd in fds:
            if dice.random() < 0.7:
                self.s.close(fd)
        del self.numbers[max(known, 1) :]

    def keep(self, value: Any) -> None:
        """A number later statements may test, and that is part of the result."""
        self.numbers.append(value)
        self.results.append(value)

    def flags(self, dice: random.Random) -> dict[str, Any]:
        """Options that change how an atom runs, not what it gives."""
        return {
            "atom_flags": ASYNC if dice.random() < 0.2 else 0,
            "check": dice.random() < 0.3,
        }

    def write_open(self, dice: random.Random, fds: list[Any]) -> None:
        flags = dice.choice((os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT))
        path = dice.choice(self.paths[: 4 if flags & os.O_CREAT else 3])
        options = {"atom_flags": ASYNC if dice.random() < 0.2 else 0}
        fds.append(self.s.openat(path, flags, **options))

    def write_io(self, dice: random.Random, fds: list[Any]) -> None:
        if not fds:
            return
        s, fd, options = self.s, dice.choice(fds), self.flags(dice)
        size = dice.choice((1, 100, 4096, 5000, 66000))
        offset = dice.choice((0, 1, 4096, 100000))
        what = dice.randrange(8)
        if what == 0:
            self.results.append(s.read(fd, size, **options))
        elif what == 1:
            self.results.append(s.pread(fd, size, offset, **options))
        elif what == 2:
            self.keep(s.write(fd, dice.randbytes(size), **options))
        elif what == 3:
            self.keep(s.pwrite(fd, dice.randbytes(size), offset, **options))
        elif what == 4:
            self.keep(s.lseek(fd, offset, dice.choice((0, 1, 2)), **options))
        elif what == 5:
            self.keep(s.ftruncate(fd, size, **options))
        elif what == 6:
            self.keep(s.fsync(fd, **options))
        else:
            buf = s.buffer(size)
            n = s.read(fd, buf, **options)
            self.keep(n)
            with s.if_(n > 0):
                self.keep(s.write(self.sockets[0], buf, 1, check=False))

    def write_socket(self, dice: random.Random, fds: list[Any]) -> None:
        ends = list(self.sockets)
        dice.shuffle(ends)
        if dice.random() < 0.5:
            data = dice.randbytes(dice.choice((1, 10, 1000)))
            self.keep(
                self.s.send(ends[0], data, socket.MSG_DONTWAIT, **self.flags(dice))
            )
        else:
            size = dice.choice((1, 10, 5000))
            options = self.flags(dice) | {"atom_flags": 0}
            received = self.s.recv(ends[0], size, socket.MSG_DONTWAIT, **options)
            self.results.append(received)

    def write_pipe(self, dice: random.Random, fds: list[Any]) -> None:
        data = dice.randbytes(dice.choice((1, 50, 4096)))
        options = {"atom_flags": ASYNC if dice.random() < 0.2 else 0}
        self.keep(self.s.write(self.pipe[1], data, **options))
        self.results.append(self.s.read(self.pipe[0], len(data), **options))

    def write_add(self, dice: random.Random, fds: list[Any]) -> None:
        self.keep(self.s.add(self.cell, dice.choice((-2, -1, 0, 1, 2**63 - 1))))

    def write_name(self, dice: random.Random, fds: list[Any]) -> None:
        s, options = self.s, self.flags(dice)
        path = dice.choice(self.paths)
        if dice.random() < 0.5:
            self.keep(s.renameat2(path, dice.choice(self.paths), **options))
        else:
            self.keep(s.unlinkat(path, **options))

    def write_if(
        self,
        dice: random.Random,
        fds: list[Any],
        condition: int,
        then: list[Statement],
        otherwise: list[Statement] | None,
    ) -> None:
        value = dice.choice(self.numbers)
        with self.s.if_(CONDITIONS[condition](value)):
            self.block(then)
        if otherwise is not None:
            with self.s.otherwise():
                self.block(otherwise)

    def write_loop(
        self, dice: random.Random, fds: list[Any], times: int, body: list[Statement]
    ) -> None:
        left = self.s.cell(times)
        with self.s.loop():
            self.block(body)
            self.s.break_if(self.s.add(left, -1) <= 0)


def build(script: list[Statement]) -> Callable[..., Any]:
    """The function that @syslet takes."""

    def fuzzed(s, alpha, beta, gamma, absent, reader, writer, left, right):
        arguments = (alpha, beta, gamma, absent, reader, writer, left, right)
        scribe = Writer(s, arguments)
        scribe.block(script)
        return scribe.results

    return fuzzed
