"""Protocols that note what they are told, and connections for them; no tests.

The behaviour tests use them on asyncio's loop and on ours. `on_loop` makes a test out
of a coroutine function; `wired` is a connection whose other end is a plain socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

PATIENCE_S = 20  # how long a test waits for what is certain to come


def on_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test whose body is a coroutine; it runs on each kind of loop."""

    async def in_time(**fixtures: Any) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await test(**fixtures)

    @functools.wraps(test)
    def run(runner: asyncio.Runner, **fixtures: Any) -> None:
        runner.run(in_time(**fixtures))

    signature = inspect.signature(test)
    keyword = inspect.Parameter("runner", inspect.Parameter.KEYWORD_ONLY)
    others = (
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in signature.parameters.values()
    )
    run.__signature__ = signature.replace(parameters=[keyword, *others])  # type: ignore
    return run


async def until(holds: Callable[[], object]) -> None:
    """Let the loop turn until something holds; for what has no event of its own."""
    while not holds():
        await asyncio.sleep(0.001)


async def turns(number: int = 5) -> None:
    """Let the loop turn a few times."""
    for _ in range(number):
        await asyncio.sleep(0)


def caught() -> list[dict[str, Any]]:
    """What the running loop's exception handler is given from now on."""
    contexts: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    return contexts


class Noting:
    """What the protocols below have in common; `lost` is done when all is over."""

    keep_open: bool | None = None  # what eof_received returns

    def __init__(self) -> None:
        self.told: list[str] = []
        self.data = bytearray()
        self.error: BaseException | None = None
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.told.append("made")

    def eof_received(self) -> bool | None:
        self.told.append("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, error: Exception | None) -> None:
        self.told.append(f"lost {type(error).__name__}" if error else "lost")
        self.error = error
        self.lost.set_result(None)


class Recorder(Noting, asyncio.Protocol):
    """A protocol that keeps everything."""

    def data_received(self, data: bytes) -> None:
        self.told.append("data")
        self.data += data


class KeepsOpen(Recorder):
    """Writes on after the other side's end of file."""

    keep_open = True


class Buffered(Noting, asyncio.BufferedProtocol):
    """The same, for data that is put into its own buffer of `size` bytes."""

    size = 1000

    def __init__(self) -> None:
        super().__init__()
        self.buffer = bytearray(self.size)
        self.hints: list[int] = []

    def get_buffer(self, sizehint: int) -> Any:
        self.hints.append(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.told.append("data")
        self.data += self.buffer[:nbytes]


def tcp_pair(**options: int) -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets; options are names of SOL_SOCKET's, for the first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = socket.socket(proto=socket.IPPROTO_TCP)
        for name, value in options.items():
            left.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        left.connect(listener.getsockname())
        right, _ = listener.accept()
    return left, right


@contextlib.asynccontextmanager
async def wired(
    factory: Callable[[], Any] = Recorder,
    sockets: tuple[socket.socket, socket.socket] | None = None,
) -> AsyncIterator[tuple[Any, Any, socket.socket]]:
    """(transport, protocol, the other end): a connection, ended afterwards."""
    loop = asyncio.get_running_loop()
    left, right = sockets or socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    transport, protocol = await loop.create_connection(factory, sock=left)
    try:
        yield transport, protocol, right
    finally:
        if not protocol.lost.done():  # asyncio's abort() fails after a flush
            transport.abort()
        await protocol.lost
        right.close()


def fill(transport: Any) -> int:
    """Write until some of it has to wait; the number of bytes written."""
    written = 0
    while not transport.get_write_buffer_size():
        transport.write(bytes(1 << 16))
        written += 1 << 16
    return written


async def read_all(sock: socket.socket) -> bytes:
    """Everything up to the end of file."""
    loop = asyncio.get_running_loop()
    data = bytearray()
    while more := await loop.sock_recv(sock, 1 << 18):
        data += more
    return bytes(data)


async def read_exactly(sock: socket.socket, size: int) -> bytes:
    """So many bytes."""
    loop = asyncio.get_running_loop()
    data = bytearray()
    while len(data) < size:
        more = await loop.sock_recv(sock, size - len(data))
        assert more, "the end of file came early"
        data += more
    return bytes(data)


def stuff(sock: socket.socket) -> int:
    """Fill the kernel's buffers; the number of bytes they took."""
    taken = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            taken += sock.send(bytes(1 << 16))
    return taken


def reset(sock: socket.socket) -> None:
    """Close a TCP socket so that its peer is told of a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
