"""Serving with several processes: `serve`, the processes' parent.

The parent owns the listening sockets and never runs a loop. It starts workers, starts
them again when they die (at once, then with growing pauses), replaces them on SIGHUP
and ends with them on SIGTERM or SIGINT. Workers are forked before anything else
happens, so that no engine and no thread is ever copied.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .listening import listen
from .stopping import GRACE_S
from .worker import work

_log = logging.getLogger("syslet_loop.workers")

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STABLE_S = 10.0  # a worker that lived so long did not fail at its start
PAUSE_S = 0.5  # before the second start in a row; twice as long each time
PAUSE_MAX_S = 30.0
KILL_S = 5.0  # beyond the grace, then SIGKILL


@dataclasses.dataclass(eq=False)
class Process:
    """A worker. `ready` can be read when it serves, or has ended without serving."""

    pid: int
    pidfd: int  # owned
    ready: int  # owned; -1 when it has been read
    began: float
    serves: bool = False  # it has said so
    kill_at: float | None = None  # it was told to end


@dataclasses.dataclass(eq=False)
class Place:
    """What one worker after another does: the sockets it serves."""

    sockets: list[socket.socket]
    serving: Process | None = None
    coming: Process | None = None  # takes over when it is ready
    failures: int = 0
    due: float | None = None  # when to start the next one


def serve(
    app: Any,
    *,
    workers: int | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
    sockets: Sequence[socket.socket] | None = None,
    reuse_port: bool = True,
    grace_s: float = GRACE_S,
    ready: Callable[[int], object] | None = None,
) -> None:
    """Serve with several processes until SIGTERM or SIGINT.

    app: a web.Application; "module:name" of one, which each worker imports; or a
    function that makes one, plain or async, called in each worker. In place of an
    Application there may be any object with `start(sockets)` and `stop(seconds)`.
    workers: how many, by default one for each processor this process may use.
    sockets: listening ones, which the workers share, in place of `host` and `port`.
    reuse_port: a socket for each worker (SO_REUSEPORT); else they share one.
    grace_s: seconds that running requests have to end.
    ready: called with the port when every worker serves.

    SIGHUP replaces the workers; one that does not start leaves the old one in place.
    Call it in the main thread. Raises OSError if the address cannot be had,
    RuntimeError if no worker starts.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("serve() must be called in the main thread: it has signals")
    count = len(os.sched_getaffinity(0)) if workers is None else workers
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"workers must be a positive number, not {workers!r}")
    own = [] if sockets is not None else _listen(host, port, count, reuse_port)
    places = own or [list(sockets or ())] * count
    try:
        Parent(app, places, grace_s, ready).run()
    finally:
        for sock in {id(sock): sock for place in own for sock in place}.values():
            sock.close()


def _listen(
    host: str, port: int, count: int, reuse_port: bool
) -> list[list[socket.socket]]:
    """The sockets of each worker."""
    if not reuse_port or count == 1:
        return [listen(host, port)] * count
    if port:  # SO_REUSEPORT would join whoever has the port already
        for sock in listen(host, port):
            sock.close()
    found = [listen(host, port, reuse_port=True)]
    try:
        port = found[0][0].getsockname()[1]
        while len(found) < count:
            found.append(listen(host, port, reuse_port=True))
    except BaseException:
        for sock in (sock for place in found for sock in place):
            sock.close()
        raise
    return found


class Parent:
    """The parent process: one wait for signals, starts and deaths."""

    def __init__(
        self,
        app: Any,
        places: Sequence[list[socket.socket]],
        grace_s: float,
        ready: Callable[[int], object] | None,
    ) -> None:
        self._app = app
        self._places = [Place(sockets) for sockets in places]
        self._grace_s = grace_s
        self._tell = ready
        self._selector = selectors.DefaultSelector()
        self._processes: set[Process] = set()
        self._stopping = False
        self._has_served = False
        self._failure = ""
        self._life: tuple[int, int] = (-1, -1)

    def run(self) -> None:
        """Serve; returns when the last worker has ended."""
        self._life = os.pipe()  # its end in the workers ends with this process
        try:
            with self._signals():
                for place in self._places:
                    place.due = time.monotonic()
                while self._processes or not self._stopping:
                    self._turn()
        finally:
            self._kill_all()
            self._selector.close()
            for fd in self._life:
                os.close(fd)
        if self._failure:
            raise RuntimeError(self._failure)

    def _turn(self) -> None:
        self._do_due(time.monotonic())
        for key, _ in self._selector.select(self._timeout()):
            key.data()

    def _timeout(self) -> float | None:
        times = [place.due for place in self._places if place.due is not None]
        times += [each.kill_at for each in self._processes if each.kill_at is not None]
        return max(0, min(times) - time.monotonic()) if times else None

    def _do_due(self, now: float) -> None:
        for place in self._places:
            if place.due is not None and place.due <= now:
                place.due = None
                place.serving = self._start(place)
        for each in self._processes:
            if each.kill_at is not None and each.kill_at <= now:
                _log.warning("worker %d does not end: killed", each.pid)
                each.kill_at = None
                self._signal(each, signal.SIGKILL)

    # Signals.

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Signals arrive as bytes of a pipe."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        before = {each: signal.signal(each, lambda *_: None) for each in SIGNALS}
        wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._selector.register(
            reader, selectors.EVENT_READ, lambda: self._signalled(os.read(reader, 64))
        )
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for each, handler in before.items():
                signal.signal(each, handler)
            os.close(reader)
            os.close(writer)

    def _signalled(self, numbers: bytes) -> None:
        for number in numbers:
            if number == signal.SIGHUP:
                self._replace_all()
            elif number in SIGNALS:
                self._stop()

    def _stop(self) -> None:
        if self._stopping:  # asked twice: now
            self._kill_all()
            return
        self._stopping = True
        for place in self._places:
            place.due = None
        for each in list(self._processes):
            self._end(each)

    def _replace_all(self) -> None:
        if self._stopping:
            return
        for place in self._places:
            if place.serving is None:
                place.due = time.monotonic()
            elif place.coming is None:
                place.coming = self._start(place)

    # Processes.

    def _start(self, place: Place) -> Process:
        ready, said = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._be_worker(place, ready, said)
        os.close(said)
        process = Process(pid, os.pidfd_open(pid), ready, time.monotonic())
        self._processes.add(process)
        register = self._selector.register
        register(
            process.pidfd, selectors.EVENT_READ, lambda: self._died(place, process)
        )
        register(ready, selectors.EVENT_READ, lambda: self._is_ready(place, process))
        return process

    def _be_worker(self, place: Place, ready: int, said: int) -> None:
        """In the child; never returns."""
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            ends = number == signal.SIGTERM
            signal.signal(number, signal.SIG_DFL if ends else signal.SIG_IGN)
        self._selector.close()
        for fd in (ready, self._life[1]):
            os.close(fd)
        for each in self._processes:
            for fd in (each.pidfd, each.ready):
                if fd >= 0:
                    os.close(fd)
        work(self._app, place.sockets, said, self._life[0], self._grace_s)

    def _read_ready(self, process: Process) -> None:
        if process.ready >= 0:
            process.serves = bool(os.read(process.ready, 1))
            self._selector.unregister(process.ready)
            os.close(process.ready)
            process.ready = -1

    def _is_ready(self, place: Place, process: Process) -> None:
        self._read_ready(process)
        if not process.serves:
            return  # it ended: _died says so
        if process is place.coming:
            old, place.serving, place.coming = place.serving, process, None
            if old is not None:
                self._end(old)
        if not self._has_served and all(
            each.serving is not None and each.serving.serves for each in self._places
        ):
            self._has_served = True
            if self._tell is not None:
                sockets = self._places[0].sockets
                name = sockets[0].getsockname()
                self._tell(name[1] if isinstance(name, tuple) else 0)

    def _died(self, place: Place, process: Process) -> None:
        self._read_ready(process)
        _, status = os.waitpid(process.pid, 0)
        self._selector.unregister(process.pidfd)
        os.close(process.pidfd)
        self._processes.discard(process)
        why = _describe(status)
        if process is place.coming:
            place.coming = None
            if not self._stopping:
                _log.error("the new worker did not start (%s): the old one stays", why)
        elif process is place.serving:
            place.serving = None
            if not self._stopping:
                self._start_again(place, process, why)

    def _start_again(self, place: Place, process: Process, why: str) -> None:
        if not process.serves and not self._has_served:
            self._failure = f"a worker did not start: {why}"
            self._stop()
            return
        if place.coming is not None:  # it takes over anyway
            place.serving, place.coming = place.coming, None
            return
        now = time.monotonic()
        is_stable = process.serves and now - process.began >= STABLE_S
        place.failures = 1 if is_stable else place.failures + 1
        pause = 0.0
        if place.failures > 1:
            pause = min(PAUSE_MAX_S, PAUSE_S * 2 ** (place.failures - 2))
        place.due = now + pause
        _log.error("worker %d died (%s): again in %g s", process.pid, why, pause)

    def _end(self, process: Process) -> None:
        if process.kill_at is None:
            process.kill_at = time.monotonic() + self._grace_s + KILL_S
            self._signal(process, signal.SIGTERM)

    def _signal(self, process: Process, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process.pidfd, number)

    def _kill_all(self) -> None:
        for each in self._processes:
            self._signal(each, signal.SIGKILL)


def _describe(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code >= 0 else f"signal {-code}"
