"""The program format: constants, limits and packing.

The Python side of native/engine/program.h and limits.h, with the same names and values;
a test compares them. A program is what a compiled syslet consists of before a plan is
made from it: plain bytes, no pointer, no Python object. Used by the compiler (plan.py)
and the explicit layer; whoever wants to read a program unpacks it with these structs.
"""

import struct

# Flags of an atom: names and values are the announcement's.
ASYNC = 0x01  # do not try inline, miss at once
SYNC = 0x02  # never miss: block the submitting thread
NO_COMPLETE = 0x04  # a syslet that ends here reports nothing
STOP_ON_NONZERO = 0x08
STOP_ON_ZERO = 0x10
STOP_ON_NEGATIVE = 0x20
STOP_ON_NON_POSITIVE = 0x40
SKIP_TO_NEXT_ON_STOP = 0x80  # a stop goes to the following atom instead
STOP_MASK = 0x78
FLAGS_ALL = 0xFF

# The compiler's: ending at this atom with a negative result is an error.
PRIVATE_CHECK = 1 << 63

RELOC_CELL = 1  # address of cells[0] + value bytes
RELOC_CONST = 2  # address of the constants + value bytes
RELOC_BUFFER = 3  # address of new buffer number `value`
RELOC_HOST = 4  # the host stores an address with >= value bytes behind it

BUFFER_ZEROED = 1  # what nothing has written reads as 0

ATOM = struct.Struct("<IIQQ6QQ")  # flags nr ret next arg[6] private
RELOC = struct.Struct("<IIQ")  # cell kind value
BUFFER = struct.Struct("<IIII")  # size flags address capacity
BOUND = struct.Struct("<IIQ")  # atom arg capacity

LIMITS: dict[str, int] = {
    "ATOMS_MAX": 4096,
    "CELLS_MAX": 32768,
    "BUFFERS_MAX": 64,
    "RELOCS_MAX": 4096,
    "ARGS_MAX": 6,
    "CONSTS_BYTES_MAX": 1 << 24,
    "HEAP_BYTES_MAX": 1 << 30,
    "FLIGHTS_MAX": 1 << 16,
    "WORKERS_MAX": 32,
    "CQ_ENTRIES": 4096,
}
ARGS_MAX = LIMITS["ARGS_MAX"]
VECTOR_MAX = 64  # buffers of one vectored call

WORD_MASK = (1 << 64) - 1


def word(value: int) -> int:
    """`value` as an unsigned 64-bit word.

    Raises ValueError if it fits neither a signed nor an unsigned 64-bit integer.
    """
    if not -(1 << 63) <= value <= WORD_MASK:
        raise ValueError(f"{value} does not fit in 64 bits")
    return value & WORD_MASK


def signed(value: int) -> int:
    """An unsigned 64-bit word as a signed integer."""
    return value - (1 << 64) if value >> 63 else value


def stops(flags: int, result: int) -> bool:
    """Whether an atom with these flags stops at this result."""
    return bool(
        (flags & STOP_ON_NONZERO and result != 0)
        or (flags & STOP_ON_ZERO and result == 0)
        or (flags & STOP_ON_NEGATIVE and result < 0)
        or (flags & STOP_ON_NON_POSITIVE and result <= 0)
    )
