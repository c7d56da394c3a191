"""Every operation of the table, on every path, on both backends, beside the plain call.

Each case of ops_files.py and ops_net.py is made twice in equal places: once the system
call is made as it is, once by the engine; results and effects must be the same, and the
path that was taken the one the table promises.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ops_files  # noqa: F401  (fills CASES)
import ops_net  # noqa: F401
import pytest
from driver import (
    ASYNC,
    BACKENDS,
    FSYNC,
    NUMBERS,
    SYNC,
    Engine,
    atom,
    ffi,
    lib,
    plain,
    plan,
)
from ops_box import CASES, Box

INLINE, RING, WORKER = 0, 1, 2
PSEUDO = {"nop", "umem_add", "load", "buffer", "emit"}
ROUTES = ("as it is", "async", "sync", "after a worker")


def rows() -> dict[str, Any]:
    found = {}
    for index in range(lib.ops_count()):
        info = ffi.new("struct op_info *")
        lib.ops_get(index, info)
        found[ffi.string(info.name).decode()] = info
    return found


ROWS = rows()


def test_no_row_is_without_a_case() -> None:
    assert set(CASES) == set(ROWS) - PSEUDO


@pytest.fixture(params=BACKENDS)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    try:
        engine = Engine(backend=BACKENDS[request.param], workers=0)
    except OSError as error:
        pytest.skip(f"{request.param} is not to be had here: {error}")
    yield engine
    engine.close()


def fly(
    engine: Engine, name: str, args: list[int], route: str, fd: int
) -> tuple[int, int]:
    """(result, path) of the operation as one atom, or behind one on a worker."""
    flags = {"async": ASYNC, "sync": SYNC}.get(route, 0)
    if ROWS[name].inline_only:
        flags = 0
    cells = [0, fd, *args]
    made = atom(NUMBERS[name], *range(2, len(cells)), flags=flags)
    atoms = [made] if route != "after a worker" else [atom(FSYNC, 1, next=2), made]
    flight = engine.fly(plan(atoms, cells))
    engine.land(flight)
    assert not flight.is_cancelled
    result = flight.last[1]
    path = lib.flight_path_taken(flight.c)
    result_kind = ROWS[name].result
    if result >= 0 and (
        result_kind == b"f" or (result_kind == b"D" and args[1] == 1030)
    ):
        assert lib.flight_fd_take(flight.c, result) == 0, "the flight owns what it made"
        os.close(result)
        result = 0
    if result_kind == b"P" and result == 0:
        pair = ffi.cast("int *", args[-1 if name == "socketpair" else 0])
        assert lib.flight_fd_take(flight.c, pair[0]) == 0
        assert lib.flight_fd_take(flight.c, pair[1]) == 0
    flight.release()
    return result, path


def call(name: str, args: list[int]) -> int:
    result = plain(NUMBERS[name], args)
    kind = ROWS[name].result
    if result >= 0 and (kind == b"f" or (kind == b"D" and args[1] == 1030)):
        os.close(result)
        result = 0
    return result


def close_pair(name: str, args: list[int]) -> None:
    if ROWS[name].result == b"P":
        pair = ffi.cast("int *", args[-1 if name == "socketpair" else 0])
        os.close(pair[0])
        os.close(pair[1])


def wanted_path(name: str, route: str, engine: Engine) -> int | None:
    """What the table promises; None: it depends on the set-up."""
    row = ROWS[name]
    path = lib.engine_miss_path(engine.c, row.nr)
    in_ring, in_kernel = path == lib.MISS_RING, path == lib.MISS_KERNEL
    if row.inline_only or not row.may_block:
        return INLINE if route == "as it is" else None
    if route == "sync":
        return INLINE
    if route == "after a worker":
        with_kernel = lib.engine_backend(engine.c) == lib.BACKEND_KERNEL
        return None if with_kernel else WORKER
    if route == "async" and in_ring:
        on_file = name in ("write", "pwrite64", "writev", "pwritev", "splice")
        return None if on_file or name == "futex" else RING
    if not ffi.string(row.ring_form) and not ffi.string(row.inline_form):
        return RING if in_kernel else WORKER  # a command, which a kernel's worker runs
    return None


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", sorted(set(ROWS) - PSEUDO))
def test_it_does_what_the_call_does(
    engine: Engine, tmp_path: Path, name: str, route: str
) -> None:
    boxes = Box(tmp_path / "plain"), Box(tmp_path / "engine")
    before = len(os.listdir("/proc/self/fd"))
    try:
        args = CASES[name](boxes[0])
        expected = call(name, args)
        saw = boxes[0].seen()
        close_pair(name, args)
        args = CASES[name](boxes[1])
        other = os.open(boxes[1].folder, os.O_RDONLY)
        result, path = fly(engine, name, args, route, other)
        os.close(other)
        assert result == expected or name == "inotify_add_watch"
        if name != "getdents64":
            assert boxes[1].seen() == saw
        close_pair(name, args)
        wanted = wanted_path(name, route, engine)
        assert wanted is None or path == wanted
    finally:
        for box in boxes:
            box.close()
            for thing in box.kept:
                getattr(thing, "close", int)()
    assert len(os.listdir("/proc/self/fd")) <= before
