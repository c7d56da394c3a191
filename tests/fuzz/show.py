"""An input of the fuzzer as a text: `python -m tests.fuzz.show FILE`.

The reverse of seeds.py, for whoever has to find out why an input fails.
"""

from __future__ import annotations

import sys
from pathlib import Path

from syslet_loop import _native

KINDS = {1: "cell", 2: "const", 3: "buffer", 4: "host"}
OPS = _native.ops()


class Reader:
    """Bytes from the front; zeros at the end."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def number(self, size: int = 1) -> int:
        taken, self.data = self.data[:size], self.data[size:]
        return int.from_bytes(taken, "little")

    def value(self) -> int:
        first = self.number()
        if first == 0xF0:
            return -self.number()
        sizes = {0xF1: 2, 0xF2: 4, 0xF3: 8}
        return self.number(sizes[first]) if first in sizes else first


def _atom(reader: Reader) -> str:
    op = reader.number()
    name = str(OPS[op]["name"]) if op < len(OPS) else f"other {op - len(OPS)}"
    flags, ret, after, count = (reader.number() for _ in range(4))
    args = ", ".join(str(reader.number()) for _ in range(count % 7))
    return f"{name}({args}) -> {ret}, flags {flags:#x}, next {after - 1}"


def show(data: bytes) -> list[str]:
    """Lines that say what the program is."""
    reader = Reader(data)
    lines = [f"mode {reader.number()}"]
    cells = reader.number()
    most = (33, 9, 33, 17, 9, 256, 33)
    counts = [reader.number() % each for each in most]
    relocs, buffers, bounds, inputs, shows, consts, atoms = counts
    values = {cell: reader.value() for cell in range(cells)}
    lines.append(f"{cells} cells: { ({c: v for c, v in values.items() if v}) }")
    for _ in range(relocs):
        cell, kind, value = reader.number(), reader.number(), reader.number(2)
        lines.append(f"cell {cell}: address of {KINDS.get(kind, kind)} {value}")
    for index in range(buffers):
        size, flags = reader.number(2) % 4097, reader.number()
        address, capacity = reader.number(), reader.number()
        lines.append(f"buffer {index}: {size} bytes, {flags=}, {address=}, {capacity=}")
    for _ in range(bounds):
        atom, arg, capacity = (reader.number() for _ in range(3))
        lines.append(f"bound: atom {atom} argument {arg} by cell {capacity}")
    lines.append(f"inputs {[reader.number() for _ in range(inputs)]}")
    lines.append(f"shows {[(reader.number(), reader.number()) for _ in range(shows)]}")
    lines.append(f"consts {bytes(reader.number() for _ in range(consts))!r}")
    lines += [f"atom {index}: {_atom(reader)}" for index in range(atoms)]
    return [*lines, f"decisions {reader.data.hex(' ')}"]


if __name__ == "__main__":
    print("\n".join(show(Path(sys.argv[1]).read_bytes())))
