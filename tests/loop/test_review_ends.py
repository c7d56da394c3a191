"""Ends that a reading of the native loop found late, missing, or told twice.

Files that are held after they were closed, connections that end before they begin,
and a server that never hears of the end of one. asyncio's loop is the judge where it
can be.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from peers import PATIENCE_S, Recorder, caught, on_loop, turns, until

MANY = 300  # connections: more than one entry into the ring can end
ours = pytest.mark.parametrize("runner", ("plain", "uring", "epoll"), indirect=True)
new_in_313 = pytest.mark.skipif(sys.version_info < (3, 13), reason="new in 3.13")


# Connections that end before they begin.


@new_in_313
@pytest.mark.parametrize("way", ("close_clients", "abort_clients"))
@on_loop
async def test_a_connection_ends_before_connection_made(way: str) -> None:
    """Its protocol is told of the beginning all the same, and first."""
    loop = asyncio.get_running_loop()
    made: list[Recorder] = []

    def factory() -> Recorder:
        loop.call_soon(getattr(server, way))  # before connection_made is called
        made.append(Recorder())
        return made[-1]

    server = await loop.create_server(factory, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        client.setblocking(False)
        with contextlib.suppress(ConnectionResetError):
            assert await loop.sock_recv(client, 1) == b""
        await made[0].lost
        assert made[0].told == ["made", "lost"]
    server.close()
    await server.wait_closed()


def connections_of(server: Any) -> int:
    """How many the server knows of; asyncio counts them in one way or the other."""
    clients = getattr(server, "_clients", None)
    return server._active_count if clients is None else len(clients)


@ours
@on_loop
async def test_a_socket_that_fails_to_close() -> None:
    """It is reported, and the server knows that the connection is gone.

    asyncio's server waits for ever for such a connection.
    """
    loop = asyncio.get_running_loop()
    contexts = caught()
    made: list[Recorder] = []

    class Closing(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            made.append(self)
            os.close(transport.get_extra_info("socket").fileno())
            transport.abort()

    server = await loop.create_server(Closing, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        client.setblocking(False)
        assert await loop.sock_recv(client, 1) == b""
        await until(lambda: contexts)
    assert [each["exception"].errno for each in contexts] == [errno.EBADF]
    assert [each.told for each in made] == [["made", "lost"]]
    assert connections_of(server) == 0
    server.close()
    await server.wait_closed()


# Files are let go of at once, however much else happens.


class Crowd:
    """Many connections, each of which has something to tell when it is stirred."""

    def __init__(self) -> None:
        self.protocols: list[Recorder] = []
        self.peers: list[socket.socket] = []

    async def gather(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(number):
            left, right = socket.socketpair()
            _, protocol = await loop.create_connection(Recorder, sock=left)
            self.protocols.append(protocol)
            self.peers.append(right)
        await turns()

    def stir(self) -> None:
        for peer in self.peers:
            peer.send(b"x")

    async def leave(self) -> None:
        for protocol in self.protocols:
            protocol.transport.abort()
        for protocol in self.protocols:
            await protocol.lost
        self.close_peers()

    def close_peers(self) -> None:
        for peer in self.peers:
            peer.close()


def listener(address: tuple[str, int] = ("127.0.0.1", 0)) -> socket.socket:
    """Refused if anything listens there still."""
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen()
    except OSError:
        sock.close()
        raise
    return sock


@on_loop
async def test_a_port_is_free_when_its_server_is_closed() -> None:
    """At once, though hundreds of connections have something to tell."""
    loop = asyncio.get_running_loop()
    crowd = Crowd()
    await crowd.gather(MANY)
    for _ in range(5):
        server = await loop.create_server(Recorder, sock=listener())
        address = server.sockets[0].getsockname()
        await turns()
        crowd.stir()
        server.close()
        listener(address).close()
        await turns()
    await crowd.leave()


@on_loop
async def test_the_end_is_seen_when_a_connection_is_closed() -> None:
    """Also when hundreds of others have something to tell at that moment."""
    loop = asyncio.get_running_loop()
    crowd = Crowd()
    await crowd.gather(MANY)
    ends: list[Any] = []

    class Last(Recorder):
        def connection_lost(self, error: Exception | None) -> None:
            super().connection_lost(error)
            crowd.stir()
            loop.call_soon(look)

    def look() -> None:
        try:
            ends.append(right.recv(10))
        except BlockingIOError:
            ends.append("not yet")

    for _ in range(5):
        left, right = socket.socketpair()
        right.setblocking(False)
        _, last = await loop.create_connection(Last, sock=left)
        await turns()
        last.transport.abort()
        await last.lost
        await turns()
        right.close()
    assert ends == [b""] * 5
    await crowd.leave()


@contextlib.contextmanager
def unclosed() -> Iterator[None]:
    """Transports that were not closed may say so within."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def test_files_are_free_when_the_loop_is_closed(runner: asyncio.Runner) -> None:
    """A port can be bound at once, and peers see the end of what was closed."""
    crowd = Crowd()
    bound = listener()
    address = bound.getsockname()
    left, right = socket.socketpair()
    right.setblocking(False)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.create_server(Recorder, sock=bound)
        await loop.create_connection(Recorder, sock=left)
        await crowd.gather(MANY)
        crowd.stir()

    with unclosed():
        runner.run(main())
        runner.close()
        bound.close()
        left.close()
        listener(address).close()
        assert right.recv(10) == b""
        right.close()
        crowd.close_peers()
        crowd.protocols.clear()


# Transports that other threads and processes have.


@contextlib.contextmanager
def runs_in_thread(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """The loop runs in another thread meanwhile, and has begun to."""
    begun = threading.Event()
    loop.call_soon(begun.set)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        assert begun.wait(PATIENCE_S)
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


class Forgetful(asyncio.Protocol):
    """Refers to its transport, which refers to it, and nobody else does."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport


async def forget(sock: socket.socket) -> None:
    """A connection that nobody has any more, and that waits for nothing."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(Forgetful, sock=sock)
    await turns()
    transport.pause_reading()
    await turns()


def run_by_itself(loop: asyncio.AbstractEventLoop, main: Any) -> None:
    """In the running loop, and without a trace of it afterwards."""
    asyncio.run_coroutine_threadsafe(main, loop).result(PATIENCE_S)
    settled = threading.Event()
    loop.call_soon_threadsafe(loop.call_soon, settled.set)
    assert settled.wait(PATIENCE_S)


def test_a_transport_is_collected_in_another_thread(runner: asyncio.Runner) -> None:
    """While its loop sleeps; its peer sees the end."""
    left, right = socket.socketpair()
    right.settimeout(PATIENCE_S)
    with right, unclosed(), runs_in_thread(runner.get_loop()):
        gc.disable()
        try:
            run_by_itself(runner.get_loop(), forget(left))
            del left
            gc.collect()
            assert right.recv(10) == b""
        finally:
            gc.enable()


CHILD = """
import asyncio, os, socket, warnings
import syslet_loop
warnings.simplefilter("ignore")

def sockets():
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    found = [os.readlink(link) for link in links if os.path.lexists(link)]
    return sum(each.startswith("socket:") for each in found)

async def main():
    loop = asyncio.get_running_loop()
    engine = loop.engine
    before = sockets()
    left, right = socket.socketpair()
    left.setblocking(False)
    waiting = [loop.create_task(loop.sock_recv(left, 10)) for _ in range(3)]
    for _ in range(5):
        await asyncio.sleep(0)
    pid = os.fork()
    if pid == 0:
        engine.close()
        left.close()
        right.close()
        os._exit(sockets() - before)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    right.send(b"x")
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    left.close()
    right.close()
    assert sockets() == before

syslet_loop.run(main())
"""


def test_a_forked_child_keeps_no_descriptors(backend: str) -> None:
    """Several that wait for one socket have descriptors of their own for it."""
    subprocess.run([sys.executable, "-c", CHILD], check=True, timeout=60)
