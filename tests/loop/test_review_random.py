"""Connections whose protocols, peers and loop all misbehave as chance has it.

Unlike in test_transport_random.py, whatever happens may be done to any connection:
callbacks raise, interrupt the run of the loop, drop transports and collect garbage,
peers reset, and the loop is closed under what is left. What must hold is little: no
crash, no run without end, nothing told before connection_made or after connection_lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import socket
import warnings
from typing import Any

import pytest
from peers import reset

STEPS = 400  # of the peers; a protocol's callbacks come with them
PEERS_MAX = 40
REFUSED = (RuntimeError, OSError, NotImplementedError)
ours = pytest.mark.parametrize("runner", ("plain", "uring", "epoll"), indirect=True)


class MishapError(Exception):
    """What callbacks raise."""


class World:
    """Everything that one seed has: its transports, peers, and what went wrong."""

    def __init__(self, seed: int, loop: asyncio.AbstractEventLoop) -> None:
        self.chance = random.Random(seed)
        self.loop = loop
        self.transports: list[Any] = []
        self.peers: list[socket.socket] = []
        self.wrong: list[str] = []
        self.over = False
        self.actions = {
            self.close: 8,
            self.abort: 8,
            self.pause: 12,
            self.resume: 16,
            self.write: 18,
            self.writelines: 8,
            self.write_eof: 4,
            self.exchange: 8,
            self.limit: 4,
            self.collect: 3,
            self.drop: 4,
            self.look: 2,
            self.mishap: 2,
            self.interrupt: 1,
        }

    def act(self) -> None:
        """Do something to some connection, not to the one that calls."""
        if not self.transports or self.over:
            return
        transport = self.chance.choice(self.transports)
        weights = tuple(self.actions.values())
        action = self.chance.choices(tuple(self.actions), weights)[0]
        with contextlib.suppress(*REFUSED):
            action(transport)

    def bytes(self, *sizes: int) -> bytes:
        return b"b" * self.chance.choice(sizes)

    def close(self, transport: Any) -> None:
        transport.close()

    def abort(self, transport: Any) -> None:
        transport.abort()

    def pause(self, transport: Any) -> None:
        transport.pause_reading()

    def resume(self, transport: Any) -> None:
        transport.resume_reading()

    def write(self, transport: Any) -> None:
        transport.write(self.bytes(1, 100, 5_000, 300_000))

    def writelines(self, transport: Any) -> None:
        count = self.chance.randrange(5)
        transport.writelines([self.bytes(0, 1, 3_000, 200_000) for _ in range(count)])

    def write_eof(self, transport: Any) -> None:
        transport.write_eof()

    def exchange(self, transport: Any) -> None:
        protocol = transport.get_protocol()
        if protocol is not None:  # it is not all over
            transport.set_protocol(self.protocol(protocol.story))

    def limit(self, transport: Any) -> None:
        high = self.chance.choice((0, 1_000, 100_000))
        transport.set_write_buffer_limits(high=high)

    def collect(self, transport: Any) -> None:
        gc.collect(self.chance.randrange(2))

    def drop(self, transport: Any) -> None:
        self.transports.remove(transport)

    def part(self) -> None:
        """Forget most of the transports that are ending."""
        self.transports = [
            each
            for each in self.transports
            if not each.is_closing() or self.chance.random() < 0.2
        ]

    def look(self, transport: Any) -> None:
        repr(transport)
        transport.get_extra_info("socket")
        transport.get_extra_info("peername")

    def mishap(self, transport: Any) -> None:
        raise MishapError

    def interrupt(self, transport: Any) -> None:
        raise KeyboardInterrupt

    def protocol(self, story: list[str] | None = None) -> Any:
        kind = self.chance.choice((Wild, WildBuffered))
        return kind(self, [] if story is None else story)

    # The other sides.

    async def step(self, address: Any) -> None:
        """One thing at each of the peers, and perhaps a new one."""
        if len(self.peers) < PEERS_MAX and self.chance.random() < 0.2:
            await self.meet(address)
        for peer in tuple(self.peers):
            try:
                self.treat(peer)
            except BlockingIOError:
                continue
            except OSError:
                self.leave(peer)

    async def meet(self, address: Any) -> None:
        if self.chance.random() < 0.5:
            peer = socket.create_connection(address)
        else:
            left, peer = socket.socketpair()
            await self.loop.create_connection(self.protocol, sock=left)
        peer.setblocking(False)
        self.peers.append(peer)

    def leave(self, peer: socket.socket) -> None:
        peer.close()
        self.peers.remove(peer)

    def treat(self, peer: socket.socket) -> None:
        what = self.chance.random()
        if what < 0.30:
            peer.send(self.bytes(1, 1_000, 100_000, 400_000))
        elif what < 0.60:
            peer.recv(1 << 20)
        elif what < 0.63:
            peer.shutdown(socket.SHUT_WR)
        elif what < 0.66:
            reset(peer)
            self.peers.remove(peer)


class Base:
    """Acts at whatever it is told; its story is that of its connection."""

    def __init__(self, world: World, story: list[str]) -> None:
        self.world, self.story = world, story
        self.me = self  # for the collector to find
        self.memory = bytearray(world.chance.choice((10, 5_000, 300_000)))
        self.kept: list[bytes] = []

    def told(self, what: str) -> None:
        if (what == "made") == bool(self.story) or "lost" in self.story:
            self.world.wrong.append(f"{what} after {self.story[-3:]}")
        self.story.append(what)
        self.world.act()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.world.transports.append(transport)
        self.told("made")

    def eof_received(self) -> bool:
        self.told("eof")
        return self.world.chance.random() < 0.5

    def connection_lost(self, error: Exception | None) -> None:
        """Most of those that are over make room for others."""
        self.told("lost")
        self.world.part()

    def pause_writing(self) -> None:
        self.told("pause")

    def resume_writing(self) -> None:
        self.told("resume")

    def __del__(self) -> None:
        with contextlib.suppress(MishapError, KeyboardInterrupt):
            self.world.act()


class Wild(Base, asyncio.Protocol):
    """Keeps some of its data, and looks at some of it."""

    def data_received(self, data: bytes) -> None:
        if self.world.chance.random() < 0.1:
            self.kept.append(data)
            hash(data)
        self.told("data")


class WildBuffered(Base, asyncio.BufferedProtocol):
    """May do anything while it is asked for memory."""

    def get_buffer(self, sizehint: int) -> Any:
        self.told("asked")
        return self.memory

    def buffer_updated(self, nbytes: int) -> None:
        self.told("data")


async def live(world: World) -> None:
    """The life of a world, which interrupts do not end."""
    server = await world.loop.create_server(world.protocol, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    for _ in range(STEPS):
        with contextlib.suppress(MishapError, KeyboardInterrupt):
            await world.step(address)
            world.act()
        await asyncio.sleep(0)


def run_through(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    """Run the loop again whenever something has interrupted it."""
    task.add_done_callback(lambda _: loop.stop())
    while not task.done():
        with contextlib.suppress(KeyboardInterrupt):
            loop.run_forever()
    task.result()


@ours
@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens(runner: asyncio.Runner, seed: int) -> None:
    """asyncio's own transports do not survive all of it."""
    loop = runner.get_loop()
    world = World(seed, loop)
    loop.set_exception_handler(lambda *_: None)
    loop.set_debug(seed % 3 == 2)
    loop.slow_callback_duration = 1000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        run_through(loop, loop.create_task(live(world)))
        world.over = True
        runner.close()
        for peer in world.peers:
            peer.close()
        world.transports.clear()
        gc.collect()
    assert world.wrong == []
