"""Our StreamReader and StreamWriter against asyncio's, which is the judge.

A script of operations is played on a reader of each kind, and all that can be seen is
compared after each of them: results, exceptions with their texts, what the transport
was told, the attributes. Nothing here opens a socket.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from syslet_loop import _native

LIMIT = 8
Operation = tuple[Any, ...]


class Transport(asyncio.Transport):
    """Notes what it is told; may refuse to pause."""

    def __init__(self, can_pause: bool) -> None:
        super().__init__()
        self.calls: list[Any] = []
        self.can_pause = can_pause
        self.closing = False

    def pause_reading(self) -> None:
        self.calls.append("pause")
        if not self.can_pause:
            raise NotImplementedError

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def write(self, data: Any) -> None:
        self.calls.append(data)

    def is_closing(self) -> bool:
        return self.closing


def described(error: BaseException | None, depth: int = 2) -> Any:
    """All of an exception that a program could depend on."""
    if error is None or depth == 0:
        return None
    return (
        type(error),
        error.args,
        getattr(error, "partial", None),
        getattr(error, "expected", None),
        getattr(error, "consumed", None),
        described(error.__context__, depth - 1),
        described(error.__cause__, depth - 1),
    )


def outcome(task: asyncio.Task[Any]) -> Any:
    if not task.done():
        return "pending"
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    return described(error) if error else (type(task.result()), task.result())


class Player:
    """Plays a script on one reader and keeps a record of what can be seen."""

    def __init__(self, kind: str, can_pause: bool) -> None:
        self.reader = asyncio.StreamReader(limit=LIMIT)
        self.protocol = asyncio.StreamReaderProtocol(self.reader)
        self.transport = Transport(can_pause)
        self.tasks: list[asyncio.Task[Any]] = []
        self.record: list[Any] = []
        self.feeder: Any = None
        if kind != "asyncio":
            self.feeder = _native.adopt_stream(self.protocol)
            assert type(self.reader) is _native.StreamReader
        self.feeds = kind == "transport"
        self.protocol.connection_made(self.transport)

    def feed(self, data: bytes) -> None:
        if self.feeds:
            _native.feed_stream(self.feeder, data)
        else:
            self.reader.feed_data(data)

    def start(self, method: str, *args: Any) -> None:
        async def call() -> Any:
            if method == "next":
                return await anext(self.reader, "no more")
            return await getattr(self.reader, method)(*args)

        self.tasks.append(asyncio.create_task(call()))

    def cancel(self, *message: str) -> None:
        for task in self.tasks[-1:]:
            task.cancel(*message)

    def cancel_waiter(self) -> None:
        waiter = self.reader._waiter  # type: ignore
        if waiter is not None:
            waiter.cancel()

    def set(self, name: str, value: Any) -> None:
        setattr(self.reader, name, value)

    def do(self, name: str, *args: Any) -> None:
        actions: dict[str, Callable[..., Any]] = {
            "feed": self.feed,
            "eof": self.reader.feed_eof,
            "error": lambda make: self.reader.set_exception(make()),
            "cancel": self.cancel,
            "cancel_waiter": self.cancel_waiter,
            "set": self.set,
        }
        action = actions.get(name)
        try:
            action(*args) if action else self.start(name, *args)
        except Exception as error:
            self.record.append(described(error))

    def look(self) -> None:
        reader: Any = self.reader
        waiter, exception = reader._waiter, reader._exception
        seen = {
            "buffer": bytes(reader._buffer),
            "eof": reader._eof,
            "limit": reader._limit,
            "paused": reader._paused,
            "transport": reader._transport is self.transport,
            "text": repr(reader).split(" transport=")[0].split(" exception=")[0],
        }
        self.record.append(
            (
                seen,
                waiter and (waiter.done(), waiter.cancelled()),
                described(exception),
                self.reader.at_eof(),
                self.reader.exception() is exception,
                list(self.transport.calls),
                [outcome(task) for task in self.tasks],
            )
        )


async def play(script: list[Operation], kind: str, can_pause: bool) -> list[Any]:
    player = Player(kind, can_pause)
    for operation in script:
        if operation[0] == "tick":
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        else:
            player.do(*operation)
        player.look()
    for task in player.tasks:
        task.cancel()
    await asyncio.gather(*player.tasks, return_exceptions=True)
    player.look()
    return player.record


def compare(script: list[Operation], can_pause: bool = True) -> None:
    expected = asyncio.run(play(script, "asyncio", can_pause))
    for kind in ("method", "transport"):
        got = asyncio.run(play(script, kind, can_pause))
        for number, (ours, theirs) in enumerate(zip(got, expected, strict=True)):
            assert ours == theirs, (kind, number, script)


TICK = ("tick",)
SCRIPTS: dict[str, list[Operation]] = {
    "read": [("feed", b"abc"), ("read", 2), TICK, ("read", 5), TICK, ("read", 5), TICK],
    "read waits": [("read", 5), TICK, ("feed", b"abcdefg"), ("feed", b"h"), TICK],
    "read nothing": [("read", 0), TICK, ("feed", b""), ("read", 1), TICK, ("eof",)],
    "read all": [("read", -1), ("read",), TICK, ("feed", b"a" * 30), ("eof",), TICK],
    "keywords": [("feed", b"abcdef"), ("read", True), TICK, ("readexactly", 1), TICK],
    "odd sizes": [("read", None), ("read", 1.5), ("read", "1"), ("feed", b"abc"), TICK],
    "huge sizes": [("read", 1 << 70), ("readexactly", -1), ("feed", b"abc"), TICK],
    "exactly": [("readexactly", 3), TICK, ("feed", b"ab"), TICK, ("feed", b"cd"), TICK],
    "incomplete": [("readexactly", 3), TICK, ("feed", b"ab"), ("eof",), TICK],
    "more than the limit": [
        ("readexactly", 30),
        ("feed", b"a" * 20),
        TICK,
        ("feed", b"b" * 20),
        TICK,
        ("feed", b"b" * 20),
        TICK,
        ("read", 20),
        TICK,
    ],
    "two wait": [("read", 1), TICK, ("readexactly", 1), TICK, ("readline",), TICK],
    "cancel": [("read", 1), TICK, ("cancel", "why"), TICK, ("feed", b"a"), TICK],
    "cancel late": [("read", 1), TICK, ("feed", b"a"), ("cancel",), TICK, TICK],
    "waiter": [("readline",), TICK, ("cancel_waiter",), ("feed", b"a\n"), TICK, TICK],
    "lines": [
        ("readline",),
        TICK,
        ("feed", b"a\nb"),
        TICK,
        ("next",),
        TICK,
        ("feed", b"c\n\n"),
        TICK,
        ("next",),
        TICK,
        ("next",),
        TICK,
        ("eof",),
        TICK,
    ],
    "last line": [
        ("feed", b"a\nb"),
        ("eof",),
        ("next",),
        TICK,
        ("next",),
        TICK,
        ("next",),
        TICK,
        ("readline",),
        TICK,
    ],
    "long line": [("feed", b"a" * 20), ("readline",), TICK, ("feed", b"a\nb"), TICK],
    "long line found": [("feed", b"a" * 9 + b"\nbc"), ("readline",), TICK, ("read", 9)],
    "until": [("readuntil", b"--"), TICK, ("feed", b"a-"), TICK, ("feed", b"-b"), TICK],
    "until nothing": [("readuntil", b""), ("readuntil", bytearray(b"")), TICK],
    "until any": [("readuntil", (b"bc", b"c")), TICK, ("feed", b"abc"), TICK],
    "until odd": [("readuntil", "x"), ("readuntil", None), ("readuntil", ()), TICK],
    "until over": [("feed", b"a" * 30), ("readuntil",), ("readuntil", b"xyz"), TICK],
    "until incomplete": [("feed", b"ab"), ("readuntil", b"x"), TICK, ("eof",), TICK],
    "error": [
        ("read", 1),
        TICK,
        ("error", KeyError),
        TICK,
        ("feed", b"a"),
        ("read", 1),
        ("readexactly", 1),
        ("readuntil",),
        ("readline",),
        ("next",),
        TICK,
    ],
    "error of a line": [
        ("error", lambda: asyncio.IncompleteReadError(b"part", 5)),
        *[("readline",), ("next",), ("readuntil",), ("read", 2), TICK],
        ("error", lambda: asyncio.LimitOverrunError("over", 1)),
        *[("feed", b"a\nbc"), ("readline",), TICK, ("readuntil",), TICK],
    ],
    "odd error": [("error", StopIteration), ("read", 1), ("readline",), TICK],
    "late feed": [("eof",), ("feed", b"a"), ("feed", b""), ("read", 1), TICK],
    "another limit": [
        ("set", "_limit", 1 << 80),
        ("feed", b"a" * 40),
        ("readline",),
        TICK,
        ("set", "_limit", 30.5),
        ("feed", b"b" * 30),
        ("readline",),
        TICK,
    ],
    "other limits": [("set", "_limit", -1), ("feed", b"a"), ("readline",), TICK],
    "own attributes": [("set", "mine", 1), ("readline",), TICK, ("feed", b"a\n"), TICK],
}


@pytest.mark.parametrize("can_pause", [True, False])
@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts(name: str, can_pause: bool) -> None:
    compare(SCRIPTS[name], can_pause)


def random_operation(draw: random.Random) -> Operation:
    data = bytes(draw.choices(b"ab\n-", k=draw.choice((0, 1, 1, 2, 3, 5, 9, 20))))
    size = draw.choice((-1, 0, 1, 2, 3, 7, 12))
    separator = draw.choice((b"\n", b"--", b"-\n", b"ab-", bytearray(b"b")))
    choices: list[tuple[int, Operation]] = [
        (30, ("feed", data)),
        (30, TICK),
        (8, ("read", size)),
        (8, ("readexactly", size)),
        (8, ("readuntil", separator)),
        (8, ("readline",)),
        (6, ("next",)),
        (4, ("cancel",)),
        (1, ("cancel_waiter",)),
        (1, ("eof",)),
        (1, ("error", OSError)),
    ]
    weights = [weight for weight, _ in choices]
    return draw.choices([each for _, each in choices], weights)[0]


@pytest.mark.parametrize("seed", range(60))
def test_random_scripts(seed: int) -> None:
    draw = random.Random(seed)
    script = [random_operation(draw) for _ in range(draw.choice((10, 40, 120)))]
    compare(script, can_pause=draw.random() < 0.8)


# The writer.


def writer_of(kind: str) -> tuple[asyncio.StreamWriter, Any, Transport]:
    """A server's writer, its protocol and its transport."""
    made: list[asyncio.StreamWriter] = []
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader, lambda _, each: made.append(each))
    if kind == "ours":
        assert _native.adopt_stream(protocol) is not None
    transport = Transport(can_pause=True)
    protocol.connection_made(transport)
    (writer,) = made
    assert (type(writer) is _native.StreamWriter) is (kind == "ours")
    return writer, protocol, transport


async def drains(kind: str) -> list[Any]:
    """What drain() does in every state that it distinguishes."""
    record: list[Any] = []
    writer, protocol, transport = writer_of(kind)

    async def drained() -> None:
        task = asyncio.create_task(writer.drain())
        for _ in range(3):
            record.append((outcome(task), len(protocol._drain_waiters)))
            await asyncio.sleep(0)
        if not task.done():
            protocol.resume_writing()
            await asyncio.wait([task])
        record.append(outcome(task))

    writer.write(b"abc")
    record.append(list(transport.calls))
    await drained()
    protocol.pause_writing()
    await drained()
    protocol.pause_writing()
    task = asyncio.create_task(writer.drain())
    await asyncio.sleep(0)
    task.cancel("enough")
    await asyncio.wait([task])
    record.append((outcome(task), len(protocol._drain_waiters)))
    protocol.resume_writing()
    transport.closing = True
    await drained()
    task = asyncio.create_task(writer.drain())
    await asyncio.sleep(0)
    protocol.connection_lost(None)
    await asyncio.wait([task])
    record.append(outcome(task))
    await drained()
    writer._reader.set_exception(KeyError("from the reader"))  # type: ignore
    await drained()
    return record


def test_drain_and_write() -> None:
    assert asyncio.run(drains("ours")) == asyncio.run(drains("asyncio"))
