"""The announced interface for Python: syslets laid out as C structures, awaited.

`lib` has the functions of syslet.h, `ffi` makes its structures and whatever else atoms
point to. `run` is for programs with a loop, ours or another: no ring, no waiting in C.
Unreadable memory is noticed here by asking the kernel first, not by a handler of
SIGSEGV, which belongs to faulthandler in Python. docs/libsyslet.md has an example.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import weakref
from typing import Any

from ._abi import ffi, lib
from .loop import EventLoop

__all__ = ["address", "ffi", "lib", "run"]

lib.syslet_faults(lib.SYSLET_FAULTS_PROBES)
_tickets = itertools.count(1)


def address(memory: Any) -> int:
    """The address of cffi memory (a pointer, an array), as atoms hold it."""
    return int(ffi.cast("uintptr_t", memory))


class _End(asyncio.Future[tuple[int, int]]):
    """The end of a pending syslet: its last atom's address, and how it ended.

    Cancelling asks the syslet to end and goes on waiting: until then its memory is in
    use.
    """

    hub: _Hub
    ticket = 0
    cancel_asked = False

    def cancel(self, msg: Any = None) -> bool:
        if self.hub.pid != os.getpid():
            return super().cancel(msg)  # it is the parent's that will end
        if self.done():
            return False
        self.cancel_asked = True
        lib.hub_cancel(self.hub.handle, self.ticket)
        return True


class _Hub:
    """The pending syslets of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.handle = lib.hub_new()
        if self.handle == ffi.NULL:
            raise OSError(ffi.errno, os.strerror(ffi.errno))
        self.loop = weakref.ref(loop)
        self.pid = os.getpid()
        # Also what was lent: it stays until the end, whoever still waits for it.
        self.pending: dict[int, tuple[_End, tuple[Any, ...]]] = {}
        self.out = ffi.new("uint64_t *"), ffi.new("uint64_t *"), ffi.new("int *")
        loop.add_reader(lib.hub_fd(self.handle), self.collect)

    def submit(self, atom: Any, lent: tuple[Any, ...]) -> int | _End:
        """Run it: the address of the last atom, or its end if it is away."""
        ticket = next(_tickets)
        loop = self.loop()
        end = _End(loop=loop)
        end.hub, end.ticket = self, ticket
        # Before it begins: an exception may come at any line of this (Control-C).
        self.pending[ticket] = end, (atom, *lent)
        last = int(lib.hub_exec(self.handle, address(atom), ticket))
        if last == 0:
            return end
        del self.pending[ticket]
        if last < 0:
            raise OSError(-last, os.strerror(-last))
        return last

    def collect(self) -> None:
        """Tell those whose syslets have ended."""
        ticket, last, how = self.out
        while lib.hub_take(self.handle, ticket, last, how):
            end, _ = self.pending.pop(ticket[0])
            if not end.done():
                with contextlib.suppress(RuntimeError):  # its loop is closed
                    end.set_result((last[0], how[0]))

    def close(self) -> None:
        """End what is pending, wait until nothing uses its memory any more."""
        if self.pid == os.getpid():
            for ticket in self.pending:
                lib.hub_cancel(self.handle, ticket)
            while lib.hub_wait(self.handle):
                self.collect()
        lib.hub_free(self.handle)


_hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Hub] = (
    weakref.WeakKeyDictionary()
)


def _current_hub() -> _Hub:
    """The running loop's hub, made at its first syslet and closed with it."""
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is not None and hub.pid != os.getpid():
        hub.close()  # the parent's: its descriptor, nothing else
        hub = None
    if hub is None:
        hub = _hubs[loop] = _Hub(loop)
        _close_with(loop)
    return hub


def _close_with(loop: asyncio.AbstractEventLoop) -> None:
    """Have the hub closed just before its loop."""
    if isinstance(loop, EventLoop):
        loop.at_close(_close_hub)
        return
    close = loop.close
    if getattr(close, "closes_hub", False):
        return

    def close_both() -> None:
        if not loop.is_running():
            _close_hub(loop)
        close()

    close_both.closes_hub = True  # type: ignore[attr-defined]
    with contextlib.suppress(AttributeError):
        loop.close = close_both  # type: ignore[method-assign]


def _close_hub(loop: asyncio.AbstractEventLoop) -> None:
    """Close the loop's hub, if it has one."""
    hub = _hubs.pop(loop, None)
    if hub is not None:
        if not loop.is_closed():
            loop.remove_reader(lib.hub_fd(hub.handle))
        hub.close()


async def run(atom: Any, *memory: Any) -> Any:
    """Run the syslet that begins at `atom`; give the atom that ended it, as a pointer.

    `atom` is cffi memory of a `struct syslet_uatom`; `memory` is whatever else it
    reaches: all are kept alive until nothing uses them. NO_COMPLETE has no effect. What
    its atoms returned is where their ret_ptr points. Cancelling the awaiting task ends
    the syslet at the call it waits in, with -EINTR as its result, and raises
    CancelledError when that has happened. Raises OSError: EFAULT if an address leads
    nowhere, EAGAIN if too many are pending; RuntimeError without a running loop.
    """
    end = _current_hub().submit(atom, memory)
    if isinstance(end, _End):
        last, how = await end
        if end.cancel_asked:
            raise asyncio.CancelledError
        if how < 0:
            raise OSError(-how, os.strerror(-how))
    else:
        last = end
    return ffi.cast("struct syslet_uatom *", last)
