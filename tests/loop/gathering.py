"""Transports that write several times per callback. Used by tests/loop only."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from peers import Recorder, read_exactly, wired

import syslet_loop

LEARNT = 4  # callbacks in a row with several writes


@asynccontextmanager
async def habitual(
    factory: Callable[[], Recorder] = Recorder,
) -> AsyncIterator[tuple[Any, Recorder, socket.socket]]:
    """A transport that is known to write twice per callback."""
    async with wired(factory) as (transport, recorder, peer):
        for _ in range(LEARNT):
            await asyncio.sleep(0)
            transport.write(b"1")
            transport.write(b"2")
        await asyncio.sleep(0)
        assert await read_exactly(peer, 2 * LEARNT) == b"12" * LEARNT
        yield transport, recorder, peer


def keeps_back() -> bool:
    """Whether this loop does it at all."""
    return isinstance(asyncio.get_running_loop(), syslet_loop.EventLoop)


def is_empty(peer: socket.socket) -> bool:
    try:
        peer.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    return False


def keeps_back_in(runner: asyncio.Runner) -> bool:
    """Whether the loop of this runner does it."""
    return isinstance(runner.get_loop(), syslet_loop.EventLoop)
