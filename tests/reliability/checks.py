"""The limits, reached: many connections, FIFOs nobody opens, resets, cancellations.

Each check is a coroutine for a loop of ours that raises AssertionError, or gives a line
about what it did. run.py runs them in full, test_reliability.py shorter.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from syslet_loop import calls, syslet
from syslet_loop.language import ASYNC
from tests.reliability.server import SPARE_FDS, raise_fd_limit
from tests.soak.servers import EchoProtocol, Failures, reset

PATIENCE_S = 120
ROOT = Path(__file__).parents[2]


def rss() -> int:
    """Bytes of memory that this process has now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def settled(loop: Any) -> None:
    """Orphans have landed, and nothing is lent any more."""
    async with asyncio.timeout(PATIENCE_S):
        while loop.stats()["prepared"]:
            await asyncio.sleep(0.001)


async def serve(protocol: Callable[[], Any]) -> tuple[Any, tuple[str, int]]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0, backlog=1000)
    address: tuple[str, int] = server.sockets[0].getsockname()
    return server, address


# Many connections.


class Client(asyncio.Protocol):
    """Counts what comes back."""

    def __init__(self) -> None:
        self.received = b""
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(error)


async def connections(count: int = 10_000) -> str:
    """So many connections at once, each of which still echoes when all are open."""
    count = min(count, raise_fd_limit(count + SPARE_FDS) - SPARE_FDS)
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.reliability.server", str(count)),
        stdin=pipe,
        stdout=pipe,
        cwd=ROOT,
    )
    assert server.stdin is not None and server.stdout is not None
    address = "127.0.0.1", int(await server.stdout.readline())
    start = time.monotonic()
    clients = await _connect(address, count)
    await _echo(clients)
    for client in clients:
        client.transport.close()
    ends = await asyncio.wait_for(
        asyncio.gather(*(client.lost for client in clients)), PATIENCE_S
    )
    assert not any(ends), "a connection ended with an error"
    server.stdin.close()
    most = int(await asyncio.wait_for(server.stdout.read(), PATIENCE_S))
    assert await server.wait() == 0
    assert most == count, most
    seconds = time.monotonic() - start
    return f"{count} open at once, each of which echoed, {seconds:.1f} s"


async def _connect(address: tuple[str, int], count: int) -> list[Client]:
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    while len(clients) < count:
        some = min(200, count - len(clients))
        made = await asyncio.gather(
            *(loop.create_connection(Client, *address) for _ in range(some))
        )
        clients += [client for _, client in made]
    return clients


async def _echo(clients: list[Client]) -> None:
    for number, client in enumerate(clients):
        client.transport.write(number.to_bytes(8, "big") * 100)
    async with asyncio.timeout(PATIENCE_S):
        while any(len(client.received) < 800 for client in clients):
            await asyncio.sleep(0.01)
    for number, client in enumerate(clients):
        assert client.received == number.to_bytes(8, "big") * 100, number


# FIFOs that nobody opens.


@syslet
def read_fifo(s: Any, path: str) -> Any:
    fd = s.openat(path, os.O_RDONLY)
    return s.read(fd, 100)


@syslet
def write_and_sync(s: Any, path: str, data: bytes) -> Any:
    fd = s.openat(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    s.write(fd, data)
    s.fdatasync(fd)
    s.close(fd)


@syslet
def read_back(s: Any, path: str) -> Any:
    fd = s.openat(path, os.O_RDONLY)
    data = s.pread(fd, 4096, 0, atom_flags=ASYNC)
    s.close(fd)
    return data


async def fifos(count: int = 1000, files: int = 500) -> str:
    """Opens that wait for ever, of FIFOs, do not stop other files; nor do they deadlock
    when somebody comes after all."""
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/fifo-{number}" for number in range(count)]
        for path in paths:
            os.mkfifo(path)
        readers = [asyncio.ensure_future(read_fifo(path)) for path in paths]
        await asyncio.sleep(0.01)
        start = time.monotonic()
        for number in range(files):
            path, data = f"{folder}/{number}", b"%d" % number
            async with asyncio.timeout(PATIENCE_S):
                await write_and_sync(path, data)
                assert await read_back(path) == data
        seconds = time.monotonic() - start
        assert not any(reader.done() for reader in readers), "nobody has opened them"
        await _open_some(readers, paths)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        await settled(loop)
    return (
        f"{files} files were written and read beside {count} FIFOs in {seconds:.2f} s"
    )


async def _open_some(readers: list[Any], paths: list[str]) -> None:
    """Every tenth gets its writer, the last first; some are still queued."""
    for number in reversed(range(0, len(paths), 10)):
        fd = os.open(paths[number], os.O_RDWR)  # it waits for nobody
        os.write(fd, b"%d" % number)
        got = await asyncio.wait_for(readers[number], PATIENCE_S)
        os.close(fd)
        assert got == b"%d" % number, (number, got)


# Connections that are reset.


class Fleet:
    """Connections that talk, some of which are killed again and again."""

    def __init__(self, address: tuple[str, int], end: float) -> None:
        self.address = address
        self.end = end
        self.failures = Failures()
        self.killed = self.blocks = self.moved = 0

    async def survive(self, rng: random.Random) -> None:
        """Numbered blocks, each of which must come back whole and in order."""
        reader, writer = await asyncio.open_connection(*self.address)
        number = 0
        while time.monotonic() < self.end:
            block = number.to_bytes(8, "big") * rng.randrange(1, 3000)
            writer.write(block)
            async with asyncio.timeout(PATIENCE_S):
                if await reader.readexactly(len(block)) != block:
                    raise AssertionError(f"block {number} differs")
            number += 1
            self.blocks += 1
            self.moved += 2 * len(block)
            await asyncio.sleep(rng.random() * 0.02)
        writer.close()
        await writer.wait_closed()

    async def be_killed(self, rng: random.Random) -> None:
        while time.monotonic() < self.end:
            reader, writer = await asyncio.open_connection(*self.address)
            writer.write(bytes(rng.randrange(1, 300_000)))
            await asyncio.sleep(rng.random() * 0.05)
            end = rng.randrange(3)
            if end == 0:
                reset(writer)
            elif end == 1:
                writer.transport.abort()
            else:
                writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
                writer.close()
            self.killed += 1
            del reader

    async def watched(self, what: Awaitable[None]) -> None:
        try:
            await what
        except Exception as error:
            self.failures.note(f"{type(error).__name__}: {error}")


async def resets(count: int = 200, seconds: float = 60, seed: int = 1) -> str:
    """A tenth of the connections is killed at random; the others lose nothing."""
    rng = random.Random(seed)
    server, address = await serve(EchoProtocol)
    fleet = Fleet(address, time.monotonic() + seconds)
    jobs = []
    for number in range(count):
        dice = random.Random(rng.random())
        job = fleet.be_killed(dice) if number % 10 == 0 else fleet.survive(dice)
        jobs.append(fleet.watched(job))
    await asyncio.gather(*jobs)
    server.close()
    assert not fleet.failures, fleet.failures
    assert fleet.killed and fleet.blocks
    return (
        f"{count} connections, {fleet.killed} killed in {seconds:g} s; the others "
        f"moved {fleet.blocks} blocks, {fleet.moved / 1e6:.0f} MB, and lost nothing"
    )


# Cancellations.


class Targets:
    """What there is to wait for: none of it comes by itself, or all of it does."""

    def __init__(self, folder: str) -> None:
        self.left, self.right = socket.socketpair()
        self.left.setblocking(False)
        self.file = f"{folder}/file"
        self.fifo = f"{folder}/fifo"
        Path(self.file).write_bytes(bytes(range(256)) * 40)
        os.mkfifo(self.fifo)
        self.memory = bytearray(64)
        self.kinds: tuple[Callable[[], Any], ...] = (
            lambda: calls.recv(self.left.fileno(), 100),
            lambda: calls.recv(self.left.fileno(), self.memory),
            lambda: calls.timeout(60),
            lambda: calls.timeout(0.0005),
            lambda: calls.poll(self.left.fileno(), 1),
            lambda: calls.faccessat(self.file, os.R_OK),
            lambda: calls.getppid(),
            lambda: read_back(self.file),
            lambda: read_fifo(self.fifo),
        )
        self.weights = (6, 4, 4, 6, 4, 4, 6, 8, 1)

    def close(self) -> None:
        self.left.close()
        self.right.close()


async def _cancel_some(rng: random.Random, targets: Targets, count: int) -> int:
    """Some flights, each cancelled at a moment of its own; how many were in time."""
    kinds = rng.choices(targets.kinds, targets.weights, k=count)
    tasks = [asyncio.ensure_future(kind()) for kind in kinds]
    for _ in range(rng.randrange(3)):
        await asyncio.sleep(0)
    rng.shuffle(tasks)
    for number, task in enumerate(tasks):
        task.cancel()
        if number % 50 == 0:
            await asyncio.sleep(rng.choice((0, 0, 0, 0.0002)))
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        good = isinstance(end, asyncio.CancelledError | int | bytes) or end is None
        assert good, f"{type(end).__name__}: {end}"
    return sum(isinstance(end, asyncio.CancelledError) for end in ends)


async def cancels(count: int = 1_000_000, seed: int = 1) -> str:
    """So many syslets, cancelled at random moments: no leak, no crash."""
    loop: Any = asyncio.get_running_loop()
    rng, start, cancelled, done = random.Random(seed), time.monotonic(), 0, 0
    memory: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        targets = Targets(folder)
        loop.stats()
        before = descriptors()
        while done < count:
            some = min(1000, count - done)
            cancelled += await _cancel_some(rng, targets, some)
            done += some
            if done % max(count // 20, 1000) == 0:
                await settled(loop)
                memory.append(rss())
        await settled(loop)
        after = descriptors()
        targets.close()
    assert after <= before + 1, (before, after)  # a wait's duplicate ends in a tick
    third = len(memory) // 3
    if third > 1:
        grown = memory[-1] - memory[third]
        assert grown < 16 << 20, f"RSS grew: {memory}"
    seconds = time.monotonic() - start
    stats = loop.stats()
    return (
        f"{count} syslets, {cancelled} cancelled in time, {stats['launched']} flights, "
        f"{seconds:.0f} s; RSS {memory[0] / 1e6:.0f} to {memory[-1] / 1e6:.0f} MB"
    )


CHECKS: dict[str, Callable[..., Any]] = {
    "connections": connections,
    "fifos": fifos,
    "resets": resets,
    "cancels": cancels,
}
