"""A program while it is being written: cells, constants, buffers, atoms, jumps.

The builder and the explicit layer write drafts; flow.py orders their atoms and plan.py
packs them. A draft knows nothing of operations or of Python values: whoever appends an
atom has already turned its operands into cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .operands import Memory, Param, Record, Site, Slot
from .ops import Op
from .program_format import ARGS_MAX, LIMITS, word


class Label:
    """A place in the code that jumps can name before it is known."""

    __slots__ = ()


@dataclass(eq=False)
class Step:
    """One atom, with its operands as cells."""

    op: Op | None  # None: a system call without a row
    nr: int
    title: str
    args: list[Slot]
    ret: Slot | None
    site: Site
    check: bool = False
    flags: int = 0
    bounds: list[tuple[int, Slot]] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)  # for explain: arg as text
    next: int | None = None  # explicit atoms: index of the next one, -1 for the end

    @property
    def letters(self) -> str:
        """The letters of its arguments; ops.py explains them."""
        return self.op.args if self.op is not None else "i" * ARGS_MAX

    def __str__(self) -> str:
        return f"{self.title} ({self.site})" if self.site.line else self.title


@dataclass(frozen=True, eq=False)
class Test:
    """Goes to `target` if the sign of the number in `slot` is one of `signs`."""

    slot: Slot
    signs: frozenset[str]
    target: Label
    site: Site


@dataclass(frozen=True, eq=False)
class Jump:
    """Goes to `target`; None: the end."""

    target: Label | None


@dataclass(frozen=True, eq=False)
class Fill:
    """Copies `count` to `filled`, the length of a buffer that several atoms fill."""

    filled: Slot
    count: Slot
    site: Site


Item = Step | Test | Jump | Fill | Label


@dataclass
class BufferRow:
    """A new buffer: size 0 if it is computed."""

    size: int
    address: Slot
    capacity: Slot | None
    is_zeroed: bool = False  # all of it may be returned, whatever was written


class Draft:
    """Everything a program will consist of. Not thread-safe, used once."""

    def __init__(self) -> None:
        self.slots: list[Slot] = [Slot()]  # cell 0 stands for NULL
        self.consts = bytearray()
        self.buffers: list[BufferRow] = []
        self.code: list[Item] = []
        self.params: list[Param] = []
        self._numbers: dict[int, Slot] = {}
        self._addresses: dict[int, Slot] = {}
        self._strings: dict[bytes, Slot] = {}
        # For explain, by the id of a slot: the constant; the line that made it.
        self.texts: dict[int, object] = {}
        self.origins: dict[int, tuple[Site, str]] = {}
        self.records: list[Record] = []

    # Cells.

    def add(self, slot: Slot) -> Slot:
        """Give `slot` a place in the program."""
        self.slots.append(slot)
        return slot

    def slot(self, initial: int = 0) -> Slot:
        """A new cell."""
        return self.add(Slot(initial))

    def block(self, initials: Sequence[int]) -> list[Slot]:
        """New cells, one behind the other in memory."""
        return [self.slot(word(initial)) for initial in initials]

    def number(self, value: int) -> Slot:
        """The cell of a constant. Raises ValueError if it does not fit in 64 bits."""
        value = word(value)
        if value not in self._numbers:
            self._numbers[value] = self.slot(value)
        return self._numbers[value]

    def address_of(self, slot: Slot) -> Slot:
        """A cell with the address of another one."""
        if id(slot) not in self._addresses:
            address = self.add(Slot(origin="cell"))
            address.target = slot
            self._addresses[id(slot)] = address
        return self._addresses[id(slot)]

    def place_string(self, data: bytes) -> int:
        """The offset of constant bytes, ended by a NUL, among the constants."""
        offset = len(self.consts)
        self.consts += data + b"\0"
        self.consts += bytes(-len(self.consts) % 8)
        if len(self.consts) > LIMITS["CONSTS_BYTES_MAX"]:
            raise ValueError("more than 16 MiB of constants in one syslet")
        return offset

    def string(self, data: bytes, text: object = None) -> Slot:
        """A cell with the address of constant bytes, ended by a NUL."""
        if data not in self._strings:
            slot = self.add(Slot(origin="const"))
            slot.value = self.place_string(data)
            self._strings[data] = slot
            self.texts[id(slot)] = data if text is None else text
        return self._strings[data]

    # Buffers.

    def buffer(self, size: int) -> Memory:
        """A new buffer of constant size. Raises ValueError beyond the limits."""
        if not 0 < size <= LIMITS["HEAP_BYTES_MAX"]:
            raise ValueError(f"a buffer has 1 to {LIMITS['HEAP_BYTES_MAX']} bytes")
        address = self.add(Slot(origin="buffer"))
        address.value = self._row(BufferRow(size, address, None))
        return Memory(address, self.number(size), size)

    def buffer_computed(self) -> tuple[Memory, Slot]:
        """A buffer whose size an atom will tell, and the cell with its number."""
        address = self.add(Slot(origin="dynamic"))
        capacity = self.add(Slot(origin="dynamic"))
        number = self._row(BufferRow(0, address, capacity))
        return Memory(address, capacity), self.number(number)

    def zero(self, memory: Memory) -> None:
        """Have the flight clear this buffer before it is used."""
        for row in self.buffers:
            if row.address is memory.address:
                row.is_zeroed = True

    def _row(self, row: BufferRow) -> int:
        if len(self.buffers) == LIMITS["BUFFERS_MAX"]:
            raise ValueError(f"more than {LIMITS['BUFFERS_MAX']} buffers in one syslet")
        self.buffers.append(row)
        return len(self.buffers) - 1

    # Parameters.

    def param_slot(self, param: Param) -> Slot:
        """The cell of a parameter that is a number or an address."""
        if param.slot.index == 0:
            param.slot.index = -1  # has its place
            self.add(param.slot)
        return param.slot

    def param_time(self, param: Param) -> Slot:
        """The first of the two cells of a time: seconds, nanoseconds."""
        if param.slot.index == 0:
            self.param_slot(param)
            param.length = self.add(Slot(origin="input"))
        return param.slot

    def param_length(self, param: Param) -> Slot:
        """The cell with the length of a parameter that is memory."""
        if param.length is None:
            param.length = self.add(Slot(origin="input"))
        return param.length
