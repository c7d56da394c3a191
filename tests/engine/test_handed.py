"""What becomes of flights whose programs a kernel executes: misses, ends, refusals.

The kernel is the fake one, with a device that executes programs as docs/kernel.md says;
test_handed_random.py compares results, this the ways they took.
"""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest
from driver import (
    CLOSE,
    FD,
    FSYNC,
    NEGATIVE,
    NUMBERS,
    READ,
    Engine,
    Flight,
    Kernel,
    atom,
    lib,
    plan,
)
from handed_box import (
    DUP,
    FDS,
    FILE,
    GETPPID,
    LENGTH,
    MEM,
    RELOCS,
    RESULTS,
    chain,
    drive,
    file,
    image,
    kernel,
)

__all__ = ["file", "kernel"]


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


def test_a_write_that_goes_on_behind_its_parts(kernel: Kernel, file: int) -> None:
    """Until all has been written; an error then tells how much was."""
    atoms = [
        atom(NUMBERS["write"], FDS, MEM, LENGTH, ret=RESULTS, next=2),
        atom(FSYNC, FDS + 1, ret=RESULTS + 1),
    ]
    for parts, total in (([40, 24], 64), ([40, -errno.ENOSPC], 40), ([0], 0)):
        engine = Engine(kernel)
        kernel.script(FD + 1, -11, 0)
        kernel.script(FD, -11, parts[0])
        flight = engine.fly(plan(atoms, image(file), RELOCS))
        for part in parts:
            kernel.script(FD, -11, part)
            engine.turn()
            assert lib.fake_command(kernel.c)
            engine.turn()
        drive(engine, flight)
        assert flight.cell(RESULTS) == total
        assert flight.ran() == [0, 1]
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
