"""The oracle: runs a compiled syslet with plain system calls, without the engine.

It reads the packed program (native/engine/program.h says what the bytes mean) and makes
every call, blocking, through the C library's syscall(). What `run` returns or raises is
what awaiting the syslet must return or raise. It knows nothing of misses, rings or
workers, which is the point.
"""

import ctypes
import errno
import os
import struct
from typing import Any

from syslet_loop import errors, program_format

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_NOP, _UMEM_ADD, _LOAD, _BUFFER, _EMIT = range(0x10000, 0x10005)
_ATOMS_MAX = 1_000_000


class Model:
    """One flight of a compiled syslet."""

    def __init__(self, compiled: Any, arguments: tuple[Any, ...]) -> None:
        self.compiled = compiled
        self.atoms = list(program_format.ATOM.iter_unpack(compiled.atoms))
        self.bounds = list(program_format.BOUND.iter_unpack(compiled.bounds))
        self.rows = list(program_format.BUFFER.iter_unpack(compiled.buffers))
        count = len(compiled.cells) // 8
        self.cells = (ctypes.c_uint64 * count).from_buffer_copy(compiled.cells)
        self.consts = ctypes.create_string_buffer(compiled.consts, len(compiled.consts))
        self.kept: list[Any] = []  # memory that must live as long as the flight
        self.ran = bytearray(len(self.atoms))
        self.fds: set[int] = set()
        self.emitted: list[Any] = []
        self.arguments = self.bind(arguments)
        self.relocate()

    # Before the flight.

    def bind(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Arguments into cells, as the binding does it."""
        params = self.compiled.params
        if len(arguments) > len(params):
            raise TypeError("too many arguments")
        bound = list(arguments)
        for _, name, _, _, _, _, has_default, default in params[len(arguments) :]:
            if not has_default:
                raise TypeError(f"missing argument {name!r}")
            bound.append(default)
        for row, value in zip(params, bound, strict=True):
            self.bind_one(row, value)
        return tuple(bound)

    def bind_one(self, row: tuple[Any, ...], value: Any) -> None:
        """One argument into its cells."""
        kind, name, cell, extra, least, convert, _, _ = row
        value = convert(value) if convert is not None else value
        if kind == "int":
            self.cells[cell] = program_format.word(value.__index__())
        elif kind == "fd":
            self.cells[cell] = program_format.word(
                getattr(value, "fileno", lambda: value)()
            )
        elif kind == "timeout":
            self.cells[cell] = int(value)
            self.cells[cell + 1] = int((value - int(value)) * 1e9)
        elif kind == "path":
            self.cells[cell] = self.pin(bytearray(os.fsencode(value) + b"\0"))
        elif kind in ("readable", "writable"):
            view = memoryview(value).cast("B")
            if kind == "writable" and view.readonly:
                raise TypeError(f"{name} must be writable")
            if view.nbytes < least:
                raise ValueError(f"{name} has {view.nbytes} bytes, {least} are needed")
            memory = bytearray(view) if view.readonly else view
            self.cells[cell] = self.pin(memory) if view.nbytes else 0
            if extra:
                self.cells[extra] = view.nbytes

    def pin(self, memory: Any) -> int:
        """The address of writable memory, kept alive with the flight."""
        pinned = (ctypes.c_char * len(memory)).from_buffer(memory)
        self.kept.append(pinned)
        return ctypes.addressof(pinned)

    def relocate(self) -> None:
        """Addresses into the cells that hold one."""
        for cell, kind, value in program_format.RELOC.iter_unpack(self.compiled.relocs):
            if kind == program_format.RELOC_CELL:
                self.cells[cell] = ctypes.addressof(self.cells) + value
            elif kind == program_format.RELOC_CONST:
                self.cells[cell] = ctypes.addressof(self.consts) + value
            elif kind == program_format.RELOC_BUFFER:
                assert self.rows[value][2] == cell
                self.cells[cell] = self.pin(bytearray(self.rows[value][0]))

    # The flight.

    def run(self) -> Any:
        """Runs to the end; the result, or the exception that it must be."""
        index, result = 0, 0
        try:
            for _ in range(_ATOMS_MAX):
                flags, _, ret, onward, *_, private = self.atoms[index]
                result = self.execute(index)
                self.ran[index] = 1
                if ret:
                    self.cells[ret] = program_format.word(result)
                if program_format.stops(flags, result):
                    if not flags & program_format.SKIP_TO_NEXT_ON_STOP:
                        break
                    index += 1
                elif onward == 0:
                    break
                else:
                    index = onward - 1
            else:
                raise RuntimeError("the program does not end")
            if private & program_format.PRIVATE_CHECK and result < 0:
                cells = bytes(self.cells)
                info = self.compiled
                raise errors.failure(
                    info, index, result, self.ran, cells, self.arguments
                )
            return self.value(self.compiled.result)
        finally:
            for fd in self.fds:
                os.close(fd)

    def execute(self, index: int) -> int:
        """One atom's result."""
        _, nr, _, _, *rest = self.atoms[index]
        cells = rest[:6]
        cells = cells[: cells.index(0)] if 0 in cells else cells
        args = [self.cells[cell] for cell in cells]
        for atom, arg, capacity in self.bounds:
            if atom == index and args[arg] > self.cells[capacity]:
                return -errno.EFAULT
        if nr >= _NOP:
            return self.pseudo(nr, args)
        return self.own(index, nr, args, self.call(index, nr, args))

    def pseudo(self, nr: int, args: list[int]) -> int:
        """An operation that makes no system call."""
        if nr == _NOP:
            return program_format.signed(args[0]) if args else 0
        if nr == _UMEM_ADD:
            word = ctypes.c_uint64.from_address(args[0])
            word.value = (word.value + args[1]) & program_format.WORD_MASK
            return program_format.signed(word.value)
        if nr == _LOAD:
            width, is_signed, offset = (*args[1:], 0, 0)[:3]
            data = ctypes.string_at(args[0] + offset, width)
            return int.from_bytes(data, "little", signed=bool(is_signed) or width == 8)
        if nr == _EMIT:
            self.emitted.append(self.value(self.compiled.emits[args[0]]))
            return 0
        _, _, address, capacity = self.rows[args[0]]
        if program_format.signed(args[1]) < 0:
            return -errno.EINVAL
        self.cells[address] = self.pin(bytearray(args[1] or 1))
        self.cells[capacity] = args[1]
        return 0

    def call(self, index: int, nr: int, args: list[int]) -> int:
        """A system call; one that writes goes on until everything is written."""
        name = self.compiled.atoms_placed[index].step
        writes = name.op is not None and name.op.name in ("write", "pwrite64", "sendto")
        done = 0
        while True:
            result = self.call_once(nr, args)
            if not writes or result <= 0 or result == args[2]:
                return done or result if result < 0 else done + result
            done += result
            args = [args[0], args[1] + result, args[2] - result, *args[3:]]
            if name.op.name == "pwrite64":
                args[3] += result

    def call_once(self, nr: int, args: list[int]) -> int:
        while True:
            ctypes.set_errno(0)
            words = [ctypes.c_uint64(arg) for arg in [*args, *[0] * 6][:6]]
            result: int = _libc.syscall(ctypes.c_long(nr), *words)
            if result != -1 or ctypes.get_errno() == 0:
                return result
            if ctypes.get_errno() != errno.EINTR:
                return -ctypes.get_errno()

    def own(self, index: int, nr: int, args: list[int], result: int) -> int:
        """Note the fds that the flight now has to close."""
        op = self.compiled.atoms_placed[index].step.op
        letter = op.result if op is not None else "i"
        duplicates = letter == "D" and args[1] in (0, 1030)
        if result >= 0 and (letter == "f" or duplicates):
            self.fds.add(result)
        elif result == 0 and letter == "P":
            at = op.args.index("T")
            self.fds.update(struct.unpack("ii", ctypes.string_at(args[at], 8)))
        elif op is not None and op.name == "close" and result == 0:
            self.fds.discard(args[0])
        return result

    # Results.

    def value(self, node: tuple[Any, ...]) -> Any:
        """A result made by its template."""
        kind, *rest = node
        if kind in ("int", "fd"):
            number = program_format.signed(self.cells[rest[0]])
            if kind == "fd":
                self.fds.discard(number)
            return number
        if kind == "bytes":
            address, size = (
                self.cells[rest[0]],
                program_format.signed(self.cells[rest[1]]),
            )
            return ctypes.string_at(address, size) if address and size > 0 else b""
        if kind == "param":
            return self.arguments[rest[0]]
        if kind == "const":
            return rest[0]
        if kind == "dict":
            return dict(zip(rest[0], map(self.value, rest[1]), strict=True))
        if kind in ("tuple", "list"):
            return {"tuple": tuple, "list": list}[kind](map(self.value, rest[0]))
        if kind == "call":
            return rest[0](*map(self.value, rest[1]))
        assert kind == "none"
        return None


def run(compiled: Any, *arguments: Any) -> Any:
    """What awaiting the syslet with these arguments must give."""
    return Model(compiled, arguments).run()


def events(compiled: Any, *arguments: Any) -> list[Any]:
    """What `async for` over the syslet's events must give."""
    model = Model(compiled, arguments)
    model.run()
    return model.emitted
