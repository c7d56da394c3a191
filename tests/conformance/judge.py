"""Decides what a test says about a loop, with asyncio's own loop as the reference.

Used by run.py. A test that does not pass is run again alone, since a busy machine fails
tests that count on time; if it still does not pass, it runs on asyncio's loop, and only
what asyncio passes counts as a difference. Nothing about asyncio is stored.
"""

from __future__ import annotations

import dataclasses
import unittest
from collections.abc import Callable, Iterator

from . import collect, outcome, pool
from .outcome import Outcome

PASSED, SKIPPED, FLAKY = "passed", "skipped", "flaky"
ALIKE = "not passed by asyncio either"
LISTED = "listed in skips.py"
DIFFERENT = "different from asyncio"
PASSES_NOW = "listed in skips.py, but passes"
WORDS = (PASSED, SKIPPED, FLAKY, ALIKE, LISTED, DIFFERENT, PASSES_NOW)
WRONG = (DIFFERENT, PASSES_NOW)
ASYNCIO_TRIES = 2

Tests = dict[str, unittest.TestCase]


@dataclasses.dataclass
class Verdict:
    """One test: the word for it, the run that decided, and asyncio's run."""

    name: str
    word: str
    ours: Outcome
    theirs: Outcome | None = None


@dataclasses.dataclass
class Judge:
    """What stays the same for all tests of one run."""

    tests: Tests
    kind: str
    listed: dict[str, str]
    jobs: int
    limit: float
    progress: Callable[[str, Outcome], None]

    def verdicts(self) -> Iterator[Verdict]:
        """One for each test; those that did not pass at once come last."""
        to_run, again = [], []
        for name, test in self.tests.items():
            reason = collect.skipped_by_decorator(test)
            if reason is None:
                to_run.append((name, test))
            else:
                yield Verdict(name, SKIPPED, Outcome(outcome.SKIP, reason))
        for name, made in pool.run(to_run, self.kind, self.jobs, self.limit):
            self.progress(name, made)
            if made.kind == outcome.PASS:
                word = PASSES_NOW if name in self.listed else PASSED
                yield Verdict(name, word, made)
            else:
                again.append((name, made))
        for name, made in again:
            yield self._second(name, made)

    def _alone(self, name: str, kind: str) -> Outcome:
        alone = [(name, self.tests[name])]
        ((_, made),) = pool.run(alone, kind, 1, self.limit)
        self.progress(name, made)
        return made

    def _second(self, name: str, first: Outcome) -> Verdict:
        """For a test that did not pass when others ran beside it."""
        made = first
        if name in self.listed:
            return Verdict(name, LISTED, first)
        if first.kind != outcome.SKIP:
            made = self._alone(name, self.kind)
            if made.kind == outcome.PASS:
                made.text = first.text
                return Verdict(name, FLAKY, made)
        if self.kind == "asyncio":
            word = SKIPPED if made.kind == outcome.SKIP else ALIKE
            return Verdict(name, word, made)
        return self._beside_asyncio(name, made)

    def _beside_asyncio(self, name: str, made: Outcome) -> Verdict:
        for _ in range(ASYNCIO_TRIES):
            theirs = self._alone(name, "asyncio")
            if theirs.kind == outcome.PASS:
                return Verdict(name, DIFFERENT, made, theirs)
            if made.kind == theirs.kind == outcome.SKIP:
                return Verdict(name, SKIPPED, made, theirs)
        return Verdict(name, ALIKE, made, theirs)
