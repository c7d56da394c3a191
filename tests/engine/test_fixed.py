"""Registered memory: which requests use it, who is refused, who lets go of it when."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from driver import FD, NUMBERS, Engine, Kernel, atom, ffi, lib, plan

SIZE = 8192


@pytest.fixture
def engine(kernel: Kernel) -> Iterator[Engine]:
    engine = Engine(kernel, backend=lib.BACKEND_URING)
    yield engine
    engine.close()


def transfer(engine: Engine, name: str, at: int, length: int) -> int | None:
    """The opcode of the request that a transfer at this address became, if it did."""
    made = plan(
        [atom(NUMBERS[name], 1, 2, 3, 4, ret=5, flags=lib.SYSLET_ASYNC)],
        [0, FD, 0, length, 0, 0],
        relocs=[(2, lib.RELOC_HOST, length)],
    )
    flight = engine.fly(made, {2: at})
    engine.turn()
    assert engine.kernel is not None
    opcode = None
    if engine.kernel.pending() == [FD]:
        opcode = int(engine.kernel.c.pending[0].opcode)
        engine.kernel.answer(FD, length)
    else:
        engine.kernel.script(FD, -errno.EAGAIN, length)
        assert engine.work()
    engine.turn()
    assert flight.has_landed and flight.cell(5) == length
    flight.release()
    return opcode


def place(memory: Any) -> int:
    return int(ffi.cast("uintptr_t", memory))


def test_only_what_lies_inside_is_asked_for_by_its_index(engine: Engine) -> None:
    memory = ffi.new("char[]", 3 * SIZE)
    at = place(memory) + SIZE
    index = lib.fixed_take(engine.c, ffi.cast("void *", at), SIZE)
    assert index >= 0
    inside = [(at, SIZE), (at, 1), (at + SIZE - 10, 10)]
    outside = [(at - 1, SIZE), (at - 1, 1), (at + 1, SIZE), (at + SIZE, 1)]
    for start, length in inside:
        assert transfer(engine, "pread64", start, length) == lib.RING_READ_FIXED
        assert transfer(engine, "pwrite64", start, length) == lib.RING_WRITE_FIXED
    for start, length in outside:
        assert transfer(engine, "pread64", start, length) == lib.RING_READ
        assert transfer(engine, "pwrite64", start, length) is None, "a worker's"
    lib.fixed_give(engine.c, index)
    for start, length in inside:
        assert transfer(engine, "pread64", start, length) == lib.RING_READ


def test_a_full_table(kernel: Kernel, engine: Engine) -> None:
    memory = ffi.new("char[]", SIZE * (lib.FIXED_MAX + 1))

    def take(number: int) -> int:
        at = ffi.cast("void *", place(memory) + number * SIZE)
        return int(lib.fixed_take(engine.c, at, SIZE))

    taken = [take(number) for number in range(lib.FIXED_MAX)]
    assert sorted(taken) == list(range(lib.FIXED_MAX))
    assert take(lib.FIXED_MAX) == -errno.ENOSPC
    for number, index in enumerate(taken):
        assert lib.fixed_find(engine.c, place(memory) + number * SIZE, SIZE) == index
    lib.fixed_give(engine.c, taken[3])
    assert take(lib.FIXED_MAX) == taken[3]
    assert kernel.c.buffers == lib.FIXED_MAX


@pytest.mark.parametrize("where", ["buffers_error", "buffer_error"])
def test_what_the_kernel_refuses(kernel: Kernel, engine: Engine, where: str) -> None:
    memory = ffi.new("char[]", SIZE)
    setattr(kernel.c, where, errno.ENOMEM)
    assert lib.fixed_take(engine.c, memory, SIZE) == -errno.ENOMEM
    assert transfer(engine, "pread64", place(memory), SIZE) == lib.RING_READ
    setattr(kernel.c, where, 0)
    assert lib.fixed_take(engine.c, memory, SIZE) >= 0
    assert transfer(engine, "pread64", place(memory), SIZE) == lib.RING_READ_FIXED


def test_without_a_ring() -> None:
    engine = Engine(Kernel(), backend=lib.BACKEND_EPOLL)
    memory = ffi.new("char[]", SIZE)
    assert lib.fixed_take(engine.c, memory, SIZE) == -errno.EOPNOTSUPP
    assert lib.fixed_find(engine.c, place(memory), SIZE) == -1
    engine.close()


def test_another_thread_gives_back(kernel: Kernel, engine: Engine) -> None:
    """What was mapped there next must not be taken for what the kernel has."""
    first, second = ffi.new("char[]", SIZE), ffi.new("char[]", SIZE)
    index = lib.fixed_take(engine.c, first, SIZE)
    thread = threading.Thread(target=lib.fixed_give, args=(engine.c, index))
    thread.start()
    thread.join()
    assert kernel.c.buffers == 1, "only the ring's own thread may tell the kernel"
    assert transfer(engine, "pread64", place(first), SIZE) == lib.RING_READ
    assert lib.fixed_take(engine.c, second, SIZE) >= 0
    assert kernel.c.buffers == 1, "the older one was let go"
