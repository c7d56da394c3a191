"""Where calls are forbidden: io_uring as a whole, or single features.

Filters stand for kernels and containers that are not at hand. The loop must work the
same, say nothing, and tell in `loop.backend` what it runs on.
"""

from __future__ import annotations

import pytest
from processes import check_process
from seccomp import ENTER, REGISTER, SETUP

from syslet_loop import ops

X86 = ops.MACHINE == "x86_64"
# The kernel's numbers of what is optional, and what the loop does instead.
OPTIONAL = {
    "openat2": 437,  # opens go to workers
    "epoll_pwait2": 441,  # whole milliseconds
    "preadv2": 327 if X86 else 286,
    "pwritev2": 328 if X86 else 287,
    "statx": 332 if X86 else 291,
    "timerfd_create": 283 if X86 else 85,  # sleeps go to workers
    "process_vm_readv": 310 if X86 else 270,
    "pidfd_open": 434,
    "accept4": 288 if X86 else 242,
}

WORK = """
import asyncio, errno, os, socket, sys, tempfile, time
import seccomp
FILTER
import syslet_loop
from syslet_loop import calls, syslet

@syslet
def copy(s, source, target):
    fd = s.openat(source, os.O_RDONLY)
    data = s.read(fd, 65536)
    s.close(fd)
    out = s.openat(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    s.write(out, data)
    s.fsync(out)
    s.close(out)
    return data

async def files():
    with tempfile.TemporaryDirectory() as folder:
        source, target = folder + "/source", folder + "/target"
        with open(source, "wb") as file:
            file.write(bytes(range(256)) * 100)
        assert await copy(source, target) == bytes(range(256)) * 100
        with open(target, "rb") as file:
            assert file.read() == bytes(range(256)) * 100
        assert (await calls.fstatat(target)).st_size == 25600
        try:
            await copy(folder + "/none", target)
        except FileNotFoundError:
            pass
        else:
            raise AssertionError("a file that is not there was read")

async def echo(reader, writer):
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()

async def sockets():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(bytes(500_000))
    assert await reader.readexactly(500_000) == bytes(500_000)
    writer.close()
    await writer.wait_closed()
    server.close()
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        asyncio.get_running_loop().call_later(0.002, right.send, b"word")
        assert await calls.recv(left.fileno(), 100) == b"word"

async def main():
    async with asyncio.timeout(30):
        await files()
        if WITH_SOCKETS:
            await sockets()
        start = time.monotonic()
        await calls.timeout(0.002)
        assert time.monotonic() - start >= 0.002
        await asyncio.sleep(0.002)
        try:
            async with asyncio.timeout(0.01):
                await calls.timeout(60)
        except TimeoutError:
            pass
        return getattr(asyncio.get_running_loop(), "backend", "none")
"""
OURS = "print(syslet_loop.run(main()))\n"


def work(filtered: str, sockets: bool = True, run: str = OURS) -> str:
    script = WORK.replace("FILTER", filtered).replace("WITH_SOCKETS", str(sockets))
    return script + run


@pytest.mark.parametrize(
    "name",
    ["ENOSYS", "EPERM", "EACCES", "EOPNOTSUPP", "EINVAL", "ENOMEM", "EMFILE", "ENFILE"],
)
@pytest.mark.parametrize("number", [SETUP, ENTER, REGISTER])
def test_any_error_means_epoll(number: int, name: str) -> None:
    """Also if a ring can be made and not be used."""
    filtered = f"seccomp.forbid([{number}], errno.{name})"
    assert check_process(work(filtered)) == "epoll\n"


def test_a_kill_is_not_provoked() -> None:
    """With the variable set, none of the three calls is ever made."""
    assert check_process(work("seccomp.kill()"), "epoll") == "epoll\n"


@pytest.mark.parametrize("kind", ["asyncio.SelectorEventLoop", "uvloop.new_event_loop"])
def test_on_foreign_loops(kind: str) -> None:
    run = "import uvloop\n" if "uvloop" in kind else ""
    run += f"with asyncio.Runner(loop_factory={kind}) as runner:\n"
    run += "    print(runner.run(main()))\n"
    filtered = "seccomp.forbid([seccomp.SETUP], errno.EPERM)"
    assert check_process(work(filtered, run=run)) == "none\n"
    if "uvloop" not in kind:  # libuv tries io_uring itself
        assert check_process(work("seccomp.kill()", run=run), "epoll") == "none\n"


# Calls that are there, and a flag of theirs that is not, or not for this kind of file.
FLAGS = {
    "openat2": ("EINVAL", "EAGAIN"),  # RESOLVE_CACHED (5.12); nothing is cached
    "preadv2": ("EOPNOTSUPP", "EAGAIN", "EINVAL"),  # RWF_NOWAIT
    "pwritev2": ("EOPNOTSUPP", "EAGAIN", "EINVAL"),
}


@pytest.mark.parametrize(
    ("feature", "name"), [(call, name) for call in FLAGS for name in FLAGS[call]]
)
def test_without_a_flag(backend: str, feature: str, name: str) -> None:
    filtered = f"seccomp.forbid([{OPTIONAL[feature]}], errno.{name})"
    assert check_process(work(filtered), backend) == f"{backend}\n"


@pytest.mark.parametrize("name", ["ENOSYS", "EPERM"])
@pytest.mark.parametrize("feature", OPTIONAL)
def test_without_a_feature(backend: str, feature: str, name: str) -> None:
    """One call of those that old kernels and narrow profiles lack."""
    filtered = f"seccomp.forbid([{OPTIONAL[feature]}], errno.{name})"
    sockets = feature != "accept4"
    assert check_process(work(filtered, sockets), backend) == f"{backend}\n"
