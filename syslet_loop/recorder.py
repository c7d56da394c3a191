"""The builder's ground floor: how operands become cells and atoms are appended.

Each kind of operand has one method here that checks what it is given and turns it into
cells of the draft; the rooms above (builder.py, compound.py, generic.py, methods_*.py)
use these and nothing else to write. Users never see this class by itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from . import ops, program_format
from .draft import Draft, Fill, Label, Step
from .operands import (
    Buffer,
    Cell,
    Condition,
    Data,
    Field,
    Filler,
    Int,
    Memory,
    Number,
    Param,
    Site,
    Slot,
    calling_site,
)

ATOM_FLAGS = program_format.ASYNC | program_format.SYNC | program_format.NO_COMPLETE
Bounds = list[tuple[int, Slot]]


class Recorder:
    """Writes a draft. One instance builds one syslet."""

    def __init__(self) -> None:
        self._draft = Draft()
        self._loops: list[tuple[Label, Label]] = []  # start, behind the end
        self._else: Label | None = None  # where the `if_` just before went
        self._else_at = -1  # length of the code right behind that `if_`
        self._site: Site | None = None  # instead of looking for one
        self.emits: list[object] = []
        self.buffers: list[Buffer] = []
        self._finished = False

    # Operands.

    def _here(self) -> Site:
        return self._site if self._site is not None else calling_site()

    def _own(self, value: object) -> None:
        if getattr(value, "owner", self) is not self:
            raise TypeError(f"{value!r} belongs to another syslet")
        if self._finished:
            raise TypeError("this syslet is finished: its builder writes no more atoms")

    def _number(
        self, value: object, what: str = "an operand", kind: str = "int"
    ) -> Slot:
        """The cell of a number."""
        self._own(value)
        if isinstance(value, Int):
            return value.slot
        if isinstance(value, Field):
            return self._field(value)
        if isinstance(value, Param):
            value.use(kind, self._here())
            return self._draft.param_slot(value)
        if isinstance(value, int):
            return self._draft.number(value)
        if isinstance(value, Condition):
            raise TypeError("a condition is no number: use it in s.if_ or s.break_if")
        raise TypeError(f"{what} must be a number, not {value!r}")

    def _field(self, field: Field) -> Slot:
        """A field that is a whole cell is that cell; a narrower one is loaded."""
        record = field.record
        offset, width, is_signed = record.layout.fields[field.name]
        block = self._draft.slots.index(record.block)
        if width == 8:
            return self._draft.slots[block + offset // 8]
        return self._load(record.address, width, is_signed, offset).slot

    def _load(self, address: Slot, width: int, is_signed: bool, offset: int) -> Int:
        numbers = [self._draft.number(n) for n in (width, is_signed, offset)]
        return self._atom("load", [address, *numbers], check=False)

    def _fd(self, value: object, allows_cwd: bool = False) -> Slot:
        if isinstance(value, int) and not isinstance(value, bool):
            if value < 0 and not (allows_cwd and value == ops.AT_FDCWD):
                raise ValueError(f"{value} is no fd")
            return self._draft.number(value)
        if isinstance(value, Number | Condition):
            return self._number(value, kind="fd")
        raise TypeError(f"an fd must be an int, a result or a parameter, not {value!r}")

    def _path(self, value: object) -> Slot:
        self._own(value)
        if isinstance(value, Param):
            value.use("path", self._here())
            value.slot.origin = "host"
            return self._draft.param_slot(value)
        if isinstance(value, str | bytes | os.PathLike):
            data = os.fsencode(value)
            if b"\0" in data:
                raise ValueError(f"a NUL character in {value!r}")
            return self._draft.string(data, os.fspath(value))
        raise TypeError(f"a path must be str, bytes or a parameter, not {value!r}")

    def _memory(self, value: object, kind: str, what: str = "data") -> Memory:
        """Memory to read (kind 'readable') or to write ('writable')."""
        self._own(value)
        if isinstance(value, Param):
            value.use(kind, self._here())
            value.slot.origin = "host"
            address = self._draft.param_slot(value)
            return Memory(address, self._draft.param_length(value), param=value)
        if isinstance(value, Buffer):
            return value.memory
        if isinstance(value, str):
            raise TypeError(f"{what} must be bytes, not str: {value!r}")
        if kind == "readable" and isinstance(value, bytes | bytearray | memoryview):
            data = bytes(value)
            address = self._draft.string(data)
            return Memory(address, self._draft.number(len(data)), len(data), False)
        if isinstance(value, bytes | bytearray | memoryview):
            raise TypeError(f"{what} would be written: pass it as a parameter")
        raise TypeError(f"{what} must be bytes, a buffer or a parameter, not {value!r}")

    def _address(self, value: object, least: int) -> Slot:
        """The address of memory that may be written, of at least `least` bytes."""
        self._own(value)
        if isinstance(value, Cell):
            return self._draft.address_of(value.slot)
        is_memory = isinstance(value, Param) and "int" not in (value.allowed or ())
        if isinstance(value, Number | int) and not is_memory:
            return self._number(value)
        memory = self._memory(value, "writable", "memory")
        self._demand(memory, least)
        if isinstance(value, Buffer):
            value.is_whole = True
        return memory.address

    def _demand(self, memory: Memory, size: int) -> None:
        """Memory has `size` bytes: checked now, or when arguments are bound."""
        if memory.size is not None and size > memory.size:
            raise ValueError(f"{size} bytes, but the memory has {memory.size}")
        if memory.param is not None:
            memory.param.least = max(memory.param.least, size)

    def _is_size(self, value: object) -> bool:
        """Whether an operand where C has memory is the size of new memory."""
        if isinstance(value, Param):
            site = self._here()
            kinds = {value.kind} if value.kind else value.allowed
            if kinds is not None and kinds <= {"int", "fd", "timeout"}:
                return True
            if kinds is not None and not kinds & {"int", "fd"}:
                return False
            raise TypeError(
                f"parameter {value.name!r} may be a size or memory ({site}): annotate "
                "it as int, or as bytearray or memoryview"
            )
        return isinstance(value, Number | int)

    def _length(self, memory: Memory, size: object, at: int, bounds: Bounds) -> Slot:
        """The cell of how many bytes of `memory` are meant, with its bound."""
        if isinstance(size, int) and not isinstance(size, bool):
            if size < 0:
                raise ValueError(f"{size} is no number of bytes")
            self._demand(memory, size)
            if memory.size is None and memory.param is None and memory.capacity:
                bounds.append((at, memory.capacity))
            return self._draft.number(size)
        slot = self._number(size, "a size") if size is not None else memory.capacity
        if slot is None:
            raise TypeError("a size is needed here")
        is_constant = size is None and memory.size is not None
        if memory.capacity is not None and not is_constant:
            bounds.append((at, memory.capacity))
        return slot

    # Atoms.

    def _atom(
        self,
        name: str,
        args: Sequence[Slot],
        *,
        ret: Slot | bool | None = True,
        title: str = "",
        check: bool = True,
        flags: int = 0,
        bounds: Bounds | None = None,
        result: Callable[[object, Slot], Int] = Int,
    ) -> Int:
        """Append an atom; its result is a new cell unless `ret` says otherwise."""
        op = ops.BY_NAME[name]
        title = title or op.title
        return self._append(
            op, op.nr, list(args), ret, title, check, flags, bounds, result
        )

    def _append(
        self,
        op: ops.Op | None,
        nr: int,
        args: list[Slot],
        ret: Slot | bool | None,
        title: str,
        check: bool,
        flags: int,
        bounds: Bounds | None,
        result: Callable[[object, Slot], Int],
    ) -> Int:
        self._own(None)
        if not isinstance(check, bool):
            raise TypeError(f"check is True or False, not {check!r}")
        if flags & program_format.ASYNC and flags & program_format.SYNC:
            raise ValueError("ASYNC and SYNC exclude each other")
        if flags & ~ATOM_FLAGS:
            raise ValueError(
                "atom_flags are ASYNC, SYNC and NO_COMPLETE: a condition says where a "
                "syslet stops"
            )
        if isinstance(ret, bool):
            ret = self._draft.slot()
            ret.is_result = True
        site = self._here()
        if ret is not None:
            self._draft.origins.setdefault(id(ret), (site, title))
        step = Step(op, nr, title, args, ret, site, check, flags, bounds or [])
        self._draft.code.append(step)
        return result(self, ret if ret is not None else self._draft.slots[0])

    def _fill(self, buffer: Buffer, count: Slot, before: int | None = None) -> None:
        """Note that an atom put `count` bytes into a buffer."""
        buffer.fillers.append(Filler(count, before))
        self._draft.code.append(Fill(buffer.filled, count, self._here()))

    # New memory.

    def _new_memory(self, size: object) -> Memory:
        if isinstance(size, int) and not isinstance(size, bool):
            return self._draft.buffer(size)
        wanted = self._number(size)
        memory, number = self._draft.buffer_computed()
        self._atom("buffer", [number, wanted], ret=None)
        return memory

    def _new_data(self, memory: Memory) -> Data:
        data = Data(self, memory)
        self._draft.origins[id(memory.address)] = self._here(), ""
        self.buffers.append(data)
        return data
