"""Atoms as C structures in either layout, for tests: words, programs, heads."""

from __future__ import annotations

import errno
import os
from typing import Any

from syslet_loop.abi import address, ffi, lib

X86 = os.uname().machine == "x86_64"
NR = {
    "read": 0 if X86 else 63,
    "write": 1 if X86 else 64,
    "close": 3 if X86 else 57,
    "fstat": 5 if X86 else 80,
    "pread64": 17 if X86 else 67,
    "writev": 20 if X86 else 66,
    "readv": 19 if X86 else 65,
    "getpid": 39 if X86 else 172,
    "sendto": 44 if X86 else 206,
    "recvfrom": 45 if X86 else 207,
    "getppid": 110 if X86 else 173,
    "kill": 62 if X86 else 129,
    "prctl": 157 if X86 else 167,
    "gettid": 186 if X86 else 178,
    "nanosleep": 35 if X86 else 101,
    "exit": 60 if X86 else 93,
    "execve": 59 if X86 else 221,
    "clone": 56 if X86 else 220,
    "openat": 257 if X86 else 56,
    "accept4": 288 if X86 else 242,
    "pipe2": 293 if X86 else 59,
    "io_uring_enter": 426,
    "umem_add": lib.SYSLET_NR_UMEM_ADD,
    "async_exec": lib.SYSLET_NR_ASYNC_EXEC,
}
ASYNC, SYNC, NO_COMPLETE = 1, 2, 4
NONZERO, ZERO, NEGATIVE, NON_POSITIVE, SKIP = 8, 0x10, 0x20, 0x40, 0x80


class Layout:
    """One of the two layouts: its types and its functions."""

    def __init__(self, suffix: str, ring_field: str) -> None:
        self.suffix, self.ring_field = suffix, ring_field
        self.atom, self.head = f"struct syslet_uatom{suffix}", "struct async_head_user"
        self.head += suffix
        self.size = ffi.sizeof(self.atom)
        for name in ("exec", "wait", "register", "unregister", "thread"):
            setattr(self, name, getattr(lib, f"async_{name}{suffix}"))
        self.cancel = getattr(lib, f"syslet_cancel{suffix}")

    exec: Any
    wait: Any
    register: Any
    unregister: Any
    thread: Any


V6, V3 = Layout("", "completion_ring_ptr"), Layout("_v3", "completion_ring")


class Program:
    """Atoms in a row, their words and results; everything stays alive with it."""

    def __init__(self, layout: Layout, count: int) -> None:
        self.layout, self.count = layout, count
        self.atoms = ffi.new(f"{layout.atom}[]", count)
        self.results = ffi.new("long[]", [-9999] * count)
        self.kept: list[Any] = []

    def word(self, value: int) -> Any:
        """An argument of its own."""
        word = ffi.new("unsigned long *", value & (2**64 - 1))
        self.kept.append(word)
        return word

    def at(self, index: int) -> int:
        return address(self.atoms) + index * self.layout.size

    def result_at(self, index: int) -> int:
        return address(self.results) + 8 * index

    def set(
        self,
        index: int,
        nr: str | int,
        *args: Any,
        flags: int = 0,
        next: int | None = None,
        ret: bool = True,
    ) -> None:
        """Fill an atom. Arguments: ints, or cffi memory for the word itself."""
        atom = self.atoms[index]
        words = [self.word(arg) if isinstance(arg, int) else arg for arg in args]
        self.kept += words
        atom.nr = NR[nr] if isinstance(nr, str) else nr
        atom.flags = flags
        self.poke(index, "ret_ptr", self.result_at(index) if ret else 0)
        self.poke(index, "next", self.at(next) if next is not None else 0)
        for number, word in enumerate(words):
            self.poke_arg(index, number, address(word))

    def poke(self, index: int, field: str, value: int) -> None:
        """Put an address into a field, whatever its type."""
        atom = self.atoms[index]
        kind = ffi.typeof(getattr(atom, field)) if self.layout is V3 else None
        setattr(atom, field, ffi.cast(kind, value) if kind else value)

    def poke_arg(self, index: int, number: int, value: int) -> None:
        cast = ffi.cast("unsigned long *", value) if self.layout is V3 else value
        self.atoms[index].arg_ptr[number] = cast

    def index_of(self, where: Any) -> int:
        """Which atom an address is."""
        where = where if isinstance(where, int) else address(where)
        offset = where - address(self.atoms)
        assert offset % self.layout.size == 0
        assert 0 <= offset // self.layout.size < self.count
        return offset // self.layout.size


class Head:
    """A head with a ring of so many slots."""

    def __init__(self, layout: Layout, slots: int = 8) -> None:
        self.layout, self.slots = layout, slots
        self.ring = ffi.new("uint64_t[]", slots)
        self.ahu = ffi.new(f"{layout.head} *")
        self.point(address(self.ring), slots * 8)

    def point(self, ring: int, size: int) -> None:
        field = self.layout.ring_field
        kind = ffi.typeof(getattr(self.ahu, field)) if self.layout is V3 else None
        setattr(self.ahu, field, ffi.cast(kind, ring) if kind else ring)
        self.ahu.ring_size_bytes = size

    def exec(self, program: Program, first: int = 0) -> int | None:
        """The last atom's index, None if it is away. Raises OSError."""
        atom = ffi.cast(f"{self.layout.atom} *", program.at(first))
        found = address(self.layout.exec(atom, self.ahu))
        if found >= 2**64 - 4095:
            number = 2**64 - found
            raise OSError(number, os.strerror(number))
        return None if found == 0 else program.index_of(found)

    def wait(self, events: int = 1) -> None:
        result = self.layout.wait(events, self.ahu.user_ring_idx, self.ahu)
        if result < 0:
            raise OSError(-result, os.strerror(-result))

    def take(self) -> int | None:
        """The address in the next filled slot, which is cleared."""
        index = self.ahu.user_ring_idx
        found = int(self.ring[index])
        if found == 0:
            return None
        self.ring[index] = 0
        self.ahu.user_ring_idx = (index + 1) % self.slots
        return found

    def finish(self, program: Program, first: int = 0) -> int:
        """Run to the end, wherever that is: the atom that ended it."""
        last = self.exec(program, first)
        if last is None:
            self.wait()
            found = self.take()
            assert found is not None
            last = program.index_of(found)
        return last

    def cancel(self, program: Program, first: int = 0) -> int:
        atom = ffi.cast(f"{self.layout.atom} *", program.at(first))
        return int(self.layout.cancel(atom, self.ahu))

    def unregister(self) -> int:
        return int(self.layout.unregister(self.ahu, ffi.sizeof(self.layout.head)))


EFAULT, EPERM, EINVAL, ENOSYS = (
    -errno.EFAULT,
    -errno.EPERM,
    -errno.EINVAL,
    -errno.ENOSYS,
)
