"""Builder methods for files and descriptors whose operands are more than a row says.

Structures that an operation fills, `struct open_how`, times, pairs of fds. The names
and the order of arguments are the C library's, with the path first and `dir_fd` last;
`check` and `atom_flags` are the atom's own. Part of Builder, see methods.py.
"""

from __future__ import annotations

import os

from . import ops, structs
from .compound import Compound
from .operands import Buffer, Fd, Int, Layout, Param, Record, Slot

_F_DUPFD = 0
_F_DUPFD_CLOEXEC = 1030
_LOCK_BYTES = 32  # struct flock, the largest structure of fcntl


class FileMethods(Compound):
    """Files and descriptors."""

    def openat2(
        self,
        path: object,
        flags: object,
        mode: object = 0,
        resolve: object = 0,
        *,
        dir_fd: object = ops.AT_FDCWD,
        check: bool = True,
        atom_flags: int = 0,
    ) -> Fd:
        """Open with RESOLVE_* restrictions. `mode` must be 0 unless a file is made."""
        flags = flags | os.O_CLOEXEC if isinstance(flags, int) else flags
        how = self._words([flags, mode, resolve])
        args = [self._fd(dir_fd, True), self._path(path), how, self._draft.number(24)]
        return Fd(self, self._run("openat2", args, check, atom_flags).slot)

    def _run(self, name: str, args: list[Slot], check: bool, flags: int) -> Int:
        return self._atom(name, args, check=check, flags=flags)

    def _fill_record(
        self, name: str, args: list[Slot], layout: Layout, check: bool, flags: int
    ) -> Record:
        """An atom whose arguments end with None for the structure it fills."""
        record = self._record(layout)
        at = args.index(self._draft.slots[0])
        args[at] = record.address
        self._run(name, args, check, flags)
        return record

    def fstat(self, fd: object, *, check: bool = True, atom_flags: int = 0) -> Record:
        """What an open file is: `st.size`, `st.mode`, … or an os.stat_result."""
        args = [self._fd(fd), self._draft.slots[0]]
        return self._fill_record("fstat", args, structs.STAT, check, atom_flags)

    def fstatat(
        self,
        path: object,
        flags: object = 0,
        *,
        dir_fd: object = ops.AT_FDCWD,
        check: bool = True,
        atom_flags: int = 0,
    ) -> Record:
        """What a file is, by path: as fstat.

        `flags` are AT_*: with AT_SYMLINK_NOFOLLOW (0x100) about a symbolic link itself.
        """
        args = [self._fd(dir_fd, True), self._path(path), self._draft.slots[0]]
        args.append(self._number(flags))
        return self._fill_record("newfstatat", args, structs.STAT, check, atom_flags)

    def statx(
        self,
        path: object,
        flags: object = 0,
        mask: object = 0xFFF,
        *,
        dir_fd: object = ops.AT_FDCWD,
        check: bool = True,
        atom_flags: int = 0,
    ) -> Record:
        """What a file is, with its birth time; with AT_EMPTY_PATH about `dir_fd`."""
        args = [self._fd(dir_fd, True), self._path(path), self._number(flags)]
        args += [self._number(mask), self._draft.slots[0]]
        return self._fill_record("statx", args, structs.STATX, check, atom_flags)

    def statfs(
        self, path: object, *, check: bool = True, atom_flags: int = 0
    ) -> Record:
        """What a file system is: returned it is an os.statvfs_result."""
        args = [self._path(path), self._draft.slots[0]]
        return self._fill_record("statfs", args, structs.STATFS, check, atom_flags)

    def fstatfs(self, fd: object, *, check: bool = True, atom_flags: int = 0) -> Record:
        """What the file system of an open file is: returned, an os.statvfs_result."""
        args = [self._fd(fd), self._draft.slots[0]]
        return self._fill_record("fstatfs", args, structs.STATFS, check, atom_flags)

    def utimensat(
        self,
        path: object,
        times: tuple[int, int] | None = None,
        flags: object = 0,
        *,
        dir_fd: object = ops.AT_FDCWD,
        check: bool = True,
        atom_flags: int = 0,
    ) -> Int:
        """Set access and modification time, constants in nanoseconds; None is now."""
        block = self._draft.number(0)
        if times is not None:
            access, change = (divmod(time, 10**9) for time in times)
            block = self._words([*access, *change])
        args = [self._fd(dir_fd, True), self._path(path), block, self._number(flags)]
        return self._run("utimensat", args, check, atom_flags)

    def madvise(
        self,
        memory: object,
        advice: object,
        size: object = None,
        *,
        check: bool = True,
        atom_flags: int = 0,
    ) -> Int:
        """Advise about memory, all of it unless `size` says how much."""
        where = self._memory(memory, "writable", "memory")
        bounds: list[tuple[int, Slot]] = []
        args = [where.address, self._length(where, size, 1, bounds)]
        args.append(self._number(advice))
        return self._atom("madvise", args, check=check, flags=atom_flags, bounds=bounds)

    # Descriptors.

    def dup(self, fd: object, *, check: bool = True, atom_flags: int = 0) -> Fd:
        """A duplicate of an fd, which no child inherits."""
        command = self._draft.number(_F_DUPFD_CLOEXEC)
        args = [self._fd(fd), command, self._draft.number(0)]
        answer = self._atom(
            "fcntl", args, title="dup", check=check, flags=atom_flags, result=Fd
        )
        return Fd(self, answer.slot)

    def fcntl(
        self,
        fd: object,
        command: object,
        argument: object = 0,
        *,
        check: bool = True,
        atom_flags: int = 0,
    ) -> Int:
        """Do something to an fd; an Fd if `command` is a constant that duplicates."""
        args = [self._fd(fd), self._number(command), self._anything(argument)]
        if isinstance(argument, Param) and argument.kind in ("readable", "writable"):
            argument.least = max(argument.least, _LOCK_BYTES)
        answer = self._run("fcntl", args, check, atom_flags)
        if isinstance(command, int) and command in (_F_DUPFD, _F_DUPFD_CLOEXEC):
            return Fd(self, answer.slot)
        return answer

    def ioctl(
        self,
        fd: object,
        request: object,
        argument: object = 0,
        *,
        check: bool = True,
        atom_flags: int = 0,
    ) -> Int:
        """Control a device; memory must be as large as the request wants it."""
        args = [self._fd(fd), self._number(request), self._anything(argument)]
        return self._run("ioctl", args, check, atom_flags)

    def pipe2(
        self, flags: object = 0, *, check: bool = True, atom_flags: int = 0
    ) -> tuple[Fd, Fd]:
        """A pipe: the fd to read from, the fd to write to."""
        flags = flags | os.O_CLOEXEC if isinstance(flags, int) else flags
        pair = self._draft.address_of(self._draft.slot())
        self._run("pipe2", [pair, self._number(flags)], check, atom_flags)
        return self._pair(pair)

    def timerfd_settime(
        self,
        fd: object,
        seconds: float,
        interval: float = 0,
        flags: object = 0,
        *,
        check: bool = True,
        atom_flags: int = 0,
    ) -> Int:
        """Arm a timer with constant times; 0 disarms it."""
        times = [*structs.encode_time(interval), *structs.encode_time(seconds)]
        args = [self._fd(fd), self._number(flags), self._words(times)]
        args.append(self._draft.number(0))
        return self._run("timerfd_settime", args, check, atom_flags)

    def syscall(
        self, nr: int, *args: object, check: bool = True, atom_flags: int = 0
    ) -> Int:
        """Any system call by number, with numbers, paths (str), memory or addresses.

        Raises ValueError for calls that no syslet may make.
        """
        if isinstance(nr, bool) or not isinstance(nr, int) or not 0 <= nr < 0x10000:
            raise TypeError(f"a system call's number is a constant, not {nr!r}")
        if nr in ops.REFUSED:
            raise ValueError(f"a syslet may not call {ops.REFUSED[nr]}")
        op = ops.BY_NUMBER.get(nr)
        most = len(op.args) if op is not None else 6
        if not (op.least if op is not None else 0) <= len(args) <= most:
            raise TypeError(f"system call {nr} does not take {len(args)} arguments")
        bounds: list[tuple[int, Slot]] = []
        slots: list[Slot] = []
        for i, value in enumerate(args):
            before = args[i - 1] if i else None
            letter = op.args[i] if op is not None else "i"
            if letter == "n" and isinstance(before, Buffer | Param | bytes):
                kind = "readable" if op is not None and op.args[i - 1] == "r" else ""
                memory = self._memory(before, kind or "writable")
                slots.append(self._length(memory, value, i, bounds))
            else:
                slots.append(self._raw(letter, value, ops.structure_bytes(op, i)))
        title = op.title if op is not None else f"syscall {nr}"
        answer = self._append(
            op, nr, slots, True, title, check, atom_flags, bounds, Int
        )
        is_fd = op is not None and op.result == "f"
        return Fd(self, answer.slot) if is_fd else answer

    def _raw(self, letter: str, value: object, least: int) -> Slot:
        if letter in "fd":
            return self._fd(value, letter == "d")
        if isinstance(value, str):
            return self._path(value)
        if letter in "ps":
            return self._path(value)
        if letter == "r" and not isinstance(value, int):
            return self._memory(value, "readable").address
        if letter == "w" and not isinstance(value, int):
            return self._address(value, 0)
        if least and isinstance(value, Buffer | Param | bytes):
            is_constant = isinstance(value, bytes)
            memory = self._memory(value, "readable" if is_constant else "writable")
            self._demand(memory, least)
            return memory.address
        return self._anything(value)
