"""Addresses that lead nowhere: -EFAULT, never a crash. Here noticed by probes.

The same with signals is in programs/faults.c, because it is chosen once per process.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from typing import Any

import pytest

from abi.atoms import ASYNC, EFAULT, NEGATIVE, Head, Layout, Program
from syslet_loop.abi import address, ffi

BAD = [8, 0x7FFF_FFFF_F000, 2**63, 2**64 - 8]
READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE


def protect(page: int, how: int) -> None:
    """mprotect(2) of one page."""
    libc = ctypes.CDLL(None)
    assert libc.mprotect(ctypes.c_void_p(page), mmap.PAGESIZE, how) == 0


@pytest.fixture
def edge() -> Iterator[Any]:
    """Two pages, of which the second may not be touched; the address between."""
    memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    start = address(ffi.from_buffer(memory))
    protect(start + mmap.PAGESIZE, 0)
    yield start + mmap.PAGESIZE
    protect(start + mmap.PAGESIZE, READ_WRITE)
    memory.close()


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("away", [0, ASYNC])
def test_argument(layout: Layout, bad: int, away: int) -> None:
    program = Program(layout, 2)
    program.set(0, "getpid", 1, flags=away, next=1)
    program.set(1, "getpid")
    program.poke_arg(0, 0, bad)
    assert Head(layout).finish(program) == 1
    assert program.results[0] == EFAULT
    assert program.results[1] > 0


def test_argument_stops_like_any_error(layout: Layout) -> None:
    program = Program(layout, 2)
    program.set(0, "getpid", 1, flags=NEGATIVE, next=1)
    program.poke_arg(0, 0, 8)
    assert Head(layout).exec(program) == 0
    assert program.results[0] == EFAULT


@pytest.mark.parametrize("bad", BAD)
def test_first_atom(layout: Layout, bad: int) -> None:
    head = Head(layout)
    atom = ffi.cast(f"{layout.atom} *", bad)
    found = address(layout.exec(atom, head.ahu))
    assert found == 2**64 + EFAULT


@pytest.mark.parametrize("bad", BAD)
def test_head(layout: Layout, bad: int) -> None:
    program = Program(layout, 1)
    program.set(0, "getpid")
    atom = ffi.cast(f"{layout.atom} *", program.at(0))
    ahu = ffi.cast(f"{layout.head} *", bad)
    assert address(layout.exec(atom, ahu)) == 2**64 + EFAULT
    assert layout.wait(1, 0, ahu) == EFAULT
    assert layout.register(ahu, 64) == EFAULT
    assert program.results[0] == -9999


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("field", ["next", "ret_ptr"])
def test_next_and_ret_ptr(layout: Layout, bad: int, field: str) -> None:
    """Here async_exec says so; away the atom where it happened is posted."""
    head, program = Head(layout), Program(layout, 1)
    program.set(0, "getpid")
    program.poke(0, field, bad)
    with pytest.raises(OSError) as caught:
        head.exec(program)
    assert caught.value.errno == -EFAULT
    program.atoms[0].flags = ASYNC | 4  # NO_COMPLETE does not hide an error
    assert head.exec(program) is None
    head.wait()
    assert head.take() == program.at(0)


@pytest.mark.parametrize("name", ["umem_add", "read", "write", "readv", "writev"])
def test_memory_of_calls(layout: Layout, name: str, tmp_path: Any) -> None:
    with open(tmp_path / "file", "w+b") as file:
        file.write(b"x" * 100)
        file.flush()
        program = Program(layout, 1)
        where = 8 if name == "umem_add" else file.fileno()
        program.set(0, name, where, 8 if name != "umem_add" else 1, 2)
        assert Head(layout).finish(program) == 0
        assert program.results[0] in (EFAULT, 0)
        assert program.results[0] == EFAULT or name == "read"


def test_a_truncated_atom_at_the_end_of_a_page(layout: Layout, edge: int) -> None:
    """Arguments are fetched up to the first NULL, and `private` never."""
    program = Program(layout, 1)
    program.set(0, "getpid")
    length = 8 * (5 if layout.size == 88 else 4)
    source = ffi.buffer(program.atoms)[:length]
    ffi.memmove(ffi.cast("char *", edge - length), source, length)
    head = Head(layout)
    atom = ffi.cast(f"{layout.atom} *", edge - length)
    assert address(layout.exec(atom, head.ahu)) == edge - length
    assert program.results[0] > 0
    # Without that NULL its arguments reach into what is not there.
    ffi.memmove(ffi.cast("char *", edge - length + 8), source, length - 8)
    atom = ffi.cast(f"{layout.atom} *", edge - length + 8)
    ffi.memmove(atom, source, length - 8)
    assert address(layout.exec(atom, head.ahu)) == edge - length + 8
    assert program.results[0] == EFAULT


def test_the_ring_goes_away_and_comes_back(layout: Layout) -> None:
    """An end that cannot be posted is kept until there is a ring again."""
    head, program = Head(layout), Program(layout, 1)
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    ring = address(ffi.from_buffer(memory))
    head.point(ring, 64)
    start, finish = os.pipe()
    program.set(0, "read", start, address(program.results), 1)
    assert head.exec(program) is None
    protect(ring, 0)
    os.write(finish, b"x")
    assert head.unregister() in (EFAULT, -11)
    protect(ring, READ_WRITE)
    head.wait()
    assert ffi.cast("uint64_t *", ring)[0] == program.at(0)
    os.close(start)
    os.close(finish)
    memory.close()
