"""The operations table: what the language knows about each system call.

One row per operation, read by the builder (methods.py), the explicit layer (atoms.py),
the explainer and the error hook. The engine has its own table in native/engine/ops.c
with the same rows; a test compares the two, so a new operation is a row here and a row
there. Nothing here runs anything, and only the standard library is imported.
"""

import os
import platform
import socket
from dataclasses import dataclass

AT_FDCWD = -100

# Raw numbers, machine by machine. Elsewhere the package has no numbers to give.
_MACHINES = {"x86_64": 0, "aarch64": 1}
MACHINE = platform.machine()


@dataclass(frozen=True, slots=True)
class Op:
    """One operation.

    `args` has one letter per raw argument: f fd, d directory fd (AT_FDCWD allowed),
    p path, s other string, i integer, o offset, O pointer to an offset or NULL,
    r memory read and w memory written by the kernel, n length of the memory before it,
    v iovecs read and V iovecs written, c how many, m message to send, M message to
    fill, a address in (then n), A address out, L its length in and out, t structure in,
    T structure out, z any of these or NULL.

    `result`: i number, n bytes filled, f a new fd, P two new fds at the T argument,
    D a new fd if the command duplicates, else a number, 0 nothing but success.
    """

    name: str  # the system call's name, or that of a pseudo operation
    nr: int  # its number on this machine
    args: str
    result: str
    least: int  # arguments that may not be left out; the others read as 0
    may_block: bool  # its plain call may; False: it is made inline as it is
    waits: bool  # for a peer or a clock, without bound
    inline_only: bool  # about the thread itself: never leaves the submitting thread
    names: tuple[str, ...]  # of the raw arguments
    call: str  # the builder's parameters; keyword-only ones begin with *
    title: str  # the C library's name for it: the builder's method

    @property
    def is_pseudo(self) -> bool:
        """Whether it touches only the flight and makes no system call."""
        return self.nr >= PSEUDO_FIRST


PSEUDO_FIRST = 0x10000


def _number(x86_64: int, aarch64: int) -> int:
    return (x86_64, aarch64)[_MACHINES.get(MACHINE, 0)]


def _call(args: str, least: int, names: tuple[str, ...]) -> str:
    """The builder's parameters when they are the raw ones, in their order.

    The length of memory goes last: usually the memory knows its own.
    """
    tokens = []
    length = []
    for i, (letter, name) in enumerate(zip(args, names, strict=True)):
        before = args[i - 1] if i else ""
        if letter == "c" or (letter == "n" and before == "a"):
            continue  # counted by the builder
        if letter == "n" and before in "rw":
            length = [f"{name}=None"]
        else:
            tokens.append(f"{name}=0" if i >= least else name)
    return " ".join(tokens + length)


def _op(
    name: str,
    x86_64: int,
    aarch64: int,
    args: str,
    result: str,
    least: int,
    traits: str,
    names: str,
    *,
    call: str = "",
    title: str = "",
) -> Op:
    raw = tuple(names.split())
    return Op(
        name=name,
        nr=_number(x86_64, aarch64),
        args=args,
        result=result,
        least=least,
        may_block="q" not in traits,
        waits="w" in traits,
        inline_only="t" in traits,
        names=raw,
        call=call or _call(args, least, raw),
        title=title or name,
    )


def structure_bytes(op: Op | None, at: int) -> int:
    """The least bytes there must be behind argument `at`; 0 if nothing says so."""
    return STRUCTURES.get(op.name, {}).get(at, 0) if op is not None else 0


# name, x86-64 number, aarch64 number, letters, result letter, least arguments,
# traits (q never blocks, w waits, t the thread's own), names of the raw arguments.
# fmt: off
OPS: tuple[Op, ...] = (
    # Operations that touch only the flight.
    _op("nop", 0x10000, 0x10000, "i", "i", 0, "q", "value", call="value=0"),
    _op("umem_add", 0x10001, 0x10001, "Ti", "i", 2, "q", "memory value"),
    _op("load", 0x10002, 0x10002, "tiii", "i", 2, "q", "memory width signed offset"),
    _op("buffer", 0x10003, 0x10003, "ii", "0", 2, "q", "slot size"),
    _op("emit", 0x10004, 0x10004, "i", "0", 1, "q", "report"),
    # Files: opening, reading, writing.
    _op("openat", 257, 56, "dpii", "f", 3, "",
        "dir_fd path flags mode",
        call="path flags mode=0o666 *dir_fd=AT"),
    _op("openat2", 437, 437, "dptn", "f", 4, "", "dir_fd path how size"),
    _op("close", 3, 57, "f", "0", 1, "q", "fd"),
    _op("read", 0, 63, "fwn", "n", 3, "", "fd buf size"),
    _op("write", 1, 64, "frn", "i", 3, "", "fd data size"),
    _op("pread64", 17, 67, "fwno", "n", 4, "", "fd buf size offset", title="pread"),
    _op("pwrite64", 18, 68, "frno", "i", 4, "", "fd data size offset", title="pwrite"),
    _op("readv", 19, 65, "fVc", "i", 3, "", "fd buffers count"),
    _op("writev", 20, 66, "fvc", "i", 3, "", "fd buffers count"),
    _op("preadv", 295, 69, "fVcoi", "i", 4, "",
        "fd buffers count offset offset_high",
        call="fd buffers offset"),
    _op("pwritev", 296, 70, "fvcoi", "i", 4, "",
        "fd buffers count offset offset_high",
        call="fd buffers offset"),
    _op("preadv2", 327, 286, "fVcoii", "i", 4, "",
        "fd buffers count offset offset_high flags",
        call="fd buffers offset flags=0"),
    _op("pwritev2", 328, 287, "fvcoii", "i", 4, "",
        "fd buffers count offset offset_high flags",
        call="fd buffers offset flags=0"),
    _op("lseek", 8, 62, "foi", "i", 3, "q", "fd offset whence"),
    # Files: what they are.
    _op("fstat", 5, 80, "fT", "0", 2, "q", "fd stat"),
    _op("statx", 332, 291, "dpiiT", "0", 5, "", "dir_fd path flags mask statx"),
    _op("newfstatat", 262, 79, "dpTi", "0", 4, "",
        "dir_fd path stat flags", title="fstatat"),
    _op("statfs", 137, 43, "pT", "0", 2, "", "path statfs"),
    _op("fstatfs", 138, 44, "fT", "0", 2, "", "fd statfs"),
    _op("faccessat2", 439, 439, "dpii", "0", 3, "",
        "dir_fd path mode flags",
        call="path mode flags=0 *dir_fd=AT", title="faccessat"),
    _op("readlinkat", 267, 78, "dpwn", "n", 4, "",
        "dir_fd path buf size",
        call="path buf=4096 size=None *dir_fd=AT"),
    _op("getdents64", 217, 61, "fwn", "n", 3, "", "fd buf size"),
    _op("getxattr", 191, 8, "pswn", "n", 4, "", "path name buf size"),
    _op("setxattr", 188, 5, "psrni", "0", 4, "", "path name value size flags"),
    _op("lgetxattr", 192, 9, "pswn", "n", 4, "", "path name buf size"),
    _op("lsetxattr", 189, 6, "psrni", "0", 4, "", "path name value size flags"),
    _op("fgetxattr", 193, 10, "fswn", "n", 4, "", "fd name buf size"),
    _op("fsetxattr", 190, 7, "fsrni", "0", 4, "", "fd name value size flags"),
    _op("listxattr", 194, 11, "pwn", "n", 3, "", "path buf size"),
    _op("flistxattr", 196, 13, "fwn", "n", 3, "", "fd buf size"),
    _op("removexattr", 197, 14, "ps", "0", 2, "", "path name"),
    _op("fremovexattr", 199, 16, "fs", "0", 2, "", "fd name"),
    # Files: changing them.
    _op("fsync", 74, 82, "f", "0", 1, "", "fd"),
    _op("fdatasync", 75, 83, "f", "0", 1, "", "fd"),
    _op("sync_file_range", 277, 84, "fooi", "0", 4, "", "fd offset length flags"),
    _op("ftruncate", 77, 46, "fo", "0", 2, "", "fd length"),
    _op("truncate", 76, 45, "po", "0", 2, "", "path length"),
    _op("fallocate", 285, 47, "fioo", "0", 4, "", "fd mode offset length"),
    _op("unlinkat", 263, 35, "dpi", "0", 2, "",
        "dir_fd path flags",
        call="path flags=0 *dir_fd=AT"),
    _op("renameat2", 316, 276, "dpdpi", "0", 4, "",
        "old_dir_fd old new_dir_fd new flags",
        call="old new flags=0 *old_dir_fd=AT *new_dir_fd=AT"),
    _op("mkdirat", 258, 34, "dpi", "0", 3, "",
        "dir_fd path mode",
        call="path mode=0o777 *dir_fd=AT"),
    _op("mknodat", 259, 33, "dpii", "0", 3, "",
        "dir_fd path mode device",
        call="path mode device=0 *dir_fd=AT"),
    _op("symlinkat", 266, 36, "pdp", "0", 3, "",
        "target dir_fd path",
        call="target path *dir_fd=AT"),
    _op("linkat", 265, 37, "dpdpi", "0", 4, "",
        "old_dir_fd old new_dir_fd new flags",
        call="old new flags=0 *old_dir_fd=AT *new_dir_fd=AT"),
    _op("fchmod", 91, 52, "fi", "0", 2, "", "fd mode"),
    _op("fchmodat", 268, 53, "dpi", "0", 3, "",
        "dir_fd path mode",
        call="path mode *dir_fd=AT"),
    _op("fchown", 93, 55, "fii", "0", 3, "", "fd owner group"),
    _op("fchownat", 260, 54, "dpiii", "0", 4, "",
        "dir_fd path owner group flags",
        call="path owner group flags=0 *dir_fd=AT"),
    _op("utimensat", 280, 88, "dpti", "0", 3, "", "dir_fd path times flags"),
    _op("copy_file_range", 326, 285, "fOfOni", "i", 5, "",
        "fd_in offset_in fd_out offset_out size flags"),
    _op("sendfile", 40, 71, "ffOn", "i", 4, "", "fd_out fd_in offset size"),
    _op("splice", 275, 76, "fOfOni", "i", 5, "w",
        "fd_in offset_in fd_out offset_out size flags"),
    _op("tee", 276, 77, "ffni", "i", 3, "", "fd_in fd_out size flags"),
    _op("fadvise64", 221, 223, "fooi", "0", 4, "",
        "fd offset length advice", title="fadvise"),
    _op("madvise", 28, 233, "zni", "0", 3, "", "memory size advice"),
    _op("sync", 162, 81, "", "0", 0, "", ""),
    _op("syncfs", 306, 267, "f", "0", 1, "", "fd"),
    _op("flock", 73, 32, "fi", "0", 2, "w", "fd operation"),
    # Descriptors.
    _op("fcntl", 72, 25, "fiz", "D", 2, "", "fd command argument"),
    _op("dup", 32, 23, "f", "f", 1, "q", "fd"),
    _op("dup3", 292, 24, "ffi", "f", 2, "q", "old new flags"),
    _op("ioctl", 16, 29, "fiz", "i", 2, "", "fd request argument"),
    _op("pipe2", 293, 59, "Ti", "P", 1, "q", "pair flags"),
    _op("eventfd2", 290, 19, "ii", "f", 1, "q", "initial flags", title="eventfd"),
    _op("memfd_create", 319, 279, "si", "f", 1, "q", "name flags"),
    _op("timerfd_create", 283, 85, "ii", "f", 1, "q", "clock flags"),
    _op("timerfd_settime", 286, 86, "fitT", "0", 3, "q", "fd flags new old"),
    _op("pidfd_open", 434, 434, "ii", "f", 1, "q", "pid flags"),
    _op("inotify_init1", 294, 26, "i", "f", 0, "q", "flags", title="inotify_init"),
    _op("inotify_add_watch", 254, 27, "fpi", "i", 3, "", "fd path mask"),
    # Sockets.
    _op("socket", 41, 198, "iii", "f", 2, "q", "family type protocol"),
    _op("socketpair", 53, 199, "iiiT", "P", 4, "q", "family type protocol pair"),
    _op("bind", 49, 200, "fan", "0", 3, "q", "fd address size"),
    _op("listen", 50, 201, "fi", "0", 2, "q", "fd backlog"),
    _op("accept4", 288, 242, "fALi", "f", 1, "w",
        "fd address size flags", title="accept"),
    _op("connect", 42, 203, "fan", "0", 3, "w", "fd address size"),
    _op("shutdown", 48, 210, "fi", "0", 2, "q", "fd how"),
    _op("setsockopt", 54, 208, "fiirn", "0", 5, "q", "fd level option value size"),
    _op("getsockopt", 55, 209, "fiiTL", "0", 5, "q", "fd level option value size"),
    _op("getsockname", 51, 204, "fAL", "0", 3, "q", "fd address size"),
    _op("getpeername", 52, 205, "fAL", "0", 3, "q", "fd address size"),
    _op("recvfrom", 45, 207, "fwniAL", "n", 3, "w",
        "fd buf size flags address address_size", title="recv"),
    _op("sendto", 44, 206, "frnian", "i", 3, "w",
        "fd data size flags address address_size", title="send"),
    _op("recvmsg", 47, 212, "fMi", "i", 2, "w", "fd message flags"),
    _op("sendmsg", 46, 211, "fmi", "i", 2, "w", "fd message flags"),
    # Waiting.
    _op("ppoll", 271, 73, "Tctti", "i", 2, "w",
        "fds count timeout mask mask_size", title="poll"),
    _op("nanosleep", 35, 101, "tT", "0", 1, "w", "time left"),
    _op("clock_nanosleep", 230, 115, "iitT", "0", 3, "w", "clock flags time left"),
    _op("futex", 202, 98, "Tiizzi", "i", 3, "w",
        "word operation value timeout word2 value3"),
    _op("waitid", 247, 95, "iiTiT", "0", 4, "w", "idtype id info options usage"),
    # The process and the thread.
    _op("kill", 62, 129, "ii", "0", 2, "q", "pid signal"),
    _op("tgkill", 234, 131, "iii", "0", 3, "q", "tgid tid signal"),
    _op("getpid", 39, 172, "", "i", 0, "q", ""),
    _op("getppid", 110, 173, "", "i", 0, "q", ""),
    _op("gettid", 186, 178, "", "i", 0, "qt", ""),
    _op("getuid", 102, 174, "", "i", 0, "qt", ""),
    _op("geteuid", 107, 175, "", "i", 0, "qt", ""),
    _op("getgid", 104, 176, "", "i", 0, "qt", ""),
    _op("getegid", 108, 177, "", "i", 0, "qt", ""),
    _op("clock_gettime", 228, 113, "iT", "0", 2, "q", "clock time"),
    _op("sched_yield", 24, 124, "", "0", 0, "q", ""),
    _op("getrandom", 318, 278, "wni", "n", 2, "", "buf size flags"),
    _op("getcwd", 79, 17, "wn", "n", 2, "", "buf size"),
)
# fmt: on

BY_NAME: dict[str, Op] = {op.name: op for op in OPS}
BY_TITLE: dict[str, Op] = {op.title: op for op in OPS}
BY_NUMBER: dict[int, Op] = {op.nr: op for op in OPS}

# Like Python itself (PEP 446) the builder makes no fd that a child inherits. Explicit
# atoms are raw and get what they say.
CLOEXEC: dict[str, tuple[str, int]] = {
    "openat": ("flags", os.O_CLOEXEC),
    "pipe2": ("flags", os.O_CLOEXEC),
    "dup3": ("flags", os.O_CLOEXEC),
    "eventfd2": ("flags", os.O_CLOEXEC),
    "memfd_create": ("flags", 1),
    "timerfd_create": ("flags", os.O_CLOEXEC),
    "inotify_init1": ("flags", os.O_CLOEXEC),
    "socket": ("type", socket.SOCK_CLOEXEC),
    "socketpair": ("type", socket.SOCK_CLOEXEC),
    "accept4": ("flags", socket.SOCK_CLOEXEC),
}

# Bytes that the kernel reads or writes behind an argument, whatever the program says.
_STAT_BYTES = _number(144, 128)
STRUCTURES: dict[str, dict[int, int]] = {
    "umem_add": {0: 8},
    "openat2": {2: 24},
    "fstat": {1: _STAT_BYTES},
    "newfstatat": {2: _STAT_BYTES},
    "statx": {4: 256},
    "statfs": {1: 120},
    "fstatfs": {1: 120},
    "utimensat": {2: 32},
    "timerfd_settime": {2: 32, 3: 32},
    "pipe2": {0: 8},
    "socketpair": {3: 8},
    "getsockopt": {4: 4},
    "accept4": {2: 4},
    "getsockname": {2: 4},
    "getpeername": {2: 4},
    "recvfrom": {5: 4},
    "recvmsg": {1: 56},
    "sendmsg": {1: 56},
    "ppoll": {0: 8, 2: 16},
    "nanosleep": {0: 16, 1: 16},
    "clock_nanosleep": {2: 16, 3: 16},
    "futex": {0: 4},
    "waitid": {2: 128, 4: 144},
    "clock_gettime": {1: 16},
    "copy_file_range": {1: 8, 3: 8},
    "sendfile": {2: 8},
    "splice": {1: 8, 3: 8},
}

# Calls that no program may make. -1: this machine has no such call.
_REFUSED: tuple[tuple[str, int, int, str], ...] = (
    ("fork", 57, -1, "a child would run with the engine's memory and no engine"),
    ("vfork", 58, -1, "a child would run on the engine's stack"),
    ("clone", 56, 220, "a child would run with the engine's memory and no engine"),
    ("clone3", 435, 435, "a child would run with the engine's memory and no engine"),
    ("execve", 59, 221, "it would replace the process under its flights"),
    ("execveat", 322, 281, "it would replace the process under its flights"),
    ("exit", 60, 93, "it would end a thread that belongs to the engine or its host"),
    ("exit_group", 231, 94, "it would end the process under its flights"),
    ("rt_sigreturn", 15, 139, "there is no signal frame to return from"),
    ("restart_syscall", 219, 128, "there is no interrupted call to restart"),
    ("uretprobe", 335, -1, "it kills the process that is not at its own trampoline"),
    ("io_uring_enter", 426, 426, "nested submission"),
    ("io_uring_register", 427, 427, "nested submission"),
)

REFUSED_NAMES: dict[str, str] = {name: reason for name, _, _, reason in _REFUSED}
REFUSED: dict[int, str] = {
    _number(x86_64, aarch64): f"{name}: {reason}"
    for name, x86_64, aarch64, reason in _REFUSED
    if _number(x86_64, aarch64) >= 0
}
