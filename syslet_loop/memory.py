"""User memory and C structures as operands: the door is cffi.

    info = memory.new("struct statx *")
    await calls.syscall(332, AT_FDCWD, b"/etc/hostname", 0, STATX_SIZE, info)
    # statx on x86-64; 291 on AArch64
    print(info.stx_size)

What `new` returns is a cffi object: its fields are read and written as in C, and it can
be passed wherever a syslet takes memory. It stays alive while a flight uses it. Used by
programs, and by files_whole.py for its views; nothing here does I/O.
"""

from __future__ import annotations

from typing import Any

from ._memory import ffi

__all__ = ["ffi", "new", "view"]


def new(kind: str, initial: Any = None) -> Any:
    """Zeroed memory of a C type, as `ffi.new`: 'struct statx *', 'char[4096]', …

    The types are those of C and of native/abi/memory_build.py. Raises cffi's own error
    for one it does not know, and TypeError for an `initial` that does not fit.
    """
    return ffi.new(kind) if initial is None else ffi.new(kind, initial)


def view(data: Any) -> memoryview:
    """The bytes of cffi memory, without a copy; it keeps that memory alive."""
    return memoryview(ffi.buffer(data))
