"""The values that a syslet's function handles while it is being built.

Each stands for something a flight will have later: a number in a cell, an fd, memory,
an argument. They can be passed to operations, compared with 0 and returned; anything
else a reader might expect of them (truth, arithmetic, iteration) is a TypeError that
names the way that works. Made by the builder and by draft.py, never by users, except
that explicit atoms (atoms.py) are written with their own operands.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn


class Site(NamedTuple):
    """The source line that made an atom; line 0 when there is none to name."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"line {self.line} of {self.file}" if self.line else "no source line"


_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_WRITTEN = (_HERE + "files_", _HERE + "web_flights")  # in the language, as programs are


def calling_site() -> Site:
    """The innermost source line outside this package, or of a syslet in it."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        is_ours = file.startswith(_HERE) and not file.startswith(_WRITTEN)
        if not is_ours and not file.endswith("contextlib.py"):
            return Site(file, frame.f_lineno)
        if frame.f_back is None:
            break
        frame = frame.f_back
    return Site("", 0)


class Slot:
    """A cell of the program being made; its index is known when it is packed.

    origin: plain (starts as `initial`), input (a number from the host), host (an
    address from the host), cell, const, buffer (an address made by relocation) or
    dynamic (set by the allocation of a computed buffer).
    """

    __slots__ = (
        "alias",
        "holds_fd",
        "index",
        "initial",
        "is_result",
        "origin",
        "target",
        "value",
    )

    def __init__(self, initial: int = 0, origin: str = "plain") -> None:
        self.initial = initial
        self.origin = origin
        self.target: Slot | None = None  # of a cell's address
        self.value = 0  # offset, buffer number, or least bytes behind a host's address
        self.alias: Slot | None = None  # the cell that stands for this one
        self.index = 0
        self.holds_fd = False  # a variable that was set to an fd
        self.is_result = False  # undefined until its atom has run

    def resolve(self) -> Slot:
        """This cell, or the one it turned out to be the same as."""
        slot = self
        while slot.alias is not None:
            slot = slot.alias
        return slot


@dataclass(eq=False)
class Memory:
    """Where bytes are: the cell with the address and the cell with the capacity."""

    address: Slot
    capacity: Slot | None  # None: nobody knows
    size: int | None = None  # the capacity, when it is a constant
    writable: bool = True
    param: Param | None = None


SIGNS = "-0+"


@dataclass(frozen=True, eq=False)
class Condition:
    """A value compared with 0; for `s.if_` and its kind."""

    value: Number
    signs: frozenset[str]  # of the value, for which it holds: some of - 0 +

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"a condition has no truth while a syslet is built ({calling_site()}): "
            "use s.if_(condition), s.break_if(condition) or s.stop_if(condition)"
        )


def _compare(signs: str) -> Callable[[Number, object], Condition]:
    def compare(self: Number, other: object) -> Condition:
        if isinstance(other, bool) or not isinstance(other, int) or other != 0:
            raise TypeError(
                f"conditions compare with the constant 0, not with {other!r} "
                f"({calling_site()}): use s.add(cell, value) to move the value first"
            )
        return Condition(self, frozenset(signs))

    return compare


def _no_arithmetic(self: Number, *others: object) -> NoReturn:
    raise TypeError(
        f"a syslet's values are computed when it runs ({calling_site()}): "
        "use s.add(cell, value) instead of an operator"
    )


class Number:
    """Anything that is a 64-bit number in a flight and can be compared with 0."""

    __lt__ = _compare("-")
    __le__ = _compare("-0")
    __gt__ = _compare("+")
    __ge__ = _compare("0+")
    __eq__ = _compare("0")  # type: ignore[assignment]
    __ne__ = _compare("-+")  # type: ignore[assignment]
    __hash__ = object.__hash__

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _no_arithmetic
    __floordiv__ = __rfloordiv__ = __truediv__ = __rtruediv__ = _no_arithmetic
    __mod__ = __rmod__ = __and__ = __rand__ = __or__ = __ror__ = _no_arithmetic
    __xor__ = __rxor__ = __lshift__ = __rshift__ = __neg__ = __invert__ = _no_arithmetic
    __int__ = __index__ = _no_arithmetic

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"a value has no truth while a syslet is built ({calling_site()}): "
            "compare it with 0 in s.if_, s.break_if or s.stop_if"
        )


class Int(Number):
    """The number in a cell: a result, most of the time."""

    def __init__(self, owner: object, slot: Slot) -> None:
        self.owner = owner
        self.slot = slot


class Fd(Int):
    """A new fd. The flight closes it when it lands, unless the syslet returns it."""


class Cell(Int):
    """A variable made by `s.cell`; the only number that `s.set` and `s.add` change."""


class Field(Number):
    """One field of a structure, read where it is used."""

    def __init__(self, record: Record, name: str) -> None:
        self.owner = record.owner
        self.record = record
        self.name = name


class Layout(NamedTuple):
    """Where the fields of a C structure are, and the Python object made of it."""

    name: str
    size: int  # bytes
    fields: dict[str, tuple[int, int, bool]]  # name: offset, width, signed
    make: Callable[[bytes], object]


class Record:
    """A C structure that an operation filled; its fields are attributes.

    Returned from a syslet it becomes what Python has for it, an os.stat_result for
    `fstat` for example.
    """

    def __init__(
        self, owner: object, block: Slot, address: Slot, layout: Layout
    ) -> None:
        self.owner = owner
        self.block = block
        self.address = address
        self.layout = layout

    def __getattr__(self, name: str) -> Field:
        plain = name.removeprefix("st_").removeprefix("si_").removeprefix("f_")
        layout: Layout = self.__dict__["layout"]
        if plain not in layout.fields:
            known = ", ".join(layout.fields)
            raise AttributeError(f"{layout.name} has no field {name!r}: it has {known}")
        return Field(self, plain)

    def __bool__(self) -> NoReturn:
        raise TypeError("a structure has no truth value while a syslet is built")


class Filler(NamedTuple):
    """An atom that put bytes into a buffer, and how many bytes it put before it."""

    put: Slot
    before: int | None  # None: it is the only buffer


@dataclass(eq=False)
class Buffer:
    """Memory of the flight. Returned from a syslet it is the bytes put into it."""

    owner: object
    memory: Memory
    fillers: list[Filler] = field(default_factory=list)
    filled: Slot = field(default_factory=Slot)  # bytes put into it
    is_whole: bool = False  # something wrote to it that does not say how much
    is_asked: bool = False  # somebody wants to know `filled`

    def __bool__(self) -> NoReturn:
        raise TypeError("a buffer has no truth value while a syslet is built")

    def __len__(self) -> NoReturn:
        raise TypeError("a buffer's length is known when the syslet runs: use .length")

    @property
    def length(self) -> Int:
        """How many bytes have been put into it."""
        self.is_asked = True
        return Int(self.owner, self.filled)


class Data(Buffer):
    """A new buffer with what one operation read into it."""


class Address:
    """A socket address that an operation stored; returned it is Python's form of it."""

    def __init__(self, owner: object, address: Slot, length: Slot) -> None:
        self.owner = owner
        self.address = address
        self.length = length


_WORDS = {
    "int": "a number",
    "fd": "an fd",
    "path": "a path",
    "timeout": "a time",
    "readable": "memory to read",
    "writable": "memory to write",
}


class Param(Number):
    """An argument of the syslet. What kind it is follows from how it is used."""

    def __init__(self, owner: object, name: str, index: int) -> None:
        self.owner = owner
        self.name = name
        self.index = index
        self.kind = ""  # "": not used yet
        self.allowed: frozenset[str] | None = None  # by annotation or default
        self.origin = ""  # where `allowed` comes from
        self.site = Site("", 0)  # of the use that decided its kind
        self.has_default = False
        self.default: object = None
        self.convert: Callable[[object], object] | None = None
        self.slot = Slot(origin="input")
        self.length: Slot | None = None  # bytes of memory
        self.least = 0

    def use(self, kind: str, site: Site) -> None:
        """Note a use as `kind`. Raises TypeError if it contradicts another one."""
        fits = self.allowed is None or kind in self.allowed
        if not fits and self.convert is None:
            raise TypeError(
                f"parameter {self.name!r} is used as {_WORDS[kind]} ({site}), "
                f"but its {self.origin}"
            )
        both = {self.kind, kind}
        if self.kind in ("", kind):
            merged = kind
        elif both == {"int", "fd"}:
            merged = "fd"
        elif both == {"readable", "writable"}:
            merged = "writable"
        else:
            raise TypeError(
                f"parameter {self.name!r} is used as {_WORDS[self.kind]} "
                f"({self.site}) and as {_WORDS[kind]} ({site})"
            )
        if merged != self.kind:
            self.kind, self.site = merged, site

    def transform(self, convert: Callable[[object], object], site: Site) -> None:
        """Have the argument converted before the flight."""
        if self.convert is not None and self.convert != convert:
            raise TypeError(
                f"parameter {self.name!r} would be converted in two ways "
                f"({self.site} and {site})"
            )
        self.convert = convert
