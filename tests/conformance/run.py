"""CPython's own asyncio tests on our loop: `python -m tests.conformance.run`.

--loop takes asyncio, ours, uring, epoll or module:factory; --only a part of the tests'
names, or wildcards; --write a file that gets everything as JSON. The exit status is 1
if a test differs from asyncio and skips.py does not list it, if a listed one passes, or
if asyncio's own loop was made where another should have been. What happens is in
judge.py (verdicts), pool.py (processes), child.py (one test) and loops.py (patching).
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import gc
import json
import os
import platform
import signal
import sys
import time
from pathlib import Path

from . import collect, judge, loops, outcome, skips
from .judge import Verdict
from .outcome import Outcome

LIMIT_S = 60.0
TAIL_LINES = 40
SLOWEST = 10
NO_TESTS = 5  # the exit status, as pytest's


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.run")
    add = parser.add_argument
    add("--loop", default="ours", help="asyncio, ours, uring, epoll, module:factory")
    add("--only", default="", help="a part of the names, or wildcards")
    add("--jobs", type=int, default=os.cpu_count(), help="processes at once")
    add("--limit", type=float, default=LIMIT_S, help="seconds for each test")
    add("--write", type=Path, help="a file for everything, as JSON")
    add("--verbose", action="store_true", help="a line for each test as it ends")
    return parser.parse_args()


def show(name: str, made: Outcome) -> None:
    print(f"{made.kind:8}{made.seconds:6.2f} {name}", flush=True)


def quiet(name: str, made: Outcome) -> None:
    pass


def count(verdicts: list[Verdict]) -> dict[str, int]:
    """The numbers: of tests by verdict, of tests that made a loop, of loops."""
    words = collections.Counter(verdict.word for verdict in verdicts)
    made = [v for v in verdicts if v.ours.ours or v.ours.asyncios]
    return {
        "tests": len(verdicts),
        **{word: words[word] for word in judge.WORDS if words[word]},
        "with a loop": len(made),
        "with a loop, passed": sum(v.ours.kind == outcome.PASS for v in made),
        "loops": sum(v.ours.ours + v.ours.asyncios for v in made),
        "loops of asyncio": sum(v.ours.asyncios for v in made),
    }


def slowest(verdicts: list[Verdict]) -> list[str]:
    order = sorted(verdicts, key=lambda v: -v.ours.seconds)[:SLOWEST]
    return ["the slowest:", *(f"{v.ours.seconds:6.1f} s {v.name}" for v in order)]


def shortened(text: str) -> str:
    lines = text.strip().splitlines()
    left_out = len(lines) - TAIL_LINES
    if left_out > 0:
        lines = [f"({left_out} lines left out)", *lines[-TAIL_LINES:]]
    return "\n".join(f"    {line}" for line in lines)


def details(verdicts: list[Verdict], listed: dict[str, str]) -> list[str]:
    """What did not simply pass, the worst last."""
    lines = []
    for word in judge.WORDS[2:]:
        for verdict in verdicts:
            if verdict.word != word:
                continue
            lines.append(f"\n{word}: {verdict.name}: {verdict.ours.kind}")
            if word in (judge.LISTED, judge.PASSES_NOW):
                lines.append(f"    {listed[verdict.name]}")
            else:
                lines.append(shortened(verdict.ours.text))
    return lines


def problems(verdicts: list[Verdict], kind: str, listed: set[str]) -> list[str]:
    """Why the exit status is 1."""
    found = [f"{v.word}: {v.name}" for v in verdicts if v.word in judge.WRONG]
    if kind != "asyncio":
        found += [
            f"made asyncio's own loop: {v.name}" for v in verdicts if v.ours.asyncios
        ]
    return found + [f"listed in skips.py, but not there: {n}" for n in sorted(listed)]


def write(path: Path, verdicts: list[Verdict], head: str) -> None:
    tests = {v.name: dataclasses.asdict(v) for v in verdicts}
    modules: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        modules.setdefault(verdict.name.partition(".")[0], []).append(verdict)
    by_module = {name: count(modules[name]) for name in sorted(modules)}
    numbers = {"run": head, "all": count(verdicts), "modules": by_module}
    path.write_text(json.dumps(numbers | {"tests": tests}, indent=1) + "\n")


def main() -> int:
    options = arguments()
    if reason := collect.missing():
        print(reason)
        return NO_TESTS
    loops.check(options.loop)
    tests = collect.collect(options.only)
    if not tests:
        print(f"no test is called {options.only!r}")
        return NO_TESTS
    listed = skips.listed() if loops.is_ours(options.loop) else {}
    listed = {k: v for k, v in listed.items() if collect.matches(k, options.only)}
    # The children then neither look at nor copy what was made before the fork.
    gc.collect()
    gc.freeze()
    progress = show if options.verbose else quiet
    begun = time.monotonic()
    judging = judge.Judge(
        tests, options.loop, listed, options.jobs, options.limit, progress
    )
    verdicts = list(judging.verdicts())
    seconds = time.monotonic() - begun
    head = (
        f"Python {platform.python_version()}, loop {options.loop}, "
        f"{options.jobs} at once, {seconds:.0f} s:"
    )
    numbers = [f"{n:6} {what}" for what, n in count(verdicts).items()]
    wrong = problems(verdicts, options.loop, listed.keys() - tests.keys())
    if options.write:
        write(options.write, verdicts, head)
    told = [*details(verdicts, listed), "", *slowest(verdicts), "", head, *numbers]
    print("\n".join([*told, "", *wrong] if wrong else told))
    return 1 if wrong else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    sys.exit(main())
