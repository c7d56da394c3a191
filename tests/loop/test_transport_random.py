"""Stream transports under random treatment: what must hold whatever a protocol does.

Each seed is a connection of two protocols that write, pause, exchange themselves, close
and abort in their callbacks as chance has it. What arrives is the beginning of what was
written, connection_made comes first and connection_lost last and once.
"""

from __future__ import annotations

import asyncio
import gc
import random
import socket
from typing import Any

import pytest
from peers import on_loop

MOST_CALLBACKS = 60


class Side:
    """One end of a connection: what was written, what came, whose turn it is."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.written = bytearray()
        self.came = bytearray()
        self.told: list[str] = []
        self.left = MOST_CALLBACKS
        self.lost = asyncio.get_running_loop().create_future()
        self.transport: Any = None

    def piece(self) -> bytes:
        size = self.chance.choice((0, 1, 10, 5_000, 300_000))
        return bytes([self.chance.randrange(256)]) * size

    # asyncio's transports may still send, or fail, what is written during a flush.

    def write(self) -> None:
        if not self.transport.is_closing():
            data = self.piece()
            self.written += data
            self.transport.write(data)

    def writelines(self) -> None:
        if not self.transport.is_closing():
            pieces = [self.piece() for _ in range(self.chance.randrange(4))]
            self.written += b"".join(pieces)
            self.transport.writelines(pieces)

    def pause(self) -> None:
        self.transport.pause_reading()
        asyncio.get_running_loop().call_soon(self.resume)

    def resume(self) -> None:
        self.transport.resume_reading()

    def exchange(self) -> None:
        other = self.chance.choice((Random, RandomBuffered))
        self.transport.set_protocol(other(self))

    def limits(self) -> None:
        self.transport.set_write_buffer_limits(self.chance.choice((0, 10, 1 << 20)))

    def look(self) -> None:
        repr(self.transport)
        self.transport.get_write_buffer_size()
        self.transport.get_extra_info("socket").fileno()
        gc.collect(0)

    def end(self) -> None:
        if not self.lost.done():  # asyncio's abort() fails after a flush
            self.chance.choice((self.transport.close, self.transport.abort))()

    def abort(self) -> None:
        """For two that both flush and do not read, which may last for ever."""
        if not self.lost.done():
            self.transport.abort()

    def act(self, name: str) -> None:
        """Something happened; do a few things."""
        self.told.append(name)
        self.left -= 1
        quiet = (self.write, self.writelines, self.pause, self.resume, self.exchange)
        for _ in range(self.chance.randrange(3)):
            action = self.chance.choice((*quiet, *quiet, self.limits, self.look))
            action()
        # asyncio calls connection_lost twice if resume_writing closes.
        if name != "resume" and (self.left <= 0 or self.chance.random() < 0.04):
            self.end()


class Base:
    """What both kinds of protocol tell their side."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.memory = bytearray(side.chance.choice((1, 100, 70_000)))

    def connection_made(self, transport: Any) -> None:
        self.side.transport = transport
        self.side.act("made")
        self.side.write()

    def eof_received(self) -> bool | None:
        self.side.act("eof")
        return None

    def pause_writing(self) -> None:
        self.side.act("pause")

    def resume_writing(self) -> None:
        self.side.act("resume")

    def connection_lost(self, error: Exception | None) -> None:
        assert error is None or isinstance(error, OSError)
        self.side.told.append("lost")
        self.side.lost.set_result(None)


class Random(Base, asyncio.Protocol):
    """Is given bytes."""

    def data_received(self, data: bytes) -> None:
        self.side.came += data
        self.side.act("data")


class RandomBuffered(Base, asyncio.BufferedProtocol):
    """Has its own buffer filled."""

    def get_buffer(self, sizehint: int) -> Any:
        return self.memory

    def buffer_updated(self, nbytes: int) -> None:
        self.side.came += self.memory[:nbytes]
        self.side.act("data")


async def a_connection(seed: int) -> None:
    loop = asyncio.get_running_loop()
    chance = random.Random(seed)
    sides = (Side(chance), Side(chance))
    for side, sock in zip(sides, socket.socketpair(), strict=True):
        kind = chance.choice((Random, RandomBuffered))
        await loop.create_connection(lambda side=side, kind=kind: kind(side), sock=sock)
    loop.call_later(0.2, sides[0].end)  # they may both have fallen silent
    loop.call_later(0.3, sides[0].abort)
    await asyncio.gather(*(side.lost for side in sides))
    for side, other in (sides, sides[::-1]):
        assert other.written.startswith(side.came), f"seed {seed}"
        assert side.told[0] == "made", f"seed {seed}"
        assert side.told[-1] == "lost", f"seed {seed}"
        assert side.told.count("lost") == side.told.count("made") == 1
        assert side.told.count("eof") <= 1
        writing = [each for each in side.told if each in ("pause", "resume")]
        turns = ["pause", "resume"] * len(writing)
        assert writing == turns[: len(writing)], f"seed {seed}"


@pytest.mark.parametrize("first", range(0, 160, 40))
@on_loop
async def test_whatever_protocols_do(first: int) -> None:
    """Forty connections at once, so that numbers are used again meanwhile."""
    await asyncio.gather(*(a_connection(seed) for seed in range(first, first + 40)))
