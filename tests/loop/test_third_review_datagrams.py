"""Datagrams that a third reading of the native loop found in danger.

What an audit hook, a socket's own method or the collector does in the middle of sending
and receiving: it may end the transport, and it may send.
"""

from __future__ import annotations

import contextlib
import gc
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from peers import on_loop, turns, until
from processes import check_process
from test_datagram import HERE, Datagrams, endpoint

ours = pytest.mark.parametrize("runner", ("plain", "uring", "epoll"), indirect=True)


# Code that runs in the middle of sending.


class Contrary(socket.socket):
    """Has no room at first; then it does something else before it sends."""

    refused = False
    meanwhile: Any = None

    def sendto(self, *args: Any) -> int:
        if not self.refused:
            self.refused = True
            raise BlockingIOError
        if self.meanwhile is not None:
            then, self.meanwhile = self.meanwhile, None
            then()
        return super().sendto(args[0], self.target)  # type: ignore[attr-defined]


@contextlib.contextmanager
def contrary(target: socket.socket) -> Iterator[Contrary]:
    with Contrary(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(HERE)
        sock.setblocking(False)
        sock.target = target.getsockname()  # type: ignore[attr-defined]
        yield sock


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(HERE)
        sock.setblocking(False)
        yield sock


def received(sock: socket.socket) -> list[bytes]:
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(sock.recv(100))
    return found


class Eager(Datagrams):
    """Sends ten datagrams before its socket is looked at."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        for number in range(10):
            transport.sendto(b"%d" % number)


@ours
@on_loop
async def test_the_end_in_the_middle_of_a_flush() -> None:
    """What waited behind is forgotten, and forgotten once."""
    with listening() as target, contrary(target) as sock:
        sock.meanwhile = lambda: made[0].transport.abort()
        made: list[Eager] = []

        def factory() -> Eager:
            made.append(Eager())
            return made[-1]

        async with endpoint(factory, sock=sock) as (transport, protocol):
            await protocol.lost
            assert transport.get_write_buffer_size() == 0
            assert len(received(target)) == 1
            assert protocol.told == ["made", "lost"]


@on_loop
async def test_sending_in_the_middle_of_a_flush() -> None:
    with listening() as target, contrary(target) as sock:
        made: list[Eager] = []
        found: list[bytes] = []

        def factory() -> Eager:
            made.append(Eager())
            return made[-1]

        def more() -> None:
            for number in range(10, 30):
                made[0].transport.sendto(b"%d" % number)

        def all_came() -> bool:
            found.extend(received(target))
            return len(found) >= 30

        sock.meanwhile = more
        async with endpoint(factory, sock=sock):
            await until(all_came)
            assert sorted(map(int, found)) == list(range(30))


HOOKED = """
import asyncio, socket, sys
import syslet_loop

def hook(event, args):
    if event == "socket.sendto" and meanwhile:
        meanwhile.pop()()

def bound():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock

def received(sock):
    found = []
    try:
        while True:
            found.append(sock.recv(100))
    except BlockingIOError:
        return found

async def main():
    loop = asyncio.get_running_loop()
    with bound() as one, bound() as other:
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        usual, unusual = one.getsockname(), other.getsockname()

        def send_elsewhere():
            for _ in range(100):  # each with an address of its own
                addresses.append(tuple(list(unusual)))
                transport.sendto(b"elsewhere", addresses[-1])

        for number in range(5):
            transport.sendto(b"%d" % number, usual)
            meanwhile.append(send_elsewhere)
        transport.sendto(b"5", usual)
        transport.close()
        await asyncio.sleep(0.001)
        assert received(one) == [b"%d" % number for number in range(6)]
        assert set(received(other)) == {b"elsewhere"}

meanwhile, addresses = [], []
sys.addaudithook(hook)
syslet_loop.run(main())
"""


def test_an_audit_hook_that_sends_elsewhere(backend: str) -> None:
    """What it interrupts goes where it was to go."""
    check_process(HOOKED, backend)


# The collector in the middle of receiving.


class Bomb:
    """Part of a cycle; aborts a transport when the collector comes."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.cycle = self

    def __del__(self) -> None:
        self.transport.abort()


class Empty:
    """What the collector counts."""


@ours
@on_loop
async def test_a_collection_between_two_datagrams() -> None:
    """Addresses are made between them, which may run the collector (on 3.11)."""

    class Planting(Datagrams):
        bombs = False

        def datagram_received(self, data: bytes, address: Any) -> None:
            super().datagram_received(data, address)
            if len(self.came) == 1:
                self.transport.pause_reading()
            elif self.bombs and not self.transport.is_closing():
                taken.extend((n, n) for n in range(3000))  # none is left to use again
                gc.set_threshold(1)
                Bomb(self.transport)
                taken.append(Empty())  # the next one is one too many

    taken: list[Any] = []
    senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(8)]
    thresholds = gc.get_threshold()
    try:
        async with (
            endpoint(Planting) as (one, first),
            endpoint() as (other, second),
        ):
            for sender in senders:
                sender.sendto(b"x", one.get_extra_info("sockname"))
            await until(lambda: first.came)
            senders[0].sendto(b"y", other.get_extra_info("sockname"))
            await until(lambda: second.came)
            first.bombs = True
            one.resume_reading()
            await turns()
            gc.set_threshold(*thresholds)
            gc.collect()
            await first.lost
            assert first.told == ["made", "lost"]
    finally:
        gc.set_threshold(*thresholds)
        for sender in senders:
            sender.close()
