"""Seccomp filters for the process that calls, which keeps them: for children only.

As a container's profile does it (the calls fail with an error), or as a sandbox does
(the calls end the process). Imported by the scripts that tests run in processes of
their own.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Iterable

SETUP, ENTER, REGISTER = RING = (425, 426, 427)  # the same on every machine
_SET_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD_NUMBER = struct.pack("HBBI", 0x20, 0, 0, 0)
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000


def _return(value: int) -> bytes:
    return struct.pack("HBBI", 0x06, 0, 0, value)


def _unless(value: int, skip: int) -> bytes:
    """Leaves `skip` steps out unless what was loaded is this value."""
    return struct.pack("HBBI", 0x15, 0, skip, value)


def _install(numbers: Iterable[int], answer: int) -> None:
    code = [_LOAD_NUMBER]
    for number in numbers:
        code += [_unless(number, 1), _return(answer)]
    _use([*code, _return(_ALLOW)])


def _use(code: list[bytes]) -> None:
    program = ctypes.create_string_buffer(b"".join(code))
    head = struct.pack("HxxxxxxP", len(code), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_SET_NO_NEW_PRIVS, 1, 0), (_SET_SECCOMP, _FILTER, head)):
        if libc.prctl(*arguments, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def forbid(numbers: Iterable[int], error: int) -> None:
    """These calls fail with `error` from now on."""
    _install(numbers, _ERRNO | error)


def forbid_length(number: int, length: int, error: int) -> None:
    """A call whose third argument is `length` fails with `error` from now on."""
    load = struct.pack("HBBI", 0x20, 0, 0, 16 + 2 * 8 + 4 * (sys.byteorder == "big"))
    code = [_LOAD_NUMBER, _unless(number, 3), load, _unless(length, 1)]
    _use([*code, _return(_ERRNO | error), _return(_ALLOW)])


def kill(numbers: Iterable[int] = RING) -> None:
    """These calls end the process with SIGSYS from now on."""
    _install(numbers, _KILL_PROCESS)
