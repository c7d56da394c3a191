"""Peers that vanish, descriptors that are used again, and loops closed in a hurry."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import resource
import socket
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from peers import (
    Recorder,
    caught,
    fill,
    on_loop,
    read_all,
    read_exactly,
    reset,
    tcp_pair,
    turns,
    until,
    wired,
)

GONE = (ConnectionResetError, BrokenPipeError)


def listed() -> tuple[list[Recorder], Any]:
    """A list, and the factory of protocols that puts them in."""
    made: list[Recorder] = []

    def factory() -> Recorder:
        made.append(Recorder())
        return made[-1]

    return made, factory


@on_loop
async def test_a_reset_before_the_accept() -> None:
    loop = asyncio.get_running_loop()
    made, factory = listed()
    server = await loop.create_server(factory, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    for _ in range(3):
        reset(socket.create_connection(address))
    with socket.create_connection(address) as client:
        client.send(b"healthy")
        await until(lambda: len(made) == 4)
        await until(lambda: made[3].data == b"healthy")
    for protocol in made:
        await protocol.lost
    told = [protocol.told for protocol in made]
    assert told == [["made", "lost ConnectionResetError"]] * 3 + [
        ["made", "data", "eof", "lost"]
    ]
    server.close()
    await server.wait_closed()


@on_loop
async def test_a_reset_during_a_large_write() -> None:
    async with wired(sockets=tcp_pair()) as (transport, protocol, peer):
        contexts = caught()
        fill(transport)
        peer.recv(1000)
        await turns()
        reset(peer)
        await protocol.lost
        assert isinstance(protocol.error, GONE)
        assert transport.get_write_buffer_size() == 0
        assert contexts == []


@on_loop
async def test_a_reset_while_paused_shows_at_the_next_read() -> None:
    async with wired(sockets=tcp_pair()) as (transport, protocol, peer):
        transport.pause_reading()
        reset(peer)
        await asyncio.sleep(0.01)
        assert protocol.told == ["made"]
        transport.resume_reading()
        await protocol.lost
        assert protocol.told == ["made", "lost ConnectionResetError"]


@on_loop
async def test_a_reset_while_paused_and_writing() -> None:
    async with wired(sockets=tcp_pair()) as (transport, protocol, peer):
        transport.pause_reading()
        fill(transport)
        reset(peer)
        await protocol.lost
        assert isinstance(protocol.error, GONE)


@on_loop
async def test_a_reset_in_connection_made() -> None:
    left, right = tcp_pair()

    class Early(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            reset(right)
            transport.write(b"refused")

    async with wired(Early, (left, right)) as (transport, protocol, _):
        await protocol.lost
        assert protocol.told == ["made", "lost ConnectionResetError"]
        assert transport.is_closing()


@on_loop
async def test_a_reset_in_data_received() -> None:
    left, right = tcp_pair()

    class Late(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            reset(right)
            for _ in range(3):
                self.transport.write(b"into the void")

    async with wired(Late, (left, right)) as (_, protocol, peer):
        peer.send(b"x")
        await protocol.lost
        assert protocol.told == ["made", "data", "lost ConnectionResetError"]


@on_loop
async def test_a_reset_while_the_last_bytes_are_flushed() -> None:
    async with wired(sockets=tcp_pair()) as (transport, protocol, peer):
        fill(transport)
        transport.close()
        await turns()
        reset(peer)
        await protocol.lost
        assert isinstance(protocol.error, GONE)


@on_loop
async def test_a_reset_after_write_eof() -> None:
    async with wired(sockets=tcp_pair()) as (transport, protocol, peer):
        transport.write_eof()
        await turns()
        reset(peer)
        await protocol.lost
        assert protocol.told == ["made", "lost ConnectionResetError"]


@on_loop
async def test_a_number_used_again_gets_no_old_bytes() -> None:
    """What waited for the old connection is never sent on the new one."""
    async with wired() as (old, lost, old_peer):
        number = old.get_extra_info("socket").fileno()
        written = fill(old)
        old.abort()
        await lost.lost
        async with wired() as (new, protocol, peer):
            assert new.get_extra_info("socket").fileno() == number
            new.write(b"mine")
            assert len(await read_all(old_peer)) < written
            await turns()
            assert peer.recv(100) == b"mine"
            with pytest.raises(BlockingIOError):
                peer.recv(1)
            peer.send(b"yours")
            await until(lambda: protocol.data)
            assert protocol.data == b"yours"


class Tagged(Recorder):
    """Accepts only bytes of its own tag; ends others when it is told of some."""

    wrong: list[bytes]

    def __init__(self, tag: int, group: list[Tagged]) -> None:
        super().__init__()
        self.tag, self.group = tag, group
        group.append(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        for other in self.group:
            other.transport.abort()


@on_loop
async def test_numbers_used_again_at_once() -> None:
    """Several have data in one turn; the first to know closes all and opens others."""
    loop = asyncio.get_running_loop()
    every: list[Tagged] = []

    async def a_group(first: int) -> list[socket.socket]:
        group: list[Tagged] = []
        peers = []
        for tag in range(first, first + 6):
            left, right = socket.socketpair()
            left.setblocking(False)
            peers.append(right)

            def factory(tag: int = tag) -> Tagged:
                return Tagged(tag, group)

            await loop.create_connection(factory, sock=left)
        for protocol, peer in zip(group, peers, strict=True):
            peer.send(bytes([protocol.tag]) * 3)
        every.extend(group)
        return peers

    for turn in range(40):
        before = len(every)
        peers = await a_group(turn * 6)
        while not any(each.data for each in every[before:]):
            await asyncio.sleep(0)
        for peer in peers:
            peer.close()
    for protocol in every:
        await protocol.lost
        assert bytes(protocol.data) in (b"", bytes([protocol.tag]) * 3)
        assert protocol.told in (["made", "data", "lost"], ["made", "lost"])


@on_loop
async def test_a_cancelled_wait_leaves_the_number_free() -> None:
    loop = asyncio.get_running_loop()
    numbers = set()
    for turn in range(30):
        left, right = socket.socketpair()
        numbers.add(left.fileno())
        left.setblocking(False)
        waiting = asyncio.create_task(loop.sock_recv(left, 10))
        await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        left.close()
        right.close()
        async with wired() as (_, protocol, peer):
            peer.send(b"%d" % turn)
            await until(lambda p=protocol: p.data)
            assert protocol.data == b"%d" % turn
    assert len(numbers) < 10


@on_loop
async def test_large_transfers_both_ways() -> None:
    """More in flight than both sides' buffers hold, and neither waits for the other."""
    there, back = os.urandom(2 << 20), os.urandom(2 << 20)
    left, right = tcp_pair(SO_SNDBUF=8192)
    async with wired(sockets=(left, right)) as (transport, protocol, peer):
        loop = asyncio.get_running_loop()
        sending = asyncio.create_task(loop.sock_sendall(peer, back))
        for at in range(0, len(there), 50_000):
            transport.write(there[at : at + 50_000])
        assert await read_exactly(peer, len(there)) == there
        await sending
        await until(lambda: len(protocol.data) == len(back))
        assert protocol.data == back
        assert transport.get_write_buffer_size() == 0


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Within, no new descriptor is to be had."""
    lowest = os.dup(0)
    os.close(lowest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@on_loop
async def test_accepting_without_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is reported; accepting pauses and goes on when there are some again."""
    monkeypatch.setattr(asyncio.constants, "ACCEPT_RETRY_DELAY", 0.2)
    loop = asyncio.get_running_loop()
    made, factory = listed()
    contexts = caught()
    server = await loop.create_server(factory, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    clients = [socket.create_connection(address) for _ in range(3)]
    with no_descriptors():
        await until(lambda: contexts)
        reports = len(contexts)
        await asyncio.sleep(0.05)
        assert len(contexts) == reports, "it does not try all the time"
    for context in contexts:
        assert context["message"] == "socket.accept() out of system resource"
        assert context["exception"].errno == errno.EMFILE
        assert isinstance(context["socket"], asyncio.trsock.TransportSocket)
    assert made == []
    await until(lambda: len(made) == 3)
    for client in clients:
        client.close()
    for protocol in made:
        await protocol.lost
    server.close()
    await server.wait_closed()


@on_loop
async def test_a_thousand_short_connections() -> None:
    loop = asyncio.get_running_loop()

    class Echo(Recorder):
        def data_received(self, data: bytes) -> None:
            self.transport.write(data)
            if data[-1] % 2:
                self.transport.close()

    server = await loop.create_server(Echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()

    async def client(number: int) -> None:
        _, protocol = await loop.create_connection(Recorder, *address)
        data = number.to_bytes(2, "big")
        protocol.transport.write(data)
        await until(lambda: len(protocol.data) == 2)
        protocol.transport.close()
        await protocol.lost
        assert protocol.data == data

    for first in range(0, 1000, 50):
        await asyncio.gather(*(client(n) for n in range(first, first + 50)))
    server.close()
    await server.wait_closed()


def test_a_loop_is_closed_with_everything_in_flight(
    runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is said but that transports and sockets were not closed."""
    peers: list[socket.socket] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        for number in range(12):
            client = socket.create_connection(address)
            client.setblocking(False)
            peers.append(client)
            if number % 2:
                asyncio.create_task(loop.sock_recv(client, 10))  # noqa: RUF006
            if number % 3:
                client.send(b"never read")
        for way in ("write", "close", "pause", "abort", "eof"):
            left, right = socket.socketpair()
            peers.append(right)
            transport, _ = await loop.create_connection(Recorder, sock=left)
            fill(transport)
            if way == "pause":
                transport.pause_reading()
            elif way == "eof":
                transport.write_eof()
            elif way != "write":
                getattr(transport, way)()
            right.send(b"x")
        loop.call_later(100, print)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        runner.run(main())
        runner.close()
        gc.collect()
    assert {each.category for each in seen} <= {ResourceWarning}
    for each in seen:
        assert str(each.message).startswith(("unclosed transport", "unclosed <socket"))
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
    for peer in peers:
        peer.close()
