"""Runs one test, in a process that was forked for it and ends with it.

Called by pool.py right after the fork. The process has a session, a current folder and
a folder for temporary files of its own; what it prints is kept in `output` there, and
`outcome` is written when the test is over.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import resource
import signal
import sys
import tempfile
import time
import unittest
import warnings
from pathlib import Path
from typing import Any, NoReturn

from . import loops, outcome

ASK_WHERE = signal.SIGUSR2  # makes a hung test print its stacks
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Noted(unittest.TestResult):
    """The first thing that went wrong in one test, and all of it as text."""

    def __init__(self) -> None:
        super().__init__()
        self.kind = outcome.PASS
        self.texts: list[str] = []

    def note(self, kind: str, text: str) -> None:
        if self.kind in (outcome.PASS, outcome.SKIP):
            self.kind = kind
        self.texts.append(text)

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self.note(outcome.ERROR, self.errors[-1][1])

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self.note(outcome.FAIL, self.failures[-1][1])

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            wrong = issubclass(err[0], test.failureException)
            kept = self.failures if wrong else self.errors
            kind = outcome.FAIL if wrong else outcome.ERROR
            self.note(kind, f"{subtest}\n{kept[-1][1]}")

    def addSkip(self, test: Any, reason: str) -> None:
        super().addSkip(test, reason)
        if self.kind == outcome.PASS:
            self.note(outcome.SKIP, reason)

    def addUnexpectedSuccess(self, test: Any) -> None:
        super().addUnexpectedSuccess(test)
        self.note(outcome.FAIL, "an unexpected success")


def _settle(folder: Path) -> None:
    """Cut the process off from its siblings and its parent's terminal."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.setsid()
    os.chdir(folder)
    output = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)
    os.close(output)
    temporary = folder / "tmp"
    temporary.mkdir()
    os.environ["TMPDIR"] = str(temporary)
    tempfile.tempdir = None
    faulthandler.enable()
    faulthandler.register(ASK_WHERE, all_threads=True)
    warnings.simplefilter("default")


def _run(test: unittest.TestCase) -> Noted:
    """The test with the fixtures of its class and module, as unittest runs it."""
    from test import support

    noted = Noted()
    unraisable: list[str] = []
    sys.unraisablehook = lambda what: unraisable.append(
        f"{what.err_msg or 'ignored in'} {what.object!r}: {what.exc_value!r}"
    )
    unittest.TestSuite([test]).run(noted)
    vars(test).clear()  # what the test keeps alive says its last words now
    gc.collect()
    if support.environment_altered:
        noted.note(outcome.ALTERED, "it left threads or children behind")
    if unraisable:
        noted.note(outcome.ALTERED, "\n".join(unraisable))
    return noted


def main(test: unittest.TestCase, kind: str, folder: Path) -> NoReturn:
    """Run `test` on loops of `kind`; this never returns."""
    status = 1
    try:
        _settle(folder)
        me, begun = os.getpid(), time.monotonic()
        loops.replace(kind)
        noted = _run(test)
        # A test that forks may come out here twice; only the first counts.
        if os.getpid() == me:
            made = outcome.Outcome(
                noted.kind,
                "\n".join(noted.texts),
                time.monotonic() - begun,
                loops.Count.ours,
                loops.Count.asyncios,
            )
            sys.stdout.flush()
            sys.stderr.flush()
            written = folder / "outcome.new"
            written.write_text(made.dumps())
            written.rename(folder / "outcome")
            status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)
