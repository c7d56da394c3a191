"""Reads junit files, compares two runs test by test, and says what differs.

Used by run.py. A test is known by its node id, with what changes from run to run
(addresses, free ports) taken out. Two runs agree on a test if both passed, both skipped
or both failed; how they failed does not matter.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

VERDICTS = ("passed", "skipped", "failed", "error", "absent")
BAD = ("failed", "error", "absent")
MESSAGE = 160


@dataclass(frozen=True)
class Outcome:
    """What one run says about one test."""

    verdict: str
    message: str = ""
    # The id that pytest accepts, which the normalised one may not be.
    node: str = ""


@dataclass(frozen=True)
class Difference:
    """A test on which two runs do not agree."""

    test: str
    base: Outcome
    ours: Outcome

    @property
    def better(self) -> bool:
        """Only the run we compare with failed."""
        return self.base.verdict in BAD and self.ours.verdict == "passed"

    def __str__(self) -> str:
        bad = self.ours if self.ours.verdict in BAD else self.base
        verdicts = f"{self.base.verdict} -> {self.ours.verdict}"
        return f"{self.test}\n      {verdicts}: {bad.message or 'no message'}"


def node_id(case: ElementTree.Element) -> str:
    """The node id of a <testcase> in pytest's xunit1 form."""
    file, name = case.get("file", ""), case.get("name", "")
    classname = case.get("classname", "")
    module = file.removesuffix(".py").replace("/", ".")
    if not file:
        return f"{classname}::{name}" if classname else name
    inner = classname.removeprefix(module).strip(".")
    return "::".join([file, *(inner.split(".") if inner else []), name])


def normalised(node: str) -> str:
    """The node id without addresses of objects."""
    return re.sub(r"0x[0-9a-f]{6,}", "0x", node)


def outcome(case: ElementTree.Element) -> Outcome:
    """The outcome that one <testcase> reports."""
    for tag, verdict in (("failure", "failed"), ("error", "error")):
        child = case.find(tag)
        if child is not None:
            text = child.get("message") or (child.text or "").strip()
            line = " ".join(text.split())[:MESSAGE]
            return Outcome(verdict, line, node_id(case))
    skipped = case.find("skipped") is not None
    return Outcome("skipped" if skipped else "passed", "", node_id(case))


def read(path: Path) -> dict[str, Outcome]:
    """The outcomes in a junit file by test; of several for one test the worst."""
    found: dict[str, Outcome] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        test, new = normalised(node_id(case)), outcome(case)
        old = found.get(test, new)
        worst = max(old, new, key=lambda each: VERDICTS.index(each.verdict))
        found[test] = worst
    return found


def compare(
    base: Mapping[str, Outcome], ours: Mapping[str, Outcome]
) -> list[Difference]:
    """The tests on which the two do not agree, in order of their names."""
    absent = Outcome("absent", "the test is not in this run")
    differences = []
    for test in sorted(base.keys() | ours.keys()):
        left, right = base.get(test, absent), ours.get(test, absent)
        both_bad = left.verdict in BAD and right.verdict in BAD
        if left.verdict != right.verdict and not both_bad:
            differences.append(Difference(test, left, right))
    return differences


def reason(test: str, explained: Mapping[str, str]) -> str | None:
    """Why this test may differ; patterns are of the shell's kind, brackets literal."""
    for pattern, why in explained.items():
        if fnmatchcase(test, pattern.replace("[", "[[]")):
            return why
    return None


def counts(outcomes: Mapping[str, Outcome]) -> str:
    """For example '10 passed, 1 failed, 0 errors, 2 skipped'."""
    count = Counter(each.verdict for each in outcomes.values())
    return (
        f"{count['passed']} passed, {count['failed']} failed, "
        f"{count['error']} errors, {count['skipped']} skipped"
    )


@dataclass(frozen=True)
class Report:
    """The differences, sorted by what they mean."""

    unexplained: list[Difference]
    explained: list[Difference]
    better: list[Difference]
    # Agreed when they were run again, one by one.
    unsteady: list[Difference]
    unused: list[str]

    def lines(self, explained: Mapping[str, str]) -> list[str]:
        """The lists as text."""
        text: list[str] = []
        for title, differences in (
            ("differences", self.unexplained),
            ("explained differences", self.explained),
            ("only ours passes", self.better),
            ("differed once, agreed when run again", self.unsteady),
        ):
            text.append(f"{title}: {len(differences)}")
            for each in differences:
                text.append(f"    {each}")
                if why := reason(each.test, explained):
                    text.append(f"      because {why}")
        text += [f"explained, but no longer different: {each}" for each in self.unused]
        return text


def sort_out(
    differences: list[Difference],
    explained: Mapping[str, str],
    agreed_again: frozenset[str] = frozenset(),
) -> Report:
    """Sort the differences; `agreed_again` are tests that a second run agrees on."""
    report = Report([], [], [], [], [])
    for each in differences:
        if reason(each.test, explained):
            report.explained.append(each)
        elif each.test in agreed_again:
            report.unsteady.append(each)
        elif each.better:
            report.better.append(each)
        else:
            report.unexplained.append(each)
    for pattern in explained:
        one = {pattern: explained[pattern]}
        if not any(reason(each.test, one) for each in report.explained):
            report.unused.append(pattern)
    return report
