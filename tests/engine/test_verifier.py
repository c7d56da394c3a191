"""The verifier: every refusal once, and that garbage is refused or harmless."""

from __future__ import annotations

import contextlib
import os
import random
from typing import Any

import pytest
from driver import (
    ADD,
    ASYNC,
    BUFFER,
    CLOSE,
    LOAD,
    NOP,
    NUMBERS,
    READ,
    SKIP,
    Refused,
    atom,
    ffi,
    lib,
    plan,
)

N = NUMBERS
CELL, CONST, NEW, HOST = 1, 2, 3, 4  # kinds of relocations
CLONE3 = 435  # on every machine
STAT_BYTES = 144 if os.uname().machine == "x86_64" else 128
nop = atom(NOP, 1)
# One fixed buffer of 16 bytes in cell 2; cells 3.. are plain.
FIXED: dict[str, Any] = {"relocs": [(2, NEW, 0)], "buffers": [(16, 0, 2, 0)]}
# One computed buffer: address in cell 2, capacity in cell 3, its number in cell 4.
MADE: dict[str, Any] = {"buffers": [(0, 0, 2, 3)]}


def case(text: str, atoms: Any, cells: Any, **more: Any) -> Any:
    return pytest.param(atoms, cells, more, text, id=text)


def message(**fields: int) -> list[int]:
    """Cells 0..: a msghdr at cell 4, one iovec at cell 12, memory at cell 20."""
    cells = [0] * 32
    cells[3], cells[7], cells[13] = 0, 1, fields.get("length", 16)
    cells[5], cells[9] = fields.get("name", 0), fields.get("control", 0)
    return cells


MESSAGE = [(2, CELL, 4 * 8), (6, CELL, 12 * 8), (12, CELL, 20 * 8)]

REFUSED = [
    case("cell 0 is not 0", [nop], [1, 1]),
    case("input: no cell 9", [nop], [0, 1], inputs=[9]),
    case("relocation: no cell 9", [nop], [0, 1], relocs=[(9, HOST, 1)]),
    case("cell 1 has two origins", [nop], [0, 1], relocs=[(1, HOST, 1)] * 2),
    case("not the address of a cell", [nop], [0, 1], relocs=[(1, CELL, 16)]),
    case("not the address of a cell", [nop], [0, 1, 0], relocs=[(1, CELL, 12)]),
    case("outside the constants", [nop], [0, 1], relocs=[(1, CONST, 3)], consts=b"ab"),
    case("not a fixed buffer's address", [nop], [0, 1], relocs=[(1, NEW, 0)]),
    case("unknown relocation 9", [nop], [0, 1], relocs=[(1, 9, 0)]),
    case("buffer address: no cell", [nop], [0, 1], buffers=[(16, 0, 9, 0)]),
    case("buffer 0: unknown flags", [nop], [0, 1, 0], buffers=[(16, 8, 2, 0)]),
    case("buffer 0: larger than", [nop], [0, 1, 0], buffers=[(1 << 31, 0, 2, 0)]),
    case("buffer 0: no relocation", [nop], [0, 1, 0], buffers=[(16, 0, 2, 0)]),
    case(
        "buffer 1: no relocation",
        [nop],
        [0, 1, 0],
        relocs=[(2, NEW, 0)],
        buffers=[(4096, 0, 2, 0), (16, 0, 2, 0)],
    ),
    case("buffer capacity: no cell", [nop], [0, 1, 0], buffers=[(0, 0, 2, 9)]),
    case("cells have two origins", [nop], [0, 1, 0, 0], inputs=[3], **MADE),
    case("two cells of 0", [nop], [0, 1, 5, 0], **MADE),
    case("two cells of 0", [nop], [0, 1, 0], buffers=[(0, 0, 2, 2)]),
    case("bound 0 names no argument", [nop], [0, 1], bounds=[(0, 3, 1)]),
    case("bound: no cell", [nop], [0, 1], bounds=[(0, 0, 9)]),
    case("its bound is computed", [atom(NOP, 1, ret=1)], [0, 1], bounds=[(0, 0, 1)]),
    case("is refused", [atom(CLONE3)], [0, 1]),
    case("unknown flags 0x100", [atom(NOP, 1, flags=0x100)], [0, 1]),
    case("next is atom 8 of 1", [atom(NOP, 1, next=9)], [0, 1]),
    case("skips behind the last atom", [atom(NOP, 1, flags=SKIP)], [0, 1]),
    case("result cell 9 of 2", [atom(NOP, 1, ret=9)], [0, 1]),
    case("overwrites an address", [atom(NOP, 1, ret=2)], [0, 1, 0], **FIXED),
    case("overwrites an address", [atom(NOP, 1, ret=1)], [0, 1], inputs=[1]),
    case("argument 0 is cell 9 of 2", [atom(NOP, 9)], [0, 1]),
    case(
        "argument 2 is cell 9000 of 4",  # a length that is asked for early
        [atom(READ, 1, 2, 9000)],
        [0, 1, 0, 0],
        relocs=[(2, CELL, 24)],
    ),
    case(
        "more iovecs than its memory has",
        [atom(N["readv"], 1, 2, 3)],
        [0, 1, 0, 2],
        **FIXED,
    ),
    case(
        "the number of its iovecs is computed",  # by the host, of the host's memory
        [atom(N["readv"], 1, 2, 3)],
        [0, 1, 0, 0],
        relocs=[(2, HOST, 16)],
        inputs=[3],
    ),
    case(
        "after the end of its arguments",
        [(0, READ, 0, 0, (1, 0, 1, 0, 0, 0), 0)],
        [0, 1],
    ),
    case("no operation 0x1ffff", [atom(0x1FFFF)], [0, 1]),
    case("takes 3 to 3 arguments, not 2", [atom(READ, 1, 1)], [0, 1]),
    case("takes 1 to 1 arguments, not 2", [atom(CLOSE, 1, 1)], [0, 1]),
    case("ASYNC and SYNC are for system calls", [atom(NOP, 1, flags=ASYNC)], [0, 1]),
    case("length 17, but", [atom(READ, 1, 2, 3)], [0, 1, 0, 17], **FIXED),
    case(
        "a computed length without bound",
        [atom(READ, 1, 2, 3, ret=3)],
        [0, 1, 0, 8],
        **FIXED,
    ),
    case(
        "another memory's bound",
        [atom(READ, 1, 2, 3)],
        [0, 1, 0, 17, 1 << 20],
        bounds=[(0, 2, 4)],
        **FIXED,
    ),
    case(
        "another memory's bound",
        [atom(BUFFER, 4, 1, next=2), atom(READ, 1, 2, 5)],
        [0, 1, 0, 0, 0, 17, 1 << 20],
        bounds=[(1, 2, 6)],
        **MADE,
    ),
    case(
        "a computed length without bound",
        [atom(BUFFER, 4, 1, next=2), atom(READ, 1, 2, 5)],
        [0, 1, 0, 0, 0, 17],
        **MADE,
    ),
    case("not the number of a computed buffer", [atom(BUFFER, 4, 1)], [0] * 5, **FIXED),
    case("not the number", [atom(BUFFER, 4, 1, ret=4)], [0] * 5, **MADE),
    case(
        f"needs {STAT_BYTES} bytes, its memory has 16",
        [atom(N["fstat"], 1, 2)],
        [0, 1, 0],
        **FIXED,
    ),
    case(
        f"needs {STAT_BYTES} bytes, its memory has 0",
        [atom(BUFFER, 4, 1, next=2), atom(N["fstat"], 1, 2)],
        [0, 1, 0, 0, 0],
        **MADE,
    ),
    case(
        "would write to constants",
        [atom(READ, 1, 2, 3)],
        [0, 1, 0, 1],
        relocs=[(2, CONST, 0)],
        consts=b"abc",
    ),
    case(
        "a string without end",
        [atom(N["openat"], 1, 2, 3)],
        [0, -100, 0, 0],
        relocs=[(2, CONST, 0)],
        consts=b"abc",
    ),
    case("umem_add needs 8 bytes", [atom(ADD, 2, 1)], [0, 1, 0], relocs=[(2, HOST, 4)]),
    case(
        "loads from outside",
        [atom(LOAD, 2, 3, 1, 4)],
        [0, 0, 0, 8, -8],
        **FIXED,
    ),
    case("loads from outside", [atom(LOAD, 2, 3, 1, 4)], [0, 0, 0, 8, 9], **FIXED),
    case("more entries than", [atom(N["ppoll"], 2, 3, 1, 1)], [0, 0, 0, 3], **FIXED),
    case(
        "have other owners as well",
        [atom(N["madvise"], 2, 3, 1)],
        [0, 4, 0, 8],
        **FIXED,
    ),
    case(
        "needs 32 bytes, its memory has 16",
        [atom(N["fcntl"], 1, 3, 2)],
        [0, 1, 0, 5],
        **FIXED,
    ),
    case(
        "iovecs is computed",
        [atom(N["readv"], 1, 2, 3, ret=3)],
        [0, 1, 0, 1, 0, 0],
        relocs=[(2, CELL, 32)],
    ),
    case(
        "reach behind the cells",
        [atom(N["readv"], 1, 2, 3)],
        [0, 1, 0, 2, 0, 0],
        relocs=[(2, CELL, 32)],
    ),
    case(
        "iovec 0 is larger than its memory",
        [atom(N["readv"], 1, 2, 3)],
        [0, 1, 0, 1, 0, 17, 0, 0],
        relocs=[(2, CELL, 32), (4, CELL, 48)],
    ),
    case(
        "iovec 0 would write to constants",
        [atom(N["readv"], 1, 2, 3)],
        [0, 1, 0, 1, 0, 2],
        relocs=[(2, CELL, 32), (4, CONST, 0)],
        consts=b"abc",
    ),
    case(
        "needs 56 bytes",  # the kernel stores lengths there: no address may follow
        [atom(N["recvmsg"], 1, 2, 3)],
        message(),
        relocs=MESSAGE,
    ),
    case(
        "its length is not in a cell",
        [atom(N["getsockopt"], 1, 3, 3, 2, 4)],
        [0, 1, 0, 1, 0],
        relocs=[(2, NEW, 0), (4, HOST, 4)],
        buffers=[(16, 0, 2, 0)],
    ),
    case(
        "its length is not in a cell",  # the host's memory has an end as well
        [atom(N["getsockopt"], 1, 3, 3, 2, 4)],
        [0, 1, 0, 1, 0],
        relocs=[(2, HOST, 16), (4, HOST, 4)],
    ),
]


@pytest.mark.parametrize(("atoms", "cells", "more", "text"), REFUSED)
def test_what_is_refused(atoms: Any, cells: Any, more: Any, text: str) -> None:
    with pytest.raises(Refused, match=text):
        plan(atoms, cells, **more)


def test_a_cell_the_kernel_writes_is_no_constant() -> None:
    """The number of a computed buffer, written through an iovec and by a read."""
    makes = atom(BUFFER, 20, 1)
    through = [
        (atom(N["readv"], 1, 2, 3, next=2), [(2, CELL, 32), (4, CELL, 160)]),
        (atom(READ, 1, 2, 3, next=2), [(2, CELL, 160)]),
    ]
    for writes, relocs in through:
        cells = message()
        cells[1], cells[5] = 0, 0
        cells[3] = 1
        if writes[1] == N["readv"]:
            cells[5] = 8
        if writes[1] == READ:
            cells[3] = 8
        with pytest.raises(Refused, match="not the number of a computed buffer"):
            plan([writes, makes], cells, relocs, [(0, 0, 28, 29)])


def test_garbage_is_refused_or_harmless() -> None:
    """Programs of random fields, most of them nearly right; 20 000 of them."""
    dice = random.Random(1)
    numbers = [*NUMBERS.values(), NOP, ADD, LOAD, BUFFER, 0x10009, CLONE3, 999]
    accepted = 0
    for _ in range(20_000):
        with contextlib.suppress(Refused):
            plan(**garbage(dice, numbers))
            accepted += 1
    assert accepted > 200


def garbage(dice: random.Random, numbers: list[int]) -> dict[str, Any]:
    """A program; each field is wild now and then."""
    count = dice.randrange(4, 12)

    def pick(*usual: int) -> int:
        wild = (count, 1 << 15, (1 << 63) + 1)
        return dice.choice(wild if dice.random() < 0.01 else usual)

    def cell(mask: int = (1 << 64) - 1) -> int:
        return pick(*range(1, count)) & mask

    atoms = []
    for _ in range(dice.randrange(1, 4)):
        args = [cell() for _ in range(dice.randrange(1, 5))]
        nr = pick(*numbers) & 0xFFFFFFFF
        flags, after = pick(0, 0x20, 0x88) & 0xFFFF, pick(0, 1)
        atoms.append(atom(nr, *args, flags=flags, ret=pick(0, 0, 3), next=after))
    short = 0xFFFFFFFF
    return {
        "atoms": atoms,
        "cells": [0, *(pick(0, 1, 8, 64) for _ in range(count - 1))],
        "relocs": [
            (cell(short), pick(1, 2, 3, 4, 5) & short, pick(0, 8, 12, 64))
            for _ in range(dice.randrange(3))
        ],
        "buffers": [
            (pick(0, 16) & short, pick(0, 1) & short, cell(short), cell(short))
            for _ in range(dice.randrange(2))
        ],
        "bounds": [
            (pick(0, 1) & short, pick(0, 2) & short, cell())
            for _ in range(dice.randrange(2))
        ],
        "inputs": [cell(short) for _ in range(dice.randrange(2))],
        "consts": b"abc\0",
    }


def test_the_error_names_the_atom() -> None:
    with pytest.raises(Refused) as caught:
        plan([nop, atom(READ, 1)], [0, 1])
    assert caught.value.atom == 1
    assert ffi.sizeof("struct program_atom") == 80
    assert lib.ARGS_MAX == 6
