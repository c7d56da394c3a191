"""Programs that a kernel executes end as those that the engine executes itself.

The kernel is the fake one, with a device that executes programs as docs/kernel.md says.
Random programs fly on it with and without the device; whatever can be seen of a flight
afterwards must be the same, and no descriptor may be left.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from driver import (
    ADD,
    ASYNC,
    CLOSE,
    EIO,
    EMIT,
    FD,
    FSYNC,
    NEGATIVE,
    NON_POSITIVE,
    NONZERO,
    NOP,
    NUMBERS,
    READ,
    SKIP,
    SYNC,
    ZERO,
    Engine,
    Flight,
    Kernel,
    Refused,
    atom,
    ffi,
    lib,
    plan,
)

MEMORY = ffi.new("char[]", 64)
GETPPID, DUP = NUMBERS["getppid"], NUMBERS["dup"]
SEEDS, PROGRAMS = 8, 60
# Cells: memory, its length, minus one, the counter and its address, a descriptor; then
# results, descriptors that were made, and descriptors of the fake kernel.
MEM, LENGTH, LESS, COUNT, COUNTER, FILE, RESULTS, MADE, FDS = (
    1,
    2,
    3,
    4,
    5,
    6,
    10,
    20,
    30,
)
CELLS = 48


@pytest.fixture
def file() -> Iterator[int]:
    fd = os.open("/dev/null", os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    kernel = Kernel()
    kernel.c.device = 1
    for fd in range(FD, FD + lib.FAKE_FDS):
        kernel.script(fd, 64, 64)
    yield kernel
    assert kernel.is_clean()


def image(file: int) -> list[int]:
    cells = [0] * CELLS
    cells[MEM], cells[LENGTH] = int(ffi.cast("uintptr_t", MEMORY)), 64
    cells[LESS], cells[COUNT], cells[FILE] = -1, 3, file
    cells[MADE] = cells[MADE + 1] = -1
    for i in range(CELLS - FDS):
        cells[FDS + i] = FD + i
    return cells


RELOCS = [(COUNTER, 1, COUNT * 8)]


def random_atom(rng: random.Random, index: int, count: int) -> Any:
    """An atom that goes on forwards, whatever its result."""
    kind = rng.choice("rrrrfgnnddccae")
    ret = RESULTS + rng.randrange(8) if rng.random() < 0.8 else 0
    ret = MADE + rng.randrange(2) if kind == "d" and ret else ret
    after = rng.randrange(index + 2, count + 2)
    after = 0 if after > count else after
    flags = rng.choice([0, 0, NEGATIVE, ZERO, NONZERO, NON_POSITIVE, NEGATIVE | ZERO])
    if flags and index + 1 < count and rng.random() < 0.6:
        flags |= SKIP
    if kind in "rf":
        flags |= rng.choice([0, 0, 0, 0, ASYNC, SYNC])
    arguments = {
        "r": (READ, FDS + index, MEM, LENGTH),
        "f": (FSYNC, FDS + index),
        "g": (GETPPID,),
        "n": (NOP, rng.choice([FILE, COUNT, RESULTS, RESULTS + 1, FDS])),
        "d": (DUP, FILE),
        "c": (CLOSE, MADE + rng.randrange(2)),
        "a": (ADD, COUNTER, LESS),
        "e": (EMIT, RESULTS),
    }[kind]
    return atom(*arguments, flags=flags, ret=ret, next=after)


def random_program(rng: random.Random) -> list[Any]:
    """Some atoms; half of the programs run them several times, as a counter says."""
    count = rng.randrange(2, 10)
    atoms = [random_atom(rng, index, count) for index in range(count)]
    if rng.random() < 0.5:
        atoms.append(atom(ADD, COUNTER, LESS, flags=NON_POSITIVE, next=1))
        for index in range(count):
            flags, nr, ret, after, args, private = atoms[index]
            atoms[index] = (flags, nr, ret, after or count + 1, args, private)
    return atoms


def scripts(rng: random.Random) -> list[tuple[int, int, int]]:
    """(attempt, plain, nonblocking) of each descriptor: one result, here or later."""
    found = []
    for _ in range(lib.FAKE_FDS):
        result = rng.choice([64, 64, 64, 0, -EIO])
        missing = rng.random() < 0.4
        found.append((-11 if missing else result, result, int(rng.random() < 0.3)))
    return found


def drive(engine: Engine, flight: Flight) -> None:
    """Answer whatever is asked until it has landed."""
    kernel = engine.kernel
    assert isinstance(kernel, Kernel)
    for _ in range(400):
        if flight.has_landed:
            return
        engine.turn()
        while lib.fake_command(kernel.c):
            pass
        for fd in kernel.pending():
            kernel.answer(fd, kernel.c.scripts[fd - FD].plain)
        engine.work()
    raise AssertionError("not landed")


def outcome(
    engine: Engine, atoms: list[Any], file: int, told: list[tuple[int, int, int]]
) -> dict[str, Any]:
    """Everything that can be seen of a flight of this program."""
    kernel = engine.kernel
    assert isinstance(kernel, Kernel)
    for i, (attempt, plain, nonblocking) in enumerate(told):
        kernel.script(FD + i, attempt, plain)
        kernel.c.scripts[i].nonblocking = nonblocking
    before = os.listdir("/proc/self/fd")
    flight = engine.fly(plan(atoms, image(file), RELOCS))
    drive(engine, flight)
    made = [flight.cell(MADE), flight.cell(MADE + 1)]
    cells = [flight.cell(i) for i in range(CELLS) if i not in (COUNTER, MADE, MADE + 1)]
    cells += [int(fd >= 0) for fd in made]
    seen = {
        "last": flight.last,
        "ran": flight.ran(),
        "cells": cells,
        "emitted": (flight.record.emitted, flight.record.report),
        "fds": len(os.listdir("/proc/self/fd")),
        "cancelled": flight.is_cancelled,
    }
    flight.release()
    assert os.listdir("/proc/self/fd") == before
    return seen


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("cut", [0, 1, 3])
def test_random_programs_end_alike(
    kernel: Kernel, file: int, seed: int, cut: int
) -> None:
    rng = random.Random(seed)
    other = Kernel()  # each fake kernel has one ring
    alone, helped = Engine(other, lib.BACKEND_URING), Engine(kernel)
    for _ in range(PROGRAMS):
        atoms, told = random_program(rng), scripts(rng)
        try:
            plan(atoms, image(file), RELOCS)
        except Refused:
            continue
        wanted = outcome(alone, atoms, file, told)
        kernel.c.device_budget = cut
        assert outcome(helped, atoms, file, told) == wanted, atoms
    atoms_alone, atoms_helped = alone.stats().atoms, helped.stats().atoms
    assert atoms_alone == atoms_helped
    assert helped.stats().in_kernel > atoms_helped / 8
    assert (alone.stats().in_kernel, alone.stats().to_kernel) == (0, 0)
    alone.close()
    helped.close()
    assert other.is_clean()


def chain(count: int, first: int = FDS) -> list[Any]:
    """Reads one behind the other."""
    return [
        atom(READ, first + i, MEM, LENGTH, flags=NEGATIVE, ret=RESULTS + i, next=i + 2)
        for i in range(count - 1)
    ] + [atom(READ, first + count - 1, MEM, LENGTH, ret=RESULTS + count - 1)]


def test_a_chain_is_one_run(kernel: Kernel, file: int) -> None:
    engine = Engine(kernel)
    assert lib.engine_backend(engine.c) == lib.BACKEND_KERNEL
    flight = engine.fly(plan(chain(5), image(file), RELOCS))
    assert flight.has_landed
    assert flight.last == (4, 64)
    assert flight.ran() == [0, 1, 2, 3, 4]
    stats = engine.stats()
    assert (stats.to_kernel, stats.in_kernel, stats.atoms) == (1, 5, 5)
    flight.release()
    engine.close()


def test_a_miss_on_a_file_goes_on_in_a_worker_of_the_kernel(
    kernel: Kernel, file: int
) -> None:
    kernel.script(FD + 1, -11, 7)
    engine = Engine(kernel)
    flight = engine.fly(plan(chain(4), image(file), RELOCS))
    assert flight.is_away
    engine.turn()
    assert kernel.pending() == [lib.FAKE_DEVICE_FD]
    assert lib.fake_command(kernel.c)
    engine.turn()
    assert flight.record.landed == 1
    assert [flight.cell(RESULTS + i) for i in range(4)] == [64, 7, 64, 64]
    assert engine.stats().in_kernel == 4
    assert (engine.stats().to_ring, engine.stats().to_worker) == (0, 0)
    flight.release()
    engine.close()


@pytest.mark.parametrize("done", [0, 1, 2])
@pytest.mark.parametrize("how", [Flight.cancel, Flight.abandon])
def test_cancelled_in_the_kernel(
    kernel: Kernel, file: int, how: Any, done: int
) -> None:
    """It runs no further atom, and what the kernel opened for it is closed."""
    engine = Engine(kernel)
    before = os.listdir("/proc/self/fd")
    atoms = [
        atom(FSYNC, FDS, ret=RESULTS, next=2),
        atom(DUP, FILE, ret=RESULTS + 1, next=3),
        atom(DUP, FILE, ret=RESULTS + 2, next=4),
        atom(FSYNC, FDS, ret=RESULTS + 3),
    ]
    flight = engine.fly(plan(atoms, image(file), RELOCS))
    engine.turn()
    kernel.c.device_cancels = done + 1
    kernel.c.cancels_ignored = 1
    how(flight)
    engine.turn()
    assert kernel.c.cancelled == 1
    assert not flight.has_landed, "its memory is lent"
    assert lib.fake_command(kernel.c)
    engine.turn()
    engine.turn()
    assert flight.record.landed == 1
    assert flight.is_cancelled
    assert flight.ran() == list(range(done + 1))
    assert len(os.listdir("/proc/self/fd")) == len(before) + done
    flight.release()
    assert os.listdir("/proc/self/fd") == before
    engine.close()


def test_cancelled_before_the_kernel_began(kernel: Kernel, file: int) -> None:
    kernel.script(FD, -11, 7)
    engine = Engine(kernel)
    flight = engine.fly(plan(chain(2), image(file), RELOCS))
    engine.turn()
    flight.cancel()
    engine.turn()
    engine.turn()
    assert flight.record.landed == 1
    assert flight.is_cancelled
    assert flight.ran() == []
    flight.release()
    engine.close()


def test_a_command_that_somebody_else_cancels_is_done_again(
    kernel: Kernel, file: int
) -> None:
    kernel.script(FD, -11, 7)
    engine = Engine(kernel)
    flight = engine.fly(plan(chain(2), image(file), RELOCS))
    engine.turn()
    kernel.answer(lib.FAKE_DEVICE_FD, -errno.ECANCELED)
    engine.turn()
    assert engine.work(), "the engine's own worker"
    drive(engine, flight)
    assert [flight.cell(RESULTS + i) for i in range(2)] == [7, 64]
    flight.release()
    engine.close()


def test_closing_waits_for_programs_in_the_kernel(kernel: Kernel, file: int) -> None:
    kernel.script(FD, -11, 7)
    engine = Engine(kernel)
    flight = engine.fly(plan(chain(3), image(file), RELOCS))
    engine.turn()
    kernel.c.enter_always = errno.EBADF
    assert lib.engine_close(engine.c) == -errno.EBADF
    kernel.c.enter_always = 0
    engine.turn()
    engine.turn()
    assert flight.record.landed == 1
    flight.release()
    engine.close()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EBADF, errno.ENOTTY])
def test_a_kernel_that_refuses_is_not_asked_again(
    kernel: Kernel, file: int, number: int
) -> None:
    engine = Engine(kernel)
    made = plan(chain(3), image(file), RELOCS)
    kernel.c.device_error, kernel.c.device_runs = number, kernel.c.runs + 1
    for runs in (1, 3, 3, 3):  # the second flight tries it twice
        flight = engine.fly(made)
        assert flight.last == (2, 64)
        assert engine.stats().to_kernel == runs
        flight.release()
    assert engine.stats().in_kernel == 3, "the first one"
    assert lib.engine_backend(engine.c) == lib.BACKEND_KERNEL
    engine.close()


@pytest.mark.parametrize("refused", [READ, CLOSE])
def test_an_operation_that_it_does_not_allow(
    kernel: Kernel, file: int, refused: int
) -> None:
    """Only that one is the engine's own."""
    kernel.c.device_refused = 1 << refused
    atoms = [
        atom(DUP, FILE, ret=RESULTS, next=2),
        atom(GETPPID, next=3),
        atom(CLOSE, RESULTS, next=4),
        atom(GETPPID, next=5),
        atom(GETPPID),
    ]
    engine = Engine(kernel)
    flight = engine.fly(plan(atoms, image(file), RELOCS))
    assert flight.ran() == [0, 1, 2, 3, 4]
    assert engine.stats().in_kernel == (5 if refused == READ else 4)
    flight.release()
    engine.close()


@pytest.mark.parametrize("name", ["ENOENT", "EACCES", "EPERM", "version"])
def test_no_device_means_the_ring_or_an_error(kernel: Kernel, name: str) -> None:
    if name == "version":
        kernel.c.device_version = 1
    elif name == "EPERM":
        kernel.c.device_error = errno.EPERM
    else:
        kernel.c.device = 0
    engine = Engine(kernel)
    assert lib.engine_backend(engine.c) == lib.BACKEND_URING
    assert lib.engine_backend_errno(engine.c) == 0
    engine.close()
    with pytest.raises(OSError) as caught:
        Engine(kernel, backend=lib.BACKEND_KERNEL)
    wanted = {"version": errno.ENOTSUP, "EPERM": errno.EPERM}.get(name, errno.ENOENT)
    assert caught.value.errno == wanted


@pytest.mark.parametrize("backend", ["BACKEND_URING", "BACKEND_EPOLL"])
def test_it_is_left_alone_where_another_backend_was_asked_for(
    kernel: Kernel, backend: str
) -> None:
    engine = Engine(kernel, backend=getattr(lib, backend))
    assert lib.engine_backend(engine.c) == getattr(lib, backend)
    assert kernel.c.devices == 0
    engine.close()


def test_no_more_descriptors_than_a_flight_may_own(kernel: Kernel, file: int) -> None:
    """As many runs as it takes, and then EMFILE, from the engine."""
    dup = atom(DUP, FILE, flags=NEGATIVE, ret=RESULTS, next=2)
    loop = plan([dup, atom(GETPPID, next=1)], image(file), RELOCS)
    engine = Engine(kernel)
    before = len(os.listdir("/proc/self/fd"))
    flight = engine.fly(loop)
    drive(engine, flight)
    assert flight.last == (0, -errno.EMFILE)
    assert len(os.listdir("/proc/self/fd")) == before + 64
    flight.release()
    assert len(os.listdir("/proc/self/fd")) == before
    assert engine.stats().in_kernel > 64
    engine.close()


def test_others_have_their_say(kernel: Kernel, file: int) -> None:
    """A loop without an end is cut by the engine's budget, and can be cancelled."""
    loop = plan([atom(GETPPID, next=2), atom(GETPPID, next=1)], image(file), RELOCS)
    engine = Engine(kernel)
    flight = engine.fly(loop)
    assert flight.is_away
    assert engine.stats().budget_cuts == 1
    assert engine.stats().in_kernel == 256
    flight.cancel()
    engine.turn()
    assert flight.record.landed == 1
    flight.release()
    engine.close()


def test_more_misses_than_the_kernel_is_given(kernel: Kernel, file: int) -> None:
    """Beyond a number of programs in its workers the others go the engine's ways."""
    made = plan(chain(2), image(file), RELOCS)
    kernel.script(FD, -11, 7)
    engine = Engine(kernel)
    flights = [engine.fly(made) for _ in range(80)]
    engine.turn()
    assert kernel.pending().count(lib.FAKE_DEVICE_FD) == 64
    assert kernel.pending().count(FD) == 16
    for flight in flights:
        drive(engine, flight)
        assert flight.cell(RESULTS) == 7
        flight.release()
    engine.close()


def test_a_full_ring_lets_programs_wait(kernel: Kernel, file: int) -> None:
    made = plan(chain(2), image(file), RELOCS)
    kernel.script(FD, -11, 7)
    engine = Engine(kernel, sq_entries=2)
    flights = [engine.fly(made) for _ in range(12)]
    for flight in flights:
        drive(engine, flight)
        assert flight.cell(RESULTS) == 7
        flight.release()
    assert engine.stats().to_worker == 0
    engine.close()
