"""Real plans as inputs of the fuzzer: `python -m tests.fuzz.seeds FOLDER` writes them.

The plans are those of the package itself, of one call of each operation, and of the
random scripts that the oracle tests use. The form is the one that fuzz.c reads.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import itertools
import pkgutil
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import syslet_loop
from syslet_loop import _native, calls, program_format
from syslet_loop.plan import compile_function

CORPUS = Path(__file__).with_name("corpus.txt")
TESTS = Path(__file__).parents[1]
CELLS_MAX, ATOMS_MAX, BYTES_MAX = 255, 32, 255
RELOCS_MAX, BUFFERS_MAX, BOUNDS_MAX, INPUTS_MAX, SHOWS_MAX = 32, 8, 32, 16, 8
SCRIPTS, SCRIPTS_FEW = 300, 30
CORPUS_BYTES = 100_000
EVENTS = bytes(range(48))  # some decisions to begin with
_INDEX = {op["nr"]: index for index, op in enumerate(_native.ops())}
_RAW = len(_INDEX) + 3  # a system call without a row


def _value(number: int) -> bytes:
    """A cell's initial value: small ones in one byte."""
    if number < 0xF0:
        return bytes([number])
    if number >= 1 << 63 and (1 << 64) - number < 256:
        return bytes([0xF0, (1 << 64) - number])
    for mark, size in ((0xF1, 2), (0xF2, 4), (0xF3, 8)):
        if number < 1 << (8 * size):
            return bytes([mark]) + number.to_bytes(size, "little")
    raise AssertionError(number)


def _shows(node: Any) -> Iterator[tuple[int, int]]:
    if isinstance(node, tuple) and node and node[0] == "bytes":
        yield node[1], node[2]
    elif isinstance(node, tuple | list):
        for part in node:
            yield from _shows(part)


def _rows(packed: bytes, row: struct.Struct) -> list[tuple[int, ...]]:
    return list(row.iter_unpack(packed))


def _inputs(compiled: Any, relocated: set[int]) -> list[int]:
    """The cells that the binding fills with plain values (list_inputs in plan.c)."""
    found = []
    for kind, _, cell, second, *_ in compiled.params:
        second = cell + 1 if kind == "timeout" and cell else second
        if kind != "object":
            found += [each for each in (cell,) if each and each not in relocated]
            found += [each for each in (second,) if each]
    return found


def _atom(row: tuple[int, ...]) -> bytes:
    flags, nr, ret, after, *args, _ = row
    used = args[: args.index(0)] if 0 in args else args
    return bytes([_INDEX.get(nr, _RAW), flags, ret, after, len(used), *used])


def encode(compiled: Any, mode: int = 0) -> bytes | None:
    """A compiled syslet as an input; None: it is too large for one."""
    form = program_format
    cells = _rows(compiled.cells, struct.Struct("<Q"))
    relocs = _rows(compiled.relocs, form.RELOC)
    buffers = _rows(compiled.buffers, form.BUFFER)
    bounds = _rows(compiled.bounds, form.BOUND)
    atoms = _rows(compiled.atoms, form.ATOM)
    inputs = _inputs(compiled, {cell for cell, _, _ in relocs})
    shows = list(_shows((compiled.result, compiled.emits)))
    tables = (relocs, buffers, bounds, inputs, shows, compiled.consts, atoms)
    most = (RELOCS_MAX, BUFFERS_MAX, BOUNDS_MAX, INPUTS_MAX, SHOWS_MAX)
    most += (BYTES_MAX, ATOMS_MAX)
    sizes = [len(table) for table in tables]
    if len(cells) > CELLS_MAX or any(map(int.__gt__, sizes, most)):
        return None
    data = bytes([mode, len(cells), *sizes])
    data += b"".join(_value(value) for (value,) in cells)
    for cell, kind, value in relocs:
        data += struct.pack("<BBH", cell, kind, min(value, 0xFFFF))
    for size, flags, address, capacity in buffers:
        data += struct.pack("<HBBB", min(size, 0xFFFF), flags, address, capacity)
    data += b"".join(bytes(bound) for bound in bounds) + bytes(inputs)
    data += b"".join(bytes(show) for show in shows) + compiled.consts
    return data + b"".join(map(_atom, atoms)) + EVENTS


def _package_plans() -> Iterator[Any]:
    for module in pkgutil.iter_modules(syslet_loop.__path__, "syslet_loop."):
        if not module.name.endswith(("__main__", "_native", "_memory")):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, _native.Syslet):
                    yield value.info


def _call_plans() -> Iterator[Any]:
    """Calls of each operation, with operands of every kind that it takes."""
    kinds: tuple[object, ...] = (1, "/path", bytearray(64), b"bytes", [bytearray(8)])
    for name in calls.__all__:
        call = getattr(calls, name, None)
        if call is None:
            continue  # the builder's alone
        if isinstance(call, _native.Syslet):
            yield call.info
            continue
        for count in range(1, 4):
            for operands in itertools.product(kinds, repeat=count):
                try:
                    shape, _ = call.flatten(operands, {})
                    yield call.compile(shape)
                except (TypeError, ValueError, OverflowError):
                    continue


def _script_plans(count: int) -> Iterator[Any]:
    sys.path[:0] = [str(TESTS), str(TESTS / "syslet")]
    scripts: Any = importlib.import_module("scripts")
    for seed in range(count):
        yield compile_function(scripts.build(scripts.make_script(seed)))


def _inputs_of(plans: Iterable[Any]) -> list[bytes]:
    """Each once, for both backends, in an order that is always the same."""
    found: dict[bytes, None] = {}
    for compiled in plans:
        for mode in (0, 1):
            data = encode(compiled, mode)
            if data is not None:
                found[data] = None
    return list(found)


def few() -> list[bytes]:
    """Some inputs that are made quickly."""
    return _inputs_of([*_package_plans(), *_script_plans(SCRIPTS_FEW)])


def many() -> list[bytes]:
    """All of them."""
    return _inputs_of([*_package_plans(), *_call_plans(), *_script_plans(SCRIPTS)])


def corpus() -> list[bytes]:
    """What earlier runs of the fuzzer found worth keeping."""
    return [base64.b85decode(line) for line in CORPUS.read_text().split()]


def keep(folder: Path) -> int:
    """Write corpus.txt from a folder of inputs, the small ones first; how many."""
    inputs = sorted((path.read_bytes() for path in folder.iterdir()), key=len)
    kept, left = [], CORPUS_BYTES
    for data in inputs:
        left -= len(data)
        if left >= 0:
            kept.append(base64.b85encode(data).decode())
    CORPUS.write_text("".join(f"{line}\n" for line in kept))
    return len(kept)


def main() -> None:
    if sys.argv[1] == "--keep":
        print(keep(Path(sys.argv[2])), "inputs kept")
        return
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for data in [*many(), *corpus()]:
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


if __name__ == "__main__":
    main()
