"""Copying a file inside the kernel, or through this process where it will not.

One syslet tries three ways in turn: copy_file_range, which may share blocks or stay on
the server; splice through a pipe; read and write. A way that the kernel refuses, or
that finds nothing (files of /proc have no size), makes room for the next one, which
goes on where the last one stopped. Used by files_whole and files_tree.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Callable
from typing import Any

from .language import Builder, syslet

__all__ = ["copyfile"]

Path = str | bytes | os.PathLike[Any]
Progress = Callable[[int, int], object]

_STEP_BYTES = 4 << 20  # between two reports
_PIPE_BYTES = 1 << 16


def _by_range(s: Builder, fd_in: Any, fd_out: Any) -> None:
    with s.loop():
        n = s.copy_file_range(fd_in, None, fd_out, None, _STEP_BYTES, check=False)
        s.break_if(n <= 0)
        s.emit(n)


def _by_pipe(s: Builder, fd_in: Any, fd_out: Any) -> None:
    reader, writer = s.pipe2()
    with s.loop():
        n = s.splice(fd_in, None, writer, None, _PIPE_BYTES, check=False)
        s.break_if(n <= 0)
        moved = s.splice(reader, None, fd_out, None, n, check=False)
        s.break_if(moved <= 0)
        s.emit(moved)
    s.close(writer)
    with s.loop():  # what a short splice left in the pipe
        moved = s.splice(reader, None, fd_out, None, _PIPE_BYTES, check=False)
        s.break_if(moved <= 0)
        s.emit(moved)
    s.close(reader)
    # What went into the pipe and could not come out is read once more.
    position = s.lseek(fd_out, 0, os.SEEK_CUR, check=False)
    with s.if_(position >= 0):
        s.lseek(fd_in, position, os.SEEK_SET, check=False)


def _by_hand(s: Builder, fd_in: Any, fd_out: Any) -> None:
    buffer = s.buffer(1 << 17)
    with s.loop():
        n = s.read(fd_in, buffer)
        s.break_if(n <= 0)
        s.write(fd_out, buffer, n)
        s.emit(n)


@syslet
def _copy(s: Builder, source: Any, target: Any, mode: int) -> None:
    """Reports how many bytes were copied, again and again."""
    fd_in = s.openat(source, os.O_RDONLY)
    fd_out = s.openat(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    _by_range(s, fd_in, fd_out)
    _by_pipe(s, fd_in, fd_out)
    _by_hand(s, fd_in, fd_out)
    s.close(fd_out)


@syslet
def _look(s: Builder, path: Any) -> object:
    """Device, inode, mode and size of what a path leads to."""
    st = s.statx(path)
    return st.dev_major, st.dev_minor, st.ino, st.mode, st.size


@syslet
def _read_link(s: Builder, path: Any) -> object:
    return s.readlinkat(path)


@syslet
def _make_link(s: Builder, text: Any, path: Any) -> None:
    s.symlinkat(text, path)


async def copyfile(
    source: Path,
    target: Path,
    *,
    follow_symlinks: bool = True,
    progress: Progress | None = None,
) -> Path:
    """Copy the content of a file, as shutil.copyfile does; gives `target`.

    `progress` is called with the bytes copied so far and the size of the source.
    """
    if not follow_symlinks:
        text = None
        with contextlib.suppress(OSError):  # it is no link, or copying says what it is
            text = await _read_link(source)
        if text is not None:
            await _make_link(text, target)
            return target
    seen = await _look(source)
    with contextlib.suppress(FileNotFoundError):
        there = await _look(target)
        if there[:3] == seen[:3]:
            raise shutil.SameFileError(f"{source!r} and {target!r} are the same file")
        _refuse_special(target, there[3])
    _refuse_special(source, seen[3])
    if stat.S_ISDIR(seen[3]):
        number = errno.EISDIR
        raise IsADirectoryError(number, os.strerror(number), os.fspath(source))
    done = 0
    async for count in _copy.events(source, target, 0o666):
        done += count
        if progress is not None:
            progress(done, max(seen[4], done))
    if progress is not None and done == 0:
        progress(0, 0)
    return target


def _refuse_special(path: Path, mode: int) -> None:
    if stat.S_ISFIFO(mode):
        raise shutil.SpecialFileError(f"`{os.fsdecode(path)}` is a named pipe")
