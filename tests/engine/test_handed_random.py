"""Random programs end alike, whether a kernel executes them or the engine.

The kernel is the fake one, with a device that executes programs as docs/kernel.md says.
Programs fly on it with and without the device; whatever can be seen of a flight
afterwards must be the same, and no descriptor may be left.
"""

from __future__ import annotations

import os
import random
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
    READ,
    SKIP,
    SYNC,
    ZERO,
    Engine,
    Kernel,
    Refused,
    atom,
    lib,
    plan,
)
from handed_box import (
    CELLS,
    COUNT,
    COUNTER,
    DUP,
    FDS,
    FILE,
    GETPPID,
    LENGTH,
    LESS,
    MADE,
    MEM,
    RELOCS,
    RESULTS,
    drive,
    file,
    image,
    kernel,
)

__all__ = ["file", "kernel"]
SEEDS, PROGRAMS = 8, 60


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
