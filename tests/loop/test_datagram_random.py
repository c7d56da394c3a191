"""Datagram transports under random treatment: what must hold whatever a protocol does.

Each seed is two endpoints that write to each other, pause, exchange themselves, raise,
close and abort in their callbacks as chance has it. What arrives was sent, in order;
connection_made comes first and connection_lost last and once.
"""

from __future__ import annotations

import asyncio
import gc
import random
import socket
from typing import Any

import pytest
from peers import on_loop

import syslet_loop

MOST_CALLBACKS = 60
SIZES = (2, 100, 5_000, 100_000)


class Side:
    """One endpoint: what it sent, what came, what it was told."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.sent: list[bytes] = []
        self.came: list[bytes] = []
        self.told: list[str] = []
        self.left = MOST_CALLBACKS
        self.lost = asyncio.get_running_loop().create_future()
        self.transport: Any = None
        self.other: Any = None  # the address of the other side

    def send(self) -> None:
        if self.transport.is_closing():
            return  # asyncio may still send, or fail, what is sent during a flush
        for _ in range(self.chance.choice((1, 1, 3, 40))):
            number = len(self.sent)
            data = number.to_bytes(2, "big") * (self.chance.choice(SIZES) // 2)
            self.sent.append(data)
            self.transport.sendto(data, self.other)

    def pause(self) -> None:
        self.transport.pause_reading()
        asyncio.get_running_loop().call_soon(self.resume)

    def resume(self) -> None:
        self.transport.resume_reading()

    def exchange(self) -> None:
        self.transport.set_protocol(Random(self))

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
        actions = (self.send, self.send, self.pause, self.resume)
        others = (self.exchange, self.limits, self.look)
        for _ in range(self.chance.randrange(3)):
            self.chance.choice((*actions, *others))()
        # asyncio calls connection_lost twice if resume_writing closes.
        if name != "resume" and (self.left <= 0 or self.chance.random() < 0.04):
            self.end()
        if name == "data" and self.chance.random() < 0.1:
            raise ZeroDivisionError


class Random(asyncio.DatagramProtocol):
    """Tells its side."""

    def __init__(self, side: Side) -> None:
        self.side = side

    def connection_made(self, transport: Any) -> None:
        self.side.transport = transport
        self.side.told.append("made")

    def datagram_received(self, data: bytes, address: Any) -> None:
        assert address == self.side.other
        self.side.came.append(data)
        self.side.act("data")

    def error_received(self, error: Exception) -> None:
        assert isinstance(error, OSError)  # of a peer that has gone
        self.side.act("error")

    def pause_writing(self) -> None:
        self.side.act("pause")

    def resume_writing(self) -> None:
        self.side.act("resume")

    def connection_lost(self, error: Exception | None) -> None:
        assert error is None
        self.side.told.append("lost")
        self.side.lost.set_result(None)


def two_sockets(connected: bool) -> list[socket.socket]:
    """Unix sockets with names of the kernel's finding."""
    both = [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
    for sock in both:
        sock.bind("")
    if connected:
        both[0].connect(both[1].getsockname())
        both[1].connect(both[0].getsockname())
    return both


async def two_endpoints(seed: int) -> None:
    loop = asyncio.get_running_loop()
    chance = random.Random(seed)
    sides = (Side(chance), Side(chance))
    sockets = two_sockets(connected=chance.random() < 0.5)
    for side, sock, peer in zip(sides, sockets, sockets[::-1], strict=True):
        side.other = peer.getsockname()
        await loop.create_datagram_endpoint(lambda side=side: Random(side), sock=sock)
    for side in sides:
        side.send()
    loop.call_later(0.2, sides[0].end)  # they may both have fallen silent
    loop.call_later(0.2, sides[1].end)
    loop.call_later(0.3, sides[0].abort)
    loop.call_later(0.3, sides[1].abort)
    await asyncio.gather(*(side.lost for side in sides))
    for side, other in (sides, sides[::-1]):
        assert side.told[0] == "made", f"seed {seed}"
        assert side.told[-1] == "lost", f"seed {seed}"
        assert side.told.count("lost") == side.told.count("made") == 1
        # Some are lost when one side has gone; none is changed or out of order.
        sent = iter(other.sent)
        assert all(data in sent for data in side.came), f"seed {seed}"
        writing = [each for each in side.told if each in ("pause", "resume")]
        turns = ["pause", "resume"] * len(writing)
        assert writing == turns[: len(writing)], f"seed {seed}"


@pytest.mark.parametrize("first", range(0, 160, 40))
@on_loop
async def test_whatever_protocols_do(first: int) -> None:
    """Forty pairs at once, so that numbers and addresses are used again meanwhile."""
    failures: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context))
    await asyncio.gather(*(two_endpoints(seed) for seed in range(first, first + 40)))
    raised = {type(each["exception"]) for each in failures}
    if not isinstance(loop, syslet_loop.EventLoop):
        raised.discard(AttributeError)  # asyncio's own, of endpoints that have ended
    assert raised <= {ZeroDivisionError}
