"""Syslets that wait, and what starts them on foreign loops; no tests."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from syslet_loop import attach, syslet

Factory = Callable[[], asyncio.AbstractEventLoop]
Pair = tuple[socket.socket, socket.socket]


@syslet
def receive(s: Any, fd: int) -> Any:
    """Hold a descriptor of its own while it waits."""
    made = s.eventfd(0)
    data = s.recv(fd, 100)
    s.close(made)
    return data


@syslet
def receive_into(s: Any, fd: int, memory: bytearray) -> Any:
    return s.recv(fd, memory)


@syslet
def nap(s: Any, seconds: float) -> None:
    s.timeout(seconds)


@syslet
def lines(s: Any, fd: int) -> None:
    with s.loop():
        s.emit((s.recv(fd, 10), s.eventfd(0)))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def flying(count: int) -> None:
    """Turn the loop until so many flights are in the air."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20):
        while attach.flying(loop) != count:
            await asyncio.sleep(0)


def started(
    loop: asyncio.AbstractEventLoop, *flights: Awaitable[Any]
) -> list[asyncio.Future[Any]]:
    """Tasks that wait for flights, which are all in the air."""

    async def start() -> list[asyncio.Future[Any]]:
        tasks = [asyncio.ensure_future(flight) for flight in flights]
        await flying(len(flights))
        return tasks

    return loop.run_until_complete(start())
