"""Watches of the host on a kernel whose polls fail."""

from __future__ import annotations

import errno
import select
from collections.abc import Iterator
from typing import Any

import pytest
from driver import FD, Engine, Kernel, ffi, lib


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def engine(kernel: Kernel) -> Iterator[Engine]:
    made = Engine(kernel)
    yield made
    made.close()
    assert kernel.is_clean()


def watched(engine: Engine, kind: int) -> Any:
    seen = ffi.new("struct seen *")
    lib.watch_init(ffi.addressof(seen, "watch"))
    res = lib.watch_begin(ffi.addressof(seen, "watch"), engine.c, FD, kind)
    assert res == 0
    engine.turn()
    return seen


KINDS = ["WATCH_STREAM", "WATCH_READ_ONCE", "WATCH_WRITE_ONCE"]


@pytest.mark.parametrize("name", KINDS)
def test_a_poll_without_memory_is_armed_again(
    engine: Engine, kernel: Kernel, name: str
) -> None:
    seen = watched(engine, getattr(lib, name))
    for _ in range(3):
        kernel.answer(FD, -errno.ENOMEM)
        engine.turn()
        assert seen.reports == 0
        engine.turn()
        assert kernel.pending().count(FD) == 1
    ready = select.POLLOUT if name == "WATCH_WRITE_ONCE" else select.POLLIN
    kernel.answer(FD, ready)
    engine.turn()
    assert (seen.reports, seen.mask) == (1, ready)
    lib.watch_end(ffi.addressof(seen, "watch"))
    engine.turn()


def test_a_wait_for_room_without_memory_is_armed_again(
    engine: Engine, kernel: Kernel
) -> None:
    seen = watched(engine, lib.WATCH_STREAM)
    kernel.answer(FD, select.POLLIN)
    engine.turn()
    lib.watch_write(ffi.addressof(seen, "watch"))
    engine.turn()
    assert kernel.pending().count(FD) == 2
    last = kernel.c.pending_count - 1  # the wait for room
    lib.fake_complete(kernel.c, last, -errno.ENOMEM)
    engine.turn()
    engine.turn()
    assert (seen.reports, kernel.pending().count(FD)) == (1, 2)
    lib.watch_end(ffi.addressof(seen, "watch"))
    engine.turn()


def test_another_failure_is_the_host_s_to_find_out(
    engine: Engine, kernel: Kernel
) -> None:
    seen = watched(engine, lib.WATCH_STREAM)
    kernel.answer(FD, -errno.EINVAL)
    engine.turn()
    engine.turn()
    assert seen.reports == 1
    assert seen.mask & select.POLLERR
    assert FD not in kernel.pending()
    lib.watch_end(ffi.addressof(seen, "watch"))
    engine.turn()
