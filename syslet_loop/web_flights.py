"""The syslets of static files: what a file is, and a file as a response.

A response's head is made in Python from what a file was when it was last looked at.
`send` opens the file, compares what it is now, sends head and content and closes it,
as one syslet: what has changed is not sent, and the caller looks again. Nothing here
decides which file a request means; web_files.py does.

Every syslet comes twice: with openat2, which refuses what leads out of a folder, and
for kernels without it with one openat in a folder that was reached step by step.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from .language import Builder, syslet

FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY  # a FIFO must not be waited for
CHANGED = -(1 << 20)  # no errno is as small
_WORD = 1 << 64
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW

Opens = Callable[[Builder, Any, Any, Any], Any]


class Look(NamedTuple):
    """What a file is; `code` below 0 is a negative errno and nothing else is known."""

    code: int
    mode: int
    ino: int
    size: int
    mtime: int
    mtime_nsec: int


class Flights(NamedTuple):
    """The syslets for one way to open.

    look(folder, path, resolve) -> tuple for Look
    send(folder, path, resolve, ino, size, mtime, nsec, strict, conn, head, more, start,
         count) -> bytes of the file that were sent, a negative errno, or CHANGED; the
         numbers of the file are negated (see `negated`). Raises what sending raises.
    open(folder, path, resolve) -> the same as look, whose code is an fd of the caller's
    """

    look: Any
    send: Any
    open: Any


def negated(number: int) -> int:
    """What gives 0 when it is added to a 64-bit number."""
    low = -number % _WORD
    return low - _WORD if low >= _WORD // 2 else low


def _beneath(s: Builder, folder: Any, path: Any, resolve: Any) -> Any:
    return s.openat2(path, FLAGS, 0, resolve, dir_fd=folder, check=False)


def _here(s: Builder, folder: Any, path: Any, resolve: Any) -> Any:
    s.nop(resolve)
    return s.openat(path, FLAGS | os.O_NOFOLLOW, dir_fd=folder, check=False)


def _make(opens: Opens) -> Flights:
    """The syslets that open in this way."""

    @syslet(name="look")
    def look(s: Builder, folder: int, path: Any, resolve: int) -> object:
        code = s.cell(0)
        fd = opens(s, folder, path, resolve)
        with s.if_(fd < 0):
            s.add(code, fd)
            s.stop_if(s.nop() == 0)
        st = s.fstat(fd)
        s.close(fd)
        return code, st.mode, st.ino, st.size, st.mtime, st.mtime_nsec

    @syslet(name="open_file")
    def open_file(s: Builder, folder: int, path: Any, resolve: int) -> object:
        fd = opens(s, folder, path, resolve)
        s.stop_if(fd < 0)
        st = s.fstat(fd)
        return fd, st.mode, st.ino, st.size, st.mtime, st.mtime_nsec

    @syslet(name="send_file")
    def send(
        s: Builder,
        folder: int,
        path: Any,
        resolve: int,
        ino: int,
        size: int,
        mtime: int,
        nsec: int,
        strict: Any,
        conn: int,
        head: bytes,
        more: int,
        start: int,
        count: Any,
    ) -> object:
        code = s.cell(CHANGED)
        fd = opens(s, folder, path, resolve)
        with s.if_(fd < 0):
            s.set(code, 0)
            s.add(code, fd)
            s.stop_if(s.nop() == 0)
        st = s.fstat(fd)
        _stop_unless_same(s, st.ino, ino)
        with s.if_(strict != 0):
            _stop_unless_same(s, st.size, size)
            _stop_unless_same(s, st.mtime, mtime)
            _stop_unless_same(s, st.mtime_nsec, nsec)
        s.send(conn, head, more)
        s.set(code, 0)
        with s.if_(count > 0):
            s.add(code, s.sendfile(conn, fd, start, count))
        s.close(fd)
        return code

    return Flights(look, send, open_file)


def _stop_unless_same(s: Builder, now: Any, negative: Any) -> None:
    """End the flight, which then says CHANGED, if the numbers differ."""
    seen = s.cell()
    s.set(seen, now)
    s.stop_if(s.add(seen, negative) != 0)


BENEATH = _make(_beneath)
STEPWISE = _make(_here)


@syslet
def step_into(s: Builder, folder: int, name: Any) -> object:
    """A folder in a folder, no link; its fd is the caller's."""
    return s.openat(name, _STEP, dir_fd=folder)


@syslet
def read_part(s: Builder, fd: int, start: int, size: int) -> object:
    """Bytes of a file; the caller may close its fd while this is in the air."""
    own = s.dup(fd)
    return s.pread(own, size, start)
