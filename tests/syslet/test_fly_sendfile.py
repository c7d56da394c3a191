"""sendfile sends all of it, however little the socket takes at a time."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest

import syslet_loop
from syslet_loop import syslet
from syslet_loop.language import ASYNC

CONTENT = os.urandom(3_000_000)


@syslet
def send(s, out, path, start, count):
    fd = s.openat(path, os.O_RDONLY)
    return s.sendfile(out, fd, start, count)


@syslet
def send_elsewhere(s, out, path, start, count):
    """The same without an attempt: by a worker, as of a file that knows no reads which
    do not wait, as those of tmpfs in Linux 6.1."""
    fd = s.openat(path, os.O_RDONLY)
    return s.sendfile(out, fd, start, count, atom_flags=ASYNC)


@pytest.fixture(params=["uring", "epoll"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Runs a coroutine on a loop of ours with one of the backends."""
    monkeypatch.setenv("SYSLET_LOOP_BACKEND", request.param)

    def runner(main):
        with asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as loop:
            return loop.run(main)

    return runner


async def sent(
    path: Path, start: int, count: int, reads: int, by: Any = send
) -> tuple[int, bytes]:
    """The result, and what a reader got that takes `reads` bytes at a time."""
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sending = asyncio.create_task(by(left.fileno(), path, start, count))
        # The last bytes may be here before the sender knows that it has sent them.
        sending.add_done_callback(lambda _: left.shutdown(socket.SHUT_WR))
        received = bytearray()
        while data := await loop.sock_recv(right, reads):
            received += data
        return await sending, bytes(received)


@pytest.mark.parametrize(
    ("start", "count"), [(0, 200_000), (100, 3_000_000), (2_999_000, 5000), (9**9, 5)]
)
@pytest.mark.parametrize("by", [send, send_elsewhere], ids=["here", "by_a_worker"])
def test_all_of_it(run, tmp_path: Path, start: int, count: int, by: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    wanted = CONTENT[start : start + count]
    if not wanted:
        assert run(ends_at_once(path, start, count, by)) == 0
        return
    result, received = run(sent(path, start, count, 10_000, by))
    assert (result, received) == (len(wanted), wanted)


async def ends_at_once(path: Path, start: int, count: int, by: Any) -> int:
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        result: int = await by(left.fileno(), path, start, count)
        return result


def reads_without_waiting(path: Path) -> bool:
    """Whether this file knows such reads; else an attempt cannot be made."""
    with open(path, "rb") as file:
        try:
            os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT)
        except OSError as error:
            return error.errno != errno.EOPNOTSUPP
    return True


def test_a_full_socket_is_waited_for_without_a_worker(run, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    if not reads_without_waiting(path):
        pytest.skip("this file system has no RWF_NOWAIT, so a worker sends its files")

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
