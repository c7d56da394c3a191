"""Cases of test_ops.py: files, directories, attributes, new descriptors."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

from driver import NUMBERS, ffi, plain
from ops_box import HERE, Box, filled_pipe, looks_at_size, op, simple, two_fds, vector

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


simple("readv", lambda b: [b.opened(), *vector(b, 100, 9000, 5000)])
simple("writev", lambda b: [b.opened(), *vector(b, b"one", b"twothree")])
simple("preadv", lambda b: [b.opened(), *vector(b, 100, 9000), 4096, 0])
simple("pwritev", lambda b: [b.opened(), *vector(b, b"one", b"two"), 5, 0])
simple("preadv2", lambda b: [b.opened(), *vector(b, 100, 9000), 4096, 0, 0])
simple("pwritev2", lambda b: [b.opened(), *vector(b, b"one", b"two"), 5, 0, 0])
simple("lseek", lambda b: [b.opened(), 77, os.SEEK_SET])


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


simple("pipe2", lambda b: [two_fds(b), os.O_CLOEXEC])
simple("eventfd2", lambda b: [5, 0])
simple("memfd_create", lambda b: [b.text("name"), 1])
simple("timerfd_create", lambda b: [1, 0])


@op("timerfd_settime")
def _(b: Box) -> list[int]:
    fd = b.fd(plain(NUMBERS["timerfd_create"], [1, 0]))
    time = b.memory(struct.pack("qqqq", 0, 0, 3600, 0), False)
    return [fd, 0, time, looks_at_size(b, 32)]


simple("pidfd_open", lambda b: [os.getpid(), 0])
simple("inotify_init1", lambda b: [os.O_CLOEXEC])


@op("inotify_add_watch")
def _(b: Box) -> list[int]:
    return [b.fd(plain(NUMBERS["inotify_init1"], [0])), b.text(b.folder), 2]
