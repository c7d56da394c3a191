"""`files.os.path`: the functions of os.path that look at the file system, awaitable.

Each is one stat or none. Signatures and results are os.path's: False where it says
False, and where it raises the same OSError. Functions that only cut strings are the
ones of os.path itself.
"""

from __future__ import annotations

import os
import stat as modes
import sys
from typing import Any

from . import calls

_AT_SYMLINK_NOFOLLOW = 0x100

__all__ = [
    "abspath",
    "exists",
    "getatime",
    "getctime",
    "getmtime",
    "getsize",
    "isdir",
    "isfile",
    "islink",
    "ismount",
    "samefile",
    "sameopenfile",
]


def checked_path(
    value: Any, function: str, what: str = "path", *, or_fd: bool = False
) -> Any:
    """A path as os takes it, str or bytes. Raises os' errors for anything else."""
    try:
        value = os.fspath(value)
    except TypeError:
        kinds = ", os.PathLike or integer" if or_fd else " or os.PathLike"
        kind = type(value).__name__
        raise TypeError(
            f"{function}: {what} should be string, bytes{kinds}, not {kind}"
        ) from None
    if ("\0" if isinstance(value, str) else b"\0") in value:
        has_text = sys.version_info >= (3, 13)
        text = f"{function}: embedded null character in {what}"
        raise ValueError(text if has_text else "embedded null byte")
    return value


async def _stat(path: Any) -> os.stat_result:
    if isinstance(path, int):
        result: os.stat_result = await calls.fstat(path)
        return result
    result = await calls.fstatat(checked_path(path, "stat", or_fd=True))
    return result


async def _lstat(path: Any) -> os.stat_result:
    path = checked_path(path, "lstat")
    result: os.stat_result = await calls.fstatat(path, _AT_SYMLINK_NOFOLLOW)
    return result


async def _mode(path: Any) -> int:
    """The mode; 0 for what is not there or has no name."""
    try:
        return (await _stat(path)).st_mode
    except (OSError, ValueError):
        return 0


async def abspath(path: Any, *, loop: Any = None, executor: Any = None) -> Any:
    """os.path.abspath: it does not wait."""
    return os.path.abspath(path)


async def exists(path: Any, *, loop: Any = None, executor: Any = None) -> bool:
    """os.path.exists: False for a link that leads nowhere."""
    return bool(await _mode(path))


async def isfile(path: Any, *, loop: Any = None, executor: Any = None) -> bool:
    """os.path.isfile: links are followed."""
    return modes.S_ISREG(await _mode(path))


async def isdir(s: Any, *, loop: Any = None, executor: Any = None) -> bool:
    """os.path.isdir: links are followed."""
    return modes.S_ISDIR(await _mode(s))


async def islink(path: Any, *, loop: Any = None, executor: Any = None) -> bool:
    """os.path.islink: also of a link that leads nowhere."""
    try:
        return modes.S_ISLNK((await _lstat(path)).st_mode)
    except (OSError, ValueError):
        return False


async def ismount(path: Any, *, loop: Any = None, executor: Any = None) -> bool:
    """os.path.ismount: the file system of the parent is another one."""
    try:
        here = await _lstat(path)
    except (OSError, ValueError):
        return False
    if modes.S_ISLNK(here.st_mode):
        return False
    path = os.fspath(path)
    up = os.path.join(path, b".." if isinstance(path, bytes) else "..")
    try:
        there = await _lstat(up)
    except OSError:
        return False
    return here.st_dev != there.st_dev or here.st_ino == there.st_ino


async def getsize(filename: Any, *, loop: Any = None, executor: Any = None) -> int:
    """os.path.getsize: in bytes."""
    return (await _stat(filename)).st_size


async def getmtime(filename: Any, *, loop: Any = None, executor: Any = None) -> float:
    """os.path.getmtime: the time of the last change, in seconds."""
    return (await _stat(filename)).st_mtime


async def getatime(filename: Any, *, loop: Any = None, executor: Any = None) -> float:
    """os.path.getatime: the time of the last access, in seconds."""
    return (await _stat(filename)).st_atime


async def getctime(filename: Any, *, loop: Any = None, executor: Any = None) -> float:
    """os.path.getctime: the time of the last change of metadata, in seconds."""
    return (await _stat(filename)).st_ctime


async def samefile(f1: Any, f2: Any, *, loop: Any = None, executor: Any = None) -> bool:
    """os.path.samefile: whether both paths are one file."""
    return os.path.samestat(await _stat(f1), await _stat(f2))


async def sameopenfile(
    fp1: int, fp2: int, *, loop: Any = None, executor: Any = None
) -> bool:
    """os.path.sameopenfile."""
    return os.path.samestat(await calls.fstat(fp1), await calls.fstat(fp2))
