"""What atoms may say: arguments, results, flags, branches, loops; in both layouts."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from abi.atoms import (
    ASYNC,
    EFAULT,
    EINVAL,
    ENOSYS,
    EPERM,
    NEGATIVE,
    NO_COMPLETE,
    NON_POSITIVE,
    NONZERO,
    SKIP,
    SYNC,
    V3,
    V6,
    X86,
    ZERO,
    Head,
    Layout,
    Program,
)
from syslet_loop.abi import address, ffi, lib


def test_layouts_are_the_announced_ones() -> None:
    def offsets(kind: str) -> list[int]:
        return [field.offset for _, field in ffi.typeof(kind).fields]

    assert offsets(V6.atom) == [0, 4, 8, 16, 24, 72]
    assert (V6.size, V3.size) == (80, 88)
    assert offsets(V3.atom) == [0, 8, 16, 24, 32, 80]
    for layout in (V6, V3):
        assert offsets(layout.head) == [0, 8, 16, 24, 32, 40, 48, 56]


def test_a_result_becomes_an_argument(layout: Layout) -> None:
    program = Program(layout, 3)
    fd = ffi.cast("unsigned long *", program.results)
    path = ffi.new("char[]", b"/proc/self/comm")
    buffer = ffi.new("char[64]")
    program.set(0, "openat", -100, address(path), 0, flags=NEGATIVE, next=1)
    program.set(1, "read", fd, address(buffer), 64, next=2)
    program.set(2, "close", fd)
    assert Head(layout).finish(program) == 2
    comm = Path("/proc/self/comm").read_bytes()
    assert ffi.string(buffer) == comm
    assert program.results[1] == len(comm)
    assert program.results[2] == 0


@pytest.mark.parametrize("value", [-3, 0, 5])
@pytest.mark.parametrize("flag", [NONZERO, ZERO, NEGATIVE, NON_POSITIVE])
@pytest.mark.parametrize("skip", [0, SKIP])
def test_stop_conditions(layout: Layout, value: int, flag: int, skip: int) -> None:
    """A stop ends, or goes to the atom behind; else `next` is followed."""
    program = Program(layout, 3)
    cell = program.word(value)
    program.set(0, "umem_add", address(cell), 0, flags=flag | skip, next=2)
    program.set(1, "getpid")
    program.set(2, "getppid")
    stops = {
        NONZERO: value != 0,
        ZERO: value == 0,
        NEGATIVE: value < 0,
        NON_POSITIVE: value <= 0,
    }[flag]
    last = Head(layout).exec(program)
    assert last == (2 if not stops else 1 if skip else 0)
    assert program.results[0] == value
    assert (program.results[1] == os.getpid()) == (last == 1)
    assert (program.results[2] == os.getppid()) == (last == 2)


def test_stop_conditions_add_up(layout: Layout) -> None:
    program = Program(layout, 2)
    cell = program.word(-1)
    program.set(0, "umem_add", address(cell), 0, flags=ZERO | NEGATIVE, next=1)
    program.set(1, "getpid")
    assert Head(layout).exec(program) == 0
    cell[0] = 1
    assert Head(layout).exec(program) == 1


def test_a_loop_counts_down(layout: Layout) -> None:
    program = Program(layout, 2)
    left, sum_ = program.word(100), program.word(0)
    program.set(0, "umem_add", address(sum_), 3, next=1)
    program.set(1, "umem_add", address(left), -1, flags=NON_POSITIVE, next=0)
    assert Head(layout).exec(program) == 1
    assert (sum_[0], left[0], program.results[0]) == (300, 0, 300)


def test_an_atom_rewrites_the_program(layout: Layout) -> None:
    """umem_add on another atom's `next`: the third is never run."""
    program = Program(layout, 4)
    next_of_1 = address(program.atoms) + layout.size + (24 if layout is V3 else 16)
    program.set(0, "umem_add", next_of_1, layout.size, next=1)
    program.set(1, "getpid", next=2)
    program.set(2, "getppid", next=3)
    program.set(3, "getpid")
    assert Head(layout).exec(program) == 3
    assert program.results[2] == -9999


def test_an_atom_changes_an_argument_of_the_next(layout: Layout) -> None:
    program = Program(layout, 2)
    number = program.word(40)
    cell = program.word(0)
    program.set(0, "umem_add", address(number), 2, next=1)
    program.set(1, "umem_add", address(cell), number)
    assert Head(layout).exec(program) == 1
    assert program.results[1] == 42


def test_no_ret_ptr_and_private(layout: Layout) -> None:
    program = Program(layout, 1)
    program.set(0, "getpid", ret=False)
    mark = ffi.cast("void *", 0x1234) if layout is V3 else 0x1234
    program.atoms[0].private = mark
    assert Head(layout).exec(program) == 0
    assert program.results[0] == -9999
    assert program.atoms[0].private == mark


def test_sync_blocks_and_async_goes(layout: Layout) -> None:
    head, program = Head(layout), Program(layout, 1)
    nap = ffi.new("long[2]", [0, 2_000_000])
    program.set(0, "nanosleep", address(nap), 0, flags=SYNC)
    assert head.exec(program) == 0
    assert program.results[0] == 0
    program.set(0, "getpid", flags=ASYNC)
    assert head.exec(program) is None
    head.wait()
    assert head.take() == program.at(0)
    assert program.results[0] == os.getpid()


def test_no_complete_is_that_of_the_last_atom(layout: Layout) -> None:
    head, program = Head(layout), Program(layout, 2)
    program.set(0, "getpid", flags=ASYNC, next=1)
    program.set(1, "getppid", flags=NO_COMPLETE)
    assert head.exec(program) is None
    head.wait()  # until nothing is pending
    assert head.take() is None
    assert program.results[1] == os.getppid()
    program.atoms[0].flags = ASYNC | NO_COMPLETE
    program.atoms[1].flags = 0
    assert head.exec(program) is None
    head.wait()
    assert head.take() == program.at(1)


@pytest.mark.parametrize("away", [0, ASYNC])
def test_refused_calls(layout: Layout, away: int) -> None:
    program = Program(layout, 6)
    names = ["clone", "execve", "exit", "io_uring_enter", "async_exec", "getpid"]
    for index, name in enumerate(names):
        program.set(index, name, 0, 0, 0, next=index + 1 if index < 5 else None)
        program.atoms[index].flags = away if index == 0 else 0
    assert Head(layout).finish(program) == 5
    expected = [EPERM, EPERM, EPERM, EINVAL, EINVAL, os.getpid()]
    assert list(program.results) == expected


@pytest.mark.skipif(not X86, reason="x86-64 has it")
def test_uretprobe_is_refused(layout: Layout) -> None:
    """By itself, since Linux 6.11, it is a SIGILL that nothing can catch."""
    program = Program(layout, 1)
    program.set(0, 335)
    assert Head(layout).exec(program) == 0
    assert program.results[0] == EPERM


@pytest.mark.parametrize("nr", [1023, 5000, 0x40000000 | 57])
def test_numbers_nobody_knows(layout: Layout, nr: int) -> None:
    """The last would be fork by another name, where the kernel has it."""
    program = Program(layout, 1)
    program.set(0, nr)
    assert Head(layout).finish(program) == 0
    assert program.results[0] == ENOSYS


def test_the_tid_does_not_change(layout: Layout) -> None:
    """Here, and for what runs on a thread of the library."""
    head, program = Head(layout), Program(layout, 2)
    program.set(0, "gettid", next=1)
    program.set(1, "gettid", flags=ASYNC)
    assert head.finish(program) == 1
    assert set(program.results) == {threading.get_native_id()}


def test_calls_about_the_thread_are_for_the_submitter(layout: Layout) -> None:
    """PR_GET_NAME here; on another thread it would tell of that one."""
    name = ffi.new("char[16]")
    program = Program(layout, 2)
    program.set(0, "prctl", 16, address(name))
    assert Head(layout).exec(program) == 0
    assert program.results[0] == 0
    program.set(0, "getpid", flags=ASYNC, next=1)
    program.set(1, "prctl", 16, address(name))
    assert Head(layout).finish(program) == 1
    assert program.results[1] == EPERM


def test_umem_add_from_outside() -> None:
    word = ffi.new("unsigned long *", 5)
    assert lib.umem_add(word, 2**64 - 7) == -2
    assert lib.umem_add(word, 0) == -2
    assert lib.umem_add(ffi.cast("unsigned long *", 8), 1) == EFAULT
