"""One set-up per operation of the table: what to call it with, and what to look at.

A case is a function of a Box, the place where it makes files, sockets and memory. It
returns the arguments of the call; what the call changed is in the box's memory, files
and `looks`. The same case is made twice, once for the plain call and once for the
engine, and both must look alike.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from driver import ffi

HERE = -100  # AT_FDCWD
DATA = bytes(range(256)) * 40  # 10 240 bytes
Case = Callable[["Box"], list[int]]
CASES: dict[str, Case] = {}


class Box:
    """A folder and what a case made in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.kept: list[Any] = []
        self.memories: list[Any] = []
        self.fds: list[int] = []
        self.looks: list[Callable[[], object]] = []
        self.children: list[int] = []

    def memory(self, content: bytes | int, watched: bool = True) -> int:
        """The address of memory with this content, or of this size."""
        made = ffi.new("char[]", content)
        self.kept.append(made)
        if watched:
            self.memories.append(made)
        return int(ffi.cast("uintptr_t", made))

    def text(self, value: str | Path) -> int:
        return self.memory(os.fsencode(value) + b"\0", watched=False)

    def file(self, name: str = "file", content: bytes = DATA) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def fd(self, fd: int) -> int:
        self.fds.append(fd)
        return fd

    def opened(self, flags: int = os.O_RDWR, name: str = "file") -> int:
        return self.fd(os.open(self.file(name), flags))

    def path(self, name: str = "new") -> int:
        return self.text(self.folder / name)

    def pair(self) -> tuple[int, int]:
        left, right = socket.socketpair()
        return self.fd(left.detach()), self.fd(right.detach())

    def listener(self) -> tuple[int, Any]:
        made = socket.create_server(("127.0.0.1", 0))
        self.fd(fd := made.detach())
        copy = socket.socket(fileno=os.dup(fd))
        self.kept.append(copy)
        return fd, copy

    def look(self, what: Callable[[], object]) -> None:
        self.looks.append(what)

    def seen(self) -> list[object]:
        """Memory, files and whatever the case looks at."""
        files = {
            path.name: (path.lstat().st_mode, path.lstat().st_size)
            for path in sorted(self.folder.iterdir())
        }
        return [bytes(ffi.buffer(each)) for each in self.memories] + [
            files,
            *(look() for look in self.looks),
        ]

    def close(self) -> None:
        for fd in self.fds:
            try:
                os.close(fd)
            except OSError:
                continue  # the call closed it
        for child in self.children:
            try:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            except (ProcessLookupError, ChildProcessError):
                continue


def op(name: str) -> Callable[[Case], Case]:
    def register(case: Case) -> Case:
        assert name not in CASES
        CASES[name] = case
        return case

    return register


def simple(name: str, case: Case) -> None:
    CASES[name] = case


# Files.

simple("openat", lambda b: [HERE, b.text(b.file()), os.O_RDONLY | os.O_CLOEXEC, 0])
simple(
    "openat2",
    lambda b: [
        HERE,
        b.text(b.file()),
        b.memory(struct.pack("QQQ", os.O_CLOEXEC, 0, 0), False),
        24,
    ],
)
simple("close", lambda b: [b.opened()])
simple("read", lambda b: [b.opened(), b.memory(5000), 5000])
simple("write", lambda b: [b.opened(), b.memory(b"abc" * 50), 150])
simple("pread64", lambda b: [b.opened(), b.memory(5000), 5000, 4095])
simple("pwrite64", lambda b: [b.opened(), b.memory(b"abc" * 50), 150, 10_000])


def vector(b: Box, *contents: bytes | int) -> list[int]:
    rows = b"".join(
        struct.pack("QQ", b.memory(c), c if isinstance(c, int) else len(c))
        for c in contents
    )
    return [b.memory(rows, False), len(contents)]


simple("readv", lambda b: [b.opened(), *vector(b, 100, 9000, 5000)])
simple("writev", lambda b: [b.opened(), *vector(b, b"one", b"twothree")])
simple("preadv", lambda b: [b.opened(), *vector(b, 100, 9000), 4096, 0])
simple("pwritev", lambda b: [b.opened(), *vector(b, b"one", b"two"), 5, 0])
simple("preadv2", lambda b: [b.opened(), *vector(b, 100, 9000), 4096, 0, 0])
simple("pwritev2", lambda b: [b.opened(), *vector(b, b"one", b"two"), 5, 0, 0])
simple("lseek", lambda b: [b.opened(), 77, os.SEEK_SET])


def looks_at_size(b: Box, size: int) -> int:
    """Memory for a structure of which only the sizes can be compared."""
    made = ffi.new("char[]", size)
    b.kept.append(made)
    b.look(lambda: sum(map(bool, bytes(ffi.buffer(made)))) > 8)
    return int(ffi.cast("uintptr_t", made))


simple("fstat", lambda b: [b.opened(), looks_at_size(b, 144)])
simple("statx", lambda b: [HERE, b.text(b.file()), 0, 0x7FF, looks_at_size(b, 256)])
simple("newfstatat", lambda b: [HERE, b.text(b.file()), looks_at_size(b, 144), 0])
simple("statfs", lambda b: [b.text(b.folder), looks_at_size(b, 120)])
simple("fstatfs", lambda b: [b.opened(), looks_at_size(b, 120)])
simple("faccessat2", lambda b: [HERE, b.text(b.file()), os.R_OK, 0])


@op("readlinkat")
def _(b: Box) -> list[int]:
    (b.folder / "link").symlink_to("somewhere")
    return [HERE, b.path("link"), b.memory(100), 100]


@op("getdents64")
def _(b: Box) -> list[int]:
    b.file()
    return [b.fd(os.open(b.folder, os.O_RDONLY)), looks_at_size(b, 1000), 1000]


def attribute(b: Box) -> Path:
    path = b.file()
    os.setxattr(path, "user.one", b"value")
    return path


NAME = "user.one"
simple("getxattr", lambda b: [b.text(attribute(b)), b.text(NAME), b.memory(20), 20])
simple("lgetxattr", lambda b: [b.text(attribute(b)), b.text(NAME), b.memory(20), 20])
simple(
    "fgetxattr",
    lambda b: [b.fd(os.open(attribute(b), 0)), b.text(NAME), b.memory(20), 20],
)
simple("listxattr", lambda b: [b.text(attribute(b)), b.memory(100), 100])
simple("flistxattr", lambda b: [b.fd(os.open(attribute(b), 0)), b.memory(100), 100])


def sets(b: Box, path: Path) -> Path:
    b.look(lambda: {n: os.getxattr(path, n) for n in os.listxattr(path)})
    return path


def value(b: Box) -> list[int]:
    return [b.text("user.two"), b.memory(b"22"), 2, 0]


simple("setxattr", lambda b: [b.text(sets(b, b.file())), *value(b)])
simple("lsetxattr", lambda b: [b.text(sets(b, b.file())), *value(b)])
simple("fsetxattr", lambda b: [b.fd(os.open(sets(b, b.file()), os.O_RDWR)), *value(b)])
simple("removexattr", lambda b: [b.text(sets(b, attribute(b))), b.text(NAME)])
simple(
    "fremovexattr", lambda b: [b.fd(os.open(sets(b, attribute(b)), 2)), b.text(NAME)]
)
simple("fsync", lambda b: [b.opened()])
simple("fdatasync", lambda b: [b.opened()])
simple("sync_file_range", lambda b: [b.opened(), 0, 4096, 2])
simple("ftruncate", lambda b: [b.opened(), 5])
simple("truncate", lambda b: [b.text(b.file()), 5])
simple("fallocate", lambda b: [b.opened(), 0, 0, 20_000])
simple("unlinkat", lambda b: [HERE, b.text(b.file()), 0])
simple("renameat2", lambda b: [HERE, b.text(b.file()), HERE, b.path(), 0])
simple("mkdirat", lambda b: [HERE, b.path(), 0o700])
simple("mknodat", lambda b: [HERE, b.path(), 0o010600, 0])
simple("symlinkat", lambda b: [b.text("target"), HERE, b.path()])
simple("linkat", lambda b: [HERE, b.text(b.file()), HERE, b.path(), 0])
simple("fchmod", lambda b: [b.opened(), 0o600])
simple("fchmodat", lambda b: [HERE, b.text(b.file()), 0o640])
simple("fchown", lambda b: [b.opened(), os.getuid(), os.getgid()])
simple("fchownat", lambda b: [HERE, b.text(b.file()), os.getuid(), os.getgid(), 0])


@op("utimensat")
def _(b: Box) -> list[int]:
    path = b.file()
    b.look(lambda: path.stat().st_mtime)
    return [HERE, b.text(path), b.memory(struct.pack("qqqq", 1, 0, 2, 0)), 0]


def copied(b: Box) -> list[int]:
    target = b.folder / "copy"
    fd = b.fd(os.open(target, os.O_RDWR | os.O_CREAT))
    b.look(lambda: target.read_bytes())
    return [b.opened(), fd]


@op("copy_file_range")
def _(b: Box) -> list[int]:
    source, target = copied(b)
    return [source, 0, target, 0, 5000, 0]


@op("sendfile")
def _(b: Box) -> list[int]:
    source, target = copied(b)
    return [target, source, b.memory(struct.pack("q", 100)), 5000]


def filled_pipe(b: Box, content: bytes = b"in the pipe") -> tuple[int, int]:
    reader, writer = os.pipe()
    os.write(writer, content)
    return b.fd(reader), b.fd(writer)


@op("splice")
def _(b: Box) -> list[int]:
    _, target = copied(b)
    return [filled_pipe(b)[0], 0, target, 0, 6, 0]


@op("tee")
def _(b: Box) -> list[int]:
    reader, writer = os.pipe()
    b.look(lambda: os.read(reader, 100))
    b.fd(reader)
    return [filled_pipe(b)[0], b.fd(writer), 100, 0]


simple("fadvise64", lambda b: [b.opened(), 0, 0, os.POSIX_FADV_WILLNEED])


@op("madvise")
def _(b: Box) -> list[int]:
    import mmap

    b.kept.append(made := mmap.mmap(-1, 8192))
    made[:] = b"x" * 8192
    b.look(lambda: bytes(made[:10]))
    address = int(ffi.cast("uintptr_t", ffi.from_buffer(made)))
    return [address, 4096, mmap.MADV_DONTNEED]


simple("sync", lambda b: [])
simple("syncfs", lambda b: [b.opened()])
simple("flock", lambda b: [b.opened(), 2])
simple("fcntl", lambda b: [b.opened(), 1030, 0])  # F_DUPFD_CLOEXEC
simple("dup", lambda b: [b.opened()])


@op("dup3")
def _(b: Box) -> list[int]:
    target = os.dup(0)
    return [b.opened(), target, os.O_CLOEXEC]


@op("ioctl")
def _(b: Box) -> list[int]:
    return [filled_pipe(b)[0], 0x541B, b.memory(4)]  # FIONREAD


# New descriptors.


def two_fds(b: Box) -> int:
    made = ffi.new("int[2]")
    b.kept.append(made)
    b.look(lambda: [os.get_inheritable(fd) for fd in made])
    return int(ffi.cast("uintptr_t", made))


simple("pipe2", lambda b: [two_fds(b), os.O_CLOEXEC])
simple("eventfd2", lambda b: [5, 0])
simple("memfd_create", lambda b: [b.text("name"), 1])
simple("timerfd_create", lambda b: [1, 0])


@op("timerfd_settime")
def _(b: Box) -> list[int]:
    from driver import NUMBERS, plain

    fd = b.fd(plain(NUMBERS["timerfd_create"], [1, 0]))
    time = b.memory(struct.pack("qqqq", 0, 0, 3600, 0), False)
    return [fd, 0, time, looks_at_size(b, 32)]


simple("pidfd_open", lambda b: [os.getpid(), 0])
simple("inotify_init1", lambda b: [os.O_CLOEXEC])


@op("inotify_add_watch")
def _(b: Box) -> list[int]:
    from driver import NUMBERS, plain

    return [b.fd(plain(NUMBERS["inotify_init1"], [0])), b.text(b.folder), 2]


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
