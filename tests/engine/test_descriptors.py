"""What a flight does to descriptors that others know: FIFOs, numbers used again."""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from driver import (
    NEGATIVE,
    NOP,
    READ,
    Engine,
    Kernel,
    atom,
    lib,
    plain,
    plan,
)
from driver import NUMBERS as N
from waits import HERE, LONG, call, hold_back, memory, result, seconds

# FIFOs.


def fifo_plan(path: Path, then: list[Any], cells: list[int]) -> Any:
    """Open a FIFO for reading, then some more; cells from 10 on."""
    name = memory(os.fsencode(path) + b"\0")
    head = [0, HERE, name, os.O_RDONLY, 0, 0, 0, 0, 0, 0]
    opens = atom(N["openat"], 1, 2, 3, 4, ret=5, flags=NEGATIVE, next=2)
    return plan([opens, *then], head + cells)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def test_what_waits_at_the_end_is_the_opening(engine: Engine, fifo: Path) -> None:
    """There is no atom after it that could be counted."""
    path = memory(os.fsencode(fifo) + b"\0")
    opened = call(engine, "openat", HERE, path, os.O_RDONLY, 0)
    hold_back(engine, opened)
    assert lib.engine_misses(engine.c, N["openat"]) == 1
    writer = os.open(fifo, os.O_WRONLY)
    engine.land(opened)
    opened.release()
    os.close(writer)


def test_opening_a_fifo_waits_for_a_writer(engine: Engine, fifo: Path) -> None:
    """The descriptor that comes out blocks, as the plain call's does."""
    opened = engine.fly(fifo_plan(fifo, [atom(NOP, 5)], []))
    hold_back(engine, opened)
    writer = os.open(fifo, os.O_WRONLY)
    engine.land(opened)
    fd = opened.cell(5)
    assert os.get_blocking(fd)
    opened.release()
    with pytest.raises(OSError):
        os.fstat(fd)
    os.close(writer)


def test_reading_a_fifo_waits_for_data(engine: Engine, fifo: Path) -> None:
    read = engine.fly(fifo_plan(fifo, [atom(READ, 5, 10, 11)], [memory(100), 100]))
    hold_back(engine, read)
    writer = os.open(fifo, os.O_WRONLY)
    hold_back(engine, read)
    os.write(writer, b"some")
    assert result(engine, read) == 4
    os.close(writer)


def test_a_writer_that_is_silent_is_a_writer(engine: Engine, tmp_path: Path) -> None:
    """open(A), open(B) against a peer that opens A, then B, and writes nothing."""
    first, second = tmp_path / "a", tmp_path / "b"
    os.mkfifo(first)
    os.mkfifo(second)

    def peer() -> None:
        fds = [os.open(first, os.O_WRONLY), os.open(second, os.O_RDONLY)]
        for fd in fds:
            os.close(fd)

    name = memory(os.fsencode(second) + b"\0")
    opens = atom(N["openat"], 1, 10, 11, 4)
    both = engine.fly(fifo_plan(first, [opens], [name, os.O_WRONLY]))
    thread = threading.Thread(target=peer)
    thread.start()
    assert result(engine, both) >= 0
    thread.join()


def test_readiness_of_a_fifo_ends_no_sleep(engine: Engine, fifo: Path) -> None:
    sleeps = atom(N["nanosleep"], 10, 4)
    slept = engine.fly(fifo_plan(fifo, [sleeps], [seconds(0.05)]))
    engine.turn(1_000_000)
    start = time.monotonic()
    writer = os.open(fifo, os.O_WRONLY)
    os.write(writer, b"x")
    assert result(engine, slept) == 0
    assert time.monotonic() - start >= 0.045
    os.close(writer)


def test_readiness_of_a_fifo_connects_nothing(engine: Engine, fifo: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # it does not listen
        port = unused.getsockname()[1]
        peer = memory(struct.pack("=H", 2) + struct.pack("!H4s8x", port, b"\x7f\0\0\1"))
        with socket.socket() as client:
            connects = atom(N["connect"], 10, 11, 12)
            cells = [client.fileno(), peer, 16]
            tried = engine.fly(fifo_plan(fifo, [connects], cells))
            engine.turn(1_000_000)
            writer = os.open(fifo, os.O_WRONLY)
            os.write(writer, b"x")
            assert result(engine, tried) == -errno.ECONNREFUSED
            os.close(writer)


# Descriptors.


def test_dup3_onto_an_fd_of_the_flight(engine: Engine) -> None:
    """The number has one slot; who takes it keeps it."""
    atoms = [
        atom(N["eventfd2"], 1, 2, ret=3, next=2),
        atom(N["eventfd2"], 1, 2, ret=4, next=3),
        atom(N["dup3"], 3, 4, 2, ret=5),
    ]
    flight = engine.fly(plan(atoms, [0, 0, 0, 0, 0, 0]))
    engine.land(flight)
    fd = flight.cell(5)
    assert lib.flight_fd_take(flight.c, fd) == 0
    flight.release()
    os.fstat(fd)
    os.close(fd)


def test_an_fd_number_that_is_used_again(engine: Engine) -> None:
    """The end of the first wait leaves the second one alone."""
    left, right = socket.socketpair()
    first = call(engine, "recvfrom", left.fileno(), memory(9), 9, 0, 0, 0)
    engine.turn()
    number = left.detach()
    copy = os.dup(number)
    again, peer = socket.socketpair()
    os.dup2(again.fileno(), number)
    second = call(engine, "recvfrom", number, memory(9), 9, 0, 0, 0)
    engine.turn()
    first.cancel()
    engine.land(first)
    first.release()
    peer.send(b"hello")
    assert result(engine, second) == 5
    for fd in (number, copy):
        os.close(fd)
    for each in (again, peer, right):
        each.close()


def test_o_nonblock_files_without_nowait(engine: Engine, tmp_path: Path) -> None:
    fd = plain(N["inotify_init1"], [os.O_NONBLOCK])
    plain(N["inotify_add_watch"], [fd, memory(os.fsencode(tmp_path) + b"\0"), 0x100])
    read = call(engine, "read", fd, memory(1000), 1000)
    hold_back(engine, read)
    turns = engine.stats().enters
    engine.turn(20_000_000)
    assert engine.stats().enters - turns < 5, "it must not spin"
    (tmp_path / "new").touch()
    assert result(engine, read) > 0
    os.close(fd)


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_a_filter_on_process_vm_readv(number: int) -> None:
    """Addresses that nobody vouched for are read another way."""
    kernel = Kernel()
    kernel.c.memory_error = number
    engine = Engine(kernel, backend=lib.BACKEND_EPOLL)
    before = len(os.listdir("/proc/self/fd"))
    assert result(engine, call(engine, "nanosleep", seconds(0.001), 0)) == 0
    assert result(engine, call(engine, "nanosleep", 8, 0)) == -errno.EFAULT
    assert result(engine, call(engine, "pipe2", memory(8), 0)) == 0
    assert len(os.listdir("/proc/self/fd")) == before, "the flight owned the pipe"
    engine.close()


def test_signals_of_the_process_reach_the_host(engine: Engine) -> None:
    """A wait that a signal ends comes back at once, and nothing is lost."""
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    reader, writer = os.pipe()
    read = call(engine, "read", reader, memory(5), 5)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    while not seen:
        assert engine.turn(LONG) in (-errno.EINTR, 0)  # 0: it also did something
    os.write(writer, b"after")
    assert result(engine, read) == 5
    signal.signal(signal.SIGALRM, before)
    os.close(reader)
    os.close(writer)
