"""What an explicit atom's arguments may be, besides numbers and bytes.

Their public names are in atoms, which is also the only one that reads them.
"""

from __future__ import annotations

from .program_format import LIMITS, word

KINDS = ("int", "fd", "path", "readable", "writable")


class Cell:
    """A 64-bit value of the flight, `initial` when it starts.

    Raises ValueError for a number that does not fit.
    """

    def __init__(self, initial: int = 0) -> None:
        self.initial = word(initial)


class Memory:
    """New memory of `size` bytes; as a result, the bytes read into it.

    Raises ValueError for a size below 1 or above HEAP_BYTES_MAX, 1 GiB.
    """

    def __init__(self, size: int) -> None:
        if not 0 < size <= LIMITS["HEAP_BYTES_MAX"]:
            raise ValueError(f"memory has 1 to {LIMITS['HEAP_BYTES_MAX']} bytes")
        self.size = size


class Param:
    """An argument: int, fd, path, readable or writable.

    The kind follows from where it is used if it is not given. Memory is passed by its
    address; `length(param)` is how many bytes it has.
    """

    def __init__(self, name: str, kind: str = "") -> None:
        if kind and kind not in KINDS:
            raise ValueError(f"a parameter is one of {', '.join(KINDS)}, not {kind!r}")
        self.name = name
        self.kind = kind


class Address:
    """The address of a cell; made by `address`."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell


class Length:
    """The bytes a memory parameter has; made by `length`."""

    def __init__(self, param: Param) -> None:
        self.param = param


def address(cell: Cell) -> Address:
    """The address of a cell, for calls that read or write one."""
    if not isinstance(cell, Cell):
        raise TypeError(f"only cells have an address here, not {cell!r}")
    return Address(cell)


def length(param: Param) -> Length:
    """How many bytes the argument of a memory parameter has."""
    return Length(param)
