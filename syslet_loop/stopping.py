"""A server's life in a process: it serves until it is told to stop.

Used by programs of one process (web_server.py) and by workers (workers.py). A server is
anything with `start(sockets)` and `stop(seconds)`; nothing here knows HTTP.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any, Protocol

GRACE_S = 30.0  # for requests that run when a server is stopped
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Servable(Protocol):
    """What can be served: `web.Server`, or a few lines around another framework."""

    async def start(self, sockets: Sequence[socket.socket], /) -> object:
        """Begin to accept on these listening sockets."""

    async def stop(self, seconds: float, /) -> object:
        """Accept nothing more; let what runs end, at most so many seconds."""


async def serve_until_stopped(
    server: Servable,
    sockets: Sequence[socket.socket],
    started: Callable[[], object],
    grace_s: float = GRACE_S,
    life: int | None = None,
    signals: Sequence[int] = SIGNALS,
) -> None:
    """Serve until one of the signals, or the end of what can be read from `life`.

    `started()` is called when the server accepts. A second signal ends the process as
    it would have without a handler. Raises what starting and stopping raise.
    """
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        stopping.set()
        _leave(loop, life, signals)

    for number in signals:
        loop.add_signal_handler(number, stop)
    if life is not None:
        loop.add_reader(life, stop)
    try:
        await server.start(sockets)
        try:
            started()
            await stopping.wait()
        finally:
            await server.stop(grace_s)
    finally:
        _leave(loop, life, signals)


def _leave(loop: Any, life: int | None, signals: Sequence[int]) -> None:
    for number in signals:
        loop.remove_signal_handler(number)
    if life is not None:
        loop.remove_reader(life)
