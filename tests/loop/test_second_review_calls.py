"""Socket calls whose socket, or whose wait, is not what it was when they began.

What a second reading of the socket methods found: a call reads and writes nothing but
its own socket, whatever was done to it, and is watched for no longer than it lasts.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from typing import Any

import pytest
from loop.sockets import Pair, loop_now, waiting
from processes import check_process

# The wait.


def test_a_future_that_somebody_else_has_set(ours: asyncio.Runner, pair: Pair) -> None:
    async def main() -> None:
        call = loop_now().sock_recv(pair[0], 9)
        for _ in range(3):
            call.send(None).set_result(None)  # nothing is there: it waits again
        future = call.send(None)
        pair[1].send(b"x")
        await asyncio.wait([future])
        with pytest.raises(StopIteration) as caught:
            call.send(None)
        assert caught.value.value == b"x"

    ours.run(main())


def test_nothing_is_watched_for_a_call_that_is_over(
    ours: asyncio.Runner, pair: Pair
) -> None:
    async def main() -> None:
        call = loop_now().sock_recv(pair[0], 9)
        future = call.send(None)
        pair[1].send(b"x")
        future.set_result(None)
        with pytest.raises(StopIteration):
            call.send(None)
        assert sys.getrefcount(call) == 2

    ours.run(main())


# The socket.


class Loud(socket.socket):
    """One whose methods can be told from a plain socket's."""

    __slots__ = ()

    def recv(self, *args: Any) -> bytes:
        return b"loud " + super().recv(*args)

    def send(self, data: Any, *args: Any) -> int:
        return super().send(memoryview(data)[:1000], *args)


def test_a_socket_that_becomes_another_kind(runner: asyncio.Runner, pair: Pair) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(loop_now().sock_recv(pair[0], 9))
        await waiting(task)
        pair[0].__class__ = Loud
        pair[1].send(b"x")
        assert await task == b"loud x"

    runner.run(main())


def test_a_socket_that_becomes_another_kind_while_it_sends(
    runner: asyncio.Runner, pair: Pair
) -> None:
    data = os.urandom(1 << 20)

    async def main() -> None:
        task = asyncio.ensure_future(loop_now().sock_sendall(pair[0], data))
        await waiting(task)
        assert not task.done()
        pair[0].__class__ = Loud
        received = bytearray()
        while len(received) < len(data):
            received += await loop_now().sock_recv(pair[1], 1 << 18)
        await task
        assert received == data

    runner.run(main())


class Replacing:
    """Memory that closes a socket when it is asked for, and has its number used again.

    `others` are the new sockets, with something to be received by the first.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.memory = bytearray(9)
        self.others: list[socket.socket] = []

    def replace(self) -> None:
        if not self.others:
            number = self.sock.fileno()
            self.sock.close()
            self.others += socket.socketpair()
            assert self.others[0].fileno() == number
            self.others[1].send(b"not yours")

    def __buffer__(self, flags: int) -> memoryview:
        self.replace()
        return memoryview(self.memory)

    def __len__(self) -> int:
        return len(self.memory)


INTO = ("sock_recv_into", "sock_recvfrom_into")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there is no __buffer__")
@pytest.mark.parametrize("name", [*INTO, "sock_sendall"])
def test_memory_that_closes_the_socket(
    runner: asyncio.Runner, pair: Pair, name: str
) -> None:
    memory = Replacing(pair[0])

    async def main() -> None:
        with pytest.raises(OSError, match="Bad file descriptor"):
            await getattr(loop_now(), name)(pair[0], memory)
        assert memory.others[0].recv(99) == b"not yours"
        memory.others[1].setblocking(False)
        with pytest.raises(BlockingIOError):
            memory.others[1].recv(99)

    try:
        runner.run(main())
    finally:
        for sock in memory.others:
            sock.close()


HOOK = """
import asyncio, socket, sys, {runs}

sock = socket.socket(type=socket.SOCK_DGRAM)
sock.setblocking(False)
others = []

def hook(event, args):
    if event == "socket.sendto" and not others:
        number = sock.fileno()
        sock.close()
        others.extend(socket.socketpair(type=socket.SOCK_DGRAM))
        assert others[0].fileno() == number

async def main():
    sys.addaudithook(hook)
    try:
        address = ("127.0.0.1", 9)
        await asyncio.get_running_loop().sock_sendto(sock, b"x", address)
    except OSError as error:
        print(error.errno)

{runs}.run(main())
for other in others:
    other.close()
"""


@pytest.mark.parametrize("runs", ["asyncio", "syslet_loop"])
def test_a_hook_that_closes_the_socket(runs: str) -> None:
    """In a process of its own: an audit hook stays for ever."""
    assert check_process(HOOK.format(runs=runs)) == f"{errno.EBADF}\n"
