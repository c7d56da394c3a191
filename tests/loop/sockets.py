"""Sockets for the tests of the loop's socket calls. Used by tests/loop only."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

Pair = tuple[socket.socket, socket.socket]


def loop_now() -> Any:
    """The loop that runs; its methods are not looked at by type checkers."""
    return asyncio.get_running_loop()


def open_pair() -> Pair:
    """Two connected sockets that do not block; who asks for them closes them."""
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    return one, other


@contextlib.contextmanager
def make_pair() -> Iterator[Pair]:
    """Two connected sockets that do not block, and are closed at the end."""
    one, other = open_pair()
    with one, other:
        yield one, other


def bound(
    family: int, address: Any = None, kind: int = socket.SOCK_DGRAM
) -> socket.socket:
    """A socket that does not block, bound to the address if there is one."""
    sock = socket.socket(family, kind)
    sock.setblocking(False)
    if address is not None:
        sock.bind(address)
    elif family != socket.AF_UNIX:
        sock.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
    return sock


async def waiting(*tasks: asyncio.Task[Any]) -> None:
    """Returns when every one of these tasks has begun to wait."""
    while not all(task.done() or task._fut_waiter for task in tasks):  # type: ignore[attr-defined]
        await asyncio.sleep(0)
    await asyncio.sleep(0)  # so that what they wait for is armed
