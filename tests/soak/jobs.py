"""The mixed work of a soak: short jobs, each of which checks its own bytes.

A job is a coroutine function of a `World` and a random generator; it returns how many
bytes it moved and raises if one is wrong. It may be cancelled anywhere unless it is in
WHOLE, and then leaves nothing behind. Used by run.py.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import signal
import socket
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import syslet_loop
from syslet_loop import calls, syslet
from tests.soak.servers import CHECK, ECHO, HEAD, SEND, Failures, Servers, made, reset

CHILD_LIMIT_S = 20


class World:
    """What the jobs share."""

    def __init__(self, failures: Failures) -> None:
        self.failures = failures
        self.servers = Servers()
        self.folder = tempfile.TemporaryDirectory()
        self.lost_datagrams = 0
        self._hosts = 0

    def new_address(self) -> tuple[str, int]:
        """One of its own: the kernel gives a port again while answers are under way."""
        self._hosts += 1
        high, low = divmod(self._hosts % 0xFF0000, 254)
        return (f"127.{1 + (high >> 8)}.{high & 255}.{1 + low}", 0)

    def path(self, rng: random.Random) -> str:
        return os.path.join(self.folder.name, f"{rng.getrandbits(60):x}")


def expect(true: bool, what: str) -> None:
    """Raise if bytes were lost or misdelivered."""
    if not true:
        raise AssertionError(what)


# --- connections ---


async def _talk(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random
) -> int:
    """Send blocks and get them back, with several under way."""
    blocks = [rng.randbytes(rng.choice((1, 100, 5000, 90_000))) for _ in range(10)]
    for block in blocks:
        writer.write(block)
    for block in blocks:
        expect(await reader.readexactly(len(block)) == block, "an echo differs")
    return 2 * sum(map(len, blocks))


async def tcp_echo(world: World, rng: random.Random) -> int:
    address = rng.choice([*world.servers.echoes, world.servers.address])
    reader, writer = await asyncio.open_connection(*address)
    try:
        if address == world.servers.address:
            writer.write(HEAD.pack(ECHO, 0, 0))
        moved = await _talk(reader, writer, rng)
        if rng.random() < 0.2:
            writer.write(rng.randbytes(200_000))  # what nobody will read
            reset(writer)
            return moved
        writer.write_eof()
        expect(await reader.read() == b"", "bytes after the end")
        return moved
    finally:
        writer.close()


async def tcp_checked(world: World, rng: random.Random) -> int:
    """The server checks what the client sends, or the other way round."""
    count, seed = rng.randrange(300_000), rng.getrandbits(60)
    what = rng.choice((SEND, CHECK))
    reader, writer = await asyncio.open_connection(*world.servers.address)
    try:
        writer.write(HEAD.pack(what, count, seed))
        if what == CHECK:
            writer.write(made(seed, count))
            expect(await reader.read() == b"same", "the server got other bytes")
        else:
            expect(await reader.read() == made(seed, count), "other bytes came")
        return count
    finally:
        writer.close()


async def sock_calls(world: World, rng: random.Random) -> int:
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        data = rng.randbytes(rng.randrange(1, 500_000))
        sending = asyncio.ensure_future(loop.sock_sendall(left, data))
        try:
            got = bytearray()
            while len(got) < len(data):
                got += await loop.sock_recv(right, 60_000)
            await sending
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    expect(got == data, "a socket pair gave other bytes")
    return len(data)


class Asker(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, _: Any) -> None:
        self.answers.put_nowait(data)


async def udp(world: World, rng: random.Random) -> int:
    """A datagram may be lost, and must never be another one's."""
    loop = asyncio.get_running_loop()
    sent = {rng.randbytes(rng.randrange(8, 1400)) for _ in range(20)}
    transport, asker = await loop.create_datagram_endpoint(
        Asker, world.new_address(), world.servers.udp_address
    )
    try:
        for datagram in sent:
            transport.sendto(datagram)
        left = set(sent)
        while left:
            try:
                answer = await asyncio.wait_for(asker.answers.get(), 2)
            except TimeoutError:
                world.lost_datagrams += len(left)
                break
            expect(answer in sent, "a datagram of somebody else")
            left.discard(answer)
    finally:
        transport.close()
    return 2 * sum(map(len, sent))


# --- files ---


@syslet
def write_file(s: Any, path: str, data: bytes) -> Any:
    fd = s.openat(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    s.write(fd, data)
    s.fdatasync(fd)
    s.close(fd)


@syslet
def read_file(s: Any, path: str, size: int) -> Any:
    fd = s.openat(path, os.O_RDONLY)
    data = s.read(fd, size)
    s.close(fd)
    return data


async def files(world: World, rng: random.Random) -> int:
    path, data = world.path(rng), rng.randbytes(rng.randrange(1, 200_000))
    try:
        await write_file(path, data)
        expect(await read_file(path, len(data) + 1) == data, "a file differs")
        expect((await calls.fstatat(path)).st_size == len(data), "a size differs")
        return 2 * len(data)
    finally:
        Path(path).unlink(missing_ok=True)


async def many_files(world: World, rng: random.Random) -> int:
    """A thousand flights in little time, left early now and then."""
    path, data = world.path(rng), rng.randbytes(rng.randrange(1, 4000))
    Path(path).write_bytes(data)
    count, wanted = 0, rng.choice((10, 100, 1000, 2000))
    try:
        async for _, read in read_file.map([(path, 5000)] * 1000, limit=100):
            expect(read == data, "a file of many differs")
            count += 1
            if count == wanted:
                break
    finally:
        Path(path).unlink()
    return count * len(data)


async def full_disk(world: World, rng: random.Random) -> int:
    try:
        await write_file("/dev/full", rng.randbytes(10_000))
    except OSError as error:
        expect(error.errno == errno.ENOSPC, f"{error} from a full disk")
    else:
        raise AssertionError("a full disk took bytes")
    return 0


# --- time, threads, processes, memory ---


async def timers(world: World, rng: random.Random) -> int:
    loop = asyncio.get_running_loop()
    for _ in range(100):
        loop.call_later(rng.random(), print).cancel()
    for _ in range(10):
        seconds = rng.random() * 0.01
        start = loop.time()
        await (asyncio.sleep if rng.random() < 0.5 else calls.timeout)(seconds)
        expect(loop.time() - start >= seconds, "a timer rang too early")
    return 0


async def cancelled_flights(world: World, rng: random.Random) -> int:
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        waiting = [
            asyncio.ensure_future(calls.recv(left.fileno(), 100)) for _ in range(50)
        ]
        try:
            await asyncio.sleep(rng.random() * 0.002)
        finally:
            for each in rng.sample(waiting, len(waiting)):
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
    return 0


async def threads(world: World, rng: random.Random) -> int:
    loop, number = asyncio.get_running_loop(), rng.random()
    called: asyncio.Queue[float] = asyncio.Queue()
    loop.run_in_executor(None, loop.call_soon_threadsafe, called.put_nowait, number)
    expect(await called.get() == number, "a thread's call got other arguments")
    return 0


async def memory(world: World, rng: random.Random) -> int:
    block = bytearray(rng.randrange(1, 30_000_000))
    block[:: 4096 * 16] = b"x" * len(block[:: 4096 * 16])
    await asyncio.sleep(rng.random() * 0.01)
    return 0


async def subprocesses(world: World, rng: random.Random) -> int:
    data = rng.randbytes(rng.randrange(200_000))
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    if rng.random() < 0.3:
        process.kill()
        await process.communicate()
        expect(process.returncode in (-signal.SIGKILL, 0), "another end of a child")
        return 0
    output, _ = await process.communicate(data)
    expect((output, process.returncode) == (data, 0), "a child gave other bytes")
    return 2 * len(data)


async def _in_child() -> None:
    left, right = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=left)
    _, other = await asyncio.open_connection(sock=right)
    other.write(b"child")
    expect(await reader.readexactly(5) == b"child", "a child's own loop differs")
    await calls.timeout(0.001)
    writer.close()
    other.close()


async def fork(world: World, rng: random.Random) -> int:
    """A child with a loop of its own, and everything of the parent's open."""
    loop = asyncio.get_running_loop()
    pid = os.fork()
    if pid == 0:
        signal.alarm(CHILD_LIMIT_S)
        code = 1
        try:
            syslet_loop.run(_in_child())
            code = 0
        finally:
            os._exit(code)
    _, status = await loop.run_in_executor(None, os.waitpid, pid, 0)
    expect(status == 0, f"a forked child ended with status {status:#x}")
    return 0


Job = Callable[[World, random.Random], Awaitable[int]]
JOBS: dict[Job, int] = {  # and how often, compared with others
    tcp_echo: 20,
    tcp_checked: 20,
    sock_calls: 10,
    udp: 6,
    files: 15,
    many_files: 3,
    full_disk: 3,
    timers: 6,
    cancelled_flights: 8,
    threads: 8,
    memory: 1,
    subprocesses: 2,
    fork: 1,
}
WHOLE = {subprocesses, fork}  # not cancelled: asyncio itself leaves children then
