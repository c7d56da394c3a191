"""Random programs against an oracle in plain Python, by seed.

The oracle follows atoms as the announcement describes them: store the result, look at
the stop condition, go to `next`, to the atom behind, or end. Programs count in words,
write to and read from a pipe that both know, change their own arguments and `next`
fields, and hop to another thread at random atoms; where they run must not matter.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field

import pytest

from abi.atoms import (
    ASYNC,
    NEGATIVE,
    NON_POSITIVE,
    NONZERO,
    SKIP,
    SYNC,
    ZERO,
    Head,
    Layout,
    Program,
)
from syslet_loop.abi import address, ffi

ATOMS, CELLS, STEPS = 7, 4, 400
SIGNED = 2**63


def signed(value: int) -> int:
    return (value + SIGNED) % 2**64 - SIGNED


@dataclass
class Model:
    """One atom: what it does to which cell, and how it goes on."""

    kind: str  # add, send, take, pid
    cell: int
    amount: int  # what is added; or another cell, whose value is (if by_cell)
    by_cell: bool
    flags: int
    next: int | None
    ret: int | None  # a cell


@dataclass
class Oracle:
    """Runs the models."""

    models: list[Model]
    cells: list[int]
    queue: list[int] = field(default_factory=list)

    def result(self, model: Model) -> int:
        if model.kind == "add":
            amount = self.cells[model.amount] if model.by_cell else model.amount
            self.cells[model.cell] = signed(self.cells[model.cell] + amount)
            return self.cells[model.cell]
        if model.kind == "send":
            self.queue.append(self.cells[model.cell])
            return 8
        if model.kind == "take":
            if not self.queue:
                return -11
            self.cells[model.cell] = self.queue.pop(0)
            return 8
        return os.getpid()

    def run(self) -> int | None:
        """The atom that ends it; None if it goes on for too long."""
        at: int | None = 0
        for _ in range(STEPS):
            assert at is not None
            model = self.models[at]
            result = self.result(model)
            if model.ret is not None:
                self.cells[model.ret] = result
            flags = model.flags
            stops = (
                (flags & NONZERO and result != 0)
                or (flags & ZERO and result == 0)
                or (flags & NEGATIVE and result < 0)
                or (flags & NON_POSITIVE and result <= 0)
            )
            last, at = at, model.next
            if stops:
                at = last + 1 if flags & SKIP else None
            if at is None:
                return last
        return None


def draw(dice: random.Random) -> Oracle:
    models = []
    for index in range(ATOMS):
        flags = sum(flag for flag in (8, 16, 32, 64) if dice.random() < 0.2)
        if flags and index + 1 < ATOMS and dice.random() < 0.6:
            flags |= SKIP
        flags |= dice.choice([0, 0, 0, 0, ASYNC, SYNC])
        models.append(
            Model(
                dice.choice(["add", "add", "add", "send", "take", "pid"]),
                dice.randrange(CELLS),
                dice.randrange(CELLS),
                dice.random() < 0.3,
                flags,
                dice.choice([None, *range(ATOMS), *range(index + 1, ATOMS)]),
                dice.choice([None, *range(CELLS)]),
            )
        )
        if not models[-1].by_cell:
            models[-1].amount = dice.choice([-1, -1, 1, 2, -5])
    return Oracle(models, [dice.randrange(-3, 8) for _ in range(CELLS)])


def build(
    oracle: Oracle, layout: Layout, pipe: tuple[int, int]
) -> tuple[Program, object]:
    program = Program(layout, ATOMS)
    cells = ffi.new("long[]", oracle.cells)
    program.kept.append(cells)
    for index, model in enumerate(oracle.models):
        at = address(cells) + 8 * model.cell
        if model.kind == "add":
            amount: object = model.amount
            if model.by_cell:
                amount = ffi.cast("unsigned long *", address(cells) + 8 * model.amount)
            program.set(index, "umem_add", at, amount, flags=model.flags)
        elif model.kind == "send":
            program.set(index, "write", pipe[1], at, 8, flags=model.flags)
        elif model.kind == "take":
            program.set(index, "read", pipe[0], at, 8, flags=model.flags)
        else:
            program.set(index, "getpid", flags=model.flags)
        if model.next is not None:
            program.poke(index, "next", program.at(model.next))
        ret = 0 if model.ret is None else address(cells) + 8 * model.ret
        program.poke(index, "ret_ptr", ret)
    return program, cells


@pytest.mark.parametrize("part", range(10))
def test_programs_do_what_the_oracle_does(layout: Layout, part: int) -> None:
    for seed in range(part * 100, part * 100 + 100):
        compare(layout, seed)


def compare(layout: Layout, seed: int) -> None:
    dice = random.Random(seed)
    oracle = draw(dice)
    before = list(oracle.cells)
    expected = oracle.run()
    if expected is None:
        return  # it may be endless
    after, oracle.cells = oracle.cells, before
    reading, writing = os.pipe2(os.O_NONBLOCK)
    try:
        head = Head(layout)
        program, cells = build(oracle, layout, (reading, writing))
        assert head.finish(program) == expected, seed
        assert list(cells) == after, seed  # type: ignore[call-overload]
        left = b"".join(
            value.to_bytes(8, "little", signed=True) for value in oracle.queue
        )
        assert (os.read(reading, 65536) if left else b"") == left
        assert head.take() is None
    finally:
        os.close(reading)
        os.close(writing)
