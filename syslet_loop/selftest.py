"""A quick test of each path that a program takes through the loop; used by doctor.py.

Each check is short, has a time limit, and says what is wrong by raising. They run on a
loop of the given backend, which `run_all` makes; nothing outside the process is touched
but the loopback interface and a child.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from . import calls
from .loop import EventLoop

LIMIT_S = 10.0
_WORD = b"syslet_loop doctor"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One check: its name, how long it took, and what was wrong ('': nothing)."""

    name: str
    seconds: float
    error: str


def _stats() -> dict[str, int]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, EventLoop)
    return loop.engine.stats()


def _must_have_grown(
    counters: str, before: dict[str, int], after: dict[str, int]
) -> None:
    """One of these counters; their names are separated by spaces."""
    if not any(after[name] > before[name] for name in counters.split()):
        raise RuntimeError(f"it worked, but not on this path: {counters} did not grow")


async def _inline() -> None:
    before = _stats()
    if await calls.getppid() != os.getppid():
        raise RuntimeError("getppid gave another number")
    _must_have_grown("inlined", before, _stats())


async def _wait() -> None:
    """What must wait: a request in the ring, or readiness."""
    before = _stats()
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        asyncio.get_running_loop().call_later(0.001, right.send, _WORD)
        if await calls.recv(left.fileno(), 100) != _WORD:
            raise RuntimeError("other bytes were received than were sent")
    await calls.timeout(0.001)
    _must_have_grown("to_ring", before, _stats())


async def _worker() -> None:
    before = _stats()
    await calls.faccessat("/", os.F_OK)
    # The engine's, or one of a kernel that executes syslets.
    _must_have_grown("to_worker to_kernel", before, _stats())


async def _echo_server(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    writer.write(await reader.readexactly(len(_WORD)))
    await writer.drain()
    writer.close()


async def _echo() -> None:
    server = await asyncio.start_server(_echo_server, "127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(_WORD)
        echoed = await reader.read()
        writer.close()
        await writer.wait_closed()
    finally:
        server.close()
    if echoed != _WORD:
        raise RuntimeError(f"{echoed!r} came back")


async def _timer() -> None:
    loop = asyncio.get_running_loop()
    start, rung = loop.time(), asyncio.Event()
    loop.call_later(0.002, rung.set)
    await rung.wait()
    if loop.time() - start < 0.002:
        raise RuntimeError("a timer rang too early")


async def _thread() -> None:
    loop, called = asyncio.get_running_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(called.set,))
    thread.start()
    await called.wait()
    thread.join()


async def _child() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", "print('here')"), stdout=-1
    )
    output, _ = await process.communicate()
    if (output, process.returncode) != (b"here\n", 0):
        raise RuntimeError(f"a child gave {output!r} and ended {process.returncode}")


_CHECKS: dict[str, Callable[[], Awaitable[None]]] = {
    "inline": _inline,
    "wait": _wait,
    "worker": _worker,
    "socket echo": _echo,
    "timer": _timer,
    "call_soon_threadsafe": _thread,
    "subprocess": _child,
}


def _run(loop: EventLoop, name: str, check: Callable[[], Awaitable[None]]) -> Outcome:
    start = time.perf_counter()
    error = ""
    try:
        loop.run_until_complete(asyncio.wait_for(check(), LIMIT_S))
    except Exception as caught:
        error = f"{type(caught).__name__}: {caught}"
    return Outcome(name, time.perf_counter() - start, error)


def run_all(backend: str) -> list[Outcome]:
    """Every check on a loop of this backend ('kernel', 'uring' or 'epoll')."""
    loop = EventLoop()
    loop._backend_wanted = backend
    try:
        if loop.backend != backend:
            raise OSError(f"the engine's backend is {loop.backend}")
    except OSError as error:
        loop.close()
        return [Outcome("engine", 0.0, f"{type(error).__name__}: {error}")]
    try:
        return [_run(loop, name, check) for name, check in _CHECKS.items()]
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
