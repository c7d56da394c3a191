"""Cases of test_ops.py: sockets, waiting, facts about the process."""

from __future__ import annotations

import os
import select
import socket
import struct

from driver import ffi
from ops_box import Box, filled_pipe, looks_at_size, op, simple, two_fds, vector

# Sockets.

simple("socket", lambda b: [socket.AF_INET, socket.SOCK_STREAM, 0])
simple("socketpair", lambda b: [socket.AF_UNIX, socket.SOCK_STREAM, 0, two_fds(b)])


def address(port: int) -> bytes:
    return struct.pack("=H", socket.AF_INET) + struct.pack(
        "!H4s8x", port, b"\x7f\0\0\1"
    )


def inet(b: Box) -> int:
    return b.fd(socket.socket().detach())


simple("bind", lambda b: [inet(b), b.memory(address(0)), 16])


@op("listen")
def _(b: Box) -> list[int]:
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    return [b.fd(made.detach()), 5]


@op("accept4")
def _(b: Box) -> list[int]:
    fd, listener = b.listener()
    b.kept.append(socket.create_connection(listener.getsockname()))
    length = b.memory(struct.pack("i", 128))
    return [fd, looks_at_size(b, 128), length, 0o2000000]


@op("connect")
def _(b: Box) -> list[int]:
    _, listener = b.listener()
    fd = inet(b)
    port = listener.getsockname()[1]
    listener.close()

    def peer() -> bool:
        copy = socket.socket(fileno=os.dup(fd))
        with copy:
            return copy.getpeername()[1] == port

    b.look(peer)
    return [fd, b.memory(address(port), False), 16]


simple("shutdown", lambda b: [b.pair()[0], 2])
simple(
    "setsockopt",
    lambda b: [inet(b), 6, 1, b.memory(struct.pack("i", 1)), 4],
)
simple(
    "getsockopt",
    lambda b: [inet(b), 1, 3, b.memory(8), b.memory(struct.pack("i", 8))],
)


def named(b: Box, fd: int) -> list[int]:
    return [fd, looks_at_size(b, 128), b.memory(struct.pack("i", 128))]


simple("getsockname", lambda b: named(b, b.listener()[0]))
simple("getpeername", lambda b: named(b, b.pair()[0]))


def with_mail(b: Box, content: bytes = b"mail") -> int:
    left, right = b.pair()
    os.write(right, content)
    return left


simple("recvfrom", lambda b: [with_mail(b), b.memory(10), 10, 0, 0, 0])


def sender(b: Box) -> int:
    left, right = b.pair()
    b.look(lambda: os.read(right, 100))
    return left


simple("sendto", lambda b: [sender(b), b.memory(b"post"), 4, 0, 0, 0])


def message(b: Box, *contents: bytes | int) -> int:
    rows, count = vector(b, *contents)
    return b.memory(struct.pack("QQQQQQQ", 0, 0, rows, count, 0, 0, 0), False)


simple("recvmsg", lambda b: [with_mail(b), message(b, 2, 10), 0])
simple("sendmsg", lambda b: [sender(b), message(b, b"po", b"st"), 0])


# Waiting.


@op("ppoll")
def _(b: Box) -> list[int]:
    row = struct.pack("ihh", filled_pipe(b)[0], select.POLLIN, 0)
    made = ffi.new("char[]", row)
    b.kept.append(made)
    b.look(lambda: bytes(ffi.buffer(made))[6:])
    return [int(ffi.cast("uintptr_t", made)), 1, 0, 0, 0]


def moment(b: Box) -> int:
    return b.memory(struct.pack("qq", 0, 1_000_000), False)


simple("nanosleep", lambda b: [moment(b), 0])
simple("clock_nanosleep", lambda b: [1, 0, moment(b), 0])
simple(
    "futex", lambda b: [b.memory(struct.pack("i", 5)), 0, 6, 0, 0, 0]
)  # not 6: EAGAIN


@op("waitid")
def _(b: Box) -> list[int]:
    child = os.spawnlp(os.P_NOWAIT, "true", "true")
    b.children.append(child)
    b.look(lambda: child > 0)
    return [1, child, looks_at_size(b, 128), 4, 0]  # P_PID, WEXITED


simple("kill", lambda b: [os.getpid(), 0])
simple("tgkill", lambda b: [os.getpid(), os.getpid(), 0])

# Facts.

for _name in ("getpid", "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid"):
    simple(_name, lambda b: [])
simple("clock_gettime", lambda b: [1, b.memory(16, False)])
simple("sched_yield", lambda b: [])
simple("getrandom", lambda b: [b.memory(16, False), 16, 0])
simple("getcwd", lambda b: [b.memory(4096), 4096])
