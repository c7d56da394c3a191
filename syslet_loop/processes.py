"""How the loop waits for children: a pidfd each, in whatever thread the loop runs.

A mixin of EventLoop. Until 3.13 asyncio asks the policy for a child watcher. A watcher
that the program has put there is used as asyncio uses it; where there is none, or only
what asyncio puts there by itself (a thread for every child on 3.11), the loop watches
the child's pidfd. Where the kernel or a sandbox refuses pidfds, a thread waits.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import threading
from asyncio import events, unix_events
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from . import _native

if TYPE_CHECKING:

    class _Base(_native.Loop, asyncio.SelectorEventLoop):
        """What asyncio's stubs leave out."""

        _children: dict[int, Any]

        def _add_reader(self, fd: int, callback: Any, *args: Any) -> Any: ...
        def _remove_reader(self, fd: int, /) -> bool: ...

else:
    _Base = object

_thread_numbers = itertools.count()


def _asyncios_watcher() -> tuple[Any, Any]:
    """The type of watcher that asyncio makes by itself, and the method that does it."""
    if sys.version_info >= (3, 14):
        return None, None
    policy: Any = unix_events._UnixDefaultEventLoopPolicy
    if sys.version_info >= (3, 12):
        return unix_events.PidfdChildWatcher, policy.get_child_watcher
    return unix_events.ThreadedChildWatcher, policy.get_child_watcher


_WATCHER, _GET_WATCHER = _asyncios_watcher()


def program_has_watcher() -> bool:
    """Whether the program has chosen how children are waited for.

    No policy and no watcher is made to find out.
    """
    policy: Any = events._event_loop_policy  # type: ignore[attr-defined]
    get = getattr(policy, "get_child_watcher", None)
    if get is None or _GET_WATCHER is None:
        return False
    method = getattr(get, "__func__", None)
    if method is not _GET_WATCHER:
        # A policy without children inherits a method that only raises.
        return method is not events.AbstractEventLoopPolicy.get_child_watcher
    watcher = policy._watcher
    return watcher is not None and type(watcher) is not _WATCHER


def status_of(transport: Any) -> int:
    """Reap a child that has ended, or wait for its end; its return code."""
    pid = transport.get_pid()
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        process = transport.get_extra_info("subprocess")
        if process.returncode is not None:
            return int(process.returncode)  # closing the transport has reaped it
        logger.warning(
            "child process pid %d exit status already read: will report returncode 255",
            pid,
        )
        return 255


def wait_in_thread(loop: asyncio.AbstractEventLoop, transport: Any) -> None:
    """What the thread of one child does."""
    code = status_of(transport)
    try:
        loop.call_soon_threadsafe(transport._process_exited, code)
    except RuntimeError:
        pid = transport.get_pid()
        logger.warning("Loop %r that handles pid %r is closed", loop, pid)


class Processes(_Base):
    """Children of the loop."""

    __slots__ = ()

    async def _make_subprocess_transport(
        self,
        protocol: Any,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: Any = None,
        **kwargs: Any,
    ) -> Any:
        how = (protocol, args, shell, stdin, stdout, stderr, bufsize)
        if program_has_watcher():
            make: Any = super()
            return await make._make_subprocess_transport(*how, extra=extra, **kwargs)
        waiter = self.create_future()
        transport = unix_events._UnixSubprocessTransport(  # type: ignore[attr-defined]
            self, *how, waiter=waiter, extra=extra, **kwargs
        )
        self._watch_child(transport)
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await transport._wait()
            raise
        return transport

    def _watch_child(self, transport: Any) -> None:
        """Have the transport told when its child has ended."""
        try:
            fd = os.pidfd_open(transport.get_pid())
        except OSError:
            threading.Thread(
                target=wait_in_thread,
                args=(self, transport),
                name=f"syslet_loop-waitpid-{next(_thread_numbers)}",
                daemon=True,
            ).start()
            return
        self._children[fd] = transport
        self._add_reader(fd, self._child_ended, fd)

    def _child_ended(self, fd: int) -> None:
        """The pidfd says so."""
        transport = self._children.pop(fd)
        self._remove_reader(fd)
        os.close(fd)
        # A tick later, so that what the child has written comes before its end.
        self.call_soon(transport._process_exited, status_of(transport))

    def _leave_children(self) -> None:
        """The loop is closed: its children are nobody's."""
        for fd in self._children:
            os.close(fd)
        self._children.clear()
