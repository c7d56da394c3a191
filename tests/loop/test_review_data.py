"""Data that a reading of the native loop found in danger: lost, late, or misdirected.

Receives that are short though more is there, numbers that belong to another socket by
now, and bytes not yet sent when the loop stops or moves. asyncio's loop is the judge.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import os
import socket
import termios
import threading
from typing import Any

import pytest
from loop.sockets import make_pair
from peers import (
    PATIENCE_S,
    Buffered,
    Recorder,
    fill,
    on_loop,
    read_exactly,
    tcp_pair,
    turns,
    until,
    wired,
)

kinds_of_protocol = pytest.mark.parametrize("factory", (Recorder, Buffered))
ours = pytest.mark.parametrize("runner", ("plain", "uring", "epoll"), indirect=True)


# Short receives: each of these stops one early, with no new event for the rest.


def send_descriptor(sock: socket.socket, data: bytes) -> None:
    """Send data with a descriptor beside it."""
    numbers = array.array("i", [sock.fileno()])
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)])


@kinds_of_protocol
@on_loop
async def test_descriptors_beside_the_data(factory: Any) -> None:
    """A receive ends where the descriptors change, as often as they do."""
    left, right = socket.socketpair()
    for letter in (b"a", b"b", b"c"):
        send_descriptor(right, letter)
    right.send(b"d")
    async with wired(factory, (left, right)) as (_, protocol, peer):
        await until(lambda: protocol.data == b"abcd")
        peer.send(b"e")
        send_descriptor(peer, b"f")
        peer.send(b"g")
        await until(lambda: protocol.data == b"abcdefg")


@on_loop
async def test_descriptors_beside_a_stream() -> None:
    left, right = socket.socketpair()
    with right:
        send_descriptor(right, b"one ")
        right.send(b"two\n")
        reader, writer = await asyncio.open_connection(sock=left)
        assert await reader.readline() == b"one two\n"
        send_descriptor(right, b"three ")
        right.send(b"four")
        right.shutdown(socket.SHUT_WR)
        assert await reader.read() == b"three four"
        writer.close()
        await writer.wait_closed()


async def all_arrived(sock: socket.socket) -> None:
    """Everything that the socket sent is with the peer, which has said so."""
    waiting = bytes(4)
    await until(lambda: fcntl.ioctl(sock, termios.TIOCOUTQ, waiting) == waiting)


def send_around_urgent(sock: socket.socket) -> None:
    sock.send(b"abc")
    sock.send(b"!", socket.MSG_OOB)
    sock.send(b"def")


@kinds_of_protocol
@on_loop
async def test_urgent_data_before_the_connection(factory: Any) -> None:
    """A receive ends before an urgent byte, which itself is not among the data."""
    left, right = tcp_pair()
    send_around_urgent(right)
    await all_arrived(right)
    async with wired(factory, (left, right)) as (_, protocol, _):
        await until(lambda: protocol.data == b"abcdef")


@kinds_of_protocol
@on_loop
async def test_urgent_data_in_a_connection(factory: Any) -> None:
    async with wired(factory, tcp_pair()) as (_, protocol, peer):
        for count in range(1, 4):
            send_around_urgent(peer)
            await until(lambda n=count: protocol.data == b"abcdef" * n)
        peer.send(b"!", socket.MSG_OOB)
        await all_arrived(peer)
        await turns()
        peer.send(b"more")
        await until(lambda: protocol.data == b"abcdef" * 3 + b"more")
        peer.shutdown(socket.SHUT_WR)
        await protocol.lost
        assert protocol.told[-2:] == ["eof", "lost"]


@on_loop
async def test_urgent_data_in_a_stream() -> None:
    left, right = tcp_pair()
    with right:
        send_around_urgent(right)
        await all_arrived(right)
        reader, writer = await asyncio.open_connection(sock=left)
        assert await reader.readexactly(6) == b"abcdef"
        writer.close()
        await writer.wait_closed()


# Sockets that the program closes itself; their numbers are used again.


async def later_event() -> None:
    """What other sockets had to tell before this call has been told."""
    async with wired() as (_, protocol, peer):
        peer.send(b"x")
        await until(lambda: protocol.data)
    await turns()


@contextlib.contextmanager
def used_again(sock: socket.socket) -> Any:
    """Closes the socket; a pair whose first has its number, and data from the other."""
    number = sock.fileno()
    sock.close()
    with make_pair() as (left, right):
        assert left.fileno() == number
        right.send(b"of another")
        yield left, right
        assert left.recv(100) == b"of another"
        with pytest.raises(BlockingIOError):
            right.recv(100)


@kinds_of_protocol
@on_loop
async def test_a_closed_socket_whose_number_is_used_again(factory: Any) -> None:
    """Nothing of the new one is read, nor is anything written to it."""
    left, right = socket.socketpair()
    async with wired(factory, (left, right)) as (transport, protocol, peer):
        await turns()
        with used_again(left):
            with contextlib.suppress(BrokenPipeError):
                peer.send(b"x")
            await later_event()
            assert protocol.data == b""
            transport.write(b"for the peer")
            transport.writelines([b"this", b"too"])
            await protocol.lost


@ours
@on_loop
async def test_a_socket_closed_with_data_unsent() -> None:
    """What waits to be sent does not go to the next who has the number.

    asyncio's abort() fails then: its selector cannot forget half of a closed socket.
    """
    left, right = socket.socketpair()
    async with wired(sockets=(left, right)) as (transport, _, peer):
        fill(transport)
        await turns()
        with used_again(left):
            with contextlib.suppress(BlockingIOError):
                while peer.recv(1 << 20):
                    pass
            await later_event()


@on_loop
async def test_a_closed_socket_is_not_shut_down() -> None:
    """write_eof() does not end the connection that has the number now."""
    left, right = socket.socketpair()
    async with wired(sockets=(left, right)) as (transport, protocol, _):
        with used_again(left) as (_, other):
            with contextlib.suppress(OSError):
                transport.write_eof()
            with pytest.raises(BlockingIOError):  # b"" would be its end
                other.recv(1)
            transport.abort()
            await protocol.lost


class Told(asyncio.DatagramProtocol):
    """Collects what an endpoint is told."""

    def __init__(self) -> None:
        self.came: list[bytes] = []
        self.errors: list[Exception] = []
        self.lost = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.came.append(data)

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@on_loop
async def test_a_closed_datagram_socket_whose_number_is_used_again() -> None:
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    left.setblocking(False)
    with right:
        transport, told = await loop.create_datagram_endpoint(Told, sock=left)
        with used_again(left):
            with contextlib.suppress(ConnectionRefusedError):
                right.send(b"x")
            await later_event()
            transport.sendto(b"for the peer")
        transport.abort()
        await told.lost
    assert told.came == []
    assert all(isinstance(each, OSError) for each in told.errors)


@on_loop
async def test_a_listener_whose_number_is_used_again() -> None:
    """Its server takes no connection from the listener that has the number now."""
    loop = asyncio.get_running_loop()
    made: list[Recorder] = []

    def factory() -> Recorder:
        made.append(Recorder())
        return made[-1]

    old = socket.create_server(("127.0.0.1", 0))
    number, address = old.fileno(), old.getsockname()
    server = await loop.create_server(factory, sock=old)
    await turns()
    old.close()
    with contextlib.ExitStack() as stack:
        new = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        assert new.fileno() == number
        new.setblocking(False)
        client = socket.create_connection(new.getsockname())
        stack.enter_context(client)
        with contextlib.suppress(ConnectionRefusedError):
            stack.enter_context(socket.create_connection(address))
        await later_event()
        assert made == []
        accepted, _ = new.accept()
        with accepted:
            assert accepted.getpeername() == client.getsockname()
    with contextlib.suppress(ValueError):  # asyncio asks the closed socket its number
        server.close()


# Bytes not yet sent, or not yet read, when the loop stops or moves.


class Interrupting(Recorder):
    """The first data that comes ends the run of the loop."""

    def data_received(self, data: bytes) -> None:
        first = not self.data
        super().data_received(data)
        if first:
            raise KeyboardInterrupt


def take(sock: socket.socket) -> int:
    """The number of bytes that are there at once."""
    size = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            size += len(sock.recv(1 << 20))
    return size


def test_an_interrupt_with_data_unsent(runner: asyncio.Runner) -> None:
    """Data came and there was room to write: neither is forgotten."""
    loop = runner.get_loop()
    left, right = socket.socketpair()
    connection = wired(Interrupting, (left, right))
    transport, protocol, peer = loop.run_until_complete(connection.__aenter__())
    written = fill(transport) + (1 << 18)
    transport.write(bytes(1 << 18))
    loop.run_until_complete(turns())
    taken = take(peer)
    peer.send(b"stop")
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    peer.send(b"and on")

    async def rest() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await read_exactly(peer, written - taken)
            await until(lambda: protocol.data == b"stopand on")

    loop.run_until_complete(rest())
    assert transport.get_write_buffer_size() == 0
    loop.run_until_complete(connection.__aexit__(None, None, None))


def test_an_interrupt_in_connection_made(runner: asyncio.Runner) -> None:
    """The connection is watched when the loop runs again."""

    class Interrupted(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            raise KeyboardInterrupt

    async def main() -> None:
        async with wired(Interrupted, (left, right)) as (_, protocol, peer):
            await until(lambda: protocol.data == b"early")
            peer.send(b", late")
            await until(lambda: protocol.data == b"early, late")

    loop = runner.get_loop()
    left, right = socket.socketpair()
    right.send(b"early")
    task = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    loop.run_until_complete(asyncio.wait_for(task, PATIENCE_S))


@contextlib.contextmanager
def runs_in_thread(loop: asyncio.AbstractEventLoop) -> Any:
    """The loop runs in another thread meanwhile."""
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_data_unsent_when_the_loop_moves(runner: asyncio.Runner) -> None:
    """To another thread and back; what was to be written and read still is."""
    loop = runner.get_loop()
    connection = wired()
    transport, protocol, peer = loop.run_until_complete(connection.__aenter__())
    payload = os.urandom(4 << 20)
    transport.write(payload)
    loop.run_until_complete(turns())
    assert transport.get_write_buffer_size() > 0
    peer.send(b"before, ")
    peer.settimeout(PATIENCE_S)
    half = bytearray()
    with runs_in_thread(loop):
        while len(half) < len(payload) // 2:
            half += peer.recv(1 << 16)
    peer.send(b"between, ")
    peer.setblocking(False)

    async def rest() -> None:
        async with asyncio.timeout(PATIENCE_S):
            assert half + await read_exactly(peer, len(payload) - len(half)) == payload
            await until(lambda: protocol.data == b"before, between, ")

    loop.run_until_complete(rest())
    loop.run_until_complete(connection.__aexit__(None, None, None))


def test_the_room_is_seen_by_the_new_thread(runner: asyncio.Runner) -> None:
    """The peer makes room while no thread runs the loop."""
    loop = runner.get_loop()
    connection = wired()
    transport, _, peer = loop.run_until_complete(connection.__aenter__())
    written = fill(transport)
    loop.run_until_complete(turns())
    taken = take(peer)
    peer.settimeout(PATIENCE_S)
    with runs_in_thread(loop):
        while taken < written:
            taken += len(peer.recv(1 << 20))
    assert taken == written
    loop.run_until_complete(connection.__aexit__(None, None, None))
