"""Flights that wait for somebody else, on the real kernel: who wakes whom, when."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest
from driver import (
    ASYNC,
    FSYNC,
    Engine,
    atom,
    ffi,
    lib,
    plain,
    plan,
)
from driver import NUMBERS as N
from waits import HERE, call, hold_back, kept, memory, result, seconds


def test_a_futex_wakes_its_waiter(engine: Engine) -> None:
    word = memory(struct.pack("i", 7))
    waiting = call(engine, "futex", word, 0, 7, 0, 0, 0)
    hold_back(engine, waiting)
    while result(engine, call(engine, "futex", word, 1, 1, 0, 0, 0)) == 0:
        engine.turn(1_000_000)  # it is not asleep yet
    assert result(engine, waiting) == 0


def test_a_child_that_ends_later(engine: Engine) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(3)
    info = memory(128)
    waiting = call(engine, "waitid", 1, child, info, 4, 0)
    hold_back(engine, waiting)
    os.close(writer)
    assert result(engine, waiting) == 0
    os.close(reader)
    status = struct.unpack_from("7i", ffi.buffer(kept[-1]))[-1]  # si_status
    assert status == 3


@pytest.mark.parametrize("command", ["flock", "F_SETLKW", "F_OFD_SETLKW"])
def test_a_lock_that_somebody_else_holds(
    engine: Engine, tmp_path: Path, command: str
) -> None:
    path = tmp_path / "lock"
    path.touch()
    fd, other = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    lock = memory(struct.pack("hhqqi4x", 1, 0, 0, 0, 0))
    set_now, wait, unlock = {
        "flock": (("flock", 2), ("flock", 2), ("flock", 8)),
        "F_SETLKW": (None, ("fcntl", 7, lock), None),
        "F_OFD_SETLKW": (("fcntl", 37, lock), ("fcntl", 38, lock), None),
    }[command]
    if set_now is None:  # a record lock belongs to a process: another one holds it
        holder = Holder(path)
    else:
        assert plain(N[set_now[0]], [other, *set_now[1:]]) == 0
    waiting = call(engine, wait[0], fd, *wait[1:])
    hold_back(engine, waiting)
    if set_now is None:
        holder.release()
    elif unlock is not None:
        plain(N[unlock[0]], [other, *unlock[1:]])
    else:
        os.close(other)
        other = os.dup(fd)
    assert result(engine, waiting) == 0
    os.close(fd)
    os.close(other)


class Holder:
    """A child process that holds a record lock until it is told."""

    def __init__(self, path: Path) -> None:
        ready, said = os.pipe()
        self.reader, self.writer = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            os.close(self.writer)
            fd = os.open(path, os.O_RDWR)
            os.lockf(fd, os.F_LOCK, 0)
            os.write(said, b"x")
            os.read(self.reader, 1)
            os._exit(0)
        os.read(ready, 1)
        os.close(ready)
        os.close(said)
        os.close(self.reader)

    def release(self) -> None:
        os.close(self.writer)
        os.waitpid(self.child, 0)


def test_waiters_leave_workers_to_whom_they_wait_for(
    engine: Engine, tmp_path: Path
) -> None:
    if lib.engine_backend(engine.c) == lib.BACKEND_KERNEL:
        pytest.skip("a worker of the kernel makes its fsync, not one of the engine's")
    path = tmp_path / "lock"
    path.touch()
    fds = [os.open(path, os.O_RDWR) for _ in range(lib.WORKERS_MAX + 8)]
    plain(N["flock"], [fds[0], 2])
    waiting = [call(engine, "flock", fd, 2, flags=ASYNC) for fd in fds[1:]]
    unlock = plan(
        [atom(FSYNC, 1, next=2), atom(N["flock"], 1, 2)], [0, fds[0], 8]
    )  # its fsync needs a worker
    assert result(engine, engine.fly(unlock)) == 0
    while waiting:
        landed = wait_for_one(engine, waiting)
        waiting.remove(landed)
        assert landed.last[1] == 0
        landed.release()
        for fd in fds:  # whoever has it now
            plain(N["flock"], [fd, 8])
    for fd in fds:
        os.close(fd)


def wait_for_one(engine: Engine, flights: list[Any]) -> Any:
    for _ in range(10_000):
        for flight in flights:
            if flight.has_landed:
                return flight
        engine.turn(10_000_000)
    raise AssertionError("nobody landed")


def test_cancelling_a_worker_that_sits_in_a_call(
    engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    name = memory(os.fsencode(path) + b"\0")
    waiting = call(engine, "openat", HERE, name, os.O_WRONLY, 0)
    hold_back(engine, waiting)
    waiting.cancel()
    engine.land(waiting)
    assert waiting.is_cancelled
    waiting.release()


@pytest.mark.parametrize(("limit", "wanted"), [(0.0, 0), (0.02, 0), (None, 1)])
def test_poll_with_and_without_a_limit(
    engine: Engine, limit: float | None, wanted: int
) -> None:
    reader, writer = os.pipe()
    row = memory(struct.pack("ihh", reader, 1, 0))
    polled = call(engine, "ppoll", row, 1, 0 if limit is None else seconds(limit), 0)
    if limit is None:
        hold_back(engine, polled)
        os.write(writer, b"x")
    assert result(engine, polled) == wanted
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("flags", [0, ASYNC])
@pytest.mark.parametrize(
    ("time", "wanted"),
    [((0, 0), 0), ((0, 1), 0), ((0, 10**9), -22), ((-1, 0), -22)],
)
def test_sleeps_of_odd_lengths(
    engine: Engine, time: tuple[int, int], wanted: int, flags: int
) -> None:
    slept = call(engine, "nanosleep", memory(struct.pack("qq", *time)), 0, flags=flags)
    found = result(engine, slept)
    # The ring takes a nanosecond part above a second for what it says.
    assert found == wanted or (time == (0, 10**9) and flags and found == 0)


@pytest.mark.parametrize("name", ["pread64", "pwrite64"])
@pytest.mark.parametrize("flags", [0, ASYNC])
def test_a_negative_offset_is_an_error(
    engine: Engine, tmp_path: Path, name: str, flags: int
) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    assert result(engine, call(engine, name, fd, memory(8), 8, -1, flags=flags)) == -22
    os.close(fd)


def test_a_descriptor_that_nobody_can_have(engine: Engine) -> None:
    """Nothing is made as large as its number."""
    row = memory(struct.pack("ihh", (1 << 31) - 2, 1, 0))
    assert result(engine, call(engine, "ppoll", row, 1, 0, 0)) == 1
    assert struct.unpack("ihh", ffi.buffer(kept[-1])[:8])[2] == 0x20  # POLLNVAL


def test_poll_refuses_a_negative_limit(engine: Engine) -> None:
    reader, writer = os.pipe()
    row = memory(struct.pack("ihh", reader, 1, 0))
    assert result(engine, call(engine, "ppoll", row, 1, seconds(-1), 0)) == -22
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("flags", [0, ASYNC])
def test_a_vector_of_which_a_part_is_nowhere(engine: Engine, flags: int) -> None:
    """What lies before it is written, and then it is an error that nobody sees."""
    reader, writer = os.pipe()
    page = bytes(range(256)) * 16  # a pipe takes whole pages or nothing of them
    parts = memory(struct.pack("QQQQ", memory(page), len(page), 0, 10))
    written = call(engine, "writev", writer, parts, 2, flags=flags)
    assert result(engine, written) == len(page)
    assert os.read(reader, 1 << 20) == page
    os.close(reader)
    os.close(writer)
