"""Builder methods for sockets, waiting, children and clocks.

Socket addresses are written as the socket module has them; `address=True` where an
operation can tell the peer's gives a pair. Times are seconds. Names and order of the
arguments are the C library's. Part of Builder, see methods.py.
"""

from __future__ import annotations

import socket
import struct

from . import structs
from .compound import Compound
from .generic import Operands
from .operands import Address, Buffer, Data, Fd, Int, Param, Record, Slot
from .ops import BY_NAME

_FUTEX_WAIT, _FUTEX_WAKE, _FUTEX_PRIVATE = 0, 1, 128


class NetMethods(Compound):
    """Sockets, waiting, children, clocks."""

    def accept(
        self,
        fd: object,
        flags: object = 0,
        *,
        address: bool = False,
        check: bool = True,
        atom_flags: int = 0,
    ) -> Fd | tuple[Fd, Address]:
        """Wait for a connection and give its fd, which no child inherits.

        With `address=True` a pair of that and where it comes from.
        """
        flags = flags | socket.SOCK_CLOEXEC if isinstance(flags, int) else flags
        peer = self._new_address() if address else None
        args = [self._fd(fd), *self._address_cells(peer), self._number(flags)]
        answer = self._atom("accept4", args, check=check, flags=atom_flags, result=Fd)
        conn = Fd(self, answer.slot)
        return conn if peer is None else (conn, peer)

    def _address_cells(self, address: Address | None) -> list[Slot]:
        if address is None:
            return [self._draft.number(0)] * 2
        return [address.address, self._draft.address_of(address.length)]

    def recv(
        self,
        fd: object,
        buf: object,
        flags: object = 0,
        size: object = None,
        *,
        address: bool = False,
        check: bool = True,
        atom_flags: int = 0,
    ) -> object:
        """Receive: a size in bytes gives the data, memory gives the count.

        Nothing (b'' or 0) is the end of a stream.

        With `address=True` a pair of that and the sender's address.
        """
        given = {"fd": fd, "buf": buf, "flags": flags, "size": size}
        peer = self._new_address() if address else None
        given |= {"check": check, "atom_flags": atom_flags}
        operands = Operands(self, BY_NAME["recvfrom"], given)
        operands.args += self._address_cells(peer)
        answer = operands.append()
        return answer if peer is None else (answer, peer)

    def send(
        self,
        fd: object,
        data: object,
        flags: object = 0,
        address: object = None,
        size: object = None,
        *,
        check: bool = True,
        atom_flags: int = 0,
    ) -> Int:
        """Send bytes, all of them, and give how many; to `address` if there is one."""
        given = {"fd": fd, "data": data, "flags": flags, "size": size}
        if address is not None:
            given["address"] = address
        given |= {"check": check, "atom_flags": atom_flags}
        operands = Operands(self, BY_NAME["sendto"], given)
        if address is None:
            operands.args += [self._draft.number(0)] * 2
        answer = operands.append()
        assert isinstance(answer, Int)
        return answer

    def sendmsg(
        self,
        fd: object,
        data: object,
        flags: object = 0,
        address: object = None,
        *,
        check: bool = True,
        atom_flags: int = 0,
    ) -> Int:
        """Send a list of pieces as one message."""
        first, count, _ = self._vector(data, writes=False)
        name: Slot | None = None
        size: Slot | int = 0
        if address is not None:
            name, size = self._take_address(address, [], 0)
        message = self._message(name, size, first, count)
        args = [self._fd(fd), message, self._number(flags)]
        return self._atom("sendmsg", args, check=check, flags=atom_flags)

    def recvmsg(
        self,
        fd: object,
        buffers: object,
        flags: object = 0,
        *,
        address: bool = False,
        check: bool = True,
        atom_flags: int = 0,
    ) -> object:
        """Receive into a list of buffers and give the count; a size gives the data."""
        data: Data | None = None
        if not isinstance(buffers, list | tuple) and self._is_size(buffers):
            data = self._new_data(self._new_memory(buffers))
            buffers = [data]
        first, count, fills = self._vector(buffers, writes=True)
        peer = self._new_address() if address else None
        name = peer.address if peer is not None else None
        message = self._message(name, structs.SOCKADDR_BYTES, first, count)
        args = [self._fd(fd), message, self._number(flags)]
        answer = self._atom("recvmsg", args, check=check, flags=atom_flags)
        for buffer, before in fills:
            self._fill(buffer, answer.slot, before)
        if peer is not None:
            size = message.target
            assert size is not None
            at = self._draft.slots.index(size)
            peer.length = self._draft.slots[at + 1]
        value = answer if data is None else data
        return value if peer is None else (value, peer)

    def setsockopt(
        self,
        fd: object,
        level: object,
        option: object,
        value: object,
        *,
        check: bool = True,
        atom_flags: int = 0,
    ) -> Int:
        """Set an option: `value` is a C int, or the bytes of something else."""
        bounds: list[tuple[int, Slot]] = []
        args = [self._fd(fd), self._number(level), self._number(option)]
        if isinstance(value, int):
            value = struct.pack("<i", value)
        if isinstance(value, bytes | Buffer) or self._is_memory(value):
            memory = self._memory(value, "readable", "value")
            size = value.length if isinstance(value, Buffer) else None
            args += [memory.address, self._length(memory, size, 4, bounds)]
        else:
            copy = self._draft.address_of(self._scratch(value))
            args += [copy, self._draft.number(4)]
        return self._atom(
            "setsockopt", args, check=check, flags=atom_flags, bounds=bounds
        )

    def _is_memory(self, value: object) -> bool:
        """Whether a parameter is meant as memory; as a number if nothing says so."""
        if not isinstance(value, Param):
            return False
        kinds = value.allowed if value.allowed is not None else {value.kind or "int"}
        return not kinds & {"int", "fd"}

    def getsockopt(
        self,
        fd: object,
        level: object,
        option: object,
        size: int | None = None,
        *,
        check: bool = True,
        atom_flags: int = 0,
    ) -> Int | Data:
        """An option of a socket, as a C int, or as at most `size` bytes."""
        length = self._draft.slot()
        self._reset(length, 4 if size is None else size)
        args = [self._fd(fd), self._number(level), self._number(option)]
        data: Data | None = None
        value = self._draft.address_of(self._draft.slot())
        if size is not None:
            data = self._new_data(self._draft.buffer(size))
            value = data.memory.address
        args += [value, self._draft.address_of(length)]
        self._atom("getsockopt", args, check=check, flags=atom_flags)
        if data is None:
            return self._load(value, 4, True, 0)
        self._fill(data, length)
        return data

    def getsockname(
        self, fd: object, *, check: bool = True, atom_flags: int = 0
    ) -> Address:
        """The address a socket is bound to."""
        return self._ask_address("getsockname", fd, check, atom_flags)

    def getpeername(
        self, fd: object, *, check: bool = True, atom_flags: int = 0
    ) -> Address:
        """The address a socket is connected to."""
        return self._ask_address("getpeername", fd, check, atom_flags)

    def _ask_address(self, name: str, fd: object, check: bool, flags: int) -> Address:
        answer = self._new_address()
        args = [self._fd(fd), *self._address_cells(answer)]
        self._atom(name, args, check=check, flags=flags)
        return answer

    def socketpair(
        self,
        family: object = socket.AF_UNIX,
        type: object = socket.SOCK_STREAM,
        protocol: object = 0,
        *,
        check: bool = True,
        atom_flags: int = 0,
    ) -> tuple[Fd, Fd]:
        """Two connected sockets."""
        type = type | socket.SOCK_CLOEXEC if isinstance(type, int) else type
        pair = self._draft.address_of(self._draft.slot())
        args = [self._number(family), self._number(type), self._number(protocol), pair]
        self._atom("socketpair", args, check=check, flags=atom_flags)
        return self._pair(pair)

    # Waiting.

    def timeout(
        self, seconds: object, *, check: bool = True, atom_flags: int = 0
    ) -> Int:
        """Wait `seconds`: a constant, a parameter, or a cell with whole seconds."""
        return self.nanosleep(
            seconds, check=check, atom_flags=atom_flags, title="timeout"
        )

    def nanosleep(
        self,
        seconds: object,
        *,
        check: bool = True,
        atom_flags: int = 0,
        title: str = "nanosleep",
    ) -> Int:
        """Wait `seconds`: a constant, a parameter, or a cell with whole seconds."""
        args = [self._time(seconds), self._draft.number(0)]
        return self._atom("nanosleep", args, title=title, check=check, flags=atom_flags)

    def clock_nanosleep(
        self,
        clock: object,
        flags: object,
        seconds: object,
        *,
        check: bool = True,
        atom_flags: int = 0,
    ) -> Int:
        """Wait `seconds` by a clock, or until that time if `flags` is TIMER_ABSTIME."""
        args = [self._number(clock), self._number(flags), self._time(seconds)]
        args.append(self._draft.number(0))
        return self._atom("clock_nanosleep", args, check=check, flags=atom_flags)

    def clock_gettime(
        self, clock: object, *, check: bool = True, atom_flags: int = 0
    ) -> Record:
        """A clock's time: fields sec and nsec; returned it is nanoseconds."""
        record = self._record(structs.TIMESPEC)
        args = [self._number(clock), record.address]
        self._atom("clock_gettime", args, check=check, flags=atom_flags)
        return record

    def poll(
        self,
        fd: object,
        events: object,
        timeout: object = None,
        *,
        check: bool = True,
        atom_flags: int = 0,
    ) -> Int:
        """Wait until an fd is ready and give its revents; 0 after `timeout` seconds."""
        if not isinstance(events, int):
            raise TypeError(f"events must be a constant, not {events!r}")
        entry = self._draft.slot()
        address = self._draft.address_of(entry)
        if isinstance(fd, int):
            entry.initial = self._fd(fd).initial | events << 32
        else:
            self._move(entry, self._fd(fd))
            args = [address, self._draft.number(events << 32)]
            self._atom("umem_add", args, ret=None, title="add", check=False)
        zero = self._draft.number(0)
        limit = zero if timeout is None else self._time(timeout, kernel_writes=True)
        args = [address, self._draft.number(1), limit, zero, zero]
        self._atom("ppoll", args, check=check, flags=atom_flags)
        return self._load(address, 2, False, 6)

    def futex_wait(
        self,
        address: object,
        value: object,
        timeout: object = None,
        *,
        check: bool = True,
        atom_flags: int = 0,
    ) -> Int:
        """Wait on a 32-bit word of this process while it holds `value`."""
        limit = self._draft.number(0) if timeout is None else self._time(timeout)
        operation = self._draft.number(_FUTEX_WAIT | _FUTEX_PRIVATE)
        args = [self._address(address, 4), operation, self._number(value), limit]
        return self._atom(
            "futex", args, title="futex_wait", check=check, flags=atom_flags
        )

    def futex_wake(
        self,
        address: object,
        count: object = 1,
        *,
        check: bool = True,
        atom_flags: int = 0,
    ) -> Int:
        """Wake at most `count` waiters of a 32-bit word and give how many."""
        operation = self._draft.number(_FUTEX_WAKE | _FUTEX_PRIVATE)
        args = [self._address(address, 4), operation, self._number(count)]
        return self._atom(
            "futex", args, title="futex_wake", check=check, flags=atom_flags
        )

    def waitid(
        self,
        idtype: object,
        id: object,
        options: object,
        *,
        check: bool = True,
        atom_flags: int = 0,
    ) -> Record:
        """Wait for a child: fields pid, uid, signo, status, code."""
        record = self._record(structs.SIGINFO)
        args = [self._number(idtype), self._number(id), record.address]
        args += [self._number(options), self._draft.number(0)]
        self._atom("waitid", args, check=check, flags=atom_flags)
        return record
