"""The C engine in Python's hands, for its tests: programs, kernels, engines, flights.

A `Kernel` is the fake one of fake_kernel.h; an `Engine` without one runs on the real
kernel. With workers=0 nothing happens by itself: `turn` and `work` are the test's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _driver import ffi, lib

FD = lib.FAKE_FD
EAGAIN, ECANCELED, EIO, EMFILE = 11, 125, 5, 24
READ, CLOSE, FSYNC = 0, 3, 74  # numbers of x86-64; see NUMBERS for the others
ASYNC, SYNC, NO_COMPLETE = lib.SYSLET_ASYNC, lib.SYSLET_SYNC, lib.SYSLET_NO_COMPLETE
NONZERO, ZERO = lib.SYSLET_STOP_ON_NONZERO, lib.SYSLET_STOP_ON_ZERO
NEGATIVE, NON_POSITIVE = lib.SYSLET_STOP_ON_NEGATIVE, lib.SYSLET_STOP_ON_NON_POSITIVE
SKIP = lib.SYSLET_SKIP_TO_NEXT_ON_STOP
NOP, ADD, LOAD = lib.PSEUDO_NOP, lib.PSEUDO_UMEM_ADD, lib.PSEUDO_LOAD
BUFFER, EMIT = lib.PSEUDO_BUFFER, lib.PSEUDO_EMIT
NONE = 0xFFFFFFFF  # no atom
MASK = (1 << 64) - 1
BACKENDS = {"uring": lib.BACKEND_URING, "epoll": lib.BACKEND_EPOLL}
if Path("/dev/syslet").exists():  # a kernel that executes syslets: docs/kernel.md
    BACKENDS["kernel"] = lib.BACKEND_KERNEL


def numbers() -> dict[str, int]:
    """Numbers of the operations on this machine, by name."""
    found = {}
    info = ffi.new("struct op_info *")
    for index in range(lib.ops_count()):
        lib.ops_get(index, info)
        found[ffi.string(info.name).decode()] = info.nr
    return found


NUMBERS = numbers()
READ, CLOSE, FSYNC = (NUMBERS[name] for name in ("read", "close", "fsync"))


class Refused(Exception):
    """The verifier's word: `atom` (or NONE) and `text`."""

    def __init__(self, atom: int, text: str) -> None:
        super().__init__(f"atom {atom}: {text}")
        self.atom = atom
        self.text = text


def atom(
    nr: int, *args: int, flags: int = 0, ret: int = 0, next: int = 0
) -> tuple[int, int, int, int, tuple[int, ...], int]:
    """One atom; `args`, `ret` are cells, `next` is an index plus one."""
    return (flags, nr, ret, next, (*args, *[0] * (6 - len(args))), 0)


def plan(
    atoms: Sequence[Any],
    cells: Sequence[int],
    relocs: Sequence[tuple[int, int, int]] = (),
    buffers: Sequence[tuple[int, int, int, int]] = (),
    bounds: Sequence[tuple[int, int, int]] = (),
    inputs: Sequence[int] = (),
    shows: Sequence[tuple[int, int]] = (),
    consts: bytes = b"",
) -> Any:
    """A verified plan, dropped when it is garbage. Raises Refused, MemoryError."""
    program = ffi.new("struct program *")
    kept = {
        "atoms": ffi.new("struct program_atom[]", list(atoms)),
        "cells": ffi.new("uint64_t[]", [value & MASK for value in cells]),
        "relocs": ffi.new("struct program_reloc[]", list(relocs)),
        "buffers": ffi.new("struct program_buffer[]", list(buffers)),
        "bounds": ffi.new("struct program_bound[]", list(bounds)),
        "inputs": ffi.new("uint32_t[]", list(inputs)),
        "shows": ffi.new("struct program_show[]", list(shows)),
    }
    for name, array in kept.items():
        setattr(program, name, array)
        setattr(program, f"{name}_count", len(array))
    kept["consts"] = ffi.new("char[]", consts or b"\0")
    program.consts, program.consts_size = kept["consts"], len(consts)
    made = ffi.new("struct plan **")
    error = ffi.new("struct program_error *")
    res = lib.plan_create(made, program, error)
    if res == -12:
        raise MemoryError
    if res < 0:
        raise Refused(error.atom, ffi.string(error.text).decode())
    return ffi.gc(made[0], lib.plan_drop)


class Kernel:
    """A fake kernel; `c` is its C struct, whose knobs the test turns."""

    def __init__(self) -> None:
        self.c = ffi.new("struct fake *")
        lib.fake_reset(self.c)

    def script(self, fd: int, attempt: int, plain: int = 0) -> None:
        """What NOWAIT attempts and plain calls on this fd answer."""
        self.c.scripts[fd - FD].attempt = attempt
        self.c.scripts[fd - FD].plain = plain

    def pending(self) -> list[int]:
        """The fds of requests that have no answer yet."""
        return [self.c.pending[i].fd for i in range(self.c.pending_count)]

    def answer(self, fd: int, result: int) -> None:
        """Complete the request on `fd`."""
        index = lib.fake_find(self.c, fd)
        assert index >= 0, f"no request on {fd}"
        lib.fake_complete(self.c, index, result)

    def is_clean(self) -> bool:
        """Nothing open, nothing pending, nothing mapped."""
        left = (self.c.rings, self.c.maps, self.c.pending_count, self.c.devices)
        return left == (0, 0, 0, 0)


class Narrow:
    """The real kernel without some features; `c` is its C struct."""

    def __init__(self, *ops: int, refused: int = 0, hidden: int = 0) -> None:
        self.c = ffi.new("struct narrow *")
        lib.narrow_reset(self.c)
        self.c.ops_hidden = sum(1 << op for op in set(ops))
        self.c.flags_refused, self.c.features_hidden = refused, hidden


class Flight:
    """One flight and what was recorded of it."""

    def __init__(self, engine: Engine, made: Any, cells: dict[int, int]) -> None:
        self.engine = engine
        self.plan = made
        self.record = ffi.new("struct record *")
        self.c = lib.flight_prepare(engine.c, made)
        if self.c == ffi.NULL:
            raise BlockingIOError("no flight")
        lib.flight_host_set(self.c, self.record)
        for cell, value in cells.items():
            lib.flight_cells(self.c)[cell] = value & MASK

    def launch(self) -> Flight:
        self.is_away = lib.flight_launch(self.c) == lib.FLIGHT_AWAY
        return self

    @property
    def has_landed(self) -> bool:
        return not self.is_away or self.record.landed == 1

    @property
    def is_cancelled(self) -> bool:
        return lib.flight_end(self.c) == lib.FLIGHT_CANCELLED

    @property
    def last(self) -> tuple[int, int]:
        """The last atom that ran (or NONE) and its result."""
        return lib.flight_last_atom(self.c), lib.flight_last_result(self.c)

    def cell(self, index: int) -> int:
        """A cell as a signed number."""
        return int(ffi.cast("int64_t", lib.flight_cells(self.c)[index]))

    def ran(self) -> list[int]:
        """The atoms that ran at least once."""
        count = lib.plan_atoms_count(self.plan)
        return [i for i in range(count) if lib.flight_atom_ran(self.c, i)]

    def cancel(self) -> None:
        lib.flight_cancel(self.c)

    def abandon(self) -> None:
        lib.flight_abandon(self.c)

    def release(self) -> None:
        lib.flight_release(self.c)
        self.c = ffi.NULL


class Engine:
    """An engine; close() checks that it could be closed."""

    def __init__(
        self,
        kernel: Kernel | Narrow | None = None,
        backend: int = lib.BACKEND_ANY,
        workers: int = 0,
        sq_entries: int = 0,
        flights: int = 0,
        memory: int = 0,
    ) -> None:
        options = ffi.new("struct engine_options *")
        options.flights_max, options.memory_max = flights, memory
        options.backend, options.workers_max = backend, workers
        options.sq_entries = sq_entries
        self.host = ffi.new("struct host *", lib.recording_host)
        self.kernel = kernel
        table = lib.real_kernel()
        if kernel is not None:
            table = ffi.addressof(kernel.c, "kernel")
        made = ffi.new("struct engine **")
        res = lib.engine_create(made, table, self.host, options)
        if res < 0:
            raise OSError(-res, "engine_create")
        self.c = made[0]
        self._watched = ffi.new("bool *")

    def fly(self, made: Any, cells: dict[int, int] | None = None) -> Flight:
        """A launched flight."""
        return Flight(self, made, cells or {}).launch()

    def turn(self, timeout_ns: int = 0) -> int:
        return int(lib.engine_turn(self.c, timeout_ns, self._watched))

    def work(self) -> bool:
        return bool(lib.engine_work(self.c))

    def stats(self) -> Any:
        found = ffi.new("struct engine_stats *")
        lib.engine_stats_get(self.c, found)
        return found

    def land(self, *flights: Flight) -> None:
        """Turn until all have landed, on the real kernel."""
        for _ in range(10_000):
            if all(flight.has_landed for flight in flights):
                return
            self.work()
            self.turn(10_000_000)
        raise AssertionError("not landed")

    def close(self) -> None:
        res = lib.engine_close(self.c)
        assert res == 0, f"engine_close: {res}"


def plain(nr: int, args: Sequence[int]) -> int:
    """The call itself: a result or -errno."""
    table = lib.real_kernel()
    values = ffi.new(
        "uint64_t[6]", [value & MASK for value in args] + [0] * (6 - len(args))
    )
    return int(table.call(table.context, nr, values))
