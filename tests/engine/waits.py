"""What the tests of waiting share: memory, and flights of one call."""

from __future__ import annotations

import struct
from typing import Any

from driver import NUMBERS as N
from driver import Engine, atom, ffi, plan

HERE = -100
LONG = 30_000_000_000


kept: list[Any] = []


def memory(content: bytes | int) -> int:
    kept.append(ffi.new("char[]", content))
    return int(ffi.cast("uintptr_t", kept[-1]))


def seconds(value: float) -> int:
    return memory(struct.pack("qq", int(value), int(value % 1 * 1e9)))


def call(engine: Engine, name: str, *args: int, flags: int = 0) -> Any:
    """A flight of one call."""
    cells = [0, *args]
    made = plan([atom(N[name], *range(1, len(cells)), flags=flags)], cells)
    return engine.fly(made)


def result(engine: Engine, flight: Any) -> int:
    engine.land(flight)
    found = flight.last[1]
    flight.release()
    return found


def hold_back(engine: Engine, flight: Any) -> None:
    """Some turns in which it must not land."""
    for _ in range(3):
        engine.turn(2_000_000)
    assert not flight.has_landed
