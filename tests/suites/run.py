"""Runs another project's own tests on our loop and on asyncio's, and compares.

`python -m tests.suites.run uvicorn|aiohttp|anyio|uvloop|all`, from the root of the
checkout; `make suites` runs all. The exit status is 1 if a test differs for a reason
that is not in explained.py. Needs PyPI; everything lands in a temporary folder, or with
--keep in build/suites, where the next run finds it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from . import report
from .explained import EXPLAINED
from .prepare import ROOT, Room, clean_environment, install, link, prepare
from .projects import SUITES, Suite

INJECT = Path(__file__).parent / "inject"
CLASSES = {"ours": "syslet_loop:EventLoop", "asyncio": "asyncio:SelectorEventLoop"}
MOST_AGAIN = 40


@dataclass(frozen=True)
class Runner:
    """How one suite is run on whichever loop."""

    suite: Suite
    room: Room
    # A folder for PYTHONPATH that has our loop.
    package: Path
    debug: bool = False

    def command(self, junit: Path, tests: Sequence[str]) -> list[str]:
        """The call of pytest; `tests` are node ids, all if there are none."""
        suite, alone = self.suite, any("::" in test for test in tests)
        # A worker of xdist may crash or be killed by pytest-timeout: the others'
        # results survive, and the test it ran is reported as failed.
        return [
            *(str(self.room.python), "-m", "pytest", "-q", *suite.options),
            *("-p", "no:cacheprovider", "--max-worker-restart=100"),
            *("-n", "1" if alone else str(suite.workers)),
            *("-o", f"timeout={suite.test_timeout}", "-o", "timeout_method=thread"),
            # Says where a test hangs before its worker is killed.
            *("-o", f"faulthandler_timeout={max(1, suite.test_timeout - 2)}"),
            *("-o", "junit_family=xunit1", f"--junit-xml={junit}"),
            *(f"--ignore-glob={each}" for each in suite.ignore),
            *(tests or ["tests"]),
        ]

    def environment(self, loop: str, made: Path) -> dict[str, str]:
        """What makes the suite run on `loop`; processes that made one tell `made`."""
        variables = {
            **clean_environment(),
            "PYTHONPATH": os.pathsep.join([str(INJECT), str(self.package)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "INJECTED_LOOP": CLASSES[loop],
            "INJECTED_LOG": str(made),
        }
        if self.debug:
            variables["PYTHONASYNCIODEBUG"] = "1"
        return variables

    def run(
        self, loop: str, name: str, tests: Sequence[str] = ()
    ) -> dict[str, report.Outcome]:
        """Run on `loop`, with the results in files called `name`.

        Raises RuntimeError if there are no results, or if they are not of this loop.
        """
        results, log, made = (
            self.room.folder / f"{name}.{kind}" for kind in ("xml", "log", "loops")
        )
        for path in (results, made):
            path.unlink(missing_ok=True)
        with log.open("w") as output:
            process = subprocess.Popen(
                self.command(results, tests),
                cwd=self.room.sources,
                env=self.environment(loop, made),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.wait(process)
        if not results.exists():
            ended = f"pytest ended with {process.returncode}"
            raise RuntimeError(f"no results, {ended}: see {log}")
        if not tests and not made.exists():
            raise RuntimeError(f"the injected loop was never made: see {log}")
        return report.read(results)

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for pytest, but not for ever."""
        try:
            process.wait(self.suite.whole_timeout)
        except subprocess.TimeoutExpired:
            print(f"{self.suite.name}: no end in {self.suite.whole_timeout} s")
        finally:
            # Also what the tests have started and left behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def timed(
        self, loop: str, name: str, tests: Sequence[str]
    ) -> dict[str, report.Outcome]:
        """Run, and print the counts and the time."""
        start = time.monotonic()
        outcomes = self.run(loop, name, tests)
        took = time.monotonic() - start
        text = f"{report.counts(outcomes)} in {took:.0f} s"
        print(f"{self.suite.name} on {loop}: {text}", flush=True)
        return outcomes

    def agreed_again(self, differences: list[report.Difference]) -> frozenset[str]:
        """Run the tests that differ once more on both loops; those that agree now."""
        # A test that is absent from one run would end the other with a usage error.
        nodes = [
            each.ours.node for each in differences if each.ours.node and each.base.node
        ]
        if not nodes or len(nodes) > MOST_AGAIN:
            return frozenset()
        base = self.run("asyncio", "asyncio-again", nodes)
        ours = self.run("ours", "ours-again", nodes)
        still = {each.test for each in report.compare(base, ours)}
        return frozenset(base.keys() & ours.keys()) - still


def baseline(
    runner: Runner, name: str, only: Mapping[str, report.Outcome]
) -> dict[str, report.Outcome]:
    """The kept results of asyncio's whole run, of the tests in `only` if there are."""
    kept = runner.room.folder / f"{name}.xml"
    if not kept.exists():
        raise RuntimeError(f"nothing to compare with: {kept} is not there")
    outcomes = report.read(kept)
    return {test: each for test, each in outcomes.items() if not only or test in only}


def judge(runner: Runner, differences: list[report.Difference], once: bool) -> bool:
    """Print what differs; False if something does that is not explained."""
    explained = EXPLAINED[runner.suite.name]
    unknown = [each for each in differences if not report.reason(each.test, explained)]
    again = frozenset() if once else runner.agreed_again(unknown)
    result = report.sort_out(differences, explained, again)
    print(*result.lines(explained), sep="\n", flush=True)
    return not result.unexplained


def run_suite(suite: Suite, options: argparse.Namespace, folder: Path) -> bool:
    """Run one suite as the options say; False if there is an unexplained difference."""
    room = prepare(suite, folder, options.python)
    package = link(room, options.source) if options.source else install(room)
    if options.timeout:
        suite = replace(suite, test_timeout=options.timeout)
    runner = Runner(suite, room, package, options.debug)
    tests = options.only
    if options.quick and not tests:
        tests = [f"tests/test_{name}.py" for name in suite.quick]
    mode = "-debug" * options.debug
    suffix = mode + "-only" * bool(tests)
    print(f"results and logs: {room.folder}/*{suffix}.*", flush=True)
    base = None
    if options.loop != "ours":
        base = runner.timed("asyncio", f"asyncio{suffix}", tests)
    if options.loop == "asyncio":
        return True
    ours = runner.timed("ours", f"ours{suffix}", tests)
    if base is None:
        base = baseline(runner, f"asyncio{mode}", ours if tests else {})
    return judge(runner, report.compare(base, ours), options.once)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("suite", choices=[*SUITES, "all"])
    parser.add_argument(
        "--loop",
        choices=list(CLASSES),
        help="run on this one only; ours is compared with kept results of asyncio",
    )
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--keep", action="store_true", help="keep build/suites")
    parser.add_argument("--folder", type=Path, help="as --keep, but here")
    parser.add_argument(
        "--source",
        type=Path,
        help="another checkout, built in place, instead of installing this one",
    )
    parser.add_argument("--debug", action="store_true", help="asyncio's debug mode")
    parser.add_argument(
        "--once", action="store_true", help="do not run again what differs"
    )
    parser.add_argument("--timeout", type=int, help="seconds for one test")
    parser.add_argument(
        "--quick", action="store_true", help="where a suite is long, a part of it"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="TEST", help="files or node ids"
    )
    return parser.parse_args()


def main() -> int:
    """Run what was asked for; the exit status."""
    options = parse()
    names = list(SUITES) if options.suite == "all" else [options.suite]
    with contextlib.ExitStack() as stack:
        if options.folder or options.keep:
            folder = options.folder or ROOT / "build" / "suites"
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        results = [run_suite(SUITES[name], options, folder) for name in names]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
