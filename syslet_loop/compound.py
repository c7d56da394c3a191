"""Operands made of several cells: vectors, messages, times, socket addresses.

They live in the flight's own cells, one behind the other, so that a program needs no
memory for them. What is constant is in the initial cells; what is computed, or may have
been changed by the kernel in an earlier round of a loop, is moved there by NOP atoms
just before the operation. Used by the builder's methods.
"""

from __future__ import annotations

from collections.abc import Sequence

from .builder import Core
from .operands import (
    Address,
    Buffer,
    Cell,
    Fd,
    Layout,
    Number,
    Param,
    Record,
    Site,
    Slot,
)
from .program_format import VECTOR_MAX, word
from .recorder import Bounds
from .structs import SOCKADDR_BYTES, encode_address, encode_time

Fills = list[tuple[Buffer, int | None]]


class Compound(Core):
    """The builder with operands of several cells."""

    def _move(self, to: Slot, value: Slot) -> None:
        self._atom("nop", [value], ret=to, title="move", check=False)

    def _reset(self, to: Slot, value: int) -> None:
        """A cell that the kernel writes holds `value` again in each round of a loop."""
        to.initial = word(value)
        if self._loops:
            self._move(to, self._draft.number(value))

    def _vector(self, value: object, writes: bool) -> tuple[Slot, Slot, Fills]:
        """iovecs: the address of the first, the cell with their number."""
        if not isinstance(value, list | tuple) or not value:
            raise TypeError(f"a list of memory is needed here, not {value!r}")
        if len(value) > VECTOR_MAX:
            raise ValueError(f"more than {VECTOR_MAX} buffers in one call")
        block = self._draft.block([0] * (2 * len(value)))
        sizes: list[int | None] = []
        for i, part in enumerate(value):
            base, length = block[2 * i : 2 * i + 2]
            sizes.append(self._vector_part(base, length, part, writes))
        fills: Fills = []
        for i, part in enumerate(value):
            if writes and isinstance(part, Buffer):
                known = [size for size in sizes[:i] if size is not None]
                single = len(value) == 1
                part.is_whole = part.is_whole or (len(known) < i and not single)
                before = None if single else sum(known)
                if not part.is_whole:
                    fills.append((part, before))
        address = self._draft.address_of(block[0])
        return address, self._draft.number(len(value)), fills

    def _vector_part(
        self, base: Slot, length: Slot, part: object, writes: bool
    ) -> int | None:
        if isinstance(part, int):
            raise TypeError("a list of memory holds buffers and parameters, not sizes")
        memory = self._memory(part, "writable" if writes else "readable")
        if memory.address.origin == "const":
            base.origin, base.value = "const", memory.address.value
        else:
            self._move(base, memory.address)
        if isinstance(part, Buffer) and not writes:
            self._move(length, part.length.slot)
        elif memory.size is not None:
            length.initial = memory.size
        elif memory.capacity is not None:
            self._move(length, memory.capacity)
        return memory.size

    def _time(self, seconds: object, kernel_writes: bool = False) -> Slot:
        """The address of a timespec made of seconds: a constant, parameter or cell."""
        if isinstance(seconds, Param):
            return self._param_time(seconds, kernel_writes)
        block = self._draft.block([0, 0])
        if isinstance(seconds, Number):
            self._move(block[0], self._number(seconds))
            self._reset(block[1], 0)
        elif isinstance(seconds, int | float):
            for slot, number in zip(block, encode_time(seconds), strict=True):
                slot.initial = number
                if kernel_writes:
                    self._reset(slot, number)
        else:
            raise TypeError(f"seconds must be a number, not {seconds!r}")
        return self._draft.address_of(block[0])

    def _param_time(self, param: Param, kernel_writes: bool) -> Slot:
        self._own(param)
        param.use("timeout", self._here())
        first = self._draft.param_time(param)
        if not kernel_writes:
            return self._draft.address_of(first)
        assert param.length is not None
        block = self._draft.block([0, 0])
        self._move(block[0], first)
        self._move(block[1], param.length)
        return self._draft.address_of(block[0])

    def _take_address(self, value: object, bounds: Bounds, at: int) -> list[Slot]:
        """A socket address: the cells with its address and its length."""
        if isinstance(value, Address):
            self._own(value)
            bounds.append((at, self._draft.number(SOCKADDR_BYTES)))
            return [value.address, value.length]
        if isinstance(value, Param):
            value.transform(encode_address, self._here())
        elif not isinstance(value, Number):
            value = encode_address(value)
        memory = self._memory(value, "readable", "an address")
        return [memory.address, self._length(memory, None, at, bounds)]

    def _new_address(self) -> Address:
        """Room for a socket address that the kernel stores."""
        length = self._draft.slot()
        self._reset(length, SOCKADDR_BYTES)
        block = self._draft.block([0] * (SOCKADDR_BYTES // 8))
        return Address(self, self._draft.address_of(block[0]), length)

    def _record(self, layout: Layout) -> Record:
        """Room for a structure that the kernel stores."""
        block = self._draft.block([0] * (layout.size // 8))
        self._draft.origins[id(block[0])] = self._here(), "record"
        record = Record(self, block[0], self._draft.address_of(block[0]), layout)
        self._draft.records.append(record)
        return record

    def _scratch(self, value: object) -> Slot:
        """A new cell that holds `value` at this point of the flight."""
        slot = self._draft.slot()
        if isinstance(value, int):
            self._reset(slot, value)
        else:
            self._move(slot, self._number(value))
        return slot

    def _words(self, values: Sequence[object]) -> Slot:
        """The address of a structure of 64-bit numbers, only read by the kernel."""
        numbers = [value if isinstance(value, int) else 0 for value in values]
        block = self._draft.block(numbers)
        for slot, value in zip(block, values, strict=True):
            if not isinstance(value, int):
                self._move(slot, self._number(value))
        return self._draft.address_of(block[0])

    def _offset(self, value: object) -> Slot:
        """An offset by pointer: None, a cell that the kernel moves on, or a value."""
        if value is None:
            return self._draft.number(0)
        if isinstance(value, Cell):
            self._own(value)
            return self._draft.address_of(value.slot)
        return self._draft.address_of(self._scratch(value))

    def _anything(self, value: object) -> Slot:
        """A number, or memory whose size only the kernel knows."""
        if value is None:
            return self._draft.number(0)
        if isinstance(value, Record):
            return value.address
        if isinstance(value, Buffer):
            return self._address(value, 0)
        if isinstance(value, bytes):
            return self._memory(value, "readable").address
        if isinstance(value, Param) and value.kind not in ("", "int", "fd"):
            return self._address(value, 0)
        if isinstance(value, Param) and not (value.allowed or {"int"}) & {"int"}:
            return self._address(value, 0)
        return self._number(value)

    def _message(
        self, name: Slot | None, size: Slot | int, vector: Slot, count: Slot
    ) -> Slot:
        """A msghdr over iovecs that already are in cells; no control data."""
        block = self._draft.block([0] * 7)
        if name is not None:
            self._move(block[0], name)
            if isinstance(size, int):
                self._reset(block[1], size)
            else:
                self._move(block[1], size)
        self._move(block[2], vector)
        block[3].initial = count.initial
        self._reset(block[6], 0)
        return self._draft.address_of(block[0])

    def _pair(self, address: Slot) -> tuple[Fd, Fd]:
        """The two fds that a call stored at an address."""
        first, second = (self._load(address, 4, True, at).slot for at in (0, 4))
        for slot in (first, second):
            self._draft.origins[id(slot)] = Site("", 0), "fd"
        return Fd(self, first), Fd(self, second)
