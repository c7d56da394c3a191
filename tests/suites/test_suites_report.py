"""The comparing and reporting half of tests/suites, on made-up junit files.

Nothing here downloads or runs a suite; `make suites` does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .explained import EXPLAINED
from .projects import SUITES
from .report import Outcome, compare, counts, read, reason, sort_out

INJECT = Path(__file__).parent / "inject"
FAILURE = '<failure message="assert 1 == 2">traceback</failure>'
ERROR = '<error message="failed on teardown">traceback</error>'
SKIPPED = '<skipped type="pytest.skip" message="not here" />'
CRASH = "<failure message=\"worker 'gw0' crashed while running 't'\" />"


def case(name: str, inside: str = "", classname: str = "tests.test_a") -> str:
    """One <testcase> as pytest writes it with junit_family=xunit1."""
    return (
        f'<testcase classname="{classname}" name="{name}" file="tests/test_a.py" '
        f'line="3" time="0.01">{inside}</testcase>'
    )


def junit(path: Path, *cases: str) -> dict[str, Outcome]:
    """Write these cases to a file and read it."""
    inside = "".join(cases)
    path.write_text(
        f"<testsuites><testsuite name='x'>{inside}</testsuite></testsuites>"
    )
    return read(path)


def test_a_file_is_read_by_node_id(tmp_path: Path) -> None:
    found = junit(
        tmp_path / "a.xml",
        case("test_one"),
        case("test_two[a.b]", FAILURE, "tests.test_a.TestIt"),
        case("test_three", SKIPPED),
    )
    assert {test: each.verdict for test, each in found.items()} == {
        "tests/test_a.py::test_one": "passed",
        "tests/test_a.py::TestIt::test_two[a.b]": "failed",
        "tests/test_a.py::test_three": "skipped",
    }
    assert found["tests/test_a.py::TestIt::test_two[a.b]"].message == "assert 1 == 2"
    assert counts(found) == "1 passed, 1 failed, 0 errors, 1 skipped"


def test_the_worst_of_several_outcomes_counts(tmp_path: Path) -> None:
    found = junit(tmp_path / "a.xml", case("test_one"), case("test_one", ERROR))
    assert found["tests/test_a.py::test_one"].verdict == "error"


def test_a_crashed_worker_is_a_failed_test(tmp_path: Path) -> None:
    found = junit(tmp_path / "a.xml", case("test_one", CRASH))
    assert "crashed" in found["tests/test_a.py::test_one"].message


def test_addresses_do_not_make_tests_different(tmp_path: Path) -> None:
    base = junit(tmp_path / "a.xml", case("test_one[at 0x7f12345678]"))
    ours = junit(tmp_path / "b.xml", case("test_one[at 0x7f87654321]"))
    assert compare(base, ours) == []
    assert base["tests/test_a.py::test_one[at 0x]"].node.endswith("0x7f12345678]")


def test_only_what_differs_is_a_difference(tmp_path: Path) -> None:
    base = junit(
        tmp_path / "a.xml",
        *(case("test_same"), case("test_both", FAILURE), case("test_worse")),
        *(case("test_better", FAILURE), case("test_gone"), case("test_less")),
    )
    ours = junit(
        tmp_path / "b.xml",
        *(case("test_same"), case("test_both", ERROR), case("test_worse", FAILURE)),
        *(case("test_better"), case("test_new"), case("test_less", SKIPPED)),
    )
    found = {
        each.test.removeprefix("tests/test_a.py::test_"): (
            each.base.verdict,
            each.ours.verdict,
            each.better,
        )
        for each in compare(base, ours)
    }
    assert found == {
        "better": ("failed", "passed", True),
        "gone": ("passed", "absent", False),
        "less": ("passed", "skipped", False),
        "new": ("absent", "passed", True),
        "worse": ("passed", "failed", False),
    }


def test_patterns_take_brackets_literally() -> None:
    explained = {"t.py::test_a[x-*": "first", "t.py::test_b": "second"}
    assert reason("t.py::test_a[x-1]", explained) == "first"
    assert reason("t.py::test_ax-1", explained) is None
    assert reason("t.py::test_b[1]", explained) is None


def test_the_report_sorts_and_says_why(tmp_path: Path) -> None:
    names = ("test_known", "test_once", "test_real")
    base = junit(tmp_path / "a.xml", *map(case, names), case("test_better", FAILURE))
    bad = [case(name, FAILURE) for name in names]
    ours = junit(tmp_path / "b.xml", *bad, case("test_better"))
    explained = {"*::test_known": "it is meant", "*::test_old": "it was meant"}
    again = frozenset({"tests/test_a.py::test_once"})
    report = sort_out(compare(base, ours), explained, again)
    assert [each.test for each in report.unexplained] == ["tests/test_a.py::test_real"]
    assert report.unused == ["*::test_old"]
    text = "\n".join(report.lines(explained))
    assert "differences: 1\n    tests/test_a.py::test_real\n" in text
    assert "passed -> failed: assert 1 == 2" in text
    assert "because it is meant" in text
    assert "only ours passes: 1" in text
    assert "agreed when run again: 1\n    tests/test_a.py::test_once" in text
    assert text.endswith("explained, but no longer different: *::test_old")


def test_every_suite_has_its_explanations() -> None:
    assert EXPLAINED.keys() == SUITES.keys()


INJECTED = """
import asyncio
assert type(asyncio.new_event_loop()).__name__ == "Theirs"
async def main():
    assert type(asyncio.get_running_loop()).__name__ == "Theirs"
asyncio.run(main())
with asyncio.Runner() as runner:
    assert type(runner.get_loop()).__name__ == "Theirs"
assert asyncio.SelectorEventLoop.__name__ == "Theirs"
"""
THEIRS = "import asyncio\nclass Theirs(asyncio.SelectorEventLoop): pass\n"


def inject(tmp_path: Path, loop: str) -> subprocess.CompletedProcess[str]:
    """Run the program above with `loop` injected."""
    (tmp_path / "theirs.py").write_text(THEIRS)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(INJECT), str(tmp_path)]),
        "INJECTED_LOOP": loop,
        "INJECTED_LOG": str(tmp_path / "log"),
    }
    return subprocess.run(
        [sys.executable, "-c", INJECTED],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_injected_loop_is_what_asyncio_hands_out(tmp_path: Path) -> None:
    done = inject(tmp_path, "theirs:Theirs")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "log").read_text().endswith(" theirs.Theirs\n")


@pytest.mark.parametrize("loop", ["nowhere:Loop", "theirs:Nothing"])
def test_a_loop_that_is_not_there_ends_the_process(tmp_path: Path, loop: str) -> None:
    done = inject(tmp_path, loop)
    assert done.returncode != 0
    assert "cannot inject the loop" in done.stderr
