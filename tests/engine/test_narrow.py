"""Rings that lack what newer kernels have: each operation the ring may not know, each
flag and feature that is not there, completions that do not fit. On the real kernel.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from driver import ASYNC, READ, Engine, Narrow, atom, ffi, lib, plan
from driver import NUMBERS as N
from waits import call, hold_back, memory, result, seconds

Waiting = tuple[str, tuple[int, ...], Callable[[], object], int]


class Ends:
    """A pipe and a pair of sockets, empty or full."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.left, self.right = socket.socketpair()

    def close(self) -> None:
        for fd in (self.reader, self.writer):
            os.close(fd)
        self.left.close()
        self.right.close()

    def fill_pipe(self) -> None:
        os.set_blocking(self.writer, False)
        try:
            while True:
                os.write(self.writer, bytes(65536))
        except BlockingIOError:
            os.set_blocking(self.writer, True)

    def fill_socket(self) -> None:
        try:
            while True:
                self.left.send(bytes(65536), socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass

    def empty_socket(self) -> None:
        try:
            while True:
                self.right.recv(1 << 20, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


def vector(size: int) -> int:
    return memory(struct.pack("QQ", memory(size), size))


def message(size: int) -> int:
    return memory(struct.pack("QQQQQQQ", 0, 0, vector(size), 1, 0, 0, 0))


def reads(name: str, *args: int) -> Callable[[Ends], Waiting]:
    return lambda ends: (
        name,
        (ends.reader, *args),
        lambda: os.write(ends.writer, b"word"),
        4,
    )


def writes(name: str, *args: int) -> Callable[[Ends], Waiting]:
    def make(ends: Ends) -> Waiting:
        ends.fill_pipe()
        return name, (ends.writer, *args), lambda: os.read(ends.reader, 65536), 4

    return make


def receives(name: str, *args: int) -> Callable[[Ends], Waiting]:
    return lambda ends: (
        name,
        (ends.left.fileno(), *args),
        lambda: ends.right.send(b"word"),
        4,
    )


def sends(name: str, *args: int) -> Callable[[Ends], Waiting]:
    def make(ends: Ends) -> Waiting:
        ends.fill_socket()
        return name, (ends.left.fileno(), *args), ends.empty_socket, 4

    return make


def splices(ends: Ends) -> Waiting:
    args = (ends.reader, 0, ends.left.fileno(), 0, 4, 0)
    return "splice", args, lambda: os.write(ends.writer, b"word"), 4


def sleeps(ends: Ends) -> Waiting:
    return "nanosleep", (seconds(0.02), 0), lambda: None, 0


CASES = {
    "READ": reads("read", memory(64), 64),
    "WRITE": writes("write", memory(b"word"), 4),
    "READV": reads("readv", vector(64), 1),
    "WRITEV": writes("writev", vector(4), 1),
    "RECV": receives("recvfrom", memory(64), 64, 0, 0, 0),
    "SEND": sends("sendto", memory(4), 4, 0, 0, 0),
    "RECVMSG": receives("recvmsg", message(64), 0),
    "SENDMSG": sends("sendmsg", message(4), 0),
    "SPLICE": splices,
    "TIMEOUT": sleeps,
}


OTHERS = ("ACCEPT", "CONNECT", "FUTEX_WAIT", "WAITID")


def ring(*ops: int, **more: Any) -> Engine:
    """An engine on such a ring."""
    try:
        return Engine(Narrow(*ops, **more), backend=lib.BACKEND_URING, workers=-1)
    except OSError as error:
        pytest.skip(f"uring is not to be had here: {error}")


@pytest.mark.parametrize("opcode", CASES)
def test_without_an_operation(ends: Ends, opcode: str) -> None:
    """It waits for readiness or on a worker, and gives the same."""
    engine = ring(getattr(lib, f"RING_{opcode}"))
    name, args, wake, wanted = CASES[opcode](ends)
    assert lib.engine_miss_path(engine.c, N[name]) != lib.MISS_RING
    waiting = call(engine, name, *args)
    if wanted:
        hold_back(engine, waiting)
    wake()
    assert result(engine, waiting) == wanted
    engine.close()


def test_accept_and_connect_without_their_operations() -> None:
    engine = ring(lib.RING_ACCEPT, lib.RING_CONNECT)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        address = struct.pack("!4s4s8x", b"", socket.inet_aton("127.0.0.1"))
        port = server.getsockname()[1]
        address = struct.pack("=H", socket.AF_INET) + struct.pack("!H", port)
        address += socket.inet_aton("127.0.0.1") + bytes(8)
        accepting = call(engine, "accept4", server.fileno(), 0, 0, 0)
        hold_back(engine, accepting)
        connecting = call(engine, "connect", client.fileno(), memory(address), 16)
        assert result(engine, connecting) == 0
        engine.land(accepting)
        assert accepting.last[1] >= 0
        accepting.release()  # closes it
    engine.close()


def test_a_futex_and_a_child_without_their_operations() -> None:
    """As before Linux 6.7."""
    engine = ring(lib.RING_FUTEX_WAIT, lib.RING_WAITID)
    word = memory(struct.pack("i", 7))
    waiting = call(engine, "futex", word, 0, 7, 0, 0, 0)
    hold_back(engine, waiting)
    while result(engine, call(engine, "futex", word, 1, 1, 0, 0, 0)) == 0:
        engine.turn(1_000_000)
    assert result(engine, waiting) == 0
    child = os.fork()
    if child == 0:
        os._exit(3)
    assert result(engine, call(engine, "waitid", 1, child, memory(128), 4, 0)) == 0
    engine.close()


def test_without_any_operation_that_may_be_missing(ends: Ends) -> None:
    engine = ring(*(getattr(lib, f"RING_{name}") for name in (*CASES, *OTHERS)))
    for opcode in ("READ", "RECV", "TIMEOUT"):
        name, args, wake, wanted = CASES[opcode](ends)
        waiting = call(engine, name, *args)
        wake()
        assert result(engine, waiting) == wanted
    engine.close()


def test_with_an_array_of_indexes(ends: Ends) -> None:
    """As before Linux 6.6: the ring is made again without the flag, and works."""
    narrow = Narrow(refused=lib.SETUP_NO_SQARRAY)
    try:
        engine = Engine(narrow, backend=lib.BACKEND_URING, workers=-1, sq_entries=4)
    except OSError as error:
        pytest.skip(f"uring is not to be had here: {error}")
    assert narrow.c.setups == 2
    assert not narrow.c.setup_flags & lib.SETUP_NO_SQARRAY
    for _ in range(10):  # more than there are entries
        name, args, wake, wanted = CASES["READ"](ends)
        waiting = call(engine, name, *args)
        hold_back(engine, waiting)
        wake()
        assert result(engine, waiting) == wanted
    engine.close()


def test_without_a_word_about_idle_waits(ends: Ends) -> None:
    """As before Linux 6.15: the flag is not passed."""
    narrow = Narrow(hidden=lib.FEAT_NO_IOWAIT)
    try:
        engine = Engine(narrow, backend=lib.BACKEND_URING)
    except OSError as error:
        pytest.skip(f"uring is not to be had here: {error}")
    name, args, wake, wanted = CASES["READ"](ends)
    waiting = call(engine, name, *args)
    hold_back(engine, waiting)
    wake()
    assert result(engine, waiting) == wanted
    assert not narrow.c.enter_flags & lib.ENTER_NO_IOWAIT
    engine.close()


@pytest.mark.parametrize("feature", ["SINGLE_MMAP", "NODROP", "EXT_ARG"])
def test_what_the_ring_cannot_do_without(feature: str) -> None:
    """Then it is epoll."""
    engine = Engine(Narrow(hidden=getattr(lib, f"FEAT_{feature}")), workers=-1)
    assert lib.engine_backend(engine.c) == lib.BACKEND_EPOLL
    assert lib.engine_backend_errno(engine.c) in (errno.EINVAL, errno.EPERM)
    engine.close()


@pytest.mark.parametrize("flag", ["SINGLE_ISSUER", "DEFER_TASKRUN"])
def test_setups_that_the_kernel_does_not_know(flag: str) -> None:
    """As before Linux 6.1: epoll."""
    engine = Engine(Narrow(refused=getattr(lib, f"SETUP_{flag}")), workers=-1)
    assert lib.engine_backend(engine.c) == lib.BACKEND_EPOLL
    assert lib.engine_backend_errno(engine.c) == errno.EINVAL
    engine.close()


def test_more_completions_than_the_queue_holds(tmp_path: Path) -> None:
    """Requests that end at once, submitted without a look at the queue."""
    engine = ring()
    path = tmp_path / "file"
    path.write_bytes(bytes(range(64)))
    fd = os.open(path, os.O_RDONLY)
    count = lib.CQ_ENTRIES + 1000
    made = plan(
        [atom(N["pread64"], 1, 2, 3, 4, ret=5, flags=ASYNC)],
        [0, fd, 0, 64, 0, 0],
        relocs=[(2, 3, 0)],
        buffers=[(64, 0, 2, 0)],
    )
    flights = []
    for _ in range(count):
        lib.engine_budget_reset(engine.c)
        flights.append(engine.fly(made))
    engine.land(*flights)
    assert engine.stats().overflows > 0
    for flight in flights:
        assert flight.last == (0, 64)
        assert ffi.buffer(ffi.cast("char *", flight.cell(2)), 64)[:] == bytes(range(64))
        flight.release()
    os.close(fd)
    engine.close()


# Bounds of an engine's own.


def test_flights_have_a_bound_that_is_set() -> None:
    engine = Engine(flights=3)
    made = plan([atom(READ, 1, 2, 3, flags=ASYNC)], [0, 0, 0, 0])
    flights = [engine.fly(made) for _ in range(3)]
    with pytest.raises(BlockingIOError):
        engine.fly(made)
    engine.land(*flights)
    flights.pop().release()
    flights.append(engine.fly(made))
    engine.land(*flights)
    for flight in flights:
        flight.release()
    engine.close()


def test_memory_has_a_bound_that_is_set() -> None:
    """Of buffers that do not fit into their flight."""
    engine = Engine(memory=300_000)
    fixed = plan(
        [atom(N["getrandom"], 3, 2, 1)],
        [0, 0, 4, 0],
        relocs=[(3, 3, 0)],
        buffers=[(200_000, 0, 3, 0)],
    )
    computed = plan(
        [atom(lib.PSEUDO_BUFFER, 4, 1, ret=5)], [0, 0, 0, 0, 0, 0],
        buffers=[(0, 0, 2, 3)], inputs=[1],
    )  # fmt: skip
    first = engine.fly(fixed)
    assert engine.stats().memory == 200_000
    with pytest.raises(BlockingIOError):
        engine.fly(fixed)
    flight = engine.fly(computed, {1: 200_000})
    assert flight.last == (0, -errno.ENOMEM)
    flight.release()
    first.release()
    flight = engine.fly(computed, {1: 200_000})
    assert flight.last == (0, 0)
    flight.release()
    assert engine.stats().memory == 0
    engine.close()


def test_a_loop_without_end_lets_its_worker_go(tmp_path: Path) -> None:
    """Others have their turn; and it goes on afterwards, until it is cancelled."""
    engine = Engine(backend=lib.BACKEND_EPOLL, workers=0)  # the engine's own workers
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    loop = plan([atom(N["fchmod"], 1, 2, next=1)], [0, fd, 0o600])
    endless, other = engine.fly(loop), call(engine, "fchmod", fd, 0o640)
    assert engine.work(), "it comes back"
    assert engine.work()
    engine.turn()
    assert other.has_landed
    assert not endless.has_landed
    for _ in range(3):
        engine.turn()
        assert engine.work()
    endless.cancel()
    engine.land(endless)
    assert endless.is_cancelled
    for flight in (endless, other):
        flight.release()
    os.close(fd)
    engine.close()
