"""sendfile sends all of it, however little the socket takes at a time."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

import syslet_loop
from syslet_loop import syslet

CONTENT = os.urandom(3_000_000)


@syslet
def send(s, out, path, start, count):
    fd = s.openat(path, os.O_RDONLY)
    return s.sendfile(out, fd, start, count)


@pytest.fixture(params=["uring", "epoll"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Runs a coroutine on a loop of ours with one of the backends."""
    monkeypatch.setenv("SYSLET_LOOP_BACKEND", request.param)

    def runner(main):
        with asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as loop:
            return loop.run(main)

    return runner


async def sent(path: Path, start: int, count: int, reads: int) -> tuple[int, bytes]:
    """The result, and what a reader got that takes `reads` bytes at a time."""
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sending = asyncio.create_task(send(left.fileno(), path, start, count))
        received = bytearray()
        while not sending.done() or len(received) < sending.result():
            received += await loop.sock_recv(right, reads)
        return await sending, bytes(received)


@pytest.mark.parametrize(
    ("start", "count"), [(0, 200_000), (100, 3_000_000), (2_999_000, 5000), (9**9, 5)]
)
def test_all_of_it(run, tmp_path: Path, start: int, count: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    wanted = CONTENT[start : start + count]
    if not wanted:
        assert run(ends_at_once(path, start, count)) == 0
        return
    result, received = run(sent(path, start, count, 10_000))
    assert (result, received) == (len(wanted), wanted)


async def ends_at_once(path: Path, start: int, count: int) -> int:
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        result: int = await send(left.fileno(), path, start, count)
        return result


def test_a_full_socket_is_waited_for_without_a_worker(run, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        before = loop.stats()["to_worker"]
        result, _ = await sent(path, 0, 200_000, 10_000)
        assert (result, loop.stats()["to_worker"]) == (200_000, before)

    run(main())


def test_a_reader_that_goes_away_leaves_what_was_sent(run, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)

    async def main() -> None:
        left, right = socket.socketpair()
        with left, right:
            left.setblocking(False)
            sending = asyncio.create_task(send(left.fileno(), path, 0, 3_000_000))
            await asyncio.to_thread(right.recv, 1000)
            right.close()
            assert 0 < await sending < 3_000_000
            with pytest.raises(BrokenPipeError):
                await send(left.fileno(), path, 0, 10)

    run(main())
