"""Runs tests in processes of their own, some at once, each for a limited time.

Used by judge.py. The process that calls this must have one thread, as it forks. Every
child leads a session, which is killed as a whole when the child has ended or its time
is up; nothing a test does can make the pool wait longer than that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import shutil
import signal
import tempfile
import time
import unittest
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import child, outcome
from .outcome import Outcome

LAST_WORDS_S = 0.5  # for the stacks of a test that hangs


@dataclasses.dataclass
class Running:
    """A child: its pid and pidfd are ours until `end`."""

    name: str
    pid: int
    pidfd: int
    folder: Path
    begun: float
    deadline: float

    def wait(self, seconds: float) -> bool:
        """Whether the child has ended by then."""
        return bool(select.select([self.pidfd], [], [], seconds)[0])

    def end(self) -> Outcome:
        """Kill what is left of the child, and say what became of it."""
        hung = not self.wait(0)
        if hung:
            os.kill(self.pid, child.ASK_WHERE)
            self.wait(LAST_WORDS_S)
        # Until waitpid the number is the child's own: no other group can be hit.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        made = self._read(hung, os.waitstatus_to_exitcode(status))
        made.seconds = made.seconds or time.monotonic() - self.begun
        shutil.rmtree(self.folder, ignore_errors=True)
        return made

    def _read(self, hung: bool, code: int) -> Outcome:
        written, output = self.folder / "outcome", self.folder / "output"
        printed = output.read_text(errors="replace") if output.exists() else ""
        if written.exists():
            made = outcome.loads(written.read_text())
            if made.kind not in (outcome.PASS, outcome.SKIP) and printed:
                made.text += f"\nprinted:\n{printed}"
            return made
        if hung:
            return Outcome(outcome.HANG, f"no end in time\n{printed}")
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return Outcome(outcome.CRASH, f"{how}\n{printed}")


def _start(
    name: str, test: unittest.TestCase, kind: str, folder: Path, limit: float
) -> Running:
    assert len(os.listdir("/proc/self/task")) == 1, "a fork needs a single thread"
    folder.mkdir()
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        child.main(test, kind, folder)
    return Running(name, pid, os.pidfd_open(pid), folder, begun, begun + limit)


def _ended(running: list[Running]) -> list[Running]:
    """Those that have ended or are out of time; waits for the first."""
    soonest = min(each.deadline for each in running)
    wait = max(0.0, soonest - time.monotonic())
    ready = select.select([each.pidfd for each in running], [], [], wait)[0]
    now = time.monotonic()
    return [r for r in running if r.pidfd in ready or r.deadline <= now]


def run(
    tests: Iterable[tuple[str, unittest.TestCase]], kind: str, jobs: int, limit: float
) -> Iterator[tuple[str, Outcome]]:
    """Run each test on loops of `kind`, `jobs` at once, each for `limit` seconds."""
    todo, running = iter(enumerate(tests)), []
    scratch = Path(tempfile.mkdtemp(prefix="conform-"))
    try:
        while True:
            while len(running) < jobs and (entry := next(todo, None)) is not None:
                number, (name, test) = entry
                running.append(_start(name, test, kind, scratch / str(number), limit))
            if not running:
                return
            for each in _ended(running):
                running.remove(each)
                yield each.name, each.end()
    finally:
        for each in running:
            each.deadline = 0.0
            each.end()
        shutil.rmtree(scratch, ignore_errors=True)
