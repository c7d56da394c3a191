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
from pathlib import Path

from . import report
from .explained import EXPLAINED
from .prepare import ROOT, Room, clean_environment, link, prepare
from .projects import SUITES, Suite

INJECT = Path(__file__).parent / "inject"
CLASSES = {"ours": "syslet_loop:EventLoop", "asyncio": "asyncio:SelectorEventLoop"}
MOST_AGAIN = 40


def command(suite: Suite, room: Room, junit: Path, tests: list[str]) -> list[str]:
    """The call of pytest; `tests` are node ids, all if there are none."""
    alone = bool(tests)
    # A worker of xdist may crash or be killed by pytest-timeout: the others' results
    # survive, and the test it ran is reported as failed.
    return [
        *(str(room.python), "-m", "pytest", "-q", *suite.options),
        *("-p", "no:cacheprovider", "-p", "no:randomly"),
        *("-n", "1" if alone else str(suite.workers), "--max-worker-restart=100"),
        *("-o", f"timeout={suite.test_timeout}", "-o", "timeout_method=thread"),
        *("-o", "junit_family=xunit1", f"--junit-xml={junit}"),
        *(f"--ignore-glob={each}" for each in suite.ignore),
        *(tests or ["tests"]),
    ]


def environment(
    room: Room, loop: str, source: Path | None, loops: Path
) -> dict[str, str]:
    """What makes the suite run on `loop`; processes that made one tell `loops`."""
    path = [str(INJECT)]
    if source is not None:
        path.append(str(link(room, source)))
    return {
        **clean_environment(),
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "INJECTED_LOOP": CLASSES[loop],
        "INJECTED_LOG": str(loops),
    }


def run_pytest(
    suite: Suite,
    room: Room,
    loop: str,
    source: Path | None,
    tests: list[str] | None = None,
) -> Path:
    """One run; returns the junit file. RuntimeError if there is none, or no loop."""
    name = f"{loop}-again" if tests else loop
    junit, log = room.results(name), room.folder / f"{name}.log"
    loops = room.folder / f"{name}.loops"
    for path in (junit, loops):
        path.unlink(missing_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            command(suite, room, junit, tests or []),
            cwd=room.sources,
            env=environment(room, loop, source, loops),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(suite.whole_timeout)
        except subprocess.TimeoutExpired:
            print(f"{suite.name} on {loop}: no end in {suite.whole_timeout} s")
        finally:
            # Also what the tests have started and left behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if not junit.exists():
        raise RuntimeError(f"{suite.name} on {loop} left no results: see {log}")
    if not tests and not loops.exists():
        raise RuntimeError(f"{suite.name} on {loop} never made the injected loop")
    return junit


def timed_run(suite: Suite, room: Room, loop: str, source: Path | None) -> None:
    """Run the whole suite and print its counts and its time."""
    start = time.monotonic()
    outcomes = report.read(run_pytest(suite, room, loop, source))
    took = time.monotonic() - start
    print(f"{suite.name} on {loop}: {report.counts(outcomes)} in {took:.0f} s")


def agreed_again(
    suite: Suite,
    room: Room,
    source: Path | None,
    differences: list[report.Difference],
) -> frozenset[str]:
    """Run the tests that differ once more on both loops; those that agree now."""
    # A test that is absent from one run would end the other with a usage error.
    nodes = [each.ours.node for each in differences if each.base.node]
    nodes = [node for node in nodes if node]
    if not nodes or len(nodes) > MOST_AGAIN:
        return frozenset()
    base, ours = (
        report.read(run_pytest(suite, room, loop, source, nodes))
        for loop in ("asyncio", "ours")
    )
    still = {each.test for each in report.compare(base, ours)}
    return frozenset(base.keys() & ours.keys()) - still


def run_suite(suite: Suite, options: argparse.Namespace, folder: Path) -> bool:
    """Run one suite as the options say; False if there is an unexplained difference."""
    room = prepare(suite, folder, options.python, with_project=options.source is None)
    loops = [options.loop] if options.loop else ["asyncio", "ours"]
    for loop in loops:
        timed_run(suite, room, loop, options.source)
    files = [room.results(loop) for loop in ("asyncio", "ours")]
    if options.loop == "asyncio" or not all(path.exists() for path in files):
        return True
    base, ours = (report.read(path) for path in files)
    differences = report.compare(base, ours)
    explained = EXPLAINED[suite.name]
    open_ones = [
        each for each in differences if not report.reason(each.test, explained)
    ]
    again = agreed_again(suite, room, options.source, open_ones)
    result = report.sort_out(differences, explained, again)
    print(*result.lines(explained), sep="\n", flush=True)
    return not result.unexplained


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
