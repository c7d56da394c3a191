"""What runs as the first process of a virtual machine: the loop on another kernel.

Ten seconds of work on each backend, after the doctor's self-test, or the pytest runs of
plan.json, and one line that begins with RESULT and says in JSON what happened. Run by
tests/kernels/run.py, also as an ordinary program (`python tests/kernels/guest.py 1`),
which mounts nothing.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import json
import os
import platform
import socket
import struct
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

sys.path.insert(0, "/app/site")
sys.path.insert(0, "/app")

import syslet_loop
from syslet_loop import calls, doctor, files, syslet
from syslet_loop.language import ASYNC

APP = Path("/app")
PLAN = APP / "plan.json"
SECONDS = 10.0
PATIENCE_S = 60
FILES, CONNECTIONS, BLOCK = 40, 8, 20_000


@syslet
def copy(s: Any, source: str, target: str) -> Any:
    """A whole file, block by block."""
    fd = s.openat(source, os.O_RDONLY)
    out = s.openat(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    buffer = s.buffer(4096)
    total = s.cell(0)
    with s.loop():
        count = s.read(fd, buffer)
        s.break_if(count <= 0)
        s.write(out, buffer, count)
        s.add(total, count)
    s.fsync(out)
    s.close(out)
    s.close(fd)
    return total


@syslet
def read_in_ring(s: Any, path: str, size: int = BLOCK) -> Any:
    """As a request, although it would not have to wait."""
    fd = s.openat(path, os.O_RDONLY)
    data = s.pread(fd, size, 0, atom_flags=ASYNC)
    s.close(fd)
    return data


@syslet
def read_file(s: Any, path: str, size: int = BLOCK) -> Any:
    fd = s.openat(path, os.O_RDONLY)
    data = s.read(fd, size)
    s.close(fd)
    return data


def content(number: int) -> bytes:
    return bytes([number % 251]) * (BLOCK - number)


async def work_with_files() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{number}" for number in range(FILES)]
        for number, path in enumerate(paths):
            async with files.open(path, "wb") as file:
                await file.write(content(number))
        assert await copy(paths[0], f"{folder}/copy") == BLOCK
        assert await read_file(f"{folder}/copy") == content(0)
        assert await read_in_ring(paths[3]) == content(3)
        seen = set()
        async for path, data in read_file.map(paths, limit=16):
            number = int(os.path.basename(path))
            assert data == content(number)
            seen.add(number)
        assert len(seen) == FILES
        assert (await calls.fstatat(paths[1])).st_size == BLOCK - 1
        try:
            await read_file(f"{folder}/none")
        except FileNotFoundError:
            return
        raise AssertionError("a file that is not there was read")


async def work_with_waits() -> None:
    """Everything that has to wait: a peer, a pipe, a clock, readiness, a child."""
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    reader, writer = os.pipe()
    with left, right:
        left.setblocking(False)
        loop.call_later(0.001, right.send, b"word")
        assert await calls.recv(left.fileno(), 100) == b"word"
        loop.call_later(0.001, os.write, writer, b"pipe")
        assert await calls.read(reader, 100) == b"pipe"
        loop.call_later(0.001, right.send, b"x")
        assert await calls.poll(left.fileno(), 1, timeout=PATIENCE_S)
    os.close(reader)
    os.close(writer)
    start = time.monotonic()
    await calls.timeout(0.002)
    assert time.monotonic() - start >= 0.002
    called = asyncio.Event()
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(called.set,))
    thread.start()
    await called.wait()
    thread.join()


async def work_with_cancellation() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        tasks = [
            asyncio.ensure_future(calls.recv(left.fileno(), bytearray(10)))
            for _ in range(50)
        ]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended)
        right.send(b"late")
        assert await calls.recv(left.fileno(), 100) == b"late"


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(5000):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _talk(address: tuple[str, int], number: int) -> None:
    reader, writer = await asyncio.open_connection(*address)
    for length in (1, 1000, BLOCK):
        block = bytes([number]) * length
        writer.write(block)
        assert await reader.readexactly(length) == block
    writer.close()
    await writer.wait_closed()


async def work_with_sockets() -> None:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    await asyncio.gather(*(_talk(address, number) for number in range(CONNECTIONS)))
    server.close()


WORK: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = (
    work_with_files,
    work_with_waits,
    work_with_cancellation,
    work_with_sockets,
)


async def work(seconds: float) -> dict[str, Any]:
    """All of it, again and again; how often, and what the engine says of it."""
    end, rounds = time.monotonic() + seconds, 0
    loop: Any = asyncio.get_running_loop()
    while rounds == 0 or time.monotonic() < end:
        for each in WORK:
            async with asyncio.timeout(PATIENCE_S):
                await each()
        rounds += 1
    while getattr(loop, "stats", dict)().get("flying"):
        await asyncio.sleep(0)
    return {"rounds": rounds, "stats": getattr(loop, "stats", dict)()}


def on_backend(backend: str, seconds: float) -> dict[str, Any]:
    os.environ["SYSLET_LOOP_BACKEND"] = backend
    try:
        found = syslet_loop.run(work(seconds))
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            found["foreign"] = runner.run(work(0))["rounds"]
    except BaseException:
        return {"error": traceback.format_exc()}
    finally:
        del os.environ["SYSLET_LOOP_BACKEND"]
    return found


def result(seconds: float) -> dict[str, Any]:
    """What this kernel gives."""
    report = doctor.examine()
    found: dict[str, Any] = {
        "release": platform.release(),
        "version": platform.version(),
        "status": report["status"],
        "backend": report["backend"],
        "misses": {
            name: paths["miss"]
            for name, paths in report["operations"].items()
            if "ring" in paths["miss"]
        },
        "failing": [test for test in report["tests"] if test["error"]],
    }
    for backend in ("uring", "epoll"):
        found[backend] = on_backend(backend, seconds)
    return found


def tests() -> dict[str, Any]:
    """What pytest says of each run of the plan."""
    from tests.kernels import inside

    inside.mount_disk()
    return {
        "release": platform.release(),
        "pytest": {
            " ".join(arguments): inside.run_pytest(arguments, APP)
            for arguments in json.loads(PLAN.read_text())
        },
    }


# As the first process there is.

_POWER_OFF = 0x4321FEDC
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def mount(kind: str, place: str, source: str = "none") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    Path(place).mkdir(exist_ok=True)
    if libc.mount(source.encode(), place.encode(), kind.encode(), 0, None) != 0:
        print(f"mount {place}: {os.strerror(ctypes.get_errno())}")


def mount_all() -> None:
    mounts = [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")]
    for kind, place in [*mounts, ("tmpfs", "/tmp"), ("tmpfs", "/dev/shm")]:
        mount(kind, place)


def loopback_up() -> None:
    with socket.socket() as sock:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack_from("16xh", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))[0]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))


def power_off() -> None:
    libc = ctypes.CDLL(None)
    libc.sync()
    libc.reboot(ctypes.c_int(_POWER_OFF))


def main() -> None:
    first = os.getpid() == 1
    try:
        if first:
            os.environ["PATH"] = "/bin:/usr/bin"
            os.environ["HOME"] = "/tmp"
            mount_all()
            loopback_up()
        seconds = float(sys.argv[1]) if len(sys.argv) > 1 and not first else SECONDS
        found = tests() if first and PLAN.exists() else result(seconds)
        print("RESULT", json.dumps(found), flush=True)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        if first:
            power_off()


if __name__ == "__main__":
    main()
