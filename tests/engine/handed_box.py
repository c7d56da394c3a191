"""What the tests of programs that a kernel executes share: cells, kernels, chains."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from driver import FD, NEGATIVE, NUMBERS, READ, Engine, Flight, Kernel, atom, ffi, lib

MEMORY = ffi.new("char[]", 64)
GETPPID, DUP = NUMBERS["getppid"], NUMBERS["dup"]
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


def chain(count: int, first: int = FDS) -> list[Any]:
    """Reads one behind the other."""
    return [
        atom(READ, first + i, MEM, LENGTH, flags=NEGATIVE, ret=RESULTS + i, next=i + 2)
        for i in range(count - 1)
    ] + [atom(READ, first + count - 1, MEM, LENGTH, ret=RESULTS + count - 1)]
