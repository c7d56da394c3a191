"""The runner itself: it must notice every way in which a loop can go wrong.

One test of CPython is run on the loops of faulty.py, each time in a runner of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance import collect

ROOT = Path(__file__).parents[2]
TEST = "test_events.EPollEventLoopTests.test_call_later"
FAULTY = "tests.conformance.faulty"

pytestmark = pytest.mark.skipif(bool(collect.missing()), reason=collect.missing())


def run(*more: str, listed: str = "") -> subprocess.CompletedProcess[str]:
    """The runner on TEST, with `listed` in its list of skips."""
    script = (
        "import sys; from tests.conformance import run, skips\n"
        f"if {listed!r}: skips.SKIPS[{listed!r}] = 'a reason'\n"
        "sys.exit(run.main())"
    )
    command = [sys.executable, "-c", script, "--only", TEST, *more]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=100
    )


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ("refusing", "error", "no loop today"),
        ("crashing", "crash", "SIGABRT"),
        ("leaving", "crash", "exit status 0"),
        ("hanging", "hang", "in hanging"),
        ("skipping", "skip", "not on this loop"),
        ("noisy", "altered", "too late"),
    ],
)
def test_faults_are_differences(fault: str, kind: str, says: str) -> None:
    done = run("--loop", f"{FAULTY}:{fault}", "--limit", "2")
    assert done.returncode == 1, done.stderr
    assert f"different from asyncio: {TEST}: {kind}" in done.stdout
    assert says in done.stdout


def test_a_fault_that_goes_away_is_flaky(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNSTEADY", str(tmp_path / "was"))
    done = run("--loop", f"{FAULTY}:unsteady")
    assert done.returncode == 0, done.stderr
    assert f"flaky: {TEST}" in done.stdout
    assert "no loop yet" in done.stdout


def test_asyncios_loop_in_the_place_of_another_is_noticed() -> None:
    done = run("--loop", f"{FAULTY}:asyncios")
    assert done.returncode == 1, done.stderr
    assert f"made asyncio's own loop: {TEST}" in done.stdout


def test_the_list_of_skips_is_strict() -> None:
    passes = run(listed=TEST)
    assert passes.returncode == 1, passes.stderr
    assert f"listed in skips.py, but passes: {TEST}" in passes.stdout
    gone = run(listed=f"{TEST}_x")
    assert gone.returncode == 1, gone.stderr
    assert "listed in skips.py, but not there" in gone.stdout


def test_a_listed_difference_is_allowed(tmp_path: Path) -> None:
    """With a backend that the environment cannot name, no loop can be made."""
    written = tmp_path / "all.json"
    script = (
        "import os, sys; from tests.conformance import loops, run, skips\n"
        f"skips.SKIPS[{TEST!r}] = 'a reason'\n"
        "loops.check('ours')\n"
        "os.environ['SYSLET_LOOP_BACKEND'] = 'none'\n"
        "sys.exit(run.main())"
    )
    command = [sys.executable, "-c", script, "--only", TEST, "--write", str(written)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout
    assert "a reason" in done.stdout
    (verdict,) = json.loads(written.read_text())["tests"].values()
    assert verdict["word"] == "listed in skips.py"
    assert verdict["ours"]["kind"] == "error"
