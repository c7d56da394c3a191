"""C structures and socket addresses: where their fields are, and Python's form of them.

Layouts are those of this machine's kernel, little endian. The builder reads single
fields by them; the functions here run when a flight has landed and its result is made.
Only the standard library; nothing here knows of syslets except the Layout type.
"""

import os
import socket
import struct
import sys
from collections.abc import Sequence
from typing import NamedTuple

from . import ops
from .operands import Layout

Fields = dict[str, tuple[int, int, bool]]

if ops.MACHINE == "aarch64":
    _STAT_SIZE = 128
    _STAT_MACHINE: Fields = {
        "mode": (16, 4, False),
        "nlink": (20, 4, False),
        "uid": (24, 4, False),
        "gid": (28, 4, False),
        "rdev": (32, 8, False),
        "blksize": (56, 4, True),
    }
else:
    _STAT_SIZE = 144
    _STAT_MACHINE = {
        "nlink": (16, 8, False),
        "mode": (24, 4, False),
        "uid": (28, 4, False),
        "gid": (32, 4, False),
        "rdev": (40, 8, False),
        "blksize": (56, 8, True),
    }

_STAT: Fields = {
    "dev": (0, 8, False),
    "ino": (8, 8, False),
    **_STAT_MACHINE,
    "size": (48, 8, True),
    "blocks": (64, 8, True),
    "atime": (72, 8, True),
    "atime_nsec": (80, 8, False),
    "mtime": (88, 8, True),
    "mtime_nsec": (96, 8, False),
    "ctime": (104, 8, True),
    "ctime_nsec": (112, 8, False),
}

_STATX: Fields = {
    "mask": (0, 4, False),
    "blksize": (4, 4, False),
    "attributes": (8, 8, False),
    "nlink": (16, 4, False),
    "uid": (20, 4, False),
    "gid": (24, 4, False),
    "mode": (28, 2, False),
    "ino": (32, 8, False),
    "size": (40, 8, False),
    "blocks": (48, 8, False),
    "attributes_mask": (56, 8, False),
    "atime": (64, 8, True),
    "atime_nsec": (72, 4, False),
    "btime": (80, 8, True),
    "btime_nsec": (88, 4, False),
    "ctime": (96, 8, True),
    "ctime_nsec": (104, 4, False),
    "mtime": (112, 8, True),
    "mtime_nsec": (120, 4, False),
    "rdev_major": (128, 4, False),
    "rdev_minor": (132, 4, False),
    "dev_major": (136, 4, False),
    "dev_minor": (140, 4, False),
    "mnt_id": (144, 8, False),
}

_STATFS: Fields = {
    "type": (0, 8, False),
    "bsize": (8, 8, False),
    "blocks": (16, 8, False),
    "bfree": (24, 8, False),
    "bavail": (32, 8, False),
    "files": (40, 8, False),
    "ffree": (48, 8, False),
    "fsid": (56, 8, False),
    "namemax": (64, 8, False),
    "frsize": (72, 8, False),
    "flag": (80, 8, False),
}

_SIGINFO: Fields = {
    "signo": (0, 4, True),
    "code": (8, 4, True),
    "pid": (16, 4, True),
    "uid": (20, 4, False),
    "status": (24, 4, True),
}

_TIMESPEC: Fields = {"sec": (0, 8, True), "nsec": (8, 8, True)}


def read_field(data: bytes, place: tuple[int, int, bool]) -> int:
    """One field of a structure's bytes."""
    offset, width, is_signed = place
    return int.from_bytes(data[offset : offset + width], "little", signed=is_signed)


def _read(data: bytes, fields: Fields) -> dict[str, int]:
    return {name: read_field(data, place) for name, place in fields.items()}


def make_stat(data: bytes) -> os.stat_result:
    """A `struct stat` as os.stat returns it."""
    s = _read(data, _STAT)
    first = ("mode", "ino", "dev", "nlink", "uid", "gid", "size")
    times = [(s[f"{kind}time"], s[f"{kind}time_nsec"]) for kind in "amc"]
    return os.stat_result(
        (
            *(s[name] for name in first),
            *(sec for sec, _ in times),
            *(sec + nsec * 1e-9 for sec, nsec in times),
            *(sec * 10**9 + nsec for sec, nsec in times),
            *(s[name] for name in ("blksize", "blocks", "rdev")),
        )
    )


class StatxResult(NamedTuple):
    """What `statx` says about a file; times are nanoseconds since the epoch."""

    stx_mask: int
    stx_mode: int
    stx_ino: int
    stx_dev: int
    stx_nlink: int
    stx_uid: int
    stx_gid: int
    stx_size: int
    stx_blocks: int
    stx_blksize: int
    stx_rdev: int
    stx_attributes: int
    stx_mnt_id: int
    stx_atime_ns: int
    stx_btime_ns: int
    stx_ctime_ns: int
    stx_mtime_ns: int


def make_statx(data: bytes) -> StatxResult:
    """A `struct statx`."""
    s = _read(data, _STATX)
    s["dev"] = os.makedev(s["dev_major"], s["dev_minor"])
    s["rdev"] = os.makedev(s["rdev_major"], s["rdev_minor"])
    for kind in "abcm":
        s[f"{kind}time_ns"] = s[f"{kind}time"] * 10**9 + s[f"{kind}time_nsec"]
    names = StatxResult._fields
    return StatxResult(*(s[name.removeprefix("stx_")] for name in names))


def make_statfs(data: bytes) -> os.statvfs_result:
    """A `struct statfs` as os.statvfs returns it."""
    s = _read(data, _STATFS)
    s["favail"] = s["ffree"]
    order = ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail")
    # ST_VALID tells the C library that the flags are filled in; os.statvfs hides it.
    flag = s["flag"] & ~0x20
    low, high = struct.unpack("<II", s["fsid"].to_bytes(8, "little"))
    fsid = low | high << 32
    return os.statvfs_result((*(s[name] for name in order), flag, s["namemax"], fsid))


def make_waitid(data: bytes) -> os.waitid_result | None:
    """What os.waitid returns: None if nothing has happened yet."""
    s = _read(data, _SIGINFO)
    if s["pid"] == 0:
        return None
    order = ("pid", "uid", "signo", "status", "code")
    return os.waitid_result(tuple(s[name] for name in order))


def make_time(data: bytes) -> int:
    """A `struct timespec` in nanoseconds."""
    s = _read(data, _TIMESPEC)
    return s["sec"] * 10**9 + s["nsec"]


STAT = Layout("stat", _STAT_SIZE, _STAT, make_stat)
STATX = Layout("statx", 256, _STATX, make_statx)
STATFS = Layout("statfs", 120, _STATFS, make_statfs)
SIGINFO = Layout("siginfo", 128, _SIGINFO, make_waitid)
TIMESPEC = Layout("timespec", 16, _TIMESPEC, make_time)

# Socket addresses.

SOCKADDR_BYTES = 128
_UNIX_PATH_BYTES = 108


def encode_address(address: object) -> bytes:
    """A socket address as the kernel reads it.

    `address` is what the socket module uses: (host, port) with a numeric IPv4 or IPv6
    host, (host, port, flowinfo, scope_id), a str, bytes or path of a unix socket, or
    bytes-like that already hold a sockaddr (cffi memory as memoryview). Raises
    TypeError or ValueError; names are not looked up here.
    """
    if isinstance(address, tuple):
        return _encode_internet(address)
    if isinstance(address, bytearray | memoryview):
        return bytes(address)
    if isinstance(address, str | bytes | os.PathLike):
        return _encode_unix(os.fsencode(address))
    raise TypeError(f"not a socket address: {address!r}")


def _encode_unix(path: bytes) -> bytes:
    if len(path) > _UNIX_PATH_BYTES - (not path.startswith(b"\0")):
        raise ValueError(f"unix socket path too long: {path!r}")
    end = b"" if path.startswith(b"\0") or not path else b"\0"
    return struct.pack("<H", socket.AF_UNIX) + path + end


def _encode_internet(address: Sequence[object]) -> bytes:
    if not 2 <= len(address) <= 4 or not isinstance(address[0], str):
        raise TypeError(f"not a socket address: {address!r}")
    numbers = [number for number in address[1:] if isinstance(number, int)]
    if len(numbers) != len(address) - 1:
        raise TypeError(f"not a socket address: {address!r}")
    host, (port, *more) = address[0], numbers
    if not 0 <= port <= 65535:
        raise ValueError(f"port {port} is not between 0 and 65535")
    try:
        if ":" not in host:
            packed = socket.inet_pton(socket.AF_INET, host or "0.0.0.0")
            family = struct.pack("<H", socket.AF_INET)
            return family + struct.pack(">H4s8x", port, packed)
        host, _, zone = host.partition("%")
        packed = socket.inet_pton(socket.AF_INET6, host)
    except OSError:
        raise ValueError(f"not a numeric address: {host!r}") from None
    flow, scope = (*more, 0, 0)[:2]
    if zone:
        scope = int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
    family = struct.pack("<H", socket.AF_INET6)
    return family + struct.pack(">HI16s", port, flow, packed) + struct.pack("<I", scope)


def decode_address(data: bytes, size: int) -> object:
    """The socket module's form of the first `size` bytes of a sockaddr."""
    data = data[: max(size, 0)]
    if len(data) < 2:
        return None
    (family,) = struct.unpack_from("<H", data)
    if family == socket.AF_INET:
        port, packed = struct.unpack_from(">H4s", data, 2)
        return socket.inet_ntop(socket.AF_INET, packed), port
    if family == socket.AF_INET6:
        port, flow, packed = struct.unpack_from(">HI16s", data, 2)
        (scope,) = struct.unpack_from("<I", data, 24)
        return socket.inet_ntop(socket.AF_INET6, packed), port, flow, scope
    if family == socket.AF_UNIX:
        path = data[2:]
        return path if path.startswith(b"\0") else os.fsdecode(path.rstrip(b"\0"))
    return data


def encode_time(seconds: float) -> tuple[int, int]:
    """Seconds as (seconds, nanoseconds). Raises ValueError if negative or infinite."""
    if not 0 <= seconds < 1 << 62:
        raise ValueError(f"{seconds!r} is no number of seconds to wait")
    whole = int(seconds)
    return whole, min(round((seconds - whole) * 1e9), 999_999_999)


assert sys.byteorder == "little"
