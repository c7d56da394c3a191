"""Memory of earlier flights: cleared where a program may show more than it filled, and
left alone where it cannot.
"""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
from driver import (
    ADD,
    BUFFER,
    LOAD,
    NOP,
    NUMBERS,
    READ,
    Engine,
    Flight,
    Refused,
    atom,
    ffi,
    lib,
    plan,
)

N = NUMBERS
CELL, NEW = 1, 3  # kinds of relocations
SIZE = 64
DIRT = b"\xab" * SIZE
# Cell 2 is the buffer, 3 its size, 4 what an atom gives, 5.. numbers.
CELLS = [0, 0, 0, SIZE, 0, 0, 8, 1 << 5]
FILL = atom(READ, 1, 2, 3, ret=4, flags=lib.SYSLET_STOP_ON_NEGATIVE, next=2)
BOUND = [(1, 2, 3)]


def program(*atoms: Any, cells: Any = CELLS, **more: Any) -> Any:
    more.setdefault("relocs", [(2, NEW, 0)])
    more.setdefault("buffers", [(SIZE, 0, 2, 0)])
    return plan(list(atoms), cells, **more)


def case(name: str, cleared: bool, *atoms: Any, **more: Any) -> Any:
    return pytest.param(atoms, more, cleared, id=name)


moved = atom(NOP, 4, ret=5, next=3)
CASES = [
    case("shown as far", False, FILL, atom(NOP, 3), shows=[(2, 4)]),
    case("sent as far", False, FILL, atom(N["write"], 1, 2, 4), bounds=BOUND),
    case("shown as a whole", True, FILL, atom(NOP, 3), shows=[(2, 3)]),
    case("sent as a whole", True, FILL, atom(N["write"], 1, 2, 3)),
    case("never filled, nothing sent", False, atom(N["write"], 1, 2, 5), bounds=[]),
    case(
        "sent by a length that was moved", False, FILL, moved,
        atom(N["write"], 1, 2, 5), bounds=[(2, 2, 3)],
    ),
    case(
        "sent by a length that was computed", True, FILL, atom(NOP, 6, ret=4, next=3),
        atom(N["write"], 1, 2, 4), bounds=[(2, 2, 3)],
    ),
    case(
        "sent by what another call gave", True, FILL,
        atom(N["lseek"], 1, 5, 5, ret=4, next=3),
        atom(N["write"], 1, 2, 4), bounds=[(2, 2, 3)],
    ),
    case("loaded from", True, FILL, atom(LOAD, 2, 6, 5, 5)),
    case("added to", True, FILL, atom(ADD, 2, 6)),
    case("an address that is a number as well", True, FILL, atom(NOP, 2)),
    case("in the hands of an unknown call", True, FILL, atom(999, 2)),
    case("polled", True, atom(N["ppoll"], 2, 6, 5, 5)),
    case(
        "the length of a message that was cut", True,
        atom(N["recvfrom"], 1, 2, 3, 7, ret=4, next=2),
        atom(N["write"], 1, 2, 4), bounds=BOUND,
    ),
    case(
        "received without a flag", False,
        atom(N["recvfrom"], 1, 2, 3, 5, ret=4, next=2),
        atom(N["write"], 1, 2, 4), bounds=BOUND,
    ),
    case(
        "the size of an attribute", False,
        atom(N["fgetxattr"], 1, 8, 2, 3, ret=4), shows=[(2, 4)],
        cells=[*CELLS, 0], relocs=[(2, NEW, 0), (8, 2, 0)], consts=b"user.x\0",
    ),
    case(
        "the size an attribute would need", True,
        atom(N["fgetxattr"], 1, 8, 2, 5, ret=4), shows=[(2, 4)],
        cells=[*CELLS, 0], relocs=[(2, NEW, 0), (8, 2, 0)], consts=b"user.x\0",
    ),
    case(
        "in a vector that is sent", True, FILL, atom(N["writev"], 1, 5, 6),
        cells=[0, 0, 0, SIZE, 0, 0, 1, 0], relocs=[(5, CELL, 16), (2, NEW, 0)],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("atoms", "more", "cleared"), CASES)
def test_what_is_cleared(atoms: Any, more: Any, cleared: bool) -> None:
    engine, made = Engine(), program(*atoms, **more)
    first = Flight(engine, made, {})
    memory = ffi.buffer(ffi.cast("char *", first.cell(2)), SIZE)
    memory[:] = DIRT
    first.release()
    second = Flight(engine, made, {})
    assert second.cell(2) == int(ffi.cast("intptr_t", ffi.from_buffer(memory)))
    assert memory[:] == (bytes(SIZE) if cleared else DIRT)
    second.release()
    engine.close()


def sent_by(made: Any, cells: dict[int, int]) -> bytes:
    """What a flight sends in memory that an earlier one has used."""
    left, right = socket.socketpair()
    secret = program(atom(N["getrandom"], 2, 3, 5, ret=4))
    engine = Engine()
    for each in (secret, made):
        flight = Flight(engine, each, {1: left.fileno(), **cells})
        if each is secret:
            scratch = ffi.cast("char *", flight.cell(2))
            ffi.buffer(scratch, SIZE)[:] = DIRT
            flight.release()
        else:
            engine.land(flight.launch())
            flight.release()
    engine.close()
    left.close()
    with right:
        return right.recv(1000)


def test_a_write_of_more_than_was_filled() -> None:
    assert sent_by(program(atom(N["write"], 1, 2, 3)), {}) == bytes(SIZE)


def test_a_computed_buffer_that_is_sent_as_a_whole() -> None:
    made = plan(
        [atom(BUFFER, 5, 4, next=2), atom(N["write"], 1, 2, 4)],
        [0, 0, 0, 0, SIZE, 0],
        buffers=[(0, 0, 2, 3)],
        bounds=[(1, 2, 3)],
    )
    assert sent_by(made, {}) == bytes(SIZE)


def test_a_buffer_that_grows_between_filling_and_sending() -> None:
    """The length is the old one, the memory a new one."""
    path = f"/proc/self/fd/{os.memfd_create('x')}"
    fd = os.open(path, os.O_RDWR)
    os.write(fd, b"word" * 16)
    large = 1 << 17  # does not fit where the small one was
    made = plan(
        [
            atom(BUFFER, 5, 4, next=2),
            atom(N["pread64"], 6, 2, 4, 5, ret=7, next=3),
            atom(BUFFER, 5, 8, next=4),
            atom(N["write"], 1, 2, 7),
        ],
        [0, 0, 0, 0, SIZE, 0, fd, 0, large],
        buffers=[(0, 0, 2, 3)],
        bounds=[(1, 2, 3), (3, 2, 3)],
    )
    assert sent_by(made, {}) == bytes(SIZE)
    os.close(fd)
    os.close(int(path.rpartition("/")[2]))


def test_a_path_in_a_buffer_ends_behind_it() -> None:
    """As many bytes as there are, none of them NUL: the kernel reads no further."""
    name = b"x" * 16
    source = os.memfd_create("x")
    os.write(source, name)
    made = plan(
        [
            atom(N["pread64"], 1, 2, 3, 4, next=2),
            atom(N["faccessat2"], 5, 2, 4, 4),
        ],
        [0, source, 0, 16, 0, -100, 0],
        relocs=[(2, NEW, 0), (6, NEW, 1)],
        buffers=[(16, 0, 2, 0), (16, 0, 6, 0)],
    )
    engine = Engine()
    flight = Flight(engine, made, {})
    ffi.buffer(ffi.cast("char *", flight.cell(6)), 16)[:] = b"y" * 16
    engine.land(flight.launch())
    found = ffi.string(ffi.cast("char *", flight.cell(2)))
    assert found == name
    flight.release()
    engine.close()
    os.close(source)


def test_a_path_in_cells_is_refused() -> None:
    with pytest.raises(Refused, match="a string in cells"):
        plan(
            [atom(N["faccessat2"], 1, 2, 3, 3)],
            [0, -100, 0, 0],
            relocs=[(2, CELL, 24)],
        )


def test_what_the_host_reads_is_checked() -> None:
    with pytest.raises(Refused, match="what is shown: no cell 9"):
        program(atom(NOP, 1), shows=[(9, 0)])
    with pytest.raises(Refused, match="what is shown: no cell 9"):
        program(atom(NOP, 1), shows=[(2, 9)])
